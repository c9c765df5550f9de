"""Successive halving: at which rungs a trial is judged, and which trials go on.

Knows nothing of Ray. Inside this room a larger value is always the better one; whoever calls turns
the sign of a metric that is to be minimised.
"""

from raytuner.halving.asha import RungView, SuccessiveHalving
from raytuner.halving.rungs import bracket_levels, bracket_weights, rung_levels
from raytuner.halving.verdict import Action, Verdict

__all__ = [
    "Action",
    "RungView",
    "SuccessiveHalving",
    "Verdict",
    "bracket_levels",
    "bracket_weights",
    "rung_levels",
]
