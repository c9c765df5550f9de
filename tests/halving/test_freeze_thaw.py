"""Freezing and thawing by what trials promise: who has the slot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judged import Judged

from raytuner.errors import SettingError
from raytuner.halving import Action, FreezeThaw


@dataclass
class Foreseen:
    """What a test says of its trials."""

    chance: dict[str, float] = field(default_factory=dict)
    rate: dict[str, float] = field(default_factory=dict)
    newcomer: float = 0.0
    is_too_early: bool = False

    def __call__(self, trial_ids: Sequence[str]) -> Foreseen | None:
        assert set(trial_ids) <= self.rate.keys()
        return None if self.is_too_early else self

    def say(self, trial_id: str, chance: float, rate: float) -> None:
        self.chance[trial_id], self.rate[trial_id] = chance, rate


def everyone(trial_id: str) -> bool:
    return True


def action(halving: Judged, trial_id: str, t: float, value: float = 0.5) -> Action:
    verdict = halving.judge(trial_id, t, value)
    assert verdict is not None
    return verdict.action


def test_whoever_promises_most_has_the_slot() -> None:
    foreseen = Foreseen(newcomer=2.0)
    halving = Judged(FreezeThaw(foreseen, max_t=16))
    for trial_id, rate in (("a", 1.0), ("b", 3.0), ("c", 5.0)):
        foreseen.say(trial_id, 0.4, rate)
        assert action(halving, trial_id, 1) is Action.PAUSE
    assert [halving.promote(everyone) for _ in range(3)] == ["c", "b", None]
    assert [halving.waits(i) for i in "abc"] == [True, False, False]
    foreseen.newcomer = 0.5
    assert halving.promote(lambda i: i != "a") is None
    assert "chance of becoming the best: 40.0 %" in halving.explain("b")


def test_the_hopeless_end() -> None:
    foreseen = Foreseen()
    halving = Judged(FreezeThaw(foreseen, max_t=16))
    foreseen.say("a", 0.0004, 9.0)
    verdict = halving.judge("a", 1, 0.5)
    assert verdict is not None
    assert verdict.action is Action.STOP
    assert verdict.reason == ("chance of becoming the best: 0.0 % at rung 1, below 0.1 %")
    assert halving.promote(everyone, closing=True) is None


def test_without_new_trials_the_chance_decides() -> None:
    foreseen = Foreseen(newcomer=-math.inf)
    halving = Judged(FreezeThaw(foreseen, max_t=16))
    for trial_id, chance, rate in (("a", 0.04, 9.0), ("b", 0.06, 1.0), ("c", 0.3, 2.0)):
        foreseen.say(trial_id, chance, rate)
        halving.judge(trial_id, 1, 0.5)
    assert [halving.promote(everyone, closing=True) for _ in range(3)] == ["c", "b", None]


def test_while_too_little_is_known_trials_go_on() -> None:
    foreseen = Foreseen(is_too_early=True)
    halving = Judged(FreezeThaw(foreseen, max_t=16))
    foreseen.say("a", 0.0, 0.0)
    assert action(halving, "a", 1) is Action.CONTINUE
    assert halving.promote(everyone) is None


def test_where_nobody_foresees_the_better_half_is_promoted() -> None:
    halving = Judged(FreezeThaw(max_t=16))
    for trial_id, value in (("a", 0.1), ("b", 0.4), ("c", 0.3), ("d", 0.2)):
        assert action(halving, trial_id, 1, value) is Action.PAUSE
    assert [halving.promote(everyone) for _ in range(3)] == ["b", "c", None]


steps = st.lists(
    st.tuples(
        st.sampled_from(["train", "train", "resume", "close", "end"]),
        st.sampled_from("abcdefgh"),
        st.floats(0, 1),
        st.floats(0, 1),
    ),
    max_size=80,
)


@given(steps, st.sampled_from([-math.inf, 0.3, 0.8]))
def test_a_plain_retelling_of_the_rules_agrees(stream: list[Any], newcomer: float) -> None:
    """No trial goes on that is not paused, or has ended."""
    foreseen = Foreseen(newcomer=newcomer)
    halving = Judged(FreezeThaw(foreseen, max_t=16))
    levels = [rung.level for rung in halving.rungs]
    place: dict[str, int] = {}
    waiting: set[str] = set()
    ended: set[str] = set()
    for step, trial_id, chance, rate in stream:
        if step == "train":
            if trial_id in ended | waiting or place.get(trial_id, -1) + 1 == len(levels):
                continue
            place[trial_id] = place.get(trial_id, -1) + 1
            foreseen.say(trial_id, chance, rate)
            got = action(halving, trial_id, levels[place[trial_id]])
            assert got is (Action.STOP if chance < 0.001 else Action.PAUSE)
            (ended if got is Action.STOP else waiting).add(trial_id)
        elif step == "end":
            ended.add(trial_id)
            waiting.discard(trial_id)
        else:
            able = {i for i in waiting if newcomer > -math.inf or foreseen.chance[i] >= 0.05}
            best = max((foreseen.rate[i] for i in able), default=-math.inf)
            chosen = halving.promote(lambda i: i not in ended, closing=step == "close")
            if chosen is None:
                assert best <= newcomer
            else:
                assert chosen in able
                assert foreseen.rate[chosen] == best > newcomer
                waiting.remove(chosen)
        assert {i for i in place if halving.waits(i)} - ended == waiting


def test_replayed_reports_past_a_rung_say_that_the_trial_went_on() -> None:
    halving = Judged(FreezeThaw(max_t=16))
    for trial_id, t in (("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3)):
        halving.judge(trial_id, t, 0.5)
        halving.table.pause(trial_id)
    again = halving.replay(FreezeThaw(Foreseen(), max_t=16))  # of which nothing is asked here
    assert [again.waits(i) for i in "ab"] == [False, True]


@pytest.mark.parametrize("chance", [-0.1, 1.0, "5 %"])
def test_a_chance_that_is_none(chance: Any) -> None:
    with pytest.raises(SettingError, match=r"least_chance is .* must be a probability below 1"):
        FreezeThaw(least_chance=chance)
