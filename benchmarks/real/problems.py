"""Data sets and learners as problems of the race, and what their regret refers to.

There is no best value known beforehand, so `reference.json` holds that of a seeded random sample of
configurations, all trained in full: a search that is better than all of these has a regret below 0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.problem import Problem
from benchmarks.real.data import split
from benchmarks.real.training import LEARNERS
from raytuner.simulate import Curve

METRIC = "loss"
MAX_T = 27

# Data set and learner of each.
INSTANCES = {
    "digits-mlp": ("digits", "mlp"),
    "digits-torch": ("digits", "torch"),
    "breast-cancer-boosting": ("breast-cancer", "boosting"),
    "wine-mlp": ("wine", "mlp"),
    "california-boosting": ("california", "boosting"),
    "california-torch": ("california", "torch"),
}
QUICK = ("wine-mlp", "california-boosting")

REFERENCE = Path(__file__).with_name("reference.json")

_SAMPLE_SEED = 52


@dataclass(frozen=True)
class Reference:
    """What random configurations come to.

    Attributes:
        sample: How many there were.
        best: The lowest loss at the end of training.
        median: The median.
        training_s: Mean virtual seconds of a full training.
    """

    sample: int
    best: float
    median: float
    training_s: float


@dataclass(frozen=True)
class RealProblems:
    """The problems as a `benchmarks.problem.Benchmark`."""

    def chosen(self, names: Sequence[str]) -> tuple[str, ...]:
        """Names of `INSTANCES`; "quick" and "full" stand for several."""
        groups = {"quick": QUICK, "full": tuple(INSTANCES)}
        found = tuple(i for name in names for i in groups.get(name, (name,)))
        if unknown := [i for i in found if i not in INSTANCES]:
            raise KeyError(f"there is no {unknown[0]!r}; there are {', '.join(INSTANCES)}")
        return found

    def name_of(self, instance: str) -> str:
        """The name of an instance's problem."""
        return f"real/{instance}"

    def problem(self, instance: str) -> Problem:
        """The search on an instance."""
        known = references()[instance]
        return Problem(
            name=self.name_of(instance),
            space=LEARNERS[INSTANCES[instance][1]].space,
            objective=lambda config: curve(instance, config),
            metric=METRIC,
            mode="min",
            max_t=MAX_T,
            training_s=known.training_s,
            best=known.best,
            median=known.median,
        )


def problem(instance: str) -> Problem:
    """For ``raytuner simulate benchmarks.real:problem:digits-mlp --workers 64``."""
    return RealProblems().problem(*RealProblems().chosen([instance]))


def curve(instance: str, config: Mapping[str, Any]) -> Curve:
    """The learning curve of a configuration: it is trained as far as it is asked for."""
    name, learner_name = INSTANCES[instance]
    data, learner = split(name), LEARNERS[learner_name]
    losses = learner.losses(config, data)
    return Curve(
        ({METRIC: loss} for loss, _ in zip(losses, range(MAX_T), strict=False)),
        seconds=learner.seconds(config, data),
    )


@lru_cache(maxsize=1)
def references() -> dict[str, Reference]:
    """What is known of each instance."""
    stored = json.loads(REFERENCE.read_text(encoding="utf-8"))
    return {name: Reference(**fields) for name, fields in stored.items()}


def measured(instance: str, sample: int) -> Reference:
    """Train so many random configurations in full."""
    rng = np.random.RandomState(_SAMPLE_SEED)
    space = LEARNERS[INSTANCES[instance][1]].space
    losses, seconds = [], []
    for _ in range(sample):
        config = {name: domain.sample(random_state=rng) for name, domain in space.items()}
        trained = curve(instance, config)
        last = trained.report(MAX_T)
        assert isinstance(last, Mapping)
        losses.append(float(last[METRIC]))
        seconds.append(MAX_T * trained.duration(1))
    return Reference(sample, min(losses), float(np.median(losses)), float(np.mean(seconds)))
