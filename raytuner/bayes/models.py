"""A surrogate of each outcome of a search, and what they say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from botorch.models import SingleTaskGP

from raytuner.bayes.acquisition import lifted
from raytuner.bayes.dataset import Dataset, dataset
from raytuner.bayes.posterior import Posterior
from raytuner.bayes.surrogate import WarmFit
from raytuner.history import Snapshot
from raytuner.history.snapshot import FloatArray, IntArray
from raytuner.space import Column


@dataclass(frozen=True)
class Models:
    """The fitted surrogates.

    Attributes:
        objective: Of the objective, larger is better.
        constraints: One of each outcome constraint's slack, 0 or more within its bound.
    """

    objective: SingleTaskGP
    constraints: tuple[SingleTaskGP, ...]

    def order(self, points: FloatArray, *, has_fidelity: bool) -> IntArray:
        """The rows of ``(k, d)`` configurations by what they look like in full, the best first.

        Those that keep the constraints come first, then those that break them least.
        """
        Z = lifted(torch.as_tensor(points), has_fidelity)
        violation = np.zeros(len(Z))
        with torch.no_grad():
            means = Posterior(self.objective).means(Z)[0].numpy()
            for model in self.constraints:
                violation += np.maximum(-Posterior(model).means(Z)[0].numpy(), 0.0)
        return np.lexsort((-means, violation))


class Fits:
    """Fits the surrogates of a growing record, each from where its fit before ended."""

    def __init__(self) -> None:
        self._fits: list[WarmFit] = []

    def __call__(self, snapshot: Snapshot, data: Dataset, columns: Sequence[Column]) -> Models:
        """The models of a record; see :func:`raytuner.bayes.surrogate.fit`.

        Args:
            snapshot: The record, of one objective.
            data: The rows of that.
            columns: The space's d columns.
        """
        n = snapshot.outcomes.shape[1]
        self._fits += [WarmFit() for _ in range(n - len(self._fits))]
        slacks = [dataset(snapshot.of_outcome(j), slack=True) for j in range(1, n)]
        objective, *constraints = (
            fit(rows, columns) for fit, rows in zip(self._fits, [data, *slacks], strict=True)
        )
        return Models(objective, tuple(constraints))

    def forget_objective(self) -> None:
        """The next fit of the objective starts anew."""
        self._fits[:1] = [WarmFit()]

    def state_dict(self) -> list[dict[str, Any]]:
        """What each next fit starts from."""
        return [fit.state_dict() for fit in self._fits]

    def load_state_dict(self, state: Sequence[dict[str, Any]]) -> None:
        """Continue from :meth:`state_dict`."""
        self._fits = []
        for one in state:
            fit = WarmFit()
            fit.load_state_dict(one)
            self._fits.append(fit)
