"""Many studies in one process leave no open files, threads or processes behind."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray import tune

import raytuner

STUDIES = 8


def _held() -> dict[str, int]:
    """Count what this process holds."""
    gc.collect()
    process = psutil.Process()
    return {
        "files": process.num_fds(),
        "threads": process.num_threads(),
        "processes": len(process.children(recursive=True)),
    }


@pytest.mark.usefixtures("ray_cluster")
def test_many_studies_in_one_process_leak_nothing(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report({"loss": config["x"]})

    def run_study() -> None:
        raytuner.tune(
            train,
            {"x": tune.uniform(0, 1)},
            metric="loss",
            mode="min",
            num_samples=2,
            reuse_actors=True,
            storage_path=tmp_path,
            progress=False,
        )

    for _ in range(2):  # Ray and torch start threads and processes that stay
        run_study()
    before = _held()
    for _ in range(STUDIES):
        run_study()
    deadline = time.monotonic() + 30  # Ray ends the last trials' processes a little later
    while time.monotonic() < deadline:
        grown = {what: number - before[what] for what, number in _held().items()}
        if max(grown.values()) < STUDIES:
            return
        time.sleep(0.5)
    pytest.fail(f"one more for each of {STUDIES} studies: {grown}")
