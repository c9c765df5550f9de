"""When failures have one cause, and when every trial fails for it."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest

from raytuner.history import (
    Cause,
    History,
    Origin,
    TrialState,
    always_failing,
    cause,
    causes,
)
from raytuner.space import Float, Space

PLACE = "(train.py:7 in fit)"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    return now


def record() -> History:
    return History(Space({"x": Float(0, 1)}), metric="loss", mode="min")


def fail(history: History, name: str, reason: str) -> None:
    history.add(name, {"x": 0.5})
    history.end(name, TrialState.FAILED, reason)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("ValueError: x2 is -3.5e-07 of 12", "ValueError: x2 is # of #"),
        ("\n  KeyError: 'layer4'\nmore", "KeyError: 'layer4'"),
        (f"ValueError {PLACE}", "ValueError at train.py:7 in fit"),
        (f"a.b.MyError: no (more) {PLACE}", "a.b.MyError at train.py:7 in fit"),
        ("KeyError: 'a' (train.py:7 in <lambda>)", "KeyError at train.py:7 in <lambda>"),
        ("", "unknown"),
    ],
)
def test_a_cause_is_the_type_and_place_or_the_words(reason: str, expected: str) -> None:
    assert cause(reason) == expected


def test_causes_are_counted_with_the_first_reason_of_each() -> None:
    history = record()
    for number, reason in enumerate(("KeyError: 'a'", "loss is 3", "loss is 4", "KeyError: 'b'")):
        fail(history, str(number), reason)
    fail(history, "last", "loss is 5")
    assert causes(history.trials) == [
        Cause(3, "loss is 3"),
        Cause(1, "KeyError: 'a'"),
        Cause(1, "KeyError: 'b'"),
    ]


@pytest.mark.parametrize(
    "reasons",
    [
        [f"KeyError: {name!r} {PLACE}" for name in "abcde"],
        [*["KeyError: 'a'"] * 5, "OSError: full"],
    ],
)
def test_enough_failures_of_one_cause_and_nothing_else(reasons: list[str]) -> None:
    history = record()
    for number, reason in enumerate(reasons[1:]):
        fail(history, str(number), reason)
        if number < 3:
            assert always_failing(history, 5, 0.0, 1e10) is None
    fail(history, "last", reasons[0])
    found = always_failing(history, 5, 0.0, 1e10)
    assert found is not None
    assert found.trials == 5


def test_other_causes_and_successes_speak_against_it() -> None:
    history = record()
    for number in range(9):
        fail(history, str(number), ("KeyError: 'a' ", "OSError: b ")[number % 2] + PLACE)
    assert always_failing(history, 6, 0.0, 1e10) is None
    assert always_failing(history, 5, 0.0, 1e10) is not None
    history.add("dropped", {"x": 0.25})
    history.end("dropped", TrialState.REMOVED)
    history.add("told", {"x": 0.25}, Origin.EVALUATED)
    history.report("told", 1, 1.0)
    history.end("told", TrialState.COMPLETED)
    assert always_failing(history, 5, 0.0, 1e10) is not None  # neither ran
    history.add("good", {"x": 0.25})
    history.report("good", 1, 1.0)
    history.end("good", TrialState.STOPPED_EARLY)
    assert always_failing(history, 5, 0.0, 1e10) is None


def test_only_what_ended_in_this_run_counts(clock: list[float]) -> None:
    history = record()
    history.add("good", {"x": 0.5})
    history.report("good", 1, 1.0)
    history.end("good", TrialState.COMPLETED)
    clock[0] += 100
    for number in range(5):
        fail(history, str(number), "KeyError: 'a'")
    assert always_failing(history, 5, 0.0, clock[0]) is None
    assert always_failing(history, 5, 1050.0, clock[0]) == Cause(5, "KeyError: 'a'")


def simulated(
    clock: list[float], slots: int, seconds_to_failure: Callable[[int], float | None]
) -> int | None:
    """Run 60 trials on so many slots; return after how many failures the study stops, if it does.

    A trial takes a hundred seconds to succeed, if it doesn't fail before.
    """
    history, ends = record(), list[tuple[float, int, bool]]()
    failures = 0
    for number in range(60 + slots):
        if len(ends) == slots or number >= 60:
            at, ended, fails = heapq.heappop(ends)
            clock[0] = at
            state = TrialState.FAILED if fails else TrialState.COMPLETED
            if not fails:
                history.report(str(ended), 1, 1.0)
            history.end(str(ended), state, "KeyError: 'a'" if fails else "")
            failures += fails
            if fails and always_failing(history, 5, 0.0, clock[0]) is not None:
                return failures
        if number < 60:
            history.add(str(number), {"x": 0.5})
            history.start(str(number))
            takes = seconds_to_failure(number)
            clock[0] += 0.01  # they start one after the other
            heapq.heappush(ends, (clock[0] + (takes or 100.0), number, takes is not None))
    return None


@pytest.mark.parametrize("slots", [1, 2, 5, 16])
@pytest.mark.parametrize("seed", range(2))
def test_a_function_that_always_fails_is_found_soon(
    clock: list[float], slots: int, seed: int
) -> None:
    draw = random.Random(seed)
    found = simulated(clock, slots, lambda _: draw.uniform(1.0, 3.0))
    assert found is not None
    assert found <= max(5, slots) + 5


@pytest.mark.parametrize("slots", [2, 5, 16])
@pytest.mark.parametrize("seed", range(5))
def test_trials_that_run_on_beside_failures_are_waited_for(
    clock: list[float], slots: int, seed: int
) -> None:
    """Two in three configurations fail at once; one of the first few trains well."""
    draw = random.Random(seed)
    good = {draw.randrange(min(slots, 5))}

    def takes(number: int) -> float | None:
        return None if number in good or draw.random() > 2 / 3 else draw.uniform(0.5, 1.5)

    assert simulated(clock, slots, takes) is None


def test_a_trial_that_outlives_the_failures_is_waited_for(clock: list[float]) -> None:
    history = record()

    def start(name: str) -> None:
        history.add(name, {"x": 0.5})
        history.start(name)

    def fail_after(name: str, seconds: float) -> Cause | None:
        clock[0] += seconds
        history.end(name, TrialState.FAILED, "KeyError: 'a'")
        return always_failing(history, 5, 0.0, clock[0])

    start("first")
    assert fail_after("first", 1.0) is None
    start("lasting")
    for number in range(6):
        start(str(number))
        assert fail_after(str(number), 1.0) is None
    assert fail_after("lasting", 1.0) == Cause(8, "KeyError: 'a'")
