"""Judging at rungs by several objectives and by constraints."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from judged import SEVERAL, Judged

from raytuner.halving import Action, Promotion, Score, Stopping
from raytuner.halving.rule import Merits

numbers = st.sampled_from([-1.0, 0.0, 0.5, 1.0, math.nan, math.inf])
scores = st.builds(
    Score, st.tuples(numbers, numbers), st.sampled_from([0.0, 0.0, 1.0, 2.0, math.inf])
)


@given(st.lists(scores, min_size=1, max_size=10))
def test_fronts_follow_one_after_another(found: list[Score]) -> None:
    merits, held = Merits(), dict[int, float]()
    for score in found:
        held |= {row: float(merits.held[row]) for row in merits.add(score)}
    assert [*map(held.get, range(len(found)))] == merits.held.tolist()
    front = np.floor(-merits.held)
    kept = [
        i for i, one in enumerate(found) if not one.violation and np.isfinite(one.objectives).all()
    ]
    for i in kept:
        better = [
            front[j]
            for j in kept
            if found[j] != found[i] and np.all(np.array(found[j].objectives) >= found[i].objectives)
        ]
        assert front[i] == 1 + max(better, default=-1)


@given(st.lists(scores, min_size=1, max_size=10))
def test_whoever_dominates_has_more_merit(found: list[Score]) -> None:
    merits = Merits()
    for score in found:
        merits.add(score)
    held = merits.held.tolist()
    for one, a in zip(found, held, strict=True):
        for two, b in zip(found, held, strict=True):
            if not np.isfinite(one.objectives).all():
                assert a == -math.inf
            elif not np.isfinite(two.objectives).all():
                assert a > b
            elif one.violation != two.violation and 0 in (one.violation, two.violation):
                assert (a > b) is (one.violation == 0)
            elif one.violation > 0:
                assert (a > b) is (one.violation < two.violation)
            elif np.all(np.array(one.objectives) >= two.objectives) and one != two:
                assert a > b


def test_a_rung_ranks_by_fronts_and_keeps_the_ends_of_one() -> None:
    halving = Judged(Stopping(max_t=9), SEVERAL)
    curves = {"a": (1.0, 0.0), "b": (0.0, 1.0), "c": (0.6, 0.5), "d": (0.5, 0.4), "e": (0.4, 0.3)}
    verdicts = {i: halving.judge(i, 1, Score(pair)) for i, pair in curves.items()}
    assert verdicts["e"] is not None
    assert verdicts["e"].action is Action.STOP
    assert verdicts["e"].reason == "rank 5 of 5 at rung 1: only the best continues"
    ends = halving.judge("f", 1, Score((2.0, -1.0)))
    assert ends is not None
    assert ends.action is Action.CONTINUE


def test_what_breaks_a_constraint_is_promoted_last() -> None:
    halving = Judged(Promotion(max_t=9), SEVERAL)
    for i in range(6):
        halving.judge(str(i), 1, Score((float(i), float(i)), violation=float(i > 2)))
    alive = {str(i) for i in range(6)}
    assert halving.promote(alive.__contains__) == "2"
    assert halving.promote(alive.__contains__) == "1"
    assert halving.promote(alive.__contains__) is None


@given(st.lists(scores, min_size=1, max_size=8), scores)
def test_a_replayed_rung_goes_on_as_it_was(found: list[Score], late: Score) -> None:
    halving = Judged(Promotion(max_t=9, seed=0), SEVERAL)
    for i, score in enumerate(found):
        halving.judge(str(i), 1, score)
        halving.table.pause(str(i))
    again = halving.replay(Promotion(max_t=9, seed=0))
    halving.judge("late", 1, late)
    again.decide(halving.table, "late", 1)
    assert halving.promote(lambda trial_id: True) == again.promote(lambda trial_id: True)
    assert halving.rungs == again.rungs
