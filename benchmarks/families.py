"""The families of problems by name."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks import taskset, yahpo
from benchmarks.problem import Benchmark
from benchmarks.real import RealProblems

FAMILIES = (*yahpo.SCENARIOS, "taskset", "real")


def benchmark(family: str, data: str | Path | None = None) -> Benchmark:
    """Return a family.

    Args:
        family: One of `FAMILIES`.
        data: The folder of its data; None: the one that the environment names.

    Raises:
        ValueError: It needs data, and no folder is given.
    """
    if family == "real":
        return RealProblems()
    variable = taskset.DATA_VARIABLE if family == "taskset" else yahpo.DATA_VARIABLE
    data = data or os.environ.get(variable)
    if not data:
        raise ValueError(f"{family} needs --data, or {variable}: a folder (benchmarks/README.md)")
    if family == "taskset":
        return taskset.TaskSetProblems(str(data))
    return yahpo.YahpoProblems(str(data), family)
