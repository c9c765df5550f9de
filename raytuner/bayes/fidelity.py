"""How much of the real thing the next trial should be: what is learned per cost decides."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor

from raytuner.bayes.acquisition import lifted
from raytuner.bayes.cost import Cost
from raytuner.bayes.feasibility import Feasibility
from raytuner.bayes.models import Models
from raytuner.bayes.posterior import Posterior
from raytuner.bayes.seen import Seen
from raytuner.history import Snapshot
from raytuner.history.snapshot import FloatArray
from raytuner.space import Space

_CONTENDERS = 16  # one of so many evaluated configurations is the best, next to certainly
_AGAIN = 4  # so many of them may be tried at another fidelity
_GRID = {1: 16, 2: 6, 3: 4}  # fidelities looked at, by how many hyperparameters make them up
_SPREAD = 64  # of more hyperparameters, so many quasi-random ones
# The quadrature over what a trial may come to, a standard normal variable.
_NODES = torch.linspace(-6.0, 6.0, 97, dtype=torch.double)
_WEIGHTS = torch.softmax(-0.5 * _NODES.square(), dim=0)
_LEAST = 1e-12  # a gain, before its logarithm is taken
# So much of all trials, if their number is known, are the last ones, and in full.
_LAST = 0.05
# What has been spent below full fidelity since the last trial at it, in units of its cost, before
# the best that is known is tried in full.
_PATIENCE = 1.0


class Frugal:
    """Chooses among cheap and dear trials of a few configurations.

    The configurations are the one that an acquisition function would try in full, and the best of
    those that were tried. Of each a trial at any fidelity is worth by how much it is expected to
    raise the largest posterior mean at full fidelity, per cost: the knowledge gradient. So a cheap
    trial is made as long as it says enough of the real thing, and a good configuration moves up
    once it does not.

    What was found at low fidelity is worth nothing to a user until it is tried in full. So as soon
    as more has been spent on cheap trials than a full one costs, the configuration that looks best
    in full gets its full trial. Where the number of trials is known, the last twentieth of them,
    and one at least, are full ones: of what looks best, and then of what promises most.

    Sources: P. Frazier, W. Powell and S. Dayanik (2009), "The Knowledge-Gradient Policy for
    Correlated Normal Beliefs", for the gain over a finite set; M. Poloczek, J. Wang and P. Frazier
    (2017), "Multi-Information Source Optimization", arXiv:1603.00389, and J. Wu et al. (2020),
    "Practical Multi-fidelity Bayesian Optimization for Hyperparameter Tuning", arXiv:1903.04703,
    for the gain at full fidelity per cost.

    Args:
        space: The search space, d columns, with fidelities.
        models: The surrogates.
        has_fidelity: Whether these have the resource as their last input; all is asked at 1.
        evaluated: ``(e, d)`` what was tried at any fidelity, at the full one.
        snapshot: The record.
        cost: What trials cost; None: all the same.
        seed: Seed of everything random.
    """

    def __init__(
        self,
        space: Space,
        models: Models,
        *,
        has_fidelity: bool,
        evaluated: FloatArray,
        snapshot: Snapshot,
        cost: Cost | None,
        seed: int,
    ) -> None:
        self._space = space
        self._has_fidelity = has_fidelity
        self._posterior = Posterior(models.objective)
        self._noise = self._posterior.noise
        self._feasibility = Feasibility(models.constraints, seed) if models.constraints else None
        self._cost = cost
        self._snapshot = snapshot
        self._grid = _grid(space)
        hopeful = evaluated[np.argsort(-self._hope(evaluated), kind="stable")[:_CONTENDERS]]
        # The best by the model's mean first.
        self._contenders = hopeful[models.order(hopeful, has_fidelity=has_fidelity)]

    def choose(self, point: FloatArray, asked: FloatArray, seen: Seen) -> FloatArray:
        """What to try, ``(d,)``.

        Args:
            point: ``(d,)`` what would be tried if it had to be at full fidelity.
            asked: ``(a, d)`` what has been proposed and is not in the record yet.
            seen: What must not be tried.
        """
        pending = np.vstack([self._snapshot.pending, asked])
        with torch.no_grad():
            tried = np.vstack([self._snapshot.points, asked])
            is_last = self._is_last(tried)
            if is_last or self._is_due(tried):
                best = self._contenders[:1][np.flatnonzero(seen.new(self._contenders[:1]))]
                if len(best) or is_last:
                    return best[0] if len(best) else point
            configs = np.vstack([point, self._contenders[:_AGAIN]])
            options = np.repeat(configs, len(self._grid), axis=0)
            options[:, self._space.fidelities] = np.tile(self._grid, (len(configs), 1))
            options = self._space.snap(options)
            options = options[seen.new(options)]
            values = self.values(options, configs, pending)
        return options[int(np.argmax(values))] if len(options) else point

    @torch.no_grad()
    def values(self, options: FloatArray, configs: FloatArray, pending: FloatArray) -> FloatArray:
        """``(o,)`` logarithms of what is gained by each option, per cost.

        Args:
            options: ``(o, d)``.
            configs: ``(c, d)`` their configurations at full fidelity.
            pending: ``(p, d)`` what is on its way.
        """
        full = np.vstack([self._contenders, configs, self._space.in_full(pending)])
        full = np.unique(full, axis=0)
        Z = self._lift(np.vstack([full, options, pending]))
        mean, K, _ = self._posterior.joint(Z)
        a, o = len(full), len(options)
        if len(pending):
            # They are information that is to come, and move no mean.
            noise = (self._noise + 1e-8) * torch.eye(len(pending), dtype=K.dtype)
            on_way = K[a + o :, a + o :] + noise
            K = K - K[:, a + o :] @ torch.linalg.solve(on_way, K[a + o :])
        variance = K.diagonal()[a : a + o].clamp_min(1e-12)
        slopes = K[a : a + o, :a] / (variance + self._noise).sqrt()[:, None]  # o x a
        means = mean[:a]
        if self._feasibility is not None:
            # What will hardly keep the constraints gains little by being good.
            chance = self._feasibility(self._lift(full)).exp()
            slopes, means = slopes * chance, means * chance + (1 - chance) * means.min()
        gains = expected_gains(means, slopes)
        values: FloatArray = gains.clamp_min(_LEAST).log().numpy()
        if self._cost is not None:
            values = values - self._cost.log(torch.as_tensor(options)).numpy()
        return values

    def _is_last(self, tried: FloatArray) -> bool:
        """Whether the search is about to end.

        Args:
            tried: ``(k, d)`` all that was proposed.
        """
        if self._snapshot.left is None:
            return False
        asked = len(tried) - len(self._snapshot.points)
        left = self._snapshot.left - asked
        return left <= max(1.0, _LAST * (len(tried) + left))

    def _is_due(self, tried: FloatArray) -> bool:
        """Whether what looks best in full has waited long enough for its full trial.

        Args:
            tried: ``(k, d)`` all that was proposed, in order.
        """
        if self._cost is None:
            return False
        costs = self._cost.log(torch.as_tensor(tried)).exp().numpy()
        known = self._snapshot.cost
        assert known is not None
        costs[: len(known)] = np.where(np.isfinite(known), known, costs[: len(known)])
        in_full = np.flatnonzero(self._space.is_full(tried))
        spent = costs[in_full[-1] + 1 if len(in_full) else 0 :].sum()
        price = float(self._cost.log(torch.as_tensor(self._contenders[:1])).exp())
        return bool(spent >= _PATIENCE * price)

    def _hope(self, points: FloatArray) -> FloatArray:
        """``(k,)`` how good each may be in full: mean and standard deviation."""
        with torch.no_grad():
            Z = self._lift(points)
            mean, cross = self._posterior.means(Z)
            variance = self._posterior.kernel.variance - cross.square().sum(0)
            hope = mean + variance.clamp_min(0.0).sqrt()
            if self._feasibility is not None:
                hope = hope + self._feasibility(Z)
        found: FloatArray = hope.numpy()
        return found

    def _lift(self, points: FloatArray) -> Tensor:
        return lifted(torch.as_tensor(points), self._has_fidelity)


def expected_gains(means: Tensor, slopes: Tensor) -> Tensor:
    """``(o,)`` how much the largest mean rises, when all move along one normal variable.

    Args:
        means: ``(a,)`` means now.
        slopes: ``(o, a)`` how far each moves for a standard deviation of what is seen.

    Example:
        >>> means, slopes = torch.zeros(2), torch.tensor([[0.0, 0.0], [0.0, 1.0]])
        >>> expected_gains(means.double(), slopes.double()).numpy().round(2).tolist()
        [0.0, 0.4]
    """
    best = int(means.argmax())
    # Against the best of now, which gains nothing on average: no term is negative, none cancels.
    lead, drift = means - means[best], slopes - slopes[:, best, None]
    above = lead[:, None] + drift[..., None] * _NODES  # o x a x nodes
    return above.max(dim=1).values @ _WEIGHTS


def _grid(space: Space) -> FloatArray:
    """``(g, f)`` the fidelities that are looked at, the full one among them."""
    f = len(space.fidelities)
    if f in _GRID:
        axis = np.linspace(0.0, 1.0, _GRID[f])
        return np.array(list(itertools.product(axis, repeat=f)))
    spread = qmc.Sobol(f, scramble=False).random(_SPREAD)
    return np.vstack([spread, np.ones(f)])
