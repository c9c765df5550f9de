"""Trials that are shorter than a proposal takes: is a process beside them worse than none?"""

from __future__ import annotations

import logging
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from ray import tune

from raytuner import BoTorchSearch
from raytuner.simulate import Cluster, Curve, Settings, simulate

CPUS = 16  # of the cluster
_START_S = 0.1  # that a trial takes to start in a process that is used again

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
        counts: How many proposals were fresh, stale and quasi-random.
    """

    regret: float
    seconds: float
    counts: dict[str, int]


@dataclass(frozen=True)
class Cell:
    """What is measured: ``trials`` of so many seconds on so many slots.

    Attributes:
        seconds: That a trial sleeps.
        slots: Trials at a time.
        trials: How many.
        background: Whether proposals come from a process beside.
    """

    seconds: float
    slots: int
    trials: int
    background: bool

    def on_ray(self, seed: int) -> Short:
        """A study on the Ray that is connected; its time is that of the whole study."""

        def sleep(config: dict[str, Any]) -> None:
            time.sleep(self.seconds)
            tune.report({"loss": regret(config)})

        searcher = BoTorchSearch(seed=seed, background=self.background)
        with tempfile.TemporaryDirectory() as storage:
            tune.Tuner(
                tune.with_resources(sleep, {"cpu": CPUS / self.slots}),
                param_space=SPACE,
                tune_config=tune.TuneConfig(
                    metric="loss",
                    mode="min",
                    num_samples=self.trials,
                    search_alg=searcher,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(storage_path=storage, verbose=0),
            ).fit()
            ends = [trial.ended_at or 0.0 for trial in searcher.history.trials]
            return _short(searcher, max(ends) - searcher.history.trials[0].proposed_at)

    def simulated(self, seed: int) -> Short:
        """A study on the virtual clock, on which proposals take their seconds of the processor."""
        searcher = BoTorchSearch(seed=seed, background=self.background)
        simulation = simulate(
            lambda config: Curve([{"loss": regret(config)}], seconds=self.seconds),
            SPACE,
            searcher=searcher,
            metric="loss",
            mode="min",
            num_samples=self.trials,
            cluster=Cluster(workers=self.slots, startup_s=_START_S),
            settings=Settings(
                charge="background" if self.background else "inline",
                timer=time.process_time,
                poll_s=0.1,
            ),
            seed=seed,
        )
        return _short(searcher, simulation.end_s)


@contextmanager
def ray_cluster() -> Iterator[None]:
    """A Ray of so many CPUs, whatever the machine has."""
    ray.init(
        address="local",
        num_cpus=CPUS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        yield
    finally:
        ray.shutdown()


def row(cell: Cell, studies: Sequence[Short]) -> str:
    """The studies of a cell, one of each seed, as a row of a Markdown table."""
    regrets = np.log10([max(study.regret, 1e-9) for study in studies])
    error = regrets.std(ddof=1) / np.sqrt(len(regrets)) if len(regrets) > 1 else np.nan
    counts = sum((Counter(study.counts) for study in studies), Counter[str]())
    shares = [f"{counts[kind] / counts.total():.0%}" for kind in ("fresh", "stale", "fallback")]
    return (
        f"| {cell.seconds:g} | {cell.slots} | {cell.trials} | {cell.background}"
        f" | {regrets.mean():.2f} ± {error:.2f}"
        f" | {np.mean([study.seconds for study in studies]):.1f} | {' | '.join(shares)} |"
    )


def _short(searcher: BoTorchSearch, seconds: float) -> Short:
    best = searcher.history.best
    assert best is not None
    return Short(best.value, seconds, searcher.proposal_counts)
