"""Ways to take pending trials into account, to be compared: see *Pending trials* on the page."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from benchmarks.race.method import Contest, Method, Search
from raytuner import BoTorchSearch
from raytuner.bayes import BayesProposer
from raytuner.bayes.acquisition import LogExpectedImprovement
from raytuner.bayes.surrogate import Posterior
from raytuner.history.snapshot import FloatArray


class AtTheMean(LogExpectedImprovement):
    """A pending trial counts as if it had come to what the model expects, without doubt."""

    def _draws(self, mean: Tensor, corner: Tensor) -> Tensor:
        draws = super()._draws(mean, corner)
        draws[:, len(self._contenders) :] = 0.0
        return draws


class Ignored(LogExpectedImprovement):
    """Pending trials play no part."""

    def __init__(self, posterior: Posterior, *, pending: FloatArray, **known: Any) -> None:
        super().__init__(posterior, pending=pending[:0], **known)

    def add_pending(self, point: FloatArray) -> None:
        """It is not taken in."""


def _ours(acquisition: type[LogExpectedImprovement], contest: Contest) -> Search:
    proposer: Any = partial(BayesProposer, acquisition=acquisition)
    return Search(BoTorchSearch(background=False, seed=contest.seed, proposer=proposer))


# Against "ours", which integrates over what pending trials may come to.
ABLATION = (
    Method("ours-pending-mean", "raytuner, pending at the mean", partial(_ours, AtTheMean), ()),
    Method("ours-pending-ignored", "raytuner, pending ignored", partial(_ours, Ignored), ()),
)
