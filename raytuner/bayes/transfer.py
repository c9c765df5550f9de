"""Learn from earlier searches: their models, weighted by how well they rank this one's values."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from botorch.utils.sampling import manual_seed
from linear_operator.utils.cholesky import psd_safe_cholesky
from torch import Tensor

from raytuner.bayes.acquisition import Acquisition
from raytuner.bayes.dataset import Dataset, chebyshev, dataset, most_informative
from raytuner.bayes.surrogate import (
    FIT_ERRORS,
    Posterior,
    WarmFit,
    fit,
    leave_one_out,
    numerics,
)
from raytuner.history import Snapshot
from raytuner.history.snapshot import BoolArray, FloatArray
from raytuner.space import ABSENT, Column

# Of all tasks, and of each at least and at most: every model is fitted once, and those of some
# weight are evaluated at every step of a climb.
_ALL_ROWS = 1200
_LEAST_ROWS = 40
_ROWS = 200
_WEIGHTED_ROWS = 80  # if it is fitted again for each proposal
# Of each task at most this many of the best configurations, and a quarter, may be tried first.
_FIRST = 8
_LEAST_WEIGHT = 0.01
_HEAVIEST = 8  # at most this many have a part in the trend: each is evaluated at every step
# The prior that values of an earlier search mean the same here counts as this many rows.
_SCALE_ROWS = 2.0
_JITTER = 1e-6
_SAMPLES = 256
_COMPARED = 100  # at most this many rows are compared
_SAME_FIDELITY = 0.02


@dataclass(frozen=True)
class Task:
    """An earlier search, seen from this one's space of d columns."""

    snapshot: Snapshot  # its record, encoded in this space, with this search's objectives
    shared: BoolArray  # (d,) which columns it had; in the others its points are `ABSENT`

    @property
    def is_weighted(self) -> bool:
        """True if there are several objectives; each proposal then draws new weights."""
        return self.snapshot.n_objectives > 1

    def data(self, seed: int) -> Dataset:
        """Return its rows; several objectives are weighted as this search's for the same seed."""
        return dataset(chebyshev(self.snapshot, seed) if self.is_weighted else self.snapshot)

    def best(self) -> FloatArray:
        """Return the `(e, d)` best of its configurations by their final values, the best first.

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
            chosen.update((x.tobytes(), x) for x in islice(new, 1))
        return np.array(list(chosen.values())).reshape(-1, self.snapshot.dim)

    def _ranked(self, seed: int) -> FloatArray:
        """`(k, d)` its configurations with a final value, the best first."""
        data = self.data(seed)
        ended = np.flatnonzero(data.X[:, -1] == 1.0) if data.has_fidelity else np.arange(len(data))
        order = ended[np.argsort(-data.y[ended], kind="stable")]
        return data.X[order, : self.snapshot.dim]


class TaskModel:
    """The surrogate of an earlier search, evaluated at inputs of this one.

    The seed is of the weights of several objectives. At most `rows` rows are used.
    """

    def __init__(
        self, task: Task, columns: Sequence[Column], seed: int = 0, rows: int = _ROWS
    ) -> None:
        data = task.data(seed)
        self.best = float(data.y.max())  # of its values, transformed
        data = data.limited(min(rows, _WEIGHTED_ROWS) if task.is_weighted else rows)
        self._posterior = Posterior.of(fit(data, columns))
        self._shared = torch.as_tensor(task.shared)

    def mean(self, Z: Tensor) -> Tensor:
        """Return `(...)` means at inputs of this search, `(..., d)` or `(..., d + 1)`."""
        return self._posterior.mean_at(self._own(Z))

    def samples(self, Z: Tensor, draws: Tensor) -> Tensor:
        """Return `(S, n)` posterior samples at n inputs from `(S, n)` standard normal draws."""
        mean, covariance, _ = self._posterior.joint(self._own(Z))
        jitter = _JITTER * torch.eye(len(Z), dtype=Z.dtype)
        return mean + draws @ psd_safe_cholesky(covariance + jitter).mT

    def _own(self, Z: Tensor) -> Tensor:
        """Its own inputs: without what it lacked, and with a fidelity if it has one."""
        d = len(self._shared)
        X = torch.where(self._shared, Z[..., :d], ABSENT)
        if self._posterior.has_fidelity and Z.shape[-1] > d:
            return torch.cat([X, Z[..., d:]], dim=-1)
        return self._posterior.at_full(X)


class Transfer:
    """Earlier searches as the prior mean of this one's model.

    Each earlier search has its own Gaussian process. Its weight is how often its sample ranks the
    values of this search best, among samples of all these models and of this search's own model
    (leave-one-out). The weighted sum of the means is the prior mean here, and a Gaussian process of
    this search learns the rest. With several objectives, the processes are fitted again for the
    weights of each proposal (`chebyshev`).

    Sources: M. Feurer, B. Letham and E. Bakshy (2018), "Scalable Meta-Learning for Bayesian
    Optimization using Ranking-Weighted Gaussian Process Ensembles", arXiv:1802.02219, for the
    weights and for leaving out what ranks worse at the median than 95 % of this search's own
    samples; D. Golovin et al. (2017), "Google Vizier", section 3.3, for the prior mean.
    """

    def __init__(self, tasks: Sequence[Task], columns: Sequence[Column]) -> None:
        self._tasks = tasks
        self._columns = columns
        self._is_weighted = any(task.is_weighted for task in tasks)
        self._models: list[TaskModel] = []

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_models": []}  # they follow from the tasks

    def first(self) -> FloatArray:
        """Return `(k, d)` configurations to try first: a portfolio for all tasks together.

        Candidates are the best configurations of each task, in turn. A greedy choice minimises the
        mean regret over the tasks. The regret of a task is the distance between its best value and
        its model's prediction for the best candidate chosen so far, in standard deviations. When no
        candidate reduces the mean, the others follow in turn. With several objectives, all
        candidates follow in turn. Values are NaN if the candidate's task had no such
        hyperparameter.

        Sources: M. Wistuba, N. Schilling and L. Schmidt-Thieme (2015), "Sequential Model-Free
        Hyperparameter Tuning"; F. Winkelmolen et al. (2020), "Practical and Sample Efficient
        Zero-Shot HPO", arXiv:2007.13382, section 3.
        """
        bests = [task.best() for task in self._tasks]
        turns = [(i, rank) for rank in range(_FIRST) for i, b in enumerate(bests) if rank < len(b)]
        points = np.array([bests[i][rank] for i, rank in turns])
        shared = np.array([self._tasks[i].shared for i, _ in turns])
        order = list(range(len(points)))
        if len(self._tasks) > 1 and not self._is_weighted:
            with suppress(*FIT_ERRORS), torch.no_grad():  # the first proposal warns of them
                Z = torch.as_tensor(points)
                gaps = [model.best - model.mean(Z).numpy() for model in self._fitted(0)]
                chosen = _greedy(np.maximum(gaps, 0.0))
                order = chosen + [row for row in order if row not in chosen]
        return np.where(shared, points, np.nan)[order]

    def _fitted(self, seed: int) -> list[TaskModel]:
        """Return the tasks' models; with several objectives, by the weights of this seed."""
        if self._is_weighted or not self._models:
            rows = max(_LEAST_ROWS, min(_ROWS, _ALL_ROWS // len(self._tasks)))
            with numerics(), manual_seed(seed), torch.enable_grad():
                self._models = [TaskModel(t, self._columns, seed, rows) for t in self._tasks]
        return self._models

    def explain(
        self, posterior: Posterior, data: Dataset, seed: int, fit_rest: WarmFit
    ) -> tuple[Posterior, Acquisition | None]:
        """Return the model of what earlier searches leave unexplained, and the trend to add to it.

        `posterior` is of the model of `data`, this search's rows, alone. If no earlier search has
        any weight, it is returned as it is, with None. `fit_rest` fits the rest.
        """
        weights = self.weights(posterior, data, seed)[:-1]
        order = np.argsort(-weights, kind="stable")[:_HEAVIEST].tolist()
        heaviest = [k for k in order if weights[k] >= _LEAST_WEIGHT]
        if not heaviest:
            return posterior, None
        share = weights.sum() / weights[heaviest].sum()
        parts = [(self._models[k], float(share * weights[k])) for k in heaviest]

        def predicted(Z: Tensor, scale: float = 1.0) -> Tensor:
            total = Z.new_zeros(Z.shape[:-1])
            for model, weight in parts:
                total = total + scale * weight * model.mean(Z)
            return total

        with torch.no_grad():
            prior = predicted(torch.as_tensor(data.X)).numpy()
        # Least squares, shrunk towards 1, at least 0.
        a, b = prior - prior.mean(), data.y - data.y.mean()
        scale = max(0.0, float((a @ b + _SCALE_ROWS) / (a @ a + _SCALE_ROWS)))
        if self._is_weighted:  # with other weights, the objective is not the last one
            fit_rest = WarmFit()
        rest = fit_rest(replace(data, y=data.y - scale * prior), self._columns)
        return rest, lambda Z: predicted(Z, scale)

    def weights(self, posterior: Posterior, data: Dataset, seed: int) -> FloatArray:
        """Return the `(k + 1,)` weights of the k earlier searches and, last, of its own model."""
        models = self._fitted(seed)
        ranking = Ranking(posterior, data, len(self._columns), seed)
        with torch.no_grad():
            samples = [model.samples(ranking.X, ranking.draws) for model in models]
        losses = torch.stack([*map(ranking.loss, samples), ranking.own])
        losses[losses.median(dim=1).values > losses[-1].quantile(0.95)] = torch.inf
        best = (losses == losses.min(dim=0).values).double()
        return np.asarray((best / best.sum(dim=0)).mean(dim=1).numpy())


def _greedy(regret: FloatArray) -> list[int]:
    """Return columns of `(k, c)` regrets, each the one that most reduces the mean, while any does.

    The regret of a row is its least among the columns chosen so far.
    """
    chosen, best = list[int](), regret.max(axis=1)
    while len(chosen) < regret.shape[1]:
        means = np.minimum(regret, best[:, None]).mean(axis=0)
        column = int(means.argmin())
        if chosen and means[column] >= best.mean():
            break
        chosen.append(column)
        best = np.minimum(best, regret[:, column])
    return chosen


class Ranking:
    """Measures how well models rank the values of a search: its own leave-one-out, and others.

    Pairs of rows are compared that have the same fidelity and different values. Of `data`, the
    search's rows of d columns, the most informative m count.
    """

    def __init__(self, posterior: Posterior, data: Dataset, d: int, seed: int) -> None:
        rows = most_informative(data.y, _COMPARED)
        self._y = torch.as_tensor(data.y[rows])
        s = data.X[rows, -1] if data.has_fidelity else np.ones(len(rows))
        alike = torch.as_tensor(np.abs(s[:, None] - s[None, :]) < _SAME_FIDELITY)
        self._counts = alike & (self._y[:, None] != self._y[None, :])
        generator = torch.Generator().manual_seed(seed)
        # (S, m) standard normal draws to make samples of, at these inputs
        self.draws = torch.randn(_SAMPLES, len(rows), generator=generator, dtype=torch.double)
        with torch.no_grad():
            self.X = posterior.X[rows]
            mean, sd = leave_one_out(posterior, data.X[:, :d])
            left_out = mean[rows] + sd[rows] * self.draws
        # (S,) of the search's own: while a trial is left out, the others have reported values.
        self.own = self.loss(left_out, self._y.expand_as(left_out))

    def loss(self, samples: Tensor, others: Tensor | None = None) -> Tensor:
        """Return `(S,)` pairs that `(S, m)` samples have in the wrong order, against `others`."""
        others = samples if others is None else others
        below = self._y[:, None] < self._y[None, :]
        wrong = (samples[:, :, None] < others[:, None, :]) != below
        return (wrong & self._counts).sum(dim=(1, 2)).double()
