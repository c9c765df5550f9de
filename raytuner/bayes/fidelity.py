"""Choose the fidelity of each proposal: the one with the most information per cost."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor

from raytuner.bayes.acquisition import Acquisition, Feasibility
from raytuner.bayes.proposer import ExclusionList
from raytuner.bayes.surrogate import Models
from raytuner.history import Snapshot
from raytuner.history.snapshot import FloatArray
from raytuner.space import Space

_CONTENDERS = 16  # the best is almost certainly among this many evaluated configurations
_REVISITED = 4  # of them, this many may be tried at another fidelity
_GRID = {1: 16, 2: 6, 3: 4}  # fidelities per hyperparameter, by the number of hyperparameters
_SPREAD = 64  # quasi-random fidelities where there are more hyperparameters
# Quadrature over the trial's value, a standard normal variable.
_NODES = torch.linspace(-6.0, 6.0, 97, dtype=torch.double)
_WEIGHTS = torch.softmax(-0.5 * _NODES.square(), dim=0)
_LEAST = 1e-12  # a gain, before its logarithm is taken
_LAST = 0.05  # this share of all trials, if their number is known, are final full trials
# The best known configuration gets a full trial once so much, in units of its full cost, was spent
# below full fidelity since the last full trial.
_PATIENCE = 1.0


class FidelityChooser:
    """Chooses between cheap and expensive trials of a few configurations.

    The configurations are the one that an acquisition function would try at full fidelity, and the
    best of those that were tried. The value of a trial at any fidelity is the expected rise of the
    largest posterior mean at full fidelity, per cost: the knowledge gradient.

    The best configuration gets the first full trial. It gets another one whenever the cheap trials
    since the last full one have cost as much as a full trial. If the number of trials is known, the
    last twentieth of them, at least one, are full trials: first of the best configuration, then of
    the most promising ones.

    Sources: P. Frazier, W. Powell and S. Dayanik (2009), "The Knowledge-Gradient Policy for
    Correlated Normal Beliefs"; M. Poloczek, J. Wang and P. Frazier (2017), "Multi-Information
    Source Optimization", arXiv:1603.00389, and J. Wu et al. (2020), "Practical Multi-fidelity
    Bayesian Optimization for Hyperparameter Tuning", arXiv:1903.04703, for the gain at full
    fidelity per cost.

    Without a `log_cost`, all trials cost the same. `evaluated`, `(e, d)`, are the configurations
    that were tried at any fidelity, moved to the full one.
    """

    def __init__(
        self,
        space: Space,
        models: Models,
        feasibility: Feasibility | None,
        log_cost: Acquisition | None,
        evaluated: FloatArray,
        snapshot: Snapshot,
    ) -> None:
        self._space = space
        self._posterior = models.objective
        self._feasibility = feasibility
        self._log_cost = log_cost
        self._snapshot = snapshot
        f = len(space.fidelities)
        if f in _GRID:
            axis = np.linspace(0.0, 1.0, _GRID[f])
            self._grid = np.array(list(itertools.product(axis, repeat=f)))
        else:
            self._grid = np.vstack([qmc.Sobol(f, scramble=False).random(_SPREAD), np.ones(f)])
        with torch.no_grad():
            Z = self._lift(evaluated)
            mean, sd = self._posterior.laws(Z)
            bound = mean + sd
            if feasibility is not None:
                bound = bound + feasibility(Z)
        order = np.argsort(-bound.numpy(), kind="stable")
        contenders = evaluated[order[:_CONTENDERS]]
        self._contenders = contenders[models.order(contenders)]  # the best mean first

    @torch.no_grad()
    def choose(self, point: FloatArray, asked: FloatArray, excluded: ExclusionList) -> FloatArray:
        """Return what to try, `(d,)`.

        Args:
            point: `(d,)` what to try at full fidelity.
            asked: `(a, d)` what was proposed and is not in the record yet.
            excluded: What must not be tried.
        """
        tried = np.vstack([self._snapshot.points, asked])
        left = self._snapshot.left
        is_last = left is not None and left - len(asked) <= max(
            1.0, _LAST * (len(self._snapshot.points) + left)
        )
        if is_last or self._is_due(tried):
            best = self._contenders[:1][excluded.new(self._contenders[:1])]
            if len(best) or is_last:
                return best[0] if len(best) else point
        configs = np.vstack([point, self._contenders[:_REVISITED]])
        options = np.repeat(configs, len(self._grid), axis=0)
        options[:, self._space.fidelities] = np.tile(self._grid, (len(configs), 1))
        options = self._space.snap(options)
        options = options[excluded.new(options)]
        values = self.values(options, configs, np.vstack([self._snapshot.pending, asked]))
        return options[int(np.argmax(values))] if len(options) else point

    @torch.no_grad()
    def values(self, options: FloatArray, configs: FloatArray, pending: FloatArray) -> FloatArray:
        """Return `(o,)` logarithms of the gain per cost of `(o, d)` trials at any fidelity.

        `configs`, `(c, d)`, are their configurations at full fidelity.
        """
        full = np.vstack([self._contenders, configs, self._space.in_full(pending)])
        full = np.unique(full, axis=0)
        mean, K, _ = self._posterior.joint(self._lift(np.vstack([full, options, pending])))
        noise = self._posterior.noise
        a, o = len(full), len(options)
        if len(pending):
            # Pending trials are future information, and change no mean.
            own = K[a + o :, a + o :] + (noise + 1e-8) * torch.eye(len(pending), dtype=K.dtype)
            K = K - K[:, a + o :] @ torch.linalg.solve(own, K[a + o :])
        variance = K.diagonal()[a : a + o].clamp_min(1e-12)
        slopes = K[a : a + o, :a] / (variance + noise).sqrt()[:, None]  # o x a
        means = mean[:a]
        if self._feasibility is not None:
            # A configuration that is probably infeasible gains little by a good value.
            chance = self._feasibility(self._lift(full)).exp()
            slopes, means = slopes * chance, means * chance + (1 - chance) * means.min()
        gains = expected_gains(means, slopes).clamp_min(_LEAST).log()
        if self._log_cost is not None:
            gains = gains - self._log_cost(torch.as_tensor(options))
        return np.asarray(gains.numpy())

    def _is_due(self, tried: FloatArray) -> bool:
        """Return whether the best has waited long enough, given all `(k, d)` proposals in order."""
        in_full = np.flatnonzero(self._space.is_full(tried))
        if not len(in_full) or self._log_cost is None:
            return not len(in_full)  # without a full trial, there is no result
        costs = self._log_cost(torch.as_tensor(tried)).exp().numpy()
        known = self._snapshot.cost
        assert known is not None
        costs[: len(known)] = np.where(np.isfinite(known), known, costs[: len(known)])
        spent = costs[in_full[-1] + 1 :].sum()
        price = float(self._log_cost(torch.as_tensor(self._contenders[:1])).exp())
        return bool(spent >= _PATIENCE * price)

    def _lift(self, points: FloatArray) -> Tensor:
        return self._posterior.at_full(torch.as_tensor(points))


def expected_gains(means: Tensor, slopes: Tensor) -> Tensor:
    """Return `(o,)` how much the largest mean rises when all move along one normal variable.

    `means` are `(a,)`-dim. `slopes`, `(o, a)`, say how far each moves per standard deviation.

    Examples:
        >>> means, slopes = torch.zeros(2), torch.tensor([[0.0, 0.0], [0.0, 1.0]])
        >>> expected_gains(means.double(), slopes.double()).numpy().round(2).tolist()
        [0.0, 0.4]
    """
    best = int(means.argmax())
    # Relative to the current best, which gains nothing on average: no term is negative or cancels.
    lead, drift = means - means[best], slopes - slopes[:, best, None]
    above = lead[:, None] + drift[..., None] * _NODES  # o x a x nodes
    return above.max(dim=1).values @ _WEIGHTS


class Batch:
    """The configurations of a batch so far, each at the fidelity for its trial.

    Args:
        excluded: Configurations that must not be proposed, in addition to `asked`.
        asked: `(k, d)` proposals that are not in the record yet.
        chooser: Chooses the fidelities; None: the space has none.

    Attributes:
        points: `(n, d)` the configurations.
        excluded: Configurations that must no longer be proposed.
    """

    def __init__(
        self, excluded: ExclusionList, asked: FloatArray, chooser: FidelityChooser | None
    ) -> None:
        self.points = asked[:0]
        self.excluded = excluded.with_added(asked)
        self._asked = asked
        self._chooser = chooser

    def add(self, point: FloatArray) -> FloatArray:
        """Add a configuration, `(d,)`, and return it at the fidelity for its trial."""
        if self._chooser is not None:
            known = np.vstack([self._asked, self.points])
            point = self._chooser.choose(point, known, self.excluded)
        self.excluded.add(point[None])
        self.points = np.vstack([self.points, point])
        return point
