"""The boundary to Ray: the only package that uses private names of Ray.

A comment explains why each name is needed, and a test in `tests/controller` fails when Ray changes
it. The only other module with private names is `raytuner.simulate.ray_controller`, a subclass of
Ray's controller on a virtual clock.
"""
