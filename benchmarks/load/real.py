"""Many trials on a real Ray: trainings that report three numbers and end."""

from __future__ import annotations

import logging
import tempfile
import time
from typing import Any

import psutil
import ray
from ray import tune
from ray.tune import Callback
from ray.tune.schedulers import ASHAScheduler as RaysASHA

import raytuner
from benchmarks.load.meter import Stretch
from benchmarks.load.virtual import MAX_T, SPACE

SLOTS = 8
SEARCHES = ("raytuner", "Ray's random search + ASHA")


class Watch(Callback):
    """Measures the driver as trials end."""

    def __init__(self, every: int) -> None:
        self.stretches: list[Stretch] = []
        self._every = every
        self._ended = self._results = 0
        self._begin, self._cpu = time.perf_counter(), time.process_time()

    def on_trial_result(self, *args: Any, **info: Any) -> None:
        """Another decision."""
        self._results += 1

    def on_trial_complete(self, *args: Any, **info: Any) -> None:
        """Another trial."""
        self._ended += 1
        if self._ended % self._every:
            return
        now = time.process_time()
        self.stretches.append(
            Stretch(
                trials=self._ended,
                decisions=self._results,
                decision_us=1e6 * (now - self._cpu) / max(1, self._results),
                trial_ms=1e3 * (now - self._cpu) / self._every,
                memory_mib=psutil.Process().memory_info().rss / 2**20,
                wall_s=time.perf_counter() - self._begin,
            )
        )
        self._results, self._cpu = 0, now


def train(config: dict[str, Any]) -> None:
    """Reports, and trains nothing."""
    floor = sum((config[f"x{i}"] - 0.3) ** 2 for i in range(8))
    for t in range(1, MAX_T + 1):
        tune.report({"loss": floor + 1 / t})


def run(search: str, trials: int, every: int) -> list[Stretch]:
    """Run a search of so many trials, in processes that are used again."""
    ray.init(
        address="local",
        num_cpus=SLOTS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    watch = Watch(every)
    with tempfile.TemporaryDirectory() as folder:
        if search == SEARCHES[0]:
            raytuner.tune(
                train,
                SPACE,
                metric="loss",
                mode="min",
                num_samples=trials,
                max_t=MAX_T,
                reuse_actors=True,
                seed=0,
                storage_path=folder,
                callbacks=[watch],
                progress=False,
            )
        else:
            tune.Tuner(
                train,
                param_space=SPACE,
                tune_config=tune.TuneConfig(
                    metric="loss",
                    mode="min",
                    num_samples=trials,
                    scheduler=RaysASHA(max_t=MAX_T, grace_period=1, reduction_factor=3),
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[watch]),
            ).fit()
    ray.shutdown()
    return watch.stretches
