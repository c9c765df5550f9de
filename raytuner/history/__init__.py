"""The record of a search: trials, their states, their values by resource, and what is pending.

The one mutable store is :class:`History`; everything that learns from it reads a frozen
:class:`Snapshot`. The file format is described in :mod:`raytuner.history.format`.
"""

from raytuner.history.change import Change
from raytuner.history.failures import Cause, Repeats, always_failing, cause, causes
from raytuner.history.format import FORMAT_VERSION
from raytuner.history.fronts import fronts, non_dominated, spread
from raytuner.history.goal import Goal, Objective, OutcomeConstraint
from raytuner.history.history import History
from raytuner.history.recovery import Remains, Salvage, salvaged
from raytuner.history.snapshot import Snapshot
from raytuner.history.stand_in import StandIn
from raytuner.history.started import note_start, start_of, starts
from raytuner.history.store import Store, set_aside
from raytuner.history.trial import Origin, Trial, TrialState, proposal_counts
from raytuner.history.writer import Writer, held, who_writes

__all__ = [
    "FORMAT_VERSION",
    "Cause",
    "Change",
    "Goal",
    "History",
    "Objective",
    "Origin",
    "OutcomeConstraint",
    "Remains",
    "Repeats",
    "Salvage",
    "Snapshot",
    "StandIn",
    "Store",
    "Trial",
    "TrialState",
    "Writer",
    "always_failing",
    "cause",
    "causes",
    "fronts",
    "held",
    "non_dominated",
    "note_start",
    "proposal_counts",
    "salvaged",
    "set_aside",
    "spread",
    "start_of",
    "starts",
    "who_writes",
]
