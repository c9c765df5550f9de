"""Forecast trials at full resource, and recommend a trial by the model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from raytuner.bayes.acquisition import log_improvement
from raytuner.bayes.dataset import dataset, least_trials
from raytuner.bayes.maximise import unused_candidates
from raytuner.bayes.proposer import ExclusionList
from raytuner.bayes.sampling import Ensemble
from raytuner.bayes.surrogate import (
    FIT_ERRORS,
    Posterior,
    WarmFit,
    fit_log_cost,
    fit_outcomes,
    numerics,
)
from raytuner.history import Snapshot, TrialState
from raytuner.history.snapshot import FloatArray
from raytuner.space import Space

_LEAST_VARIANCE = 1e-12
_ROWS = 300  # rows of the models; their cost is cubic in it
_MODELS = 4  # draws of the hyperparameters over which forecasts are averaged
_BEST = 5  # candidates for a new trial lie around this many of the best trials
_LEAST_LEFT = 1e-3  # least remaining cost of a trial, as a share of a full training


@dataclass(frozen=True)
class Outlook:
    """Forecasts at full resource for some trials, by their ids, and for a new trial.

    Attributes:
        chance: Posterior probability of being better than the incumbent.
        rate: Logarithm of the expected improvement over the incumbent, per unit of remaining cost.
        newcomer: The rate of a new trial; minus infinity if there can be none.
        incumbent: Id of the trial with which they are compared.
    """

    chance: Mapping[str, float]
    rate: Mapping[str, float]
    newcomer: float
    incumbent: str


class Forecaster:
    """Forecasts trials with a Gaussian process over configurations and log t.

    Forecasts are averages over several draws of the model's hyperparameters (`Ensemble`), because a
    single best fit is too certain.

    Source: T. Domhan et al. (2015), "Speeding Up Automatic Hyperparameter Optimization of Deep
    Neural Networks by Extrapolation of Learning Curves", IJCAI, section 3.2, for the probability of
    being better as the criterion. K. Swersky et al. (2014), "Freeze-Thaw Bayesian Optimization",
    arXiv:1406.3896, for one Gaussian process over all trials that extrapolates the curves.
    """

    def __init__(self, space: Space) -> None:
        self.least = least_trials(space)  # so many trials must have reported
        self._space = space
        self._values = Ensemble(_MODELS)
        self._cost_fit = WarmFit()
        self._cached: tuple[Snapshot, list[Posterior]] | None = None

    def outlook(
        self,
        snapshot: Snapshot,
        trial_ids: Sequence[str],
        *,
        newcomer: str | None = None,
        is_last: bool = False,
        seconds: Mapping[str, float] | None = None,
        start_s: float = 0.0,
        in_slot: str | None = None,
    ) -> Outlook | None:
        """Compare the forecasts of trials with each other and with a new trial.

        The incumbent is the trial with the best mean at full fidelity, among trials that have
        completed or continue. It is one of `trial_ids` only if there is no other.

        Args:
            snapshot: The record.
            trial_ids: Trials that have reported.
            newcomer: Id of the new trial that would get the slot. If it is not in the record, it is
                represented by the best of some hundred configurations.
            is_last: Whether there can be no new trial.
            seconds: Cost of a full training by trial id, if known. Default: 1 for all trials.
            start_s: Cost of starting or resuming a trial, in the unit of `seconds`.
            in_slot: Id of the running trial, which needs no start.

        Returns:
            The outlook; None if fewer than `least` trials have reported or no stable model fits.
        """
        row_of = {trial_id: row for row, trial_id in enumerate(snapshot.trial_ids)}
        rows = np.array([row_of[trial_id] for trial_id in trial_ids], dtype=np.int64)
        # With values at full fidelity, and completed or still able to complete.
        with_values = np.unique(snapshot.trial[np.isfinite(snapshot.y)])
        going = [state for state in TrialState if state.is_live or state is TrialState.COMPLETED]
        running = np.intersect1d(with_values, snapshot.rows(*going))
        running = running[self._space.is_full(snapshot.points[running])]
        others = np.setdiff1d(running, rows)
        rivals = others if len(others) else running
        posteriors = self._posteriors(snapshot) if len(rivals) else None
        if posteriors is None:
            return None
        with numerics(), torch.no_grad():
            Z = posteriors[0].at_full(torch.as_tensor(snapshot.points[rivals]))
            means = torch.stack([posterior.means(Z)[0] for posterior in posteriors]).mean(dim=0)
            incumbent = int(rivals[int(means.argmax())])
            if is_last:
                new = np.empty((0, snapshot.dim))
            elif newcomer not in row_of:
                new = self._candidates(snapshot)
            else:
                new = self._space.in_full(snapshot.points[[row_of[newcomer]]])
            points = np.vstack([snapshot.points[rows], new])
            rival = snapshot.points[incumbent]
            laws = [_lead(posterior, points, rival) for posterior in posteriors]
            lead, sd = (torch.stack(part) for part in zip(*laws, strict=True))  # (models, k)
            # Averages over the models; a constant factor of the gain makes no difference.
            gain = (log_improvement(lead / sd) + sd.log()).logsumexp(dim=0)
            chance = torch.special.ndtr(lead / sd).mean(dim=0)
            left = np.ones(len(points))  # the share of a full training that each still needs
            if snapshot.max_t is not None:
                reached = np.zeros(len(snapshot.trial_ids))
                np.maximum.at(reached, snapshot.trial, snapshot.t)
                left[: len(rows)] = np.maximum(1 - reached[rows] / snapshot.max_t, _LEAST_LEFT)
            start = np.array([start_s * (i != in_slot) for i in trial_ids] + [start_s] * len(new))
            cost = start + left * self._costs(snapshot, points, seconds)
            rate = gain.numpy() - np.log(cost)
        return Outlook(
            chance=dict(zip(trial_ids, chance.tolist(), strict=False)),
            rate=dict(zip(trial_ids, rate.tolist(), strict=False)),
            newcomer=float(rate[len(rows) :].max(initial=-math.inf)),
            incumbent=snapshot.trial_ids[incumbent],
        )

    def _posteriors(self, snapshot: Snapshot) -> list[Posterior] | None:
        """The posteriors of the models, cached for a record; None with too few reports."""
        if self._cached is None or self._cached[0] is not snapshot:
            if len(np.unique(snapshot.trial[np.isfinite(snapshot.y)])) < self.least:
                return None
            try:
                with numerics():
                    data = dataset(snapshot, curves=True).limited(_ROWS)
                    posteriors = self._values(data, self._space.columns)
            except FIT_ERRORS:
                return None
            self._cached = snapshot, posteriors
        return self._cached[1]

    def _candidates(self, snapshot: Snapshot) -> FloatArray:
        """Configurations that a proposer might choose, `c x d`-dim."""
        finite = np.flatnonzero(np.isfinite(snapshot.y))
        best = finite[np.argsort(-snapshot.y[finite], kind="stable")[:_BEST]]
        around = snapshot.points[np.unique(snapshot.trial[best])]
        rng = np.random.default_rng(len(snapshot.y))
        excluded = ExclusionList(self._space, snapshot.points)
        return unused_candidates(self._space, around, excluded, rng)

    def _costs(
        self, snapshot: Snapshot, points: FloatArray, seconds: Mapping[str, float] | None
    ) -> FloatArray:
        """Costs of full trainings, `k`-dim; the median of the known ones while they are few."""
        if not seconds:
            return np.ones(len(points))
        known = np.array([seconds.get(i, math.nan) for i in snapshot.trial_ids])
        log_cost = None
        with suppress(*FIT_ERRORS), torch.enable_grad():
            log_cost = fit_log_cost(
                replace(snapshot, cost=known), self._space.columns, self._cost_fit
            )
        if log_cost is None:
            return np.full(len(points), np.median(list(seconds.values())))
        return np.exp(log_cost(torch.as_tensor(points)).numpy())


def _lead(posterior: Posterior, points: FloatArray, rival: FloatArray) -> tuple[Tensor, Tensor]:
    """Means and standard deviations, `k`-dim, of the lead of `k x d`-dim trials over a rival."""
    Z = posterior.at_full(torch.as_tensor(np.vstack([rival, points])))
    mean, cross = posterior.means(Z)
    shared = posterior.kernel.forward(Z[1:], Z[:1]).squeeze(-1) - cross[:, 1:].mT @ cross[:, 0]
    own = posterior.kernel.variance - cross.square().sum(0)
    variance = own[1:] + own[0] - 2 * shared
    return mean[1:] - mean[0], variance.clamp_min(_LEAST_VARIANCE).sqrt()


def best_by_model(space: Space, snapshot: Snapshot) -> str | None:
    """Return the COMPLETED trial with the largest posterior mean at full fidelity.

    With noisy values, the best value is partly luck. The model corrects for this, using the values
    of similar configurations. Trials whose means satisfy the outcome constraints come first. With
    several objectives and no weights, only the first objective counts.

    Source: W. Scott, P. Frazier and W. Powell (2011), "The Correlated Knowledge Gradient for
    Simulation Optimization of Continuous Parameters using Gaussian Process Regression".

    Returns:
        The trial's id. None if fewer than two configurations have a value, no trial has completed,
        or the model cannot be fitted.
    """
    rows = snapshot.rows(TrialState.COMPLETED)
    rows = rows[space.is_full(snapshot.points[rows])]
    data = dataset(snapshot.of_outcome(0))
    if not len(rows) or len(data.evaluated) < 2:
        return None
    try:
        with numerics():
            models = fit_outcomes(snapshot.with_objective(snapshot.y), data, space.columns, {})
            order = models.order(snapshot.points[rows])
    except FIT_ERRORS:
        return None
    return snapshot.trial_ids[int(rows[order[0]])]
