"""Features of real search spaces and objectives, each on a problem where it matters.

    python -m benchmarks.features          # run what the results lack, and print the tables
    python -m benchmarks.race.page         # the section of RESULTS.md

Every method is asked and told in one process: so many trials are pending at a time, and the oldest
is evaluated next. What raytuner makes of a feature stands beside raytuner without it and beside
what the peers can do about it. Runs are kept as those of :mod:`benchmarks.race` are.
"""
