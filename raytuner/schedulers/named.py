"""The schedulers by the names that a study's file and the command line have for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

from raytuner.errors import SettingError
from raytuner.schedulers.asha import ASHAScheduler, HyperBandScheduler
from raytuner.schedulers.forecasting import FreezeThawScheduler, PredictiveTerminationScheduler
from raytuner.schedulers.rule_scheduler import RuleScheduler
from raytuner.space.template import known_names

DEFAULT_SCHEDULER = "asha"

SCHEDULERS: dict[str, Callable[..., RuleScheduler]] = {
    DEFAULT_SCHEDULER: ASHAScheduler,
    "promotion": partial(ASHAScheduler, variant="promotion"),
    "hyperband": HyperBandScheduler,
    "predictive-termination": PredictiveTerminationScheduler,
    "freeze-thaw": FreezeThawScheduler,
}
"""The constructor of each scheduler. A new one is a class and a line here; see `make_scheduler`."""


def make_scheduler(name: str, *, max_t: float | None, **settings: Any) -> RuleScheduler:
    """Make the scheduler of a name, with those of these settings that its constructor takes.

    Args:
        name: Key of `SCHEDULERS`.
        max_t: A trial's full resource.
        settings: Others of `ASHAScheduler`'s.

    Raises:
        SettingError: There is no such scheduler, there is no `max_t`, or a number is out of its
            range.
    """
    if name not in SCHEDULERS:
        raise SettingError(f"scheduler={name!r} is none of {known_names(name, SCHEDULERS)}")
    if max_t is None:
        raise SettingError(f"scheduler={name!r} needs max_t, a trial's full resource")
    make = SCHEDULERS[name]
    taken = {key: value for key, value in settings.items() if key in signature(make).parameters}
    return make(max_t=max_t, **taken)
