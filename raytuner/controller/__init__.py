"""The boundary to Ray: the only package that uses names that Ray does not promise to keep.

One comment line says why each such name is needed, and one test in `tests/controller` fails when
Ray changes it. Only `raytuner.simulate.ray_controller`, a subclass of Ray's controller on a virtual
clock, has such names of its own.
"""
