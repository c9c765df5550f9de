"""The events of a study over time: reports, improvements, and the trials in each slot."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from raytuner.history import History, Origin, Snapshot, Trial, TrialState


@dataclass(frozen=True)
class Event:
    """One report of a trial."""

    at: float  # Unix seconds
    trial: Trial  # as the record has it now
    t: float
    value: float
    final: bool  # whether this is the last report of a COMPLETED trial
    eligible: bool  # whether its trial may be the best: full fidelity, constraints satisfied


def events(history: History) -> tuple[Event, ...]:
    """Return every report, oldest first."""
    found = []
    for trial in history.trials:
        eligible = history.is_full(trial) and history.is_feasible(trial)
        for (t, value), at in zip(trial.values, trial.reported_at, strict=True):
            final = t == trial.t and trial.state is TrialState.COMPLETED
            found.append(Event(at, trial, t, value, final, eligible))
    return tuple(sorted(found, key=lambda event: event.at))


def rung_of(trial: Trial) -> float | None:
    """Return the rung at which a trial was stopped, read from its reason; None if there is none."""
    match = re.search(r"at rung ([0-9.]+(?:e[+-]?[0-9]+)?)", trial.reason)
    return float(match[1]) if match and trial.state is TrialState.STOPPED_EARLY else None


def improvements(happened: Sequence[Event], minimise: bool, *, final: bool) -> tuple[Event, ...]:
    """Return the events, oldest first, that improved the best value so far.

    With `final`, only final values of COMPLETED trials count.
    """
    best, steps = math.inf, []
    for event in happened:
        value = event.value if minimise else -event.value
        counts = event.final if final else event.trial.state is not TrialState.FAILED
        if counts and event.eligible and value < best:  # never true of NaN
            best = value
            steps.append(event)
    return tuple(steps)


def snapshot_at(history: History, at: float) -> Snapshot:
    """Return the record as it was at a time, in Unix seconds."""
    now, everything = history.snapshot(), history.trials
    trials = tuple(takewhile(lambda trial: trial.proposed_at < at, everything))
    ended = [trial.ended_at is not None and trial.ended_at < at for trial in trials]
    reported = np.array([one for trial in everything for one in trial.reported_at])
    known = (now.trial < len(trials)) & (reported < at)
    row = now.trial[known]
    return Snapshot(
        trial_ids=tuple(trial.trial_id for trial in trials),
        states=tuple(
            trial.state if is_over else TrialState.RUNNING
            for trial, is_over in zip(trials, ended, strict=True)
        ),
        points=now.points[: len(trials)],
        trial=row,
        t=now.t[known],
        outcomes=now.y[known, None],
        final=now.final[known] & np.array(ended, dtype=bool)[row],
        max_t=now.max_t,
    )


@dataclass(frozen=True)
class Stay:
    """A trial in a slot. Times are Unix seconds."""

    trial: Trial
    slot: int  # number of the slot, from 0
    begin: float  # when the trial was proposed and the slot was free
    runs: float  # when its process began to run; its first report or its end if not recorded
    end: float  # the present for a running trial


def stays(history: History, now: float) -> tuple[Stay, ...]:
    """Return which trial was in which slot when, as far as the record shows it.

    The record has no slots. This function uses as few slots as possible, and puts each trial into
    the free slot that was used last.
    """
    ran: list[tuple[float, float, Trial]] = []
    for trial in history.trials:
        waits = trial.state is TrialState.PENDING and trial.started_at is None
        if trial.origin is Origin.EVALUATED or waits:
            continue
        end = now if trial.ended_at is None else trial.ended_at
        start = min(trial.reported_at, default=end)
        if trial.started_at is not None:
            start = min(start, trial.started_at)
        ran.append((start, end, trial))
    free: list[float] = []  # when the last trial of each slot ended
    found = []
    for runs, end, trial in sorted(ran, key=lambda row: (row[0], row[2].number)):
        slots = [slot for slot, since in enumerate(free) if since <= runs]
        slot = max(slots, key=free.__getitem__, default=len(free))
        free += [-math.inf] * (slot == len(free))
        found.append(Stay(trial, slot, max(trial.proposed_at, free[slot]), runs, end))
        free[slot] = end
    return tuple(found)


@dataclass(frozen=True)
class SlotUse:
    """The time that the slots spent in each way, in slot-seconds."""

    slots: int  # number of slots
    running: float
    starting: float  # a trial was proposed and had a slot, but did not run yet
    idle: float  # the slot had no trial

    @property
    def total(self) -> float:
        """All slot-seconds."""
        return self.running + self.starting + self.idle


def use(found: Sequence[Stay], begins: Sequence[float] = ()) -> SlotUse:
    """Return how the slots spent their time, from the first trial's start to the last one's end.

    Args:
        found: The trials in their slots.
        begins: When each run of the study began, in Unix seconds. The time between two runs does
            not count.
    """
    if not found:
        return SlotUse(0, 0.0, 0.0, 0.0)
    began, ended = min(stay.begin for stay in found), max(stay.end for stay in found)
    away = 0.0
    for begin in begins:
        before = [stay.end for stay in found if stay.begin < begin]
        if before and max(before) < begin < ended:
            away += begin - max(before)
    slots = len({stay.slot for stay in found})
    running = sum(stay.end - stay.runs for stay in found)
    starting = sum(stay.runs - stay.begin for stay in found)
    idle = slots * (ended - began - away) - running - starting
    return SlotUse(slots, running, starting, max(idle, 0.0))
