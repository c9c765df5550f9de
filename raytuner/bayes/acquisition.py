"""Acquisition functions: the value of trying a configuration next."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
from botorch.sampling.qmc import NormalQMCEngine
from linear_operator.utils.cholesky import psd_safe_cholesky
from scipy.stats import qmc
from torch import Tensor

from raytuner.bayes.surrogate import Posterior
from raytuner.history.snapshot import FloatArray

# f(X) of `(..., d)` encoded configurations, or of inputs of the model, gives `(...)` values and is
# differentiable in X.
Acquisition = Callable[[Tensor], Tensor]

# A configuration is unlikely to be the best if its mean plus this many standard deviations is below
# the best mean.
_REACH = 3.0
# Pure exploration: a configuration may be the best if its mean plus this many standard deviations
# reaches the incumbent. Each unit below that (a standard deviation of all values) costs this much.
_MAY_BE, _EDGE = 2.0, 5.0
_JITTER = 1e-8  # variance, added where a known configuration may occur again


class Feasibility:
    """The probability that configurations satisfy all outcome constraints, taken as independent.

    Source: J. Gardner et al. (2014), "Bayesian Optimization with Inequality Constraints", ICML,
    section 3, in logarithms.

    `posteriors` are of each constraint's slack: 0 or more is within the bound.
    """

    def __init__(self, posteriors: Sequence[Posterior], seed: int) -> None:
        self._posteriors = posteriors
        self._seed = seed
        with torch.no_grad():
            self._whiteners = [_whitener(one.L) for one in posteriors]

    def __call__(self, Z: Tensor) -> Tensor:
        """Return `(...)` log probabilities of `(..., d)` inputs of the surrogates."""
        total = Z.new_zeros(())
        for posterior, whitener in zip(self._posteriors, self._whiteners, strict=True):
            cross = posterior.kernel.forward(Z, posterior.X) @ whitener
            mean = posterior.mean + cross @ posterior.white_y.squeeze(-1)
            variance = posterior.kernel.variance - cross.square().sum(-1)
            total = total + torch.special.log_ndtr(mean / variance.clamp_min(1e-12).sqrt())
        return total

    def draw(self, Z: Tensor, n: int) -> Tensor:
        """Return `(n, m)` whether each of `(m, d)` inputs satisfies them all, in n joint draws."""
        kept = torch.ones(n, len(Z), dtype=torch.bool)
        for number, posterior in enumerate(self._posteriors, start=1):
            mean, covariance, _ = posterior.joint(Z)
            kept &= mean + _normal(len(Z), n, self._seed + number) @ _root(covariance).mT >= 0
        return kept


def _whitener(L: Tensor) -> Tensor:
    """The transposed inverse of a factor: a product takes a fraction of a triangular solve."""
    one = torch.eye(len(L), dtype=L.dtype)
    return torch.linalg.solve_triangular(L, one, upper=False).mT.contiguous()


def _root(covariance: Tensor) -> Tensor:
    return psd_safe_cholesky(covariance + _JITTER * torch.eye(len(covariance), dtype=torch.double))


def _normal(d: int, n: int, seed: int) -> Tensor:
    """`(n, d)` quasi-random standard normal draws."""
    if not d:
        return torch.zeros(n, 0, dtype=torch.double)
    engine = NormalQMCEngine(d, seed=seed, inv_transform=True)
    return torch.as_tensor(engine.draw(n, dtype=torch.double))


class PosteriorAcquisition(ABC):
    """Base of acquisition functions: the posterior given the rows and some unknown values.

    The unknown values are f(Z), where Z are the evaluated configurations that `_anchors` keeps and
    the pending ones. Given each sample of f(Z), the posterior at a configuration has a closed form.
    So the gain near a pending configuration is small.

    Args:
        posterior: The posterior of the surrogate with n rows. All values are at full fidelity.
        evaluated: `(e, d)` configurations that have a value, e >= 1.
        pending: `(p, d)` configurations without a final value.
        seed: Seed of the quasi-random samples of f(Z).
        feasibility: The outcome constraints. A sample of f(Z) counts where it satisfies them, and
            a configuration's log probability to satisfy them is added to its value (Letham et al.
            2019, arXiv:1706.07094, section 3.4).
        trend: A term to add to the model's outputs, as a function of its inputs; None: 0.
        bonus: A term to add to the value of `(..., d)` configurations; None: 0.
    """

    is_local = False  # whether it is climbed from the best configurations only
    _samples = 128
    _most_contenders = 128  # more would take too long; 0: no evaluated configuration is in Z

    def __init__(
        self,
        posterior: Posterior,
        evaluated: FloatArray,
        pending: FloatArray,
        seed: int,
        feasibility: Feasibility | None = None,
        trend: Acquisition | None = None,
        bonus: Acquisition | None = None,
    ) -> None:
        self._posterior = posterior
        self._kernel = posterior.kernel
        self._seed = seed
        self._feasibility = feasibility
        self._trend = trend
        self._bonus = bonus
        with torch.no_grad():
            self._contenders = self._anchors(posterior.at_full(torch.as_tensor(evaluated)))
            self._pending = posterior.at_full(torch.as_tensor(pending))
            self._condition()

    @abstractmethod
    def _value(self, mean: Tensor, variance: Tensor, thresholds: Tensor) -> Tensor:
        """`(...)` values, given `(..., S)` posterior means, `(...)` variances, `(S,)` thresholds.

        There is one mean for each of S samples of f(Z), whose largest value is the threshold.
        """

    def _anchors(self, evaluated: Tensor) -> Tensor:
        """Choose the evaluated inputs in Z: those that could be the best, the likeliest first."""
        if not self._most_contenders:
            return evaluated[:0]
        mean, sd = self._posterior.laws(evaluated)
        mean = self._with_trend(mean, evaluated)
        log_chance = 0.0 if self._feasibility is None else self._feasibility(evaluated)
        could_be = mean + _REACH * sd >= (mean + log_chance).max()
        hope = torch.where(could_be, mean + sd + log_chance, -math.inf)
        n = min(self._most_contenders, int(could_be.sum()))
        return evaluated[hope.topk(n).indices]

    def __call__(self, X: Tensor) -> Tensor:
        """Return the `(...)` values of `(..., d)` configurations."""
        _, mean, variance = self._moments(X)
        return self._with_bonus(self._value(mean, variance, self._thresholds), X)

    def add_pending(self, point: FloatArray) -> None:
        """Count one more configuration, `(d,)`, as pending: the sequential-greedy batch."""
        with torch.no_grad():
            added = self._posterior.at_full(torch.as_tensor(point)[None])
            self._pending = torch.cat([self._pending, added])
            self._condition()

    def choose(self, candidates: FloatArray, n: int) -> FloatArray:
        """Choose n of `(c, d)` distinct candidates in turn, each given that the others are pending.

        It approximates `add_pending` and a search among the candidates, and is much faster: one
        more pending configuration changes the posterior of every candidate by one product.
        """
        # Latin hypercube samples, one dimension for each choice: unlike those of a quasi-random
        # sequence, they can be used beside others that were drawn before.
        uniform = qmc.LatinHypercube(n, scramble=False, rng=self._seed).random(self._samples).T
        with torch.no_grad():
            X = torch.as_tensor(candidates)
            Z = self._posterior.at_full(X)
            cross, mean, variance = self._moments(X)
            cross = torch.nn.functional.pad(cross, (0, n))  # columns to come
            thresholds, bonus = self._thresholds, self._with_bonus(X.new_zeros(len(X)), X)
            chosen: list[int] = []
            for draws in torch.special.ndtri(torch.as_tensor(np.ascontiguousarray(uniform))):
                values = self._value(mean, variance, thresholds) + bonus
                values[chosen] = -math.inf
                best = int(values.argmax())
                chosen.append(best)
                prior = self._kernel.forward(Z, Z[best : best + 1]).squeeze(-1)
                sd = (variance[best] + _JITTER).clamp_min(_JITTER).sqrt()
                column = (prior - cross @ cross[best]) / sd
                thresholds = torch.maximum(thresholds, mean[best] + sd * draws)
                mean = mean + column[:, None] * draws
                variance = variance - column.square()
                cross[:, len(chosen) - 1 - n] = column
            return candidates[chosen]

    def _moments(self, X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Whitened covariances with the rows and Z, `(..., n + |Z|)`; means; variances."""
        k = self._kernel.of_configurations(X, self._inputs)
        if self._posterior.has_fidelity:
            k = self._shared + self._effect * k
        cross: Tensor = k @ self._whitener
        prior = self._posterior.mean
        if self._trend is not None:
            prior = self._with_trend(prior, self._posterior.at_full(X)).unsqueeze(-1)
        mean = prior + cross @ self._targets
        return cross, mean, self._kernel.variance - cross.square().sum(-1)

    def _condition(self) -> None:
        """Sample f(Z), and condition on each sample."""
        rows = self._posterior
        Z = torch.cat([self._contenders, self._pending])
        mean, covariance, cross = rows.joint(Z)
        corner = _root(covariance)
        draws = self._draws(mean, corner)
        samples = self._with_trend(mean, Z) + draws @ corner.mT  # S x |Z|
        if self._feasibility is not None:
            # Where none of Z is feasible, everything feasible is an improvement on the worst row.
            worst = float(self._with_trend(rows.mean + rows.y, rows.X).min())
            samples = torch.where(self._feasibility.draw(Z, len(samples)), samples, worst)
        none = torch.full((len(samples), 1), -math.inf, dtype=samples.dtype)
        self._thresholds = torch.cat([none, samples], dim=-1).max(dim=-1).values
        # The Cholesky factor of the rows and Z together ends in that of Z given the rows.
        n = len(rows.X)
        self._inputs = torch.cat([rows.X, Z])
        root = torch.zeros(n + len(Z), n + len(Z), dtype=covariance.dtype)
        root[:n, :n] = rows.L
        root[n:, :n] = cross.mT
        root[n:, n:] = corner
        # Whitened, the samples are the draws that they were made of.
        self._targets = torch.cat([rows.white_y.expand(n, self._samples), draws.mT])
        self._whitener = _whitener(root)
        if rows.has_fidelity:
            s = self._inputs[:, -1]
            shared, effect = self._kernel.of_fidelities(torch.ones_like(s[:1]), s)
            self._shared, self._effect = shared.squeeze(0), effect.squeeze(0)

    def _draws(self, mean: Tensor, corner: Tensor) -> Tensor:
        """`(S, |Z|)` whitened samples of f(Z), of this mean and root of the covariance."""
        return _normal(len(mean), self._samples, self._seed)

    def _with_trend(self, values: Tensor, Z: Tensor) -> Tensor:
        """Add the trend at `(..., d)` inputs of the model to `(...)` values."""
        return values if self._trend is None else values + self._trend(Z)

    def _with_bonus(self, values: Tensor, X: Tensor) -> Tensor:
        """Add the log probability of feasibility and the bonus to `(...)` values."""
        if self._feasibility is not None:
            values = values + self._feasibility(self._posterior.at_full(X))
        return values if self._bonus is None else values + self._bonus(X)


class LogExpectedImprovement(PosteriorAcquisition):
    """Log expected improvement over the incumbent and everything pending (qLogNEI, incremental).

    The value of a configuration x is the logarithm of `E[max(0, f(x) - max f(Z))]` under the
    posterior, so noise in the incumbent's value is integrated out. With a fidelity, the incumbent
    is the best at full fidelity, also among configurations that were only seen at a lower one.

    BoTorch's `qLogNoisyExpectedImprovement` samples f(x) along with f(Z). Here only f(Z) is
    sampled: this needs fewer samples, no smoothing and much less time.

    Sources: S. Ament et al. (2023), "Unexpected Improvements to Expected Improvement for Bayesian
    Optimization", arXiv:2310.20708; B. Letham et al. (2019), "Constrained Bayesian Optimization
    with Noisy Experiments", arXiv:1706.07094, section 3.3, for the conditioning on f(Z).
    """

    def _value(self, mean: Tensor, variance: Tensor, thresholds: Tensor) -> Tensor:
        sd = variance.clamp_min(1e-12).sqrt().unsqueeze(-1)
        values = log_improvement((mean - thresholds) / sd) + sd.log()
        return torch.logsumexp(values, dim=-1) - math.log(values.shape[-1])


class PureExploration(PosteriorAcquisition):
    """Log standard deviation, among configurations that may be better than the incumbent.

    A trial there gives most information about where else the optimum may be. A configuration may be
    better if its mean plus two standard deviations reaches the best of the evaluated and pending
    ones. Other configurations get a penalty that grows with the distance to that. Pending
    configurations reduce the standard deviation.

    Source: E. Contal, D. Buffoni, A. Robicquet and N. Vayatis (2013), "Parallel Gaussian Process
    Optimization with Upper Confidence Bound and Pure Exploration", arXiv:1304.5350, section 3. The
    region in which it explores has a soft edge here, so that a climb finds the way into it.
    """

    def _value(self, mean: Tensor, variance: Tensor, thresholds: Tensor) -> Tensor:
        sd = variance.clamp_min(1e-12).sqrt()
        lead = mean.mean(-1) + _MAY_BE * sd - thresholds.mean()
        return sd.log() + _EDGE * lead.clamp_max(0.0)


def log_improvement(u: Tensor) -> Tensor:
    """`log(phi(u) + u Phi(u))`, stable for any u: log EI of a standard normal over -u.

    Source: Ament et al. (2023), equation 9, in terms of the scaled complementary error function.

    Examples:
        >>> log_improvement(torch.tensor([0.0, -40.0, -1e9], dtype=torch.double)).tolist()
        [-0.9189385332046727, -808.2985683...
    """
    log_phi = -0.5 * u.square() - 0.5 * math.log(2 * math.pi)
    # Above -1 as it stands.
    high = u.clamp_min(-1.0)
    above = torch.log(
        torch.exp(-0.5 * high.square()) / math.sqrt(2 * math.pi) + high * torch.special.ndtr(high)
    )
    # Below, phi (1 - |u| Phi / phi); far below, the bracket tends to 1 / u^2.
    low = (-u).clamp(1.0, 1e4)
    bracket = 1 - low * math.sqrt(math.pi / 2) * torch.special.erfcx(low / math.sqrt(2))
    below = torch.log(bracket.clamp_min(1e-300))
    far = -2 * torch.log((-u).clamp_min(1.0))
    return torch.where(u > -1.0, above, log_phi + torch.where(u > -1e4, below, far))
