"""Many trials on a real Ray: trainings that report numbers, and may sleep in between."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from typing import Any

import ray
from ray import tune
from ray.tune import Callback
from ray.tune.schedulers import ASHAScheduler as RaysASHA

import raytuner
from benchmarks.load.meter import Stretch, stretch
from benchmarks.load.training import MAX_T, train
from benchmarks.load.virtual import SPACE

SLOTS = 8
STARTING = 4
"""Trials that start at the same time. By default, two cores would start all at once."""

SEARCHES = ("raytuner", "raytuner, random", "Ray's random search + ASHA")
SOAKED = ("raytuner", "raytuner, random", "Ray's random search")  # without early stopping


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
        driver_s = now - self._cpu
        made = stretch(self._ended, self._every, self._results, driver_s, driver_s, self._begin)
        self.stretches.append(made)
        self._results, self._cpu = 0, now


def run(
    search: str,
    trials: int,
    every: int,
    *,
    slots: int = SLOTS,
    seconds: float = 0.0,
    time_budget_s: float | None = None,
    early_stopping: bool = True,
) -> list[Stretch]:
    """Run a search in processes that are used again.

    Args:
        search: One of ``SEARCHES``, or of ``SOAKED``.
        trials: How many; -1 for as many as the time allows.
        every: Trials a stretch.
        slots: Trials at a time.
        seconds: That a trial sleeps before each of its reports.
        time_budget_s: Seconds for the search.
        early_stopping: Whether ASHA stops trials.
    """
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(STARTING)
    # Otherwise processes that start starve the others.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (its name in Ray)
    ray.init(
        address="local",
        num_cpus=slots,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    watch = Watch(every)
    runnable = tune.with_parameters(train, seconds=seconds)
    with tempfile.TemporaryDirectory() as folder:
        if search.startswith("raytuner"):
            raytuner.tune(
                runnable,
                SPACE,
                metric="loss",
                mode="min",
                num_samples=trials,
                time_budget_s=time_budget_s,
                max_t=MAX_T if early_stopping else None,
                scheduler="asha" if early_stopping else None,
                strategy="random" if search.endswith("random") else "bayes",
                reuse_actors=True,
                seed=0,
                storage_path=folder,
                callbacks=[watch],
                progress=False,
            )
        else:
            tune.Tuner(
                runnable,
                param_space=SPACE,
                tune_config=tune.TuneConfig(
                    metric="loss",
                    mode="min",
                    num_samples=trials,
                    time_budget_s=time_budget_s,
                    scheduler=RaysASHA(max_t=MAX_T, grace_period=1, reduction_factor=3)
                    if early_stopping
                    else None,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[watch]),
            ).fit()
    ray.shutdown()
    return watch.stretches
