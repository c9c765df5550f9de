"""The schedulers of the race; those by rank have the same rungs, 1, 3, 9, 27 of `max_t` units."""

from __future__ import annotations

from typing import Any

from ray.tune.schedulers import ASHAScheduler as RayASHA

from benchmarks.race.method import Contest
from raytuner import (
    ASHAScheduler,
    FreezeThawScheduler,
    HyperBandScheduler,
    PredictiveTerminationScheduler,
)

GRACE = 1
FACTOR = 3


def none(contest: Contest) -> None:
    """Every trial is trained in full."""


def ray_asha(contest: Contest) -> Any:
    """Ray's own."""
    return RayASHA(max_t=contest.problem.max_t, grace_period=GRACE, reduction_factor=FACTOR)


def our_asha(contest: Contest) -> Any:
    """Ours: with our searcher, the two find each other."""
    return ASHAScheduler(
        max_t=contest.problem.max_t, grace_period=GRACE, reduction_factor=FACTOR, seed=contest.seed
    )


def our_promotion(contest: Contest) -> Any:
    """Ours: pauses trials at the rungs, and promotes the best."""
    return ASHAScheduler(
        max_t=contest.problem.max_t,
        grace_period=GRACE,
        reduction_factor=FACTOR,
        variant="promotion",
        seed=contest.seed,
    )


def our_hyperband(contest: Contest) -> Any:
    """Ours: all brackets, stopping."""
    return HyperBandScheduler(
        max_t=contest.problem.max_t, reduction_factor=FACTOR, grace_period=GRACE, seed=contest.seed
    )


def our_forecasts(contest: Contest) -> Any:
    """Ours: stops by the forecast of the final value."""
    return PredictiveTerminationScheduler(max_t=contest.problem.max_t, grace_period=GRACE)


def our_freeze_thaw(contest: Contest) -> Any:
    """Ours: each free slot goes to the trial with the largest expected gain per second."""
    return FreezeThawScheduler(max_t=contest.problem.max_t, grace_period=GRACE)
