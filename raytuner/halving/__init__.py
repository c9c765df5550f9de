"""The rules by which schedulers let trials go on, pause them or stop them.

A rule reads the table of trials, `raytuner.history.History`, and knows nothing of Ray. Larger
values are better: the sign of a metric that is minimised is turned.
"""

from raytuner.halving.by_forecast import FreezeThaw, PredictiveStopping, Prospects
from raytuner.halving.by_rank import Promotion, Stopping
from raytuner.halving.rule import Action, Alive, Rule, Score, Verdict, reports_in_order
from raytuner.halving.rung import bracket_levels, bracket_weights
from raytuner.halving.successive import SuccessiveHalving

__all__ = [
    "Action",
    "Alive",
    "FreezeThaw",
    "PredictiveStopping",
    "Promotion",
    "Prospects",
    "Rule",
    "Score",
    "Stopping",
    "SuccessiveHalving",
    "Verdict",
    "bracket_levels",
    "bracket_weights",
    "reports_in_order",
]
