"""The schedulers by the names that a study's file and the command line have for them."""

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
    """Return the name of the scheduler for a search that names none.

    Predictive termination where it can forecast: at an equal budget its best trials are better
    (`benchmarks/RESULTS.md`). ASHA elsewhere.

    Args:
        goal: The goal of the searcher's record; None: the searcher keeps no record.
        max_t: A trial's full resource; None: trials are not stopped early.
        reduction_factor: As the user gives it; only ASHA has one. None: not given.

    Returns:
        A key of `SCHEDULERS`; None if there is no `max_t`.
    """
    if max_t is None:
        return None
    forecasts = goal is not None and can_forecast(goal) and reduction_factor is None
    return PREDICTIVE_TERMINATION if forecasts else ASHA


def recorded_scheduler(settings: Mapping[str, Any]) -> str | None:
    """Return the scheduler of the settings in a record: a name, or a class; None for none.

    Earlier records do not name their default, which was ASHA.
    """
    unnamed = None if settings.get("max_t") is None else ASHA
    return settings.get("scheduler") or unnamed


def check_reduction_factor(name: str, reduction_factor: int | None) -> None:
    """Raise a SettingError if the factor was given and the scheduler has none."""
    if reduction_factor is not None and name in SCHEDULERS and not _takes(name, "reduction_factor"):
        raise SettingError(
            f"reduction_factor is {reduction_factor!r}, and scheduler={name!r} has none; leave it"
            f" out, or give scheduler={ASHA!r} too"
        )


def _takes(name: str, setting: str) -> bool:
    return setting in signature(SCHEDULERS[name]).parameters


def make_scheduler(name: str, *, max_t: float | None, **settings: Any) -> RuleScheduler:
    """Make the scheduler of a name, with those of these settings that its constructor takes.

    Args:
        name: Key of `SCHEDULERS`.
        max_t: A trial's full resource.
        settings: Others of `ASHAScheduler`'s; None for the scheduler's own default.

    Raises:
        SettingError: There is no such scheduler, there is no `max_t`, or a number is out of its
            range.
    """
    if name not in SCHEDULERS:
        raise SettingError(f"scheduler={name!r} is none of {known_names(name, SCHEDULERS)}")
    if max_t is None:
        raise SettingError(f"scheduler={name!r} needs max_t, a trial's full resource")
    taken = {key: v for key, v in settings.items() if v is not None and _takes(name, key)}
    return SCHEDULERS[name](max_t=max_t, **taken)
