"""The schedulers by their names in study files and on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from typing import Any

from raytuner.errors import SettingError
from raytuner.history import Goal
from raytuner.schedulers.asha import ASHAScheduler, HyperBandScheduler
from raytuner.schedulers.forecasting import (
    FreezeThawScheduler,
    PredictiveTerminationScheduler,
    can_forecast,
)
from raytuner.schedulers.rule_scheduler import RuleScheduler
from raytuner.space.template import known_names

ASHA, PREDICTIVE_TERMINATION = "asha", "predictive-termination"

SCHEDULERS: dict[str, Callable[..., RuleScheduler]] = {
    ASHA: ASHAScheduler,
    "promotion": partial(ASHAScheduler, variant="promotion"),
    "hyperband": HyperBandScheduler,
    PREDICTIVE_TERMINATION: PredictiveTerminationScheduler,
    "freeze-thaw": FreezeThawScheduler,
}
"""The constructor of each scheduler. A new one is a class and a line here; see `make_scheduler`."""


def default_scheduler(
    goal: Goal | None, *, max_t: float | None, reduction_factor: int | None = None
) -> str | None:
    """Return the name of the default scheduler.

    This is predictive termination if it can forecast: with the same budget, its best trials are
    better (`benchmarks/RESULTS.md`). Otherwise it is ASHA.

    Args:
        goal: The goal of the searcher's record; None if the searcher keeps no record.
        max_t: A trial's full resource; None if trials are not stopped early.
        reduction_factor: The user's factor, which only ASHA uses; None if not given.

    Returns:
        A key of `SCHEDULERS`; None if there is no `max_t`.
    """
    if max_t is None:
        return None
    forecasts = goal is not None and can_forecast(goal) and reduction_factor is None
    return PREDICTIVE_TERMINATION if forecasts else ASHA


def recorded_scheduler(settings: Mapping[str, Any]) -> str | None:
    """Return the scheduler in the settings of a record: a name or a class; None if none.

    Older records do not name their default, ASHA.
    """
    unnamed = None if settings.get("max_t") is None else ASHA
    return settings.get("scheduler") or unnamed


def check_reduction_factor(name: str, reduction_factor: int | None) -> None:
    """Raise a SettingError if the factor was given and the scheduler has none."""
    if reduction_factor is not None and name in SCHEDULERS and not _takes(name, "reduction_factor"):
        raise SettingError(
            f"reduction_factor is {reduction_factor!r}, but scheduler={name!r} does not use it;"
            f" leave it out, or give scheduler={ASHA!r} too"
        )


def _takes(name: str, setting: str) -> bool:
    return setting in signature(SCHEDULERS[name]).parameters


def make_scheduler(name: str, *, max_t: float | None, **settings: Any) -> RuleScheduler:
    """Make a scheduler by its name.

    Args:
        name: Key of `SCHEDULERS`.
        max_t: A trial's full resource.
        settings: Further arguments of `ASHAScheduler`. Those that the scheduler does not take are
            ignored. None: the scheduler's own default.

    Raises:
        SettingError: The name is unknown, there is no `max_t`, or a number is out of range.
    """
    if name not in SCHEDULERS:
        raise SettingError(
            f"scheduler={name!r} is unknown; it must be one of {known_names(name, SCHEDULERS)}"
        )
    if max_t is None:
        raise SettingError(f"scheduler={name!r} needs max_t, a trial's full resource")
    taken = {key: v for key, v in settings.items() if v is not None and _takes(name, key)}
    return SCHEDULERS[name](max_t=max_t, **taken)
