"""What a run's outcomes come to: 0 is as good as can be, 1 is no answer yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from botorch.utils.multi_objective.hypervolume import Hypervolume
from botorch.utils.multi_objective.pareto import is_non_dominated

from benchmarks.features.problem import Outcomes


@dataclass(frozen=True)
class Regret:
    """Distance of the best outcome from the best there is, in units of the median's.

    Attributes:
        best: A loss of 0.
        median: Of random configurations that are feasible: a loss of 1.
        constraint: Outcome above 0 of which nothing counts.
        objective: The outcome to be minimised.
    """

    best: float
    median: float
    constraint: str | None = None
    objective: str = "f"

    def __call__(self, outcomes: Sequence[Outcomes]) -> float:
        """The loss."""
        values = [
            outcome[self.objective]
            for outcome in outcomes
            if self.objective in outcome
            and (self.constraint is None or outcome[self.constraint] <= 0)
        ]
        if not values:
            return 1.0
        return (min(values) - self.best) / (self.median - self.best)


@dataclass(frozen=True)
class HypervolumeMissing:
    """Share of the best front's hypervolume that the outcomes do not cover.

    Attributes:
        reference: The reference point, of objectives to be minimised.
        largest: The hypervolume of the best front there is.
    """

    reference: tuple[float, ...]
    largest: float

    def __call__(self, outcomes: Sequence[Outcomes]) -> float:
        """The loss."""
        names = [f"f{number + 1}" for number in range(len(self.reference))]
        values = -torch.tensor([[o[name] for name in names] for o in outcomes], dtype=torch.double)
        front = values[is_non_dominated(values)]
        covered = Hypervolume(-torch.tensor(self.reference, dtype=torch.double)).compute(front)
        return 1.0 - covered / self.largest
