"""What earlier searches say about this one: their surrogates, weighted by how well they rank it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from botorch.models import SingleTaskGP
from linear_operator.utils.cholesky import psd_safe_cholesky
from torch import Tensor

from raytuner.bayes.dataset import Dataset, dataset, telling
from raytuner.bayes.posterior import Posterior
from raytuner.bayes.ranking import Ranking
from raytuner.bayes.scalarise import chebyshev
from raytuner.bayes.surrogate import WarmFit, fit
from raytuner.history import Snapshot
from raytuner.history.snapshot import BoolArray, FloatArray
from raytuner.space import Column
from raytuner.space.cube import ABSENT

# Of each earlier search so many rows at most: its model is asked at every step of a climb.
_ROWS = 200
# Fewer where it is fitted anew for each proposal.
_WEIGHTED_ROWS = 80
# Of each, at most so many of the best configurations, and no more than a quarter, are tried first.
_FIRST = 8
_LEAST_WEIGHT = 0.01
# That values of an earlier search mean the same here counts as much as so many rows that say so.
_SCALE_ROWS = 2.0
_JITTER = 1e-6


@dataclass(frozen=True)
class Task:
    """An earlier search, seen from this one's space of d columns.

    Attributes:
        name: What to call it.
        snapshot: Its record, its points encoded in this space, with this search's objectives.
        shared: ``(d,)`` which columns it had. In the others its points are ``ABSENT``.
    """

    name: str
    snapshot: Snapshot
    shared: BoolArray

    @property
    def is_weighted(self) -> bool:
        """Whether it has several objectives, which each proposal weights otherwise."""
        return self.snapshot.n_objectives > 1

    def weighted(self, seed: int) -> Task:
        """With one objective: several are weighted as this search's are for the same seed."""
        if not self.is_weighted:
            return self
        return replace(self, snapshot=chebyshev(self.snapshot, seed))

    def best(self) -> FloatArray:
        """``(e, d)`` the best of its configurations by their final values, the best first.

        Of several objectives, the best by one weighting after the other: they spread over the
        Pareto front.
        """
        ranked = self._ranked(0)
        n = min(_FIRST, -(-len(ranked) // 4))
        if not self.is_weighted:
            return ranked[:n]
        chosen: dict[bytes, FloatArray] = {}
        for seed in range(n):
            new = (x for x in self._ranked(seed) if x.tobytes() not in chosen)
            chosen |= {x.tobytes(): x for x in islice(new, 1)}
        return np.array(list(chosen.values())).reshape(-1, self.snapshot.dim)

    def _ranked(self, seed: int) -> FloatArray:
        """``(k, d)`` its configurations with a final value, the best first."""
        data = dataset(self.weighted(seed).snapshot)
        ended = np.flatnonzero(data.X[:, -1] == 1.0) if data.has_fidelity else np.arange(len(data))
        order = ended[np.argsort(-data.y[ended], kind="stable")]
        return data.X[order, : self.snapshot.dim]


def best_in_turn(tasks: Sequence[Task]) -> FloatArray | None:
    """``(k, d)`` the best configuration of each task, then the second-best of each, and so on.

    NaN where the task had no such hyperparameter. None without a task.
    """
    best = [np.where(task.shared, task.best(), np.nan) for task in tasks]
    turns = [b[rank] for rank in range(_FIRST) for b in best if rank < len(b)]
    return np.array(turns) if turns else None


class TaskModel:
    """The surrogate of an earlier search, asked in terms of this one.

    Args:
        task: The search.
        columns: This space's d columns.
        seed: Of the weights of several objectives.
    """

    def __init__(self, task: Task, columns: Sequence[Column], seed: int = 0) -> None:
        data = dataset(task.weighted(seed).snapshot)
        data = data.take(telling(data.y, _WEIGHTED_ROWS if task.is_weighted else _ROWS))
        self._posterior = Posterior(fit(data, columns))
        self._shared = torch.as_tensor(task.shared)
        self._d = len(columns)
        self._has_fidelity = data.has_fidelity

    def mean(self, Z: Tensor) -> Tensor:
        """``(...)`` means at inputs of this search, ``(..., d)`` or, with fidelity, ``d + 1``."""
        return self._posterior.mean_at(self._own(Z))

    def samples(self, Z: Tensor, draws: Tensor) -> Tensor:
        """``(S, n)`` posterior samples at n inputs, made of ``(S, n)`` standard normal draws."""
        mean, covariance, _ = self._posterior.joint(self._own(Z))
        jitter = _JITTER * torch.eye(len(Z), dtype=Z.dtype)
        return mean + draws @ psd_safe_cholesky(covariance + jitter).mT

    def _own(self, Z: Tensor) -> Tensor:
        """Its own inputs: without what it knew nothing of, and with a fidelity if it has one."""
        X = torch.where(self._shared, Z[..., : self._d], ABSENT)
        if not self._has_fidelity:
            return X
        s = Z[..., self._d :] if Z.shape[-1] > self._d else torch.ones_like(X[..., :1])
        return torch.cat([X, s], dim=-1)


class Trend:
    """A weighted sum of earlier searches' means, times a scale; of ``(..., d)`` inputs."""

    def __init__(self, models: Sequence[TaskModel], weights: FloatArray, scale: float) -> None:
        self._parts = [(m, float(scale * w)) for m, w in zip(models, weights, strict=True) if w]

    def __call__(self, Z: Tensor) -> Tensor:
        """``(...)`` values."""
        total = Z.new_zeros(Z.shape[:-1])
        for model, weight in self._parts:
            total = total + weight * model.mean(Z)
        return total


class Earlier:
    """Earlier searches as the prior mean of this one's model.

    Each has a Gaussian process of its own. Its weight is how often, among samples from
    all of the models and from this search's (leave-one-out), its sample ranks the values of this
    search best. The weighted sum of the means, what is left of the weight being this search's own,
    is the prior mean here: a Gaussian process of this search learns the rest. So a search that has
    nothing to do with this one loses its weight as soon as values contradict it.

    Of several objectives, each proposal has weights of its own
    (:func:`raytuner.bayes.scalarise.chebyshev`), and the processes are fitted anew for these.

    Ranks are compared between rows of the same fidelity. An earlier search of which trials were
    stopped early has a model over configurations and fidelities, as this one's has.

    Sources: M. Feurer, B. Letham and E. Bakshy (2018), "Scalable Meta-Learning for Bayesian
    Optimization using Ranking-Weighted Gaussian Process Ensembles", arXiv:1802.02219, for the
    weights and for leaving out what ranks worse than 95 of 100 of this search's own samples at the
    median; D. Golovin et al. (2017), "Google Vizier", section 3.3, for the mean of earlier searches
    as the prior mean.

    Args:
        tasks: The earlier searches, one or more.
        columns: This space's d columns.
    """

    def __init__(self, tasks: Sequence[Task], columns: Sequence[Column]) -> None:
        self._tasks = tasks
        self._columns = columns
        self._models: list[TaskModel] | None = None
        self._fit = WarmFit()
        self._is_weighted = any(task.is_weighted for task in tasks)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_models": None}  # they follow from the tasks

    def explain(
        self, model: SingleTaskGP, data: Dataset, seed: int
    ) -> tuple[SingleTaskGP, Trend | None]:
        """What the earlier searches say of this one's rows, and the model of the rest.

        Args:
            model: The model of ``data`` by itself.
            data: This search's rows.
            seed: Seed of the samples, and of the weights of several objectives.

        Returns:
            The model of what is left, and the trend; ``model`` and None if they say nothing.
        """
        models = self._ready(seed)
        weights = _weights(models, Ranking(model, data, len(self._columns), seed))[:-1]
        weights = np.where(weights < _LEAST_WEIGHT, 0.0, weights)
        if not weights.any():
            return model, None
        with torch.no_grad():
            said = Trend(models, weights, 1.0)(torch.as_tensor(data.X)).numpy()
        scale = _scale(said, data.y)
        rest = replace(data, y=data.y - scale * said)
        trend = Trend(models, weights, scale)
        if self._is_weighted:  # this objective is another than the last
            return fit(rest, self._columns), trend
        return self._fit(rest, self._columns), trend

    def weights(self, model: SingleTaskGP, data: Dataset, seed: int) -> FloatArray:
        """``(k + 1,)`` the weights of the k earlier searches and, last, of this one's own model."""
        return _weights(self._ready(seed), Ranking(model, data, len(self._columns), seed))

    def state_dict(self) -> dict[str, Any]:
        """What the next fit of the rest starts from; the earlier models follow from their data."""
        return self._fit.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self._fit.load_state_dict(state)

    def _ready(self, seed: int) -> list[TaskModel]:
        with torch.enable_grad():
            if self._is_weighted:
                return [TaskModel(task, self._columns, seed) for task in self._tasks]
            if self._models is None:
                self._models = [TaskModel(task, self._columns) for task in self._tasks]
        return self._models


def _weights(models: Sequence[TaskModel], ranking: Ranking) -> FloatArray:
    """``(k + 1,)`` how often each of k models, and last the search's own, ranks best."""
    with torch.no_grad():
        samples = [model.samples(ranking.X, ranking.draws) for model in models]
    losses = torch.stack([*(ranking.wrong(sample) for sample in samples), ranking.own])
    dilutes = losses.median(dim=1).values > losses[-1].quantile(0.95)
    losses[dilutes] = torch.inf
    best = (losses == losses.min(dim=0).values).double()
    weights: FloatArray = (best / best.sum(dim=0)).mean(dim=1).numpy()
    return weights


def _scale(said: FloatArray, y: FloatArray) -> float:
    """By how much to multiply what was said of n rows: least squares, drawn towards 1, above 0."""
    a, b = said - said.mean(), y - y.mean()
    return max(0.0, float((a @ b + _SCALE_ROWS) / (a @ a + _SCALE_ROWS)))
