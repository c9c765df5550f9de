"""Recommend a number of workers, from predictions for several numbers."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from raytuner.simulate.simulation import Simulation

DEAREST_STEP = 1.5
"""A step to more workers is worthwhile only if worker-hours rise by at most this factor."""


@dataclass(frozen=True, kw_only=True)
class FleetPrediction:
    """A prediction for one number of workers: means over several seeds.

    Attributes:
        workers: The number of workers.
        seconds: Seconds until the search ends.
        hours: Worker-hours, including idle time.
        utilisation: Share of these hours in which trials train, from 0 to 1.
        value: The best value; None if a seed found none, or with several objectives.
        spread: Standard deviation of the best value over the seeds; 0 with one seed.
        is_cut: Whether the time budget ended the search for some seed.
    """

    workers: int
    seconds: float
    hours: float
    utilisation: float
    value: float | None = None
    spread: float = 0.0
    is_cut: bool = False

    @classmethod
    def of(
        cls, workers: int, runs: Sequence[Simulation], values: Sequence[float | None]
    ) -> FleetPrediction:
        """Return the means over one simulation, and its best value, for each seed."""
        known = [value for value in values if value is not None]
        return cls(
            workers=workers,
            seconds=statistics.fmean(run.end_s for run in runs),
            hours=statistics.fmean(run.worker_hours() for run in runs),
            utilisation=statistics.fmean(run.utilisation() for run in runs),
            value=statistics.fmean(known) if len(known) == len(runs) else None,
            spread=statistics.stdev(known) if len(known) > 1 else 0.0,
            is_cut=any(run.ended == "time_budget" for run in runs),
        )


@dataclass(frozen=True)
class Advice:
    """A recommended number of workers, and why no larger one.

    Attributes:
        chosen: The recommended number.
        after: The next larger number, which is not worthwhile; None if the table has none.
        reason: Why `after` is not worthwhile. "time": worker-hours rise by at least the factor by
            which time falls. "cost": worker-hours rise by more than a half. "value": the best
            value is worse, or not better if there is a time budget.
        in_budget: Whether a time budget ends the search. More workers then find more instead of
            taking less time.
    """

    chosen: FleetPrediction
    after: FleetPrediction | None = None
    reason: Literal["time", "cost", "value"] | None = None
    in_budget: bool = False


def advise(fleets: Sequence[FleetPrediction], mode: str) -> Advice | None:
    """Recommend one of several numbers of workers.

    If the search runs all its trials, the advice balances time and worker-hours. From the smallest
    number on, a step to the next larger one is worthwhile if

    - time falls by a larger factor than worker-hours rise,
    - worker-hours rise by at most a half, and
    - the best value does not become worse by more than the spread: the larger one of the two
      standard deviations over the seeds.

    The advice is the last number before the first step that is not worthwhile.

    If a time budget ends the search, the advice balances the best value and worker-hours. It is the
    smallest number whose best value is within the spread of the best in the table.

    Args:
        fleets: Predictions for different numbers of workers, in any order.
        mode: "min" if small values are good, "max" if large ones are.

    Returns:
        The advice. None if there is nothing to compare: fewer than two numbers, or a time budget
        but no values.
    """
    fleets = sorted(fleets, key=lambda fleet: fleet.workers)
    sign = 1.0 if mode == "max" else -1.0
    if len(fleets) < 2:
        return None
    if any(fleet.is_cut for fleet in fleets):
        scores = {n: sign * f.value for n, f in enumerate(fleets) if f.value is not None}
        if not scores:
            return None
        best = fleets[max(scores, key=scores.__getitem__)]
        n = next(n for n in scores if not _is_worse(fleets[n], best, sign))
        after = fleets[n + 1] if n + 1 < len(fleets) else None
        return Advice(fleets[n], after, None if after is None else "value", in_budget=True)
    chosen = best = fleets[0]
    for after in fleets[1:]:
        if after.seconds * after.hours >= chosen.seconds * chosen.hours:
            return Advice(chosen, after, "time")
        if after.hours > DEAREST_STEP * chosen.hours:
            return Advice(chosen, after, "cost")
        if _is_worse(after, best, sign):
            return Advice(chosen, after, "value")
        chosen = after
        if best.value is None or (
            after.value is not None and sign * (after.value - best.value) > 0
        ):
            best = after
    return Advice(chosen)


def _is_worse(one: FleetPrediction, other: FleetPrediction, sign: float) -> bool:
    """Return whether the best value is worse by more than the spread."""
    if other.value is None or one.value is None:
        return other.value is not None
    return sign * (other.value - one.value) > max(one.spread, other.spread)
