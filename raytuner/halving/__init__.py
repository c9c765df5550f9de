"""The rules by which schedulers let trials go on, pause them or stop them.

A rule reads the table of trials, `raytuner.history.History`, and knows nothing of Ray. Larger
values are better: the sign of a metric that is minimised is turned.
"""

from raytuner.halving.freeze_thaw import FreezeThaw, Prospects
from raytuner.halving.predictive import PredictiveStopping
from raytuner.halving.promotion import Promotion
from raytuner.halving.rule import Action, Alive, Decision, Rule, Score, reports_in_order
from raytuner.halving.rung import Verdict, bracket_levels, bracket_weights
from raytuner.halving.stopping import Stopping
from raytuner.halving.successive import SuccessiveHalving

__all__ = [
    "Action",
    "Alive",
    "Decision",
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
