"""Data sets and learners as problems of the race, and what their regret refers to.

There is no best value known beforehand. `references.json` holds the best that a search of some
hundred trainings has found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.optimum import Columns, best_found, draw
from benchmarks.problem import Problem, Reference, reference
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

_SAMPLE = 100
_SAMPLE_SEED = 52


@dataclass(frozen=True)
class RealProblems:
    """The problems as a `benchmarks.problem.Benchmark`."""

    def chosen(self, names: Sequence[str]) -> tuple[str, ...]:
        """Names of `INSTANCES`; "development" or "quick", and "test" or "full", are several."""
        all_ = tuple(INSTANCES)
        groups = {"development": QUICK, "quick": QUICK, "test": all_, "full": all_}
        found = tuple(i for name in names for i in groups.get(name, (name,)))
        if unknown := [i for i in found if i not in INSTANCES]:
            raise KeyError(f"there is no {unknown[0]!r}; there are {', '.join(INSTANCES)}")
        return found

    def name_of(self, instance: str) -> str:
        """The name of an instance's problem."""
        return f"real/{instance}"

    def problem(self, instance: str) -> Problem:
        """The search on an instance."""
        return Problem(
            name=self.name_of(instance),
            space=LEARNERS[INSTANCES[instance][1]].space,
            objective=lambda config: curve(instance, config),
            metric=METRIC,
            mode="min",
            max_t=MAX_T,
            **asdict(reference(self.name_of(instance))),
        )

    def measured(self, instance: str) -> Reference:
        """Train random configurations in full, and search on from the best."""
        space, seconds = LEARNERS[INSTANCES[instance][1]].space, []

        def losses(configs: Columns) -> npt.NDArray[np.float64]:
            found = []
            for values in zip(*(column.tolist() for column in configs.values()), strict=True):
                trained = curve(instance, dict(zip(configs, values, strict=True)))
                last = trained.report(MAX_T)
                assert isinstance(last, Mapping)
                found.append(float(last[METRIC]))
                seconds.append(MAX_T * trained.duration(1))
            return np.array(found)

        median = float(np.median(losses(draw(space, _SAMPLE, _SAMPLE_SEED))))
        training_s = float(np.mean(seconds))
        best = best_found(space, losses, "min", first=_SAMPLE, kept=10, rounds=10, children=2)
        return Reference(best, median, training_s)


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
