"""Which of the trials is best, where values are noisy."""

from __future__ import annotations

from raytuner.bayes.dataset import dataset
from raytuner.bayes.models import Fits
from raytuner.bayes.surrogate import FIT_ERRORS, numerics
from raytuner.history import Snapshot, TrialState
from raytuner.space import Space


def best_by_model(space: Space, snapshot: Snapshot) -> str | None:
    """The COMPLETED trial of which a Gaussian process over all trials expects most in full.

    Of trials at full fidelity, where hyperparameters are fidelities.
    The best of noisy values is the best partly by luck; what neighbours came to corrects for it.
    Trials come first that keep the outcome constraints by the models' means; of several objectives
    the first counts, unless weights have made one of them.

    Source: W. Scott, P. Frazier and W. Powell (2011), "The Correlated Knowledge Gradient for
    Simulation Optimization of Continuous Parameters using Gaussian Process Regression", for the
    largest posterior mean as what a search recommends.

    Args:
        space: The search space, d columns.
        snapshot: The record.

    Returns:
        The trial's id; None if fewer than two configurations have a value, none is complete, or no
        stable model fits.
    """
    rows = snapshot.rows(TrialState.COMPLETED)
    rows = rows[space.is_full(snapshot.points[rows])]
    data = dataset(snapshot.of_outcome(0))
    if not len(rows) or len(data.evaluated) < 2:
        return None
    try:
        with numerics():
            models = Fits()(snapshot.with_objective(snapshot.y), data, space.columns)
            order = models.order(snapshot.points[rows], has_fidelity=data.has_fidelity)
    except FIT_ERRORS:
        return None
    return snapshot.trial_ids[int(rows[order[0]])]
