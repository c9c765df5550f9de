"""The base class of schedulers that decide by forecasts of learning curves."""

from __future__ import annotations

import logging

from raytuner.bayes import Forecaster
from raytuner.errors import MetricError
from raytuner.schedulers.active import ActiveScheduler

logger = logging.getLogger(__name__)


def forecaster_for(active: ActiveScheduler, scheduler: str, by_rank: str) -> Forecaster | None:
    """Return what forecasts from the searcher's table; warn and return None if it has none.

    Args:
        active: The scheduler's rule and table.
        scheduler: The scheduler's class, for messages.
        by_rank: What happens to trials without forecasts, in a few words.

    Raises:
        MetricError: The search has several objectives, or constraints.
    """
    goal = active.rule.goal
    if goal is not None and (goal.n_objectives > 1 or goal.constraints):
        raise MetricError(
            f"{scheduler} forecasts one objective without constraints, and the search is after"
            f" {', '.join(goal.metrics)}; ASHAScheduler takes several"
        )
    if active.partner is not None:
        return Forecaster(active.partner.history.space)
    logger.warning(
        "%s %s trials by rank: %s keeps no record to forecast from; BoTorchSearch does.",
        scheduler,
        by_rank,
        type(active.searcher).__name__,
    )
    return None
