"""Really training: small data sets and small models, on the virtual clock.

    python -m benchmarks.race --benchmark real

What is reported is computed by training; the clock is not the wall's (see `training`).
"""

from benchmarks.real.problems import RealProblems, problem

__all__ = ["RealProblems", "problem"]
