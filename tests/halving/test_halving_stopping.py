"""Asynchronous successive halving: who goes on."""

from __future__ import annotations

import math
import pickle
import re
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judged import Judged

from raytuner.errors import SettingError
from raytuner.halving import Action, Stopping, Verdict
from raytuner.history import TrialState

Report = tuple[str, int, float]

values = st.floats(allow_nan=True, allow_infinity=True)
# Any order: t goes back (a retry), stands still (a repeat) and jumps over rungs.
reports = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 40), values), max_size=80)


def judge_all(halving: Judged, stream: list[Report]) -> list[Verdict | None]:
    return [halving.judge(*report) for report in stream]


def at_rung_one(*stream: float, reduction_factor: int = 3) -> list[Verdict]:
    """Verdicts on these values, one trial each, at rung 1."""
    halving = Judged(Stopping(reduction_factor=reduction_factor))
    verdicts = judge_all(halving, [(str(i), 1, value) for i, value in enumerate(stream)])
    return [verdict for verdict in verdicts if verdict is not None]


def actions(verdicts: list[Verdict]) -> str:
    """One letter a verdict: c for continue, s for stop."""
    return "".join(verdict.action.value[0] for verdict in verdicts)


@given(reports, st.integers(1, 3))
def test_a_plain_retelling_of_the_rules_agrees(stream: list[Report], brackets: int) -> None:
    """An oracle that keeps every value in plain lists and counts."""
    halving = Judged(Stopping(max_t=30, brackets=brackets, seed=1))
    recorded: dict[tuple[int, int], list[float]] = defaultdict(list)
    done: dict[str, tuple[int, str]] = {}
    for trial_id, t, value in stream:
        verdict = halving.judge(trial_id, t, value)
        level, action = done.get(trial_id, (0, "continue"))
        bracket = halving.bracket_of(trial_id)
        reached = [r for r in (1, 3, 9, 27)[bracket:] if r <= t]
        if action == "continue" and reached and reached[-1] > level:
            level = reached[-1]
            others = recorded[bracket, level]
            others.append(value)
            finite = [v for v in others if math.isfinite(v)]
            if math.isfinite(value):
                goes_on = sum(v > value for v in finite) < max(1, len(others) // 3)
            else:
                goes_on = not finite
            done[trial_id] = level, "continue" if goes_on else "stop"
        assert (verdict is None) == (trial_id not in done)
        if verdict is not None:
            assert (verdict.rung, verdict.action) == done[trial_id]
    assert {(r.bracket, r.level): r.recorded for r in halving.rungs if r.recorded} == {
        rung: len(held) for rung, held in recorded.items()
    }


@given(reports)
def test_a_trial_is_judged_once_at_a_rung_and_a_verdict_stands(stream: list[Report]) -> None:
    halving = Judged(Stopping(max_t=30))
    seen: dict[tuple[str, float], Verdict] = {}
    for trial_id, t, value in stream:
        verdict = halving.judge(trial_id, t, value)
        if verdict is not None:
            assert seen.setdefault((trial_id, verdict.rung), verdict) is verdict
    assert len(seen) == sum(rung.recorded for rung in halving.rungs)
    went_on = sum(verdict.action is Action.CONTINUE for verdict in seen.values())
    assert went_on == sum(rung.went_on for rung in halving.rungs)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60, unique=True), st.integers(2, 5))
def test_distinct_values_are_ranked_among_those_before(stream: list[float], eta: int) -> None:
    for n, verdict in enumerate(at_rung_one(*stream, reduction_factor=eta), start=1):
        value, so_far = stream[n - 1], sorted(stream[:n], reverse=True)
        quota = max(1, n // eta)
        assert verdict.rank == so_far.index(value) + 1
        assert (verdict.recorded, verdict.quota) == (n, quota)
        assert (verdict.action is Action.CONTINUE) == (value >= so_far[quota - 1])
        if value == max(stream[:n]):
            assert verdict.action is Action.CONTINUE


@pytest.mark.parametrize("eta", [3])
def test_in_the_long_run_one_in_eta_goes_on(eta: int) -> None:
    # In random order the n-th value's rank is uniform on 1 to n, independently of the others.
    n = 3000
    stream = np.random.default_rng(0).random(n)
    went_on = sum(v.action is Action.CONTINUE for v in at_rung_one(*stream, reduction_factor=eta))
    chances = np.array([max(1, k // eta) / k for k in range(1, n + 1)])
    sd = float(np.sqrt(np.sum(chances * (1 - chances))))
    assert abs(went_on - float(chances.sum())) < 4 * sd
    assert went_on / n == pytest.approx(1 / eta, abs=0.04)


def test_ties_go_on() -> None:
    verdicts = at_rung_one(0.5, 0.5, 0.5, 0.5)
    assert actions(verdicts) == "cccc"
    assert [verdict.rank for verdict in verdicts] == [1, 1, 1, 1]


def test_what_is_not_finite_stops_where_anything_finite_is_recorded() -> None:
    # Ray's ASHA lets NaN pass every rung, as NaN < cutoff is False.
    assert actions(at_rung_one(0.1, math.nan, math.inf, -math.inf)) == "csss"
    # Also where its rank would do: 2 of 6 go on, one is finite.
    verdicts = at_rung_one(math.nan, math.nan, math.nan, math.inf, 0.1, math.nan)
    assert actions(verdicts) == "cccccs"
    assert verdicts[-1] == Verdict(Action.STOP, rung=1, rank=2, recorded=6, quota=2)


@given(st.sampled_from([math.nan, math.inf, -math.inf]), st.floats(-1e300, 1e300))
def test_any_finite_value_beats_what_is_not(worst: float, value: float) -> None:
    verdicts = at_rung_one(worst, value)
    assert verdicts[1].rank == 1


def test_a_jump_counts_for_the_highest_rung_reached_only() -> None:
    halving = Judged(Stopping(max_t=100))
    verdict = halving.judge("a", 11, 0.9)
    assert verdict is not None
    assert verdict.rung == 9
    assert [(rung.level, rung.recorded) for rung in halving.rungs] == [
        (1, 0),
        (3, 0),
        (9, 1),
        (27, 0),
        (81, 0),
    ]
    # Nor is it judged below afterwards, as with Ray's ASHA, which would take the next report for
    # rung 3 and the one after it for rung 1.
    assert halving.judge("a", 12, 0.9) is verdict
    assert halving.judge("a", 2, 0.1) is verdict
    assert sum(rung.recorded for rung in halving.rungs) == 1


def test_a_stopped_trial_stays_stopped() -> None:
    halving = Judged(Stopping())
    halving.judge("a", 1, 0.5)
    stopped = halving.judge("b", 1, 0.4)
    assert halving.judge("b", 9, 0.9) is stopped
    assert halving.judge("b", 0, 0.9) is stopped
    assert halving.verdict("b") is stopped
    assert halving.verdict("never judged") is None


def test_no_verdict_before_the_first_rung() -> None:
    assert Judged(Stopping(grace_period=5)).judge("a", 4, math.nan) is None


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (
            Verdict(Action.CONTINUE, rung=0.5, rank=1, recorded=2, quota=1),
            "rank 1 of 2 at rung 0.5: only the best continues",
        ),
        (
            Verdict(Action.STOP, rung=1, rank=2, recorded=6, quota=2),
            "no finite value at rung 1, where another trial has one",
        ),
    ],
)
def test_reasons(verdict: Verdict, reason: str) -> None:
    assert verdict.reason == reason


def test_brackets_are_drawn_by_seed_and_weight() -> None:
    def draw(seed: int) -> list[int]:
        halving = Judged(Stopping(max_t=9, brackets=2, seed=seed))
        return [halving.bracket_of(str(trial)) for trial in range(4000)]

    assert draw(0) == draw(0)
    assert draw(0) != draw(1)
    # Weights 3**2 / 3 and 3**1 / 2: bracket 1 has 1.5 in 4.5. Six standard deviations wide.
    assert 1333 - 180 < sum(draw(0)) < 1333 + 180


def test_a_bracket_follows_from_the_id_and_the_seed_alone() -> None:
    one, two = (Stopping(max_t=27, brackets=None, seed=7) for _ in range(2))
    names = [str(trial) for trial in range(100)]
    assert [one.bracket_of(n) for n in names] == [two.bracket_of(n) for n in reversed(names)][::-1]
    unseeded = Stopping(max_t=27, brackets=None)
    again = pickle.loads(pickle.dumps(unseeded))  # as Ray restores it
    assert [again.bracket_of(n) for n in names] == [unseeded.bracket_of(n) for n in names]


def test_a_trial_of_the_bracket_without_rungs_is_never_judged() -> None:
    halving = Judged(Stopping(max_t=9, brackets=None, seed=0))
    free = next(str(i) for i in range(100) if halving.bracket_of(str(i)) == 2)
    assert all(halving.judge(free, t, 0.1) is None for t in range(9))


def test_brackets_rank_their_own_trials_only() -> None:
    halving = Judged(Stopping(max_t=9, brackets=2, seed=0))
    first: dict[int, str] = {}
    for trial in map(str, range(20)):
        first.setdefault(halving.bracket_of(trial), trial)
    for bracket, value in ((0, 0.9), (1, 0.1)):
        verdict = halving.judge(first[bracket], 3, value)
        assert verdict is not None
        assert (verdict.rank, verdict.recorded) == (1, 1)
    assert [(rung.bracket, rung.level, rung.recorded) for rung in halving.rungs] == [
        (0, 1, 0),
        (0, 3, 1),
        (1, 3, 1),
    ]


@given(reports, reports)
def test_replayed_from_the_table_it_decides_the_same(
    before: list[Report], after: list[Report]
) -> None:
    halving = Judged(Stopping(max_t=30, brackets=3, seed=3))
    reported: set[tuple[str, int]] = set()
    for trial_id, t, value in before:
        has_ended = trial_id in halving.table and not halving.table.is_live(trial_id)
        if has_ended or (trial_id, t) in reported or t >= 30:  # complete: no rule is asked
            continue
        reported.add((trial_id, t))
        verdict = halving.judge(trial_id, t, value)
        if verdict is not None and verdict.action is Action.STOP:
            halving.table.end(trial_id, TrialState.STOPPED_EARLY)
    replayed = halving.replay(Stopping(max_t=30, brackets=3, seed=3))
    assert replayed.rungs == halving.rungs
    for trial_id in {trial_id for trial_id, _ in reported}:
        assert replayed.verdict(trial_id) == halving.verdict(trial_id)
    for trial_id, t, value in after:
        verdict = halving.judge(trial_id, t, value)
        if halving.table.has_value(trial_id, t):
            assert replayed.decide(halving.table, trial_id, t) == verdict


@pytest.mark.parametrize("seed", [-1, True, 1.5])
def test_bad_seeds_are_named(seed: Any) -> None:
    with pytest.raises(SettingError, match=re.escape(f"seed is {seed!r}; ")):
        Stopping(seed=seed)


def test_max_t_is_plain() -> None:
    assert Stopping(max_t=30).max_t == 30
