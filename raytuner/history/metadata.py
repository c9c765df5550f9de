"""Checks of a record's metadata.

A record may come from elsewhere (see docs/trust.md), and pages and commands show its metadata. So
the types are checked once, when the record is read. Keys that are not named here may hold anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from raytuner.history.trial import TrialState

LATEST = 253_402_300_800.0  # the year 10000, in Unix seconds:

_Shape = Callable[[Any], bool]


def is_time(value: Any) -> bool:
    """Whether a value is a time in Unix seconds that calendars can show."""
    return _number(value) and 0 <= value < LATEST


def misshapen(meta: Mapping[str, Any]) -> str | None:
    """Return an error text for the first value of a wrong type; None if there is none.

    >>> misshapen({"finished": True, "runs": "many"})
    "what it keeps as 'runs' is not what a study keeps"
    """
    for key, value in meta.items():
        shape = _SHAPES.get(key)
        if shape is not None and value is not None and not shape(value):
            return f"what it keeps as {key!r} is not what a study keeps"
    return None


def _is(*types: type) -> _Shape:
    return lambda value: isinstance(value, types)


def _number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) < 1e300 and not math.isnan(value)


def _all(shape: _Shape) -> _Shape:
    return lambda value: isinstance(value, list) and all(map(shape, value))


def _by_name(shape: _Shape) -> _Shape:
    return lambda value: isinstance(value, dict) and all(map(shape, value.values()))


def _run(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("what"), str)
        and is_time(value.get("at"))
        and isinstance(value.get("program"), str | None)
        and isinstance(value.get("folder"), str)
        and _all(_is(str))(value.get("changes", []))
        and _by_name(_is(str))(value.get("versions"))
    )


def _settings(value: Any) -> bool:
    resources = value.get("resources") if isinstance(value, dict) else {}
    gpu = resources.get("gpu", 0) if isinstance(resources, dict) else 0
    return isinstance(value, dict) and _number(gpu)


def _belief(value: Any) -> bool:
    """Whether a value is a density over a unit interval: as many masses and widths as places."""
    if not isinstance(value, dict):
        return False
    parts: list[Any] = [value.get(k) for k in ("units", "widths", "mass")]
    return all(map(_all(_number), parts)) and len({len(part) for part in parts}) == 1


def _earlier(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("name"), str)
        and (value.get("max_t") is None or _number(value["max_t"]))
        and _all(_ran)(value.get("trials"))
    )


def _ran(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("values"), dict)
        and value.get("state") in [*TrialState]
        and _all(_reached)(value.get("curve"))
    )


def _reached(value: Any) -> bool:
    """Whether a value is a resource with the objectives there, some of which may be missing."""
    return _all(_is(int, float, type(None)))(value) and len(value) >= 2 and value[0] is not None


_SHAPES: dict[str, _Shape] = {
    "time_attr": _is(str),
    "max_t": _number,
    "curves": _all(_is(str)),
    "runs": _all(_run),
    "settings": _settings,
    "finished": _is(bool),
    "trainable": _is(str),
    "num_samples": _is(int),
    "first_of_run": _is(int),
    "time_budget_s": _number,
    "gpu_hours_used": _number,
    "live": _is(str),
    "search_id": _is(str),
    "search_space": _is(dict),
    "confirmed": _by_name(_all(_is(int, float))),
    "earlier": _all(_earlier),
    "priors": _by_name(_belief),
}
