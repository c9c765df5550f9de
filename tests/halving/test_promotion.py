"""Asynchronous successive halving that promotes: who goes on, and when."""

from __future__ import annotations

import math
import pickle
from collections import defaultdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from judged import Judged

from raytuner.halving import Action, Promotion
from raytuner.history import TrialState

LEVELS = (1, 3, 9, 27)

Event = tuple[str, str, float]

# A trial trains on to its next rung, or ends; or a slot is free.
events = st.lists(
    st.tuples(
        st.sampled_from(["train", "train", "train", "resume", "resume", "end"]),
        st.sampled_from("abcdefghijkl"),
        st.floats(allow_nan=True, allow_infinity=True),
    ),
    max_size=120,
)


def everyone(trial_id: str) -> bool:
    return True


def pause(halving: Judged, *values: float, first: int = 0) -> None:
    """Trials "0", "1", ... (from ``first`` on) report these values at rung 1 and are paused."""
    for number, value in enumerate(values, start=first):
        verdict = halving.judge(str(number), 1, value)
        assert verdict is not None
        assert verdict.action is Action.PAUSE


class Trials:
    """Trials that train from rung to rung as they are let."""

    def __init__(self, halving: Judged) -> None:
        self.halving = halving
        self.place: defaultdict[str, int] = defaultdict(lambda: -1)
        self.ended: set[str] = set()
        self.waiting: set[str] = set()

    def play(self, stream: list[Event]) -> list[Any]:
        outcomes: list[Any] = []
        for event, trial_id, value in stream:
            if event == "resume":
                chosen = self.halving.promote(lambda i: i not in self.ended)
                if chosen is not None:
                    self.waiting.remove(chosen)
                    self.halving.table.reopen(chosen)
                outcomes.append(chosen)
            elif event == "end":
                self._end(trial_id)
            elif trial_id not in self.ended | self.waiting and self.place[trial_id] < 3:
                self.place[trial_id] += 1
                verdict = self.halving.judge(trial_id, LEVELS[self.place[trial_id]], value)
                assert verdict is not None
                if verdict.action is Action.PAUSE:
                    self.waiting.add(trial_id)
                    self.halving.table.pause(trial_id)
                else:
                    self._end(trial_id)
                outcomes.append(verdict.action)
        return outcomes

    def _end(self, trial_id: str) -> None:
        self.ended.add(trial_id)
        self.waiting.discard(trial_id)
        if trial_id in self.halving.table:
            self.halving.table.end(trial_id, TrialState.STOPPED_EARLY)


@given(events, st.integers(2, 4))
def test_a_plain_retelling_of_the_rules_agrees(stream: list[Event], eta: int) -> None:
    """An oracle that looks at everything anew each time."""
    halving = Judged(Promotion(max_t=81, reduction_factor=eta))
    levels = [rung.level for rung in halving.rungs]
    recorded: dict[float, dict[str, float]] = {level: {} for level in levels}
    promoted: dict[float, list[str]] = {level: [] for level in levels}
    at: dict[str, int] = {}
    ended: set[str] = set()
    for event, trial_id, value in stream:
        if event == "end":
            ended.add(trial_id)
        elif event == "train":
            place = at.get(trial_id, -1)
            waits = place >= 0 and trial_id not in promoted[levels[place]]
            if trial_id in ended or waits or place + 1 == len(levels):
                continue
            at[trial_id] = place + 1
            rung = recorded[levels[place + 1]]
            rung[trial_id] = value if math.isfinite(value) else -math.inf
            verdict = halving.judge(trial_id, levels[place + 1], value)
            assert verdict is not None
            stops = not math.isfinite(value) and any(math.isfinite(v) for v in rung.values())
            assert verdict.action is (Action.STOP if stops else Action.PAUSE)
            if stops:
                ended.add(trial_id)
        else:
            expected = None
            for level in reversed(levels):
                rung = recorded[level]
                best = max(
                    (i for i in rung if i not in promoted[level] and i not in ended),
                    key=lambda i: (rung[i], -list(rung).index(i)),
                    default=None,
                )
                room = len(promoted[level]) < len(rung) // eta
                hopeless = best is not None and rung[best] == -math.inf < max(rung.values())
                if best is not None and room and not hopeless:
                    expected = best
                    promoted[level].append(best)
                    break
            assert halving.promote(lambda i: i not in ended) == expected
        for view in halving.rungs:
            assert view.recorded == len(recorded[view.level])
            assert view.went_on == len(promoted[view.level]) <= view.recorded // eta


def test_the_highest_rung_is_looked_at_first() -> None:
    halving = Judged(Promotion(max_t=27))
    pause(halving, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2)
    best = [halving.promote(everyone) for _ in range(3)]
    assert best == ["11", "10", "9"]
    for trial_id in ("11", "10", "9"):
        halving.judge(trial_id, 3, 0.5)
    # At rung 3 the first of three that tie, then the fourth at rung 1, then a new trial.
    assert [halving.promote(everyone) for _ in range(3)] == ["11", "8", None]


def test_at_the_end_the_best_of_a_few_goes_on() -> None:
    halving = Judged(Promotion(max_t=27))
    pause(halving, 0.1, 0.2)
    assert halving.promote(everyone) is None
    assert halving.promote(everyone, closing=True) == "1"
    assert halving.promote(everyone, closing=True) is None
    halving.judge("1", 3, 0.2)
    assert halving.promote(everyone, closing=True) == "1"


def test_the_worst_at_the_lowest_rung_is_given_up_first() -> None:
    halving = Judged(Promotion(max_t=27))
    pause(halving, 0.3, 0.1, 0.2)
    assert halving.promote(everyone) == "0"
    halving.judge("0", 3, 0.0)
    assert halving.give_up(lambda trial_id: trial_id != "1") == "2"
    assert halving.give_up(everyone) == "0"
    assert halving.give_up(everyone) is None


def test_a_retry_of_a_paused_trial_is_paused_where_it_was() -> None:
    halving = Judged(Promotion(max_t=27))
    pause(halving, 0.3)
    assert halving.judge("0", 0.5, 0.9) is None
    verdict = halving.judge("0", 1, 0.9)
    assert verdict is not None
    assert verdict.action is Action.PAUSE
    assert halving.rungs[0].recorded == 1


def test_what_is_not_finite_is_never_promoted_past_something_finite() -> None:
    halving = Judged(Promotion(max_t=27))
    pause(halving, math.nan, -math.inf, math.inf)
    verdict = halving.judge("3", 1, 0.1)
    assert verdict is not None
    assert verdict.rank == 1
    verdict = halving.judge("4", 1, math.nan)
    assert verdict is not None
    assert verdict.reason == "rank 2 of 5 at rung 1: only the best continues"
    assert verdict.action is Action.STOP
    assert [halving.promote(everyone) for _ in range(2)] == ["3", None]
    halving = Judged(Promotion(max_t=27))
    pause(halving, math.nan, math.nan, math.nan)
    assert halving.promote(everyone) == "0"


def test_why_it_waits() -> None:
    halving = Judged(Promotion(max_t=27))
    pause(halving, 0.3, 0.2)
    assert halving.explain("1") == "rank 2 of 2 at rung 1: too few for one to continue"
    pause(halving, 0.3, 0.2, 0.4)
    assert halving.explain("1") == "rank 3 of 3 at rung 1: only the best continues"


@given(events, events)
def test_replayed_from_the_table_it_decides_the_same(
    before: list[Event], after: list[Event]
) -> None:
    one = Trials(Judged(Promotion(max_t=81, seed=3)))
    one.play([event for event in before if event[0] != "end" or event[1] in one.waiting])
    other = Trials(Judged(one.halving.replay(Promotion(max_t=81, seed=3))))
    assert other.halving.rungs == one.halving.rungs
    for trial_id in one.place:
        assert other.halving.verdict(trial_id).action == one.halving.verdict(trial_id).action
    other.halving.table = pickle.loads(pickle.dumps(one.halving.table))
    other.place.update(one.place)
    other.ended, other.waiting = set(one.ended), set(one.waiting)
    assert other.play(after) == one.play(after)
    assert other.halving.rungs == one.halving.rungs


def test_what_a_trial_has_passed() -> None:
    """Of a restored trial without a record, only the last report is known."""
    halving = Promotion(max_t=27)
    assert halving.passed("a", 1) == ()
    assert halving.passed("a", 9) == (1, 3)
    assert halving.passed("a", 10) == (1, 3, 9)
