"""Networks that were trained once and for all: TaskSet's learning curves.

TaskSet (Metz et al., arXiv:2002.11887) trained 1,000 configurations of Adam with eight
hyperparameters on each of many tasks. The seven tasks here are recurrent networks that classify
texts. A training has 51 reports. Up to a quarter of a task's trainings diverge: the report is NaN,
and the training ends. To search a continuous space, a configuration gets the curve of the nearest
one in the table, in the unit cube, as in Syne Tune's blackbox repository.

The data are not in this project. Name the folder that holds a `.npz` file for each task by
`--data` or by the environment variable `RAYTUNER_TASKSET_DATA`: arrays `names` (8),
`hyperparameters` (1000, 8) and `valid_loss` (1000, 51).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ray import tune

from benchmarks.problem import Problem, Reference, reference
from raytuner.simulate import Curve

DATA_VARIABLE = "RAYTUNER_TASKSET_DATA"

METRIC = "valid_loss"
MAX_T = 51

# The ranges that TaskSet drew from, on a log scale. Of the two averages' rates, it drew 1 - rate.
RANGES = {
    "learning_rate": (1e-8, 10.0),
    "one_minus_beta1": (1e-4, 1.0),
    "one_minus_beta2": (1e-6, 1.0),
    "epsilon": (1e-10, 1e3),
    "l1": (1e-8, 10.0),
    "l2": (1e-8, 10.0),
    "linear_decay": (1e-7, 1e-4),
    "exponential_decay": (1e-6, 1e-3),
}

DEVELOPMENT = (
    "patch32_GRU128_bs128",
    "patch32_IRNN64_relu_avg_bs128",
    "patch128_LSTM128_bs64",
)
TEST = (
    "patch32_LSTM128_E128_bs128",
    "patch32_VRNN128_tanh_bs128",
    "patch32_VRNN64_relu_avg_bs128",
    "patch128_LSTM128_embed128_bs64",
)


@dataclass(frozen=True)
class TaskSetProblems:
    """The tasks as a `benchmarks.problem.Benchmark`.

    Attributes:
        data: The folder of the `.npz` files.
    """

    data: str

    def chosen(self, names: Sequence[str]) -> tuple[str, ...]:
        """Tasks; "development" and "test", "quick" and "full" stand for several."""
        groups = {"development": DEVELOPMENT, "test": TEST, "quick": DEVELOPMENT, "full": TEST}
        found = tuple(i for name in names for i in groups.get(name, (name,)))
        if unknown := [i for i in found if not (Path(self.data) / f"{i}.npz").is_file()]:
            raise KeyError(f"{self.data} has no {unknown[0]}.npz")
        return found

    def name_of(self, instance: str) -> str:
        """The name of a task's problem."""
        return f"taskset/{instance}"

    def problem(self, instance: str) -> Problem:
        """The search on a task."""
        return Problem(
            name=self.name_of(instance),
            space={name: tune.loguniform(low, high) for name, (low, high) in RANGES.items()},
            objective=lambda config: curve(self.data, instance, config),
            metric=METRIC,
            mode="min",
            max_t=MAX_T,
            **asdict(reference(self.name_of(instance))),
        )

    def measured(self, instance: str) -> Reference:
        """The best of the table, and its median: what diverged is worse than any loss."""
        last = np.nan_to_num(_table(self.data, instance).losses[:, -1], nan=np.inf)
        return Reference(float(last.min()), float(np.median(last)), float(MAX_T))


def curve(data: str, instance: str, config: Mapping[str, Any]) -> Curve:
    """The learning curve of the nearest configuration; it ends with the first NaN."""
    losses = _table(data, instance).nearest(config)
    diverged = np.flatnonzero(np.isnan(losses))
    end = diverged[0] + 1 if len(diverged) else len(losses)
    return Curve([{METRIC: loss} for loss in losses[:end].tolist()])


@dataclass(frozen=True)
class _Table:
    """A task's trainings: places in the unit cube `1000 x 8`, and losses `1000 x 51`."""

    places: npt.NDArray[np.float64]
    losses: npt.NDArray[np.float64]

    def nearest(self, config: Mapping[str, Any]) -> npt.NDArray[np.float64]:
        values = np.array([[config[name] for name in RANGES]])
        distances = np.square(self.places - _place(values)).sum(axis=1)
        return self.losses[distances.argmin()]


def _place(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    low, high = np.log(np.array(list(RANGES.values()))).T
    return (np.log(values) - low) / (high - low)


@lru_cache
def _table(data: str, instance: str) -> _Table:
    with np.load(Path(data) / f"{instance}.npz") as file:
        columns = dict(zip(file["names"].tolist(), file["hyperparameters"].T, strict=True))
        losses = np.asarray(file["valid_loss"], dtype=np.float64)
    for rate in ("beta1", "beta2"):
        columns[f"one_minus_{rate}"] = 1.0 - columns.pop(rate)
    return _Table(_place(np.column_stack([columns[name] for name in RANGES])), losses)
