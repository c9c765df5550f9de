"""What happened when, from the record alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from unittest.mock import patch

import pytest
from made_up import study

from raytuner.history import History, Origin, TrialState
from raytuner.report.events import events, improvements, snapshot_at, stays, use
from raytuner.space import Float, Space

SPACE = Space({"x": Float(0, 1)})


def played(*happened: tuple[float, Callable[[History], object]]) -> History:
    """A record in which things happened at given seconds."""
    with patch("raytuner.history.table.time.time") as clock:
        clock.return_value = 0.0
        history = History(SPACE, metric="loss", mode="min", max_t=3)
        for at, event in happened:
            clock.return_value = at
            event(history)
    return history


def add(name: str) -> Callable[[History], object]:
    return lambda h: h.add(name, {"x": len(h) / 10}, Origin.BAYES)


def report(name: str, t: float, value: float) -> Callable[[History], object]:
    return lambda h: h.report(name, t, value)


def end(name: str, state: TrialState = TrialState.COMPLETED) -> Callable[[History], object]:
    return lambda h: h.end(name, state)


TWO = (
    (0, add("a")),
    (1, add("b")),
    (2, report("a", 1, 5.0)),
    (3, report("b", 1, 4.0)),
    (4, report("a", 2, 3.0)),
    (5, end("a")),
    (5, end("b", TrialState.STOPPED_EARLY)),
    (6, add("c")),
    (9, report("c", 1, 1.0)),
    (10, end("c", TrialState.FAILED)),
)


def test_events_come_in_time() -> None:
    found = events(played(*TWO))
    assert [(e.at, e.trial.trial_id, e.t, e.value, e.final) for e in found] == [
        (2, "a", 1, 5.0, False),
        (3, "b", 1, 4.0, False),
        (4, "a", 2, 3.0, True),
        (9, "c", 1, 1.0, False),
    ]


def test_improvements_leave_failed_trials_out() -> None:
    found = events(played(*TWO))
    assert [e.value for e in improvements(found, True, final=False)] == [5.0, 4.0, 3.0]
    assert [e.value for e in improvements(found, True, final=True)] == [3.0]
    assert [e.value for e in improvements(found, False, final=False)] == [5.0]


def test_the_record_as_it_was() -> None:
    history = played(*TWO)
    then = snapshot_at(history, 4.5)
    assert then.trial_ids == ("a", "b")
    assert then.states == (TrialState.RUNNING, TrialState.RUNNING)
    assert then.y.tolist() == [-5.0, -3.0, -4.0]
    assert not then.final.any()
    later = snapshot_at(history, 6)
    assert later.states == (TrialState.COMPLETED, TrialState.STOPPED_EARLY)
    assert later.final.tolist() == [False, True, False]
    last, now = snapshot_at(history, 99), history.snapshot()
    assert (last.states, last.y.tolist()) == (now.states, now.y.tolist())


def test_slots_and_how_their_time_was_spent() -> None:
    found = stays(played(*TWO), now=20)
    assert [(s.trial.trial_id, s.slot, s.begin, s.runs, s.end) for s in found] == [
        ("a", 0, 0, 2, 5),
        ("b", 1, 1, 3, 5),
        ("c", 0, 6, 9, 10),
    ]
    spent = use(found)
    # Idle are slot 1 in the first second and after b, and slot 0 from 5 to 6.
    assert (spent.slots, spent.running, spent.starting, spent.idle) == (2, 6, 7, 7)


def test_a_start_that_was_seen_is_where_it_runs_from() -> None:
    def start(name: str) -> Callable[[History], object]:
        return lambda h: h.start(name)

    (stay,) = stays(
        played((0, add("a")), (1.5, start("a")), (4, report("a", 1, 1.0)), (9, end("a"))), now=9
    )
    assert (stay.begin, stay.runs, stay.end) == (0, 1.5, 9)


def test_time_between_two_runs_is_nobodys() -> None:
    found = stays(played(*TWO), now=20)
    spent = use(found, begins=[0, 5.75])  # c was proposed in a second run
    assert (spent.slots, spent.running, spent.starting) == (2, 6, 7)
    assert spent.idle == 7 - 2 * 0.75


def test_a_trial_proposed_ahead_waits_in_no_slot() -> None:
    found = stays(
        played(
            (0, add("a")),
            (1, add("b")),
            (2, report("a", 1, 1.0)),
            (8, end("a")),
            (9, report("b", 1, 1.0)),
        ),
        now=12,
    )
    assert [(s.slot, s.begin, s.runs, s.end) for s in found] == [(0, 0, 2, 8), (0, 8, 9, 12)]


@pytest.mark.parametrize("slots", [1, 3, 16])
def test_as_many_slots_as_there_were(slots: int) -> None:
    history = study(80, slots=slots)
    found = stays(history, now=0)
    assert use(found).slots <= slots
    if slots < 10:  # with more of them than trials that overlap, some cannot be told
        assert use(found).slots == slots
    for slot in range(slots):
        inside = [s for s in found if s.slot == slot]
        assert all(a.end <= b.begin for a, b in itertools.pairwise(inside))
