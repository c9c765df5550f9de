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
from raytuner.history import Snapshot, fronts
from raytuner.history.snapshot import FloatArray
from raytuner.space import Column


@dataclass(frozen=True)
class Models:
    """The fitted surrogates.

    Attributes:
        objectives: One of each objective, larger is better.
        constraints: One of each outcome constraint's slack, 0 or more within its bound.
    """

    objectives: tuple[SingleTaskGP, ...]
    constraints: tuple[SingleTaskGP, ...]

    def leaders(self, data: Dataset, most: int) -> FloatArray:
        """The evaluated configurations that look best in full, at most ``most``, best first.

        Those that keep the constraints come first, by front, then those that break them least.
        """
        Z = lifted(torch.as_tensor(data.evaluated), data.has_fidelity)
        with torch.no_grad():
            scores, slacks = (
                np.array([Posterior(model).means(Z)[0].numpy() for model in models])
                .reshape(len(models), len(Z))
                .T
                for models in (self.objectives, self.constraints)
            )
        violation = np.maximum(-slacks, 0.0).sum(axis=1)
        rank = fronts(scores) if scores.shape[1] > 1 else -scores[:, 0]
        return data.evaluated[np.lexsort((rank, violation))[:most]]


class Fits:
    """Fits the surrogates of a growing record, each from where its fit before ended."""

    def __init__(self) -> None:
        self._fits: list[WarmFit] = []

    def __call__(self, snapshot: Snapshot, data: Dataset, columns: Sequence[Column]) -> Models:
        """The models of a record; see :func:`raytuner.bayes.surrogate.fit`.

        Args:
            snapshot: The record.
            data: The rows of its first outcome.
            columns: The space's d columns.
        """
        n = snapshot.outcomes.shape[1]
        self._fits += [WarmFit() for _ in range(n - len(self._fits))]
        rows = [data]
        for j in range(1, n):
            is_slack = j >= snapshot.n_objectives
            rows.append(dataset(snapshot.of_outcome(j), slack=is_slack))
        fitted = [fit(part, columns) for fit, part in zip(self._fits, rows, strict=False)]
        return Models(
            tuple(fitted[: snapshot.n_objectives]), tuple(fitted[snapshot.n_objectives :])
        )

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
