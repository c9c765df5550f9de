"""Rules that decide which trials continue, pause or stop.

A rule reads the table of trials, `raytuner.history.History`, and is independent of Ray. Larger
values are better: metrics that are minimised are negated.
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
