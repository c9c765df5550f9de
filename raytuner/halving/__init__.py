"""Successive halving: at which rungs a trial is judged, and which trials go on.

Knows nothing of Ray. Inside this room a larger value is always the better one; whoever calls turns
the sign of a metric that is to be minimised.
"""

from raytuner.halving.freeze_thaw import FreezeThaw
from raytuner.halving.halving import RungView, SuccessiveHalving
from raytuner.halving.judge import Decision, Judge
from raytuner.halving.predictive import PredictiveStopping
from raytuner.halving.promotion import Promotion
from raytuner.halving.rungs import bracket_levels, bracket_weights, rung_levels
from raytuner.halving.score import Score, Value, value_of
from raytuner.halving.stopping import Stopping
from raytuner.halving.verdict import Action, Verdict

__all__ = [
    "Action",
    "Decision",
    "FreezeThaw",
    "Judge",
    "PredictiveStopping",
    "Promotion",
    "RungView",
    "Score",
    "Stopping",
    "SuccessiveHalving",
    "Value",
    "Verdict",
    "bracket_levels",
    "bracket_weights",
    "rung_levels",
    "value_of",
]
