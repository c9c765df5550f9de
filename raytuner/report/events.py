"""What happened when: the record as a sequence in time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raytuner.history import History, Origin, Snapshot, Trial, TrialState


@dataclass(frozen=True)
class Event:
    """One report of a trial.

    Attributes:
        at: Unix seconds.
        trial: The trial, as the record has it now.
        t: Its resource.
        value: The metric.
        spent: Resource that all trials had spent by then.
        final: Whether it is the last report of a COMPLETED trial.
        eligible: Whether it may be the best: at full fidelity, within the outcome constraints.
    """

    at: float
    trial: Trial
    t: float
    value: float
    spent: float
    final: bool
    eligible: bool = True


def events(history: History) -> tuple[Event, ...]:
    """Every report, oldest first."""
    times = history.report_times()
    found: list[tuple[float, int, float, float, float, Trial, bool]] = []
    for trial in history.trials:
        at, before = times[trial.trial_id], 0.0
        for t, value in trial.values:
            final = trial.state is TrialState.COMPLETED and t == trial.t
            found.append((at[t], trial.number, t, value, t - before, trial, final))
            before = t
    found.sort(key=lambda row: row[:3])
    spent = np.cumsum([row[4] for row in found])
    return tuple(
        Event(at, trial, t, value, float(total), final, _is_eligible(history, trial, t))
        for (at, _, t, value, _, trial, final), total in zip(found, spent, strict=True)
    )


def _is_eligible(history: History, trial: Trial, t: float) -> bool:
    goal = history.goal
    if not history.is_full(trial):
        return False
    return not goal.constraints or goal.violation(history.metrics_at(trial.trial_id, t)) == 0


def improvements(happened: tuple[Event, ...], minimise: bool, *, final: bool) -> tuple[Event, ...]:
    """The events at which the best value so far got better.

    Args:
        happened: All events, oldest first.
        minimise: Whether small values are good.
        final: Look at final values of COMPLETED trials only.
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
    """The record as it was at a time: trials proposed and values reported before it."""
    now = history.snapshot()
    trials = history.trials
    times = history.report_times()
    there = np.array([trial.proposed_at < at for trial in trials])
    states = tuple(
        trial.state if trial.ended_at is not None and trial.ended_at < at else TrialState.RUNNING
        for trial in trials
    )
    over = np.array([not state.is_live for state in states])
    known = np.array(
        [
            there[row] and times[trials[row].trial_id][t] < at
            for row, t in zip(now.trial, now.t, strict=True)
        ],
        dtype=bool,
    )
    rows = np.cumsum(there) - 1
    return Snapshot(
        trial_ids=tuple(t.trial_id for t, is_in in zip(trials, there, strict=True) if is_in),
        states=tuple(s for s, is_in in zip(states, there, strict=True) if is_in),
        points=now.points[there],
        trial=rows[now.trial[known]],
        t=now.t[known],
        y=now.y[known],
        final=now.final[known] & over[now.trial[known]],
        max_t=now.max_t,
    )


@dataclass(frozen=True)
class Stay:
    """A trial in a slot.

    Attributes:
        trial: The trial.
        slot: Number of the slot, from 0.
        begin: When the slot was free and the trial proposed, in Unix seconds.
        runs: When the trial's process was there; its first report, or its end without one, where
            the record does not say that.
        end: Its end, or the time of looking if it runs.
    """

    trial: Trial
    slot: int
    begin: float
    runs: float
    end: float


def stays(history: History, now: float) -> tuple[Stay, ...]:
    """Which trial was in which slot when, from what the record can say.

    A trial may be proposed before there is a slot for it; what is certain is the time from when it
    runs to its end. So trials are laid into as few slots as hold those, each into the one that was
    free last, and it is there from when the slot was free and the trial proposed.
    """
    times = history.report_times()
    certain: list[tuple[float, float, Trial]] = []
    for trial in history.trials:
        begun = trial.started_at
        waits = trial.state is TrialState.PENDING and begun is None
        if trial.origin is Origin.EVALUATED or waits:
            continue
        end = trial.ended_at if trial.ended_at is not None else now
        first = min(times[trial.trial_id].values(), default=end)
        certain.append((min(first if begun is None else begun, first), end, trial))
    certain.sort(key=lambda row: (row[0], row[2].number))
    free: list[float] = []  # when each slot's last trial ended
    found = []
    for runs, end, trial in certain:
        fits = [slot for slot, since in enumerate(free) if since <= runs]
        if fits:
            slot = max(fits, key=lambda slot: free[slot])
        else:
            slot = len(free)
            free.append(-math.inf)
        found.append(Stay(trial, slot, max(trial.proposed_at, free[slot]), runs, end))
        free[slot] = end
    return tuple(found)


@dataclass(frozen=True)
class Use:
    """How the slots' time was spent, in slot-seconds.

    Attributes:
        slots: How many slots there are.
        running: Trials ran.
        starting: There was a free slot and a proposal, and the trial did not run yet.
        idle: There was no trial for the slot.
    """

    slots: int
    running: float
    starting: float
    idle: float

    @property
    def total(self) -> float:
        """All slot-seconds."""
        return self.running + self.starting + self.idle


def use(found: tuple[Stay, ...], begins: Sequence[float] = ()) -> Use:
    """How the slots' time was spent, from the first trial's start to the last one's end.

    Args:
        found: Which trial was where.
        begins: When runs of the study began, in Unix seconds. Before them, from the last trial's
            end, nobody was there to use the slots, and that time is left out.
    """
    if not found:
        return Use(0, 0.0, 0.0, 0.0)
    slots = 1 + max(stay.slot for stay in found)
    running = sum(stay.end - stay.runs for stay in found)
    starting = sum(stay.runs - stay.begin for stay in found)
    idle = slots * _there(found, begins) - running - starting
    return Use(slots, running, starting, max(idle, 0.0))


def idle_shares(found: tuple[Stay, ...], begins: Sequence[float] = ()) -> tuple[float, ...]:
    """Which part of its time each slot was idle, in [0, 1]; as :func:`use` for all of them."""
    there = _there(found, begins) if found else 0.0
    if there <= 0:
        return ()
    taken = np.zeros(1 + max(stay.slot for stay in found))
    for stay in found:
        taken[stay.slot] += stay.end - stay.begin
    return tuple(float(share) for share in np.clip(1 - taken / there, 0, 1))


def _there(found: tuple[Stay, ...], begins: Sequence[float]) -> float:
    """For how many seconds there was somebody to use the slots."""
    began, ended = min(stay.begin for stay in found), max(stay.end for stay in found)
    away = 0.0
    for begin in begins:
        before = [stay.end for stay in found if stay.begin < begin]
        if before and max(before) < begin < ended:
            away += begin - max(before)
    return ended - began - away
