"""The schedulers by the names that a study's file and the command line have for them."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from raytuner.errors import SettingError
from raytuner.schedulers.asha import ASHAScheduler
from raytuner.schedulers.base import JudgingScheduler
from raytuner.schedulers.freeze_thaw import FreezeThawScheduler
from raytuner.schedulers.hyperband import HyperBandScheduler
from raytuner.schedulers.predictive import PredictiveTerminationScheduler

DEFAULT_SCHEDULER = "asha"

# Of time_attr, max_t, grace_period, reduction_factor and seed; what goes by forecasts has rungs of
# its own and draws nothing.
_Make = Callable[[str, float, float, int, int | None], JudgingScheduler]

SCHEDULERS: dict[str, _Make] = {
    DEFAULT_SCHEDULER: lambda time_attr, max_t, grace, factor, seed: ASHAScheduler(
        time_attr, max_t=max_t, grace_period=grace, reduction_factor=factor, seed=seed
    ),
    "promotion": lambda time_attr, max_t, grace, factor, seed: ASHAScheduler(
        time_attr,
        max_t=max_t,
        grace_period=grace,
        reduction_factor=factor,
        type="promotion",
        seed=seed,
    ),
    "hyperband": lambda time_attr, max_t, grace, factor, seed: HyperBandScheduler(
        time_attr, max_t=max_t, grace_period=grace, reduction_factor=factor, seed=seed
    ),
    "predictive-termination": lambda time_attr, max_t, grace, factor, seed: (
        PredictiveTerminationScheduler(time_attr, max_t=max_t, grace_period=grace)
    ),
    "freeze-thaw": lambda time_attr, max_t, grace, factor, seed: FreezeThawScheduler(
        time_attr, max_t=max_t, grace_period=grace
    ),
}


def make_scheduler(
    name: str,
    *,
    time_attr: str,
    max_t: float | None,
    grace_period: float,
    reduction_factor: int,
    seed: int | None,
) -> JudgingScheduler:
    """The scheduler of a name.

    Args:
        name: Key of `SCHEDULERS`.
        time_attr: See `ASHAScheduler`, as for the others.
        max_t: A trial's full resource.
        grace_period: The first rung.
        reduction_factor: Of those that go by rank.
        seed: Of what they draw.

    Raises:
        SettingError: There is no such scheduler, there is no `max_t`, or a number is outside of
            what it may be.
    """
    if name not in SCHEDULERS:
        near = difflib.get_close_matches(name, SCHEDULERS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SettingError(f"scheduler={name!r} is none of {', '.join(SCHEDULERS)}{hint}")
    if max_t is None:
        raise SettingError(f"scheduler={name!r} needs max_t, a trial's full resource")
    return SCHEDULERS[name](time_attr, max_t, grace_period, reduction_factor, seed)
