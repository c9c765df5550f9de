"""Trials that are shorter than a proposal takes: is a process beside them worse than none?"""

from __future__ import annotations

import logging
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from ray import tune

from raytuner import BoTorchSearch

SPACE: dict[str, Any] = {f"x{i}": tune.uniform(0, 1) for i in range(3)}
_BEST = -3.86278  # Hartmann's function of three numbers, at its optimum
_HEIGHTS = np.array([1.0, 1.2, 3.0, 3.2])
_STEEP = np.array([[3, 10, 30], [0.1, 10, 35], [3, 10, 30], [0.1, 10, 35]])
_PLACES = 1e-4 * np.array(
    [[3689, 1170, 2673], [4699, 4387, 7470], [1091, 8732, 5547], [381, 5743, 8828]]
)


def regret(config: Mapping[str, float]) -> float:
    """How far Hartmann's function of three numbers is above its minimum."""
    x = np.array([config[name] for name in SPACE])
    return -float(_HEIGHTS @ np.exp(-(_STEEP * (x - _PLACES) ** 2).sum(axis=1))) - _BEST


@dataclass(frozen=True)
class Short:
    """One study.

    Attributes:
        regret: Of the best trial.
        seconds: From the first suggestion to the last trial's end.
        origins: How many configurations came from where.
    """

    regret: float
    seconds: float
    origins: dict[str, int]


@contextmanager
def cluster(slots: int) -> Iterator[None]:
    """A Ray of so many CPUs, whatever the machine has."""
    ray.init(
        address="local",
        num_cpus=slots,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        yield
    finally:
        ray.shutdown()


def measure(
    *, background: bool, slots: int, seconds: float, trials: int, seed: int, reuse_actors: bool
) -> Short:
    """Minimise Hartmann's function by trials that sleep, on the Ray that is connected."""

    def sleep(config: dict[str, Any]) -> None:
        time.sleep(seconds)
        tune.report({"loss": regret(config)})

    searcher = BoTorchSearch(seed=seed, background=background)
    cpus = ray.cluster_resources()["CPU"] / slots
    with tempfile.TemporaryDirectory() as storage:
        tune.Tuner(
            tune.with_resources(sleep, {"cpu": cpus}),
            param_space=SPACE,
            tune_config=tune.TuneConfig(
                metric="loss",
                mode="min",
                num_samples=trials,
                search_alg=searcher,
                reuse_actors=reuse_actors,
            ),
            run_config=tune.RunConfig(storage_path=storage, verbose=0),
        ).fit()
        history = searcher.history
        done = [trial for trial in history.trials if trial.ended_at is not None]
        return Short(
            regret=min(trial.value for trial in done),
            seconds=max(t.ended_at or 0.0 for t in done) - min(t.proposed_at for t in done),
            origins=dict(Counter(str(trial.origin) for trial in history.trials)),
        )
