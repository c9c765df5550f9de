"""Each scheduler under the conformance tests."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from scheduler_conformance import MAX_T, Make, SchedulerConformance, SchedulerHooks
from scheduler_loop import LIVE, Loop, remembering

from raytuner import (
    ASHAScheduler,
    FreezeThawScheduler,
    HyperBandScheduler,
    PredictiveTerminationScheduler,
)
from raytuner.bayes import Outlook
from raytuner.halving.rung import Rung
from raytuner.history import Snapshot


class RankConformance(SchedulerConformance):
    """What holds of those that decide by rank, too."""

    reduction_factor = 3

    def check_restored(self, loop: Loop, after: Any) -> None:
        assert after.rule.rungs == loop.scheduler.rule.rungs

    def check(self, loop: Loop) -> None:
        """A rung holds each trial once."""
        for rung in rungs_of(loop.scheduler):
            ids = {trial.trial_id for trial in loop.trials}
            assert rung.went_on.keys() <= rung.values.keys() <= ids


def rungs_of(scheduler: Any) -> list[Rung]:
    return [rung for rungs in scheduler.rule._rungs for rung in rungs]


def check_same_values(loop: Loop, restored: Any) -> None:
    """The rungs of a restored rule have the values there were; no other trial has gone on."""
    for one, two in zip(rungs_of(loop.scheduler), rungs_of(restored), strict=True):
        # A trial whose pause failed, and that then got to the next rung, is taken for promoted.
        more = two.values.items() - one.values.items()
        assert one.values.items() <= two.values.items()
        assert len(more) <= loop.retried
        assert loop.retried or two.went_on.keys() <= one.went_on.keys()


class PromotionConformance(RankConformance):
    """What holds of those that promote, too."""

    def check(self, loop: Loop) -> None:
        """A rung promotes no more than its share; at the end of the search, one at least.

        After a restore, one that failed to pause and ran again is taken for promoted.
        """
        super().check(loop)
        mistaken = loop.retried if loop.restored else 0
        for rung in loop.scheduler.rule.rungs:
            share = rung.recorded // self.reduction_factor
            closing = loop.search_alg.is_finished()
            assert rung.went_on <= (max(1, share) if closing else share) + mistaken
        for trial_id, t, decision in loop.decisions:
            assert decision != "PAUSE" or t < MAX_T, trial_id

    def check_restored(self, loop: Loop, after: Any) -> None:
        """The same values, and the same trials went on, unless they have ended since."""
        check_same_values(loop, after)
        for trial in loop.trials:
            was, verdict = (s.rule.verdict(trial.trial_id) for s in (loop.scheduler, after))
            assert (was is None) == (verdict is None)
            if was is not None:
                assert was.rung == verdict.rung or (loop.retried and was.rung < verdict.rung)
                if not loop.retried and trial.status in LIVE:
                    assert verdict.action == was.action


class TestASHAStopping(RankConformance, SchedulerHooks):
    @pytest.fixture
    def make(self) -> Make:
        return lambda metric=None, mode=None: ASHAScheduler(
            metric=metric, mode=mode, max_t=MAX_T, seed=0
        )


class TestASHAPromotion(PromotionConformance, SchedulerHooks):
    @pytest.fixture
    def make(self) -> Make:
        return lambda metric=None, mode=None: ASHAScheduler(
            metric=metric, mode=mode, max_t=MAX_T, variant="promotion", seed=0
        )


class TestHyperBandStopping(RankConformance):
    @pytest.fixture
    def make(self) -> Make:
        return lambda metric=None, mode=None: HyperBandScheduler(
            metric=metric, mode=mode, max_t=MAX_T, seed=0
        )


class TestHyperBandPromotion(PromotionConformance):
    @pytest.fixture
    def make(self) -> Make:
        return lambda metric=None, mode=None: HyperBandScheduler(
            metric=metric, mode=mode, max_t=MAX_T, variant="promotion", seed=0
        )


class _Guess:
    """In place of a forecaster: forecasts at random, quickly, the same ones each time."""

    def __init__(self, space: Any) -> None:
        pass

    def outlook(
        self,
        snapshot: Snapshot,
        paused: Sequence[str],
        *,
        newcomer: str | None = None,
        is_last: bool,
        seconds: Mapping[str, float] | None = None,
        start_s: float = 0.0,
        in_slot: str | None = None,
    ) -> Outlook | None:
        assert start_s >= 0
        assert newcomer is None or newcomer in snapshot.trial_ids
        assert newcomer is None or not is_last
        assert all(value > 0 for value in (seconds or {}).values())
        rng = random.Random(f"{len(snapshot.y)} {sorted(paused)}")
        if rng.random() < 0.2:
            return None
        return Outlook(
            chance={i: rng.choice([0.0, 0.04, 0.3]) for i in paused},
            rate={i: rng.random() for i in paused},
            newcomer=-math.inf if is_last else rng.random(),
            incumbent="another",
        )


class TestPredictiveTermination(RankConformance):
    @pytest.fixture
    def make(self, monkeypatch: pytest.MonkeyPatch) -> Make:
        monkeypatch.setattr("raytuner.schedulers.forecasting.Forecaster", _Guess)
        return lambda metric=None, mode=None: PredictiveTerminationScheduler(
            metric=metric, mode=mode, max_t=MAX_T
        )

    def check_restored(self, loop: Loop, after: Any) -> None:
        """The same values at the rungs; of trials that still live, the same went on."""
        alive = {trial.trial_id for trial in loop.trials if trial.status in LIVE}
        for one, two in zip(rungs_of(loop.scheduler), rungs_of(after), strict=True):
            assert one.values == two.values
            assert alive & one.went_on.keys() <= two.went_on.keys()


class TestFreezeThaw(RankConformance, SchedulerHooks):
    @pytest.fixture
    def make(self, monkeypatch: pytest.MonkeyPatch) -> Make:
        monkeypatch.setattr("raytuner.schedulers.forecasting.Forecaster", _Guess)
        return lambda metric=None, mode=None: FreezeThawScheduler(
            metric=metric, mode=mode, max_t=MAX_T
        )

    def check(self, loop: Loop) -> None:
        """No trial is paused once it is complete."""
        super().check(loop)
        for trial_id, t, decision in loop.decisions:
            assert decision != "PAUSE" or t < MAX_T, trial_id

    def check_restored(self, loop: Loop, after: Any) -> None:
        """The same values at the rungs; who is past a rung has gone on from it."""
        check_same_values(loop, after)


@pytest.mark.parametrize("scheduler", [FreezeThawScheduler, PredictiveTerminationScheduler])
def test_beside_a_searcher_of_ours_they_forecast(
    scheduler: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    class Asked(_Guess):
        def outlook(self, *args: Any, **others: Any) -> Outlook | None:
            asked.append(args)
            return super().outlook(*args, **others)

    monkeypatch.setattr("raytuner.schedulers.forecasting.Forecaster", Asked)
    make: Make = lambda: scheduler(metric="loss", mode="min", max_t=MAX_T)  # noqa: E731
    loop = Loop(make, remembering(None), random.Random(0), samples=8, slots=2)
    loop.run()
    assert asked
    assert "by rank" not in caplog.text
