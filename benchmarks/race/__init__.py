"""The race: raytuner against its peers, each through the searcher and scheduler users would use.

    python -m benchmarks.race --quick --data DIR     # two cores, ten minutes
    python -m benchmarks.race --full --data DIR      # hours; run it again and it goes on
    python -m benchmarks.race.page                   # RESULTS.md out of the stored runs

Every method searches the same problems with the same workers and the same budget on the virtual
clock of `raytuner.simulate`. Proposing costs no virtual time: its seconds of the processor are
measured and shown beside. Each run is kept, and none is run twice.
"""
