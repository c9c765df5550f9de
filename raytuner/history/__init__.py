"""The record of a search: trials with their states and values, and the file that mirrors them.

`History` is the one mutable store. What learns from it reads a frozen `Snapshot`. The format of the
file is described in `raytuner.history.sqlite`.
"""

from raytuner.history.failures import Cause, always_failing, cause, causes, warn_of_failure
from raytuner.history.file import set_aside
from raytuner.history.goal import Goal, Objective, OutcomeConstraint
from raytuner.history.history import History
from raytuner.history.lock import Writer, held, who_writes
from raytuner.history.opaque import OpaqueValue
from raytuner.history.ranking import non_dominated, spread
from raytuner.history.recovery import salvaged
from raytuner.history.snapshot import Snapshot
from raytuner.history.sqlite import FORMAT_VERSION, Line
from raytuner.history.table import Table
from raytuner.history.trial import Origin, Trial, TrialState, proposal_counts
from raytuner.history.upload import record_exists

__all__ = [
    "FORMAT_VERSION",
    "Cause",
    "Goal",
    "History",
    "Line",
    "Objective",
    "OpaqueValue",
    "Origin",
    "OutcomeConstraint",
    "Snapshot",
    "Table",
    "Trial",
    "TrialState",
    "Writer",
    "always_failing",
    "cause",
    "causes",
    "held",
    "non_dominated",
    "proposal_counts",
    "record_exists",
    "salvaged",
    "set_aside",
    "spread",
    "warn_of_failure",
    "who_writes",
]
