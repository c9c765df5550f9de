"""What a trial will come to at full resource, from its curve so far and those of the others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import norm

from raytuner.bayes.dataset import dataset, least_trials
from raytuner.bayes.posterior import Posterior
from raytuner.bayes.surrogate import FIT_ERRORS, WarmFit, numerics
from raytuner.history import Snapshot, TrialState
from raytuner.space import Space


@dataclass(frozen=True)
class Forecast:
    """A trial's value at full resource against that of its rival.

    Attributes:
        trial_id: The trial.
        rival: The trial that is most likely the best of the others at full fidelity: it has
            completed, or goes on.
        chance: Posterior probability that the trial's value is the better one of the two.
    """

    trial_id: str
    rival: str
    chance: float


class Forecaster:
    """Forecasts trials with the surrogate over (configuration, log t).

    Source: T. Domhan et al. (2015), "Speeding Up Automatic Hyperparameter Optimization of Deep
    Neural Networks by Extrapolation of Learning Curves", IJCAI, section 3.2, for the chance to be
    better as the criterion; the curves are extrapolated by one Gaussian process over all trials, as
    in K. Swersky et al. (2014), "Freeze-Thaw Bayesian Optimization", arXiv:1406.3896.

    Args:
        space: The search space, d columns.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._fit = WarmFit()
        self.least = least_trials(space)

    def __call__(self, snapshot: Snapshot, trial_id: str) -> Forecast | None:
        """Forecast one trial.

        Args:
            snapshot: The record, the trial's latest report in it.
            trial_id: The trial.

        Returns:
            The forecast; None if fewer than ``least`` trials have reported, if there is no rival,
            or if no stable model fits.
        """
        with_values = np.unique(snapshot.trial[np.isfinite(snapshot.y)])
        if len(with_values) < self.least:
            return None
        row = snapshot.trial_ids.index(trial_id)
        going = [state for state in TrialState if state.is_live or state is TrialState.COMPLETED]
        others = np.intersect1d(with_values, snapshot.rows(*going))
        others = others[(others != row) & self._space.is_full(snapshot.points[others])]
        if not len(others):
            return None
        data = dataset(snapshot, curves=True)
        try:
            with numerics(), torch.no_grad():
                with torch.enable_grad():
                    model = self._fit(data, self._space.columns)
                posterior = Posterior(model)
                means, _ = posterior.means(_at_full_resource(snapshot.points[others]))
                rival = int(others[int(means.argmax())])
                pair = _at_full_resource(snapshot.points[[row, rival]])
                mean, covariance, _ = posterior.joint(pair)
        except FIT_ERRORS:
            return None
        lead = float(mean[0] - mean[1])
        variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
        sd = math.sqrt(max(variance, 1e-12))
        return Forecast(
            trial_id=trial_id,
            rival=snapshot.trial_ids[rival],
            chance=float(norm.cdf(lead / sd)),
        )


def _at_full_resource(points: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(np.column_stack([points, np.ones(len(points))]))
