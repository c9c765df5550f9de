"""Each scheduler under the conformance tests."""

from __future__ import annotations

from typing import Any

import pytest
from scheduler_conformance import MAX_T, Make, SchedulerConformance
from scheduler_loop import Loop

from raytuner import ASHAScheduler, HyperBandScheduler


class RankConformance(SchedulerConformance):
    """What holds of those that decide by rank, too."""

    reduction_factor = 3

    def check_restored(self, loop: Loop, after: Any) -> None:
        assert after.halving.rungs == loop.scheduler.halving.rungs

    def check(self, loop: Loop) -> None:
        """A rung holds each trial once."""
        for rungs in loop.scheduler.halving.state_dict()["rungs"]:
            for rung in rungs:
                assert (
                    set(rung["went_on"])
                    <= set(rung["values"])
                    <= {trial.trial_id for trial in loop.trials}
                )


class PromotionConformance(RankConformance):
    """What holds of those that promote, too."""

    def check(self, loop: Loop) -> None:
        """A rung promotes no more than its share; at the end of the search, one at least.

        After a restore, one that failed to pause and ran again is taken for promoted.
        """
        super().check(loop)
        mistaken = loop.retried if loop.restored else 0
        for rung in loop.scheduler.halving.rungs:
            share = rung.recorded // self.reduction_factor
            closing = loop.search_alg.is_finished()
            assert rung.went_on <= (max(1, share) if closing else share) + mistaken
        for trial_id, t, decision in loop.decisions:
            assert decision != "PAUSE" or t < MAX_T, trial_id

    def check_restored(self, loop: Loop, after: Any) -> None:
        """The same values; and whoever was promoted and has not reported since, waits again."""
        before = loop.scheduler.halving
        old, new = before.state_dict(), after.halving.state_dict()
        for rungs, again in zip(old["rungs"], new["rungs"], strict=True):
            for one, two in zip(rungs, again, strict=True):
                assert one["values"] == two["values"]
                assert loop.retried or set(two["went_on"]) <= set(one["went_on"])
        reported = {trial.trial_id: trial.t for trial in loop.trials}
        for trial_id, was in old["verdicts"].items():
            verdict = new["verdicts"][trial_id]
            assert was["rung"] == verdict["rung"]
            if not loop.retried and reported[trial_id] > was["rung"]:
                assert verdict["action"] == was["action"] == "continue"


class TestASHAStopping(RankConformance):
    @pytest.fixture
    def make(self) -> Make:
        return lambda metric=None, mode=None: ASHAScheduler(
            metric=metric, mode=mode, max_t=MAX_T, seed=0
        )


class TestASHAPromotion(PromotionConformance):
    @pytest.fixture
    def make(self) -> Make:
        return lambda metric=None, mode=None: ASHAScheduler(
            metric=metric, mode=mode, max_t=MAX_T, type="promotion", seed=0
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
            metric=metric, mode=mode, max_t=MAX_T, type="promotion", seed=0
        )
