"""The loop's cost does not grow with the number of trials: 1,000 workers, 20,000 trials.

Run as a script for figures: ``python tests/simulate/test_scale.py [trials [workers [reports]]]``.
"""

from __future__ import annotations

import sys
import time
from types import FrameType
from typing import Any

import pytest
from ray import tune
from ray.tune.schedulers import FIFOScheduler

from raytuner.simulate import Cluster, Curve, Simulation, simulate

SPACE = {"lr": tune.loguniform(1e-4, 1.0), "width": tune.randint(8, 512), "x": tune.uniform(0, 1)}


class CountingFIFO(FIFOScheduler):
    """FIFO, and how many trials it looks at to choose one."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls = 0
        self.looked_at = 0

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        self.calls += 1
        for trial in tune_controller.get_trials():
            self.looked_at += 1
            if trial.status == "PENDING":
                return trial
        return None


def random_search(trials: int, workers: int, reports: int, scheduler: Any = None) -> Simulation:
    def objective(config: dict[str, Any]) -> Curve:
        values = [config["x"] + 1.0 / t for t in range(1, reports + 1)]
        return Curve(values, seconds=30.0 + 60.0 * config["x"])

    return simulate(
        objective,
        SPACE,
        scheduler=scheduler,
        metric="loss",
        mode="min",
        num_samples=trials,
        cluster=Cluster(workers=workers, startup_s=2.0),
        seed=0,
    )


@pytest.mark.parametrize(("trials", "workers"), [(2000, 20), (400, 150)])
def test_choosing_a_trial_looks_at_few_however_many_there_are(trials: int, workers: int) -> None:
    few, many = CountingFIFO(), CountingFIFO()
    random_search(200, 20, 3, few)
    random_search(trials, workers, 3, many)
    assert many.looked_at / many.calls <= 1.1 * few.looked_at / few.calls + 1


def lines_run(trials: int) -> int:
    """Count the lines of Python that a random search runs."""
    count = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        random_search(trials, 20, 3)
    finally:
        sys.settrace(before)
    return count


def test_ten_times_the_trials_are_about_ten_times_the_work() -> None:
    random_search(100, 20, 3)  # what is done once
    assert lines_run(1000) < 11 * lines_run(100)


if __name__ == "__main__":
    size = [int(argument) for argument in sys.argv[1:]] + [20_000, 1_000, 10][len(sys.argv) - 1 :]
    start = time.perf_counter()
    simulation = random_search(*size)
    elapsed = time.perf_counter() - start
    print(
        f"{size[0]:,} trials of {size[2]} reports on {size[1]:,} workers: {elapsed:.1f} s,"
        f" {len(simulation.events):,} events, {elapsed / len(simulation.events) * 1e6:.0f} us each,"
        f" {simulation.end_s / 3600:.1f} virtual hours, utilisation {simulation.utilisation():.3f}"
    )
