"""Checks of a record's metadata.

A record may come from elsewhere (see docs/trust.md), and pages and commands show its metadata. So
the types are checked once, when the record is read. Keys that are not named here may hold anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import UnionType
from typing import Any

from raytuner.history.trial import TrialState

LATEST = 253_402_300_800.0  # the year 10000, in Unix seconds


def is_time(value: Any) -> bool:
    """Whether a value is a time in Unix seconds that calendars can show."""
    return _is_number(value) and 0 <= value < LATEST


def misshapen(meta: Mapping[str, Any]) -> str | None:
    """Return an error text for the first value of a wrong type; None if there is none.

    >>> misshapen({"finished": True, "runs": "many"})
    "what it keeps as 'runs' is not what a study keeps"
    """
    for key, value in meta.items():
        if key in _SHAPES and value is not None and not _fits(value, _SHAPES[key]):
            return f"what it keeps as {key!r} is not what a study keeps"
    return None


def _fits(value: Any, shape: Any) -> bool:
    """Whether a value has a shape.

    A shape is a type, a function that checks the value, `[shape]` for a list of such values, or a
    dict of shapes by key. The key `...` stands for every key.
    """
    if isinstance(shape, type | UnionType):
        return isinstance(value, shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(item, shape[0]) for item in value)
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return False
        if ... in shape:
            return _fits([*value.values()], [shape[...]])
        return all(_fits(value.get(key), part) for key, part in shape.items())
    return bool(shape(value))


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) < 1e300 and not math.isnan(value)


def _is_settings(value: Any) -> bool:
    resources = value.get("resources") if isinstance(value, dict) else {}
    gpu = resources.get("gpu", 0) if isinstance(resources, dict) else 0
    return isinstance(value, dict) and _is_number(gpu)


def _is_prior(value: Any) -> bool:
    """Whether a value is a density over a unit interval: a width and a mass for each unit."""
    if not _fits(value, {"units": [_is_number], "widths": [_is_number], "mass": [_is_number]}):
        return False
    return len(value["units"]) == len(value["widths"]) == len(value["mass"])


def _is_report(value: Any) -> bool:
    """Whether a value is a resource with the objectives there, some of which may be missing."""
    return _fits(value, [int | float | None]) and len(value) >= 2 and value[0] is not None


_RUN = {
    "what": str,
    "at": is_time,
    "program": str | None,
    "folder": str,
    "changes": lambda value: value is None or _fits(value, [str]),
    "versions": {...: str},
}

_EARLIER_TRIAL = {
    "values": dict,
    "state": lambda value: value in [*TrialState],
    "curve": [_is_report],
}

_EARLIER = {
    "name": str,
    "max_t": lambda value: value is None or _is_number(value),
    "trials": [_EARLIER_TRIAL],
}

_SHAPES: dict[str, Any] = {
    "time_attr": str,
    "max_t": _is_number,
    "curves": [str],
    "runs": [_RUN],
    "settings": _is_settings,
    "finished": bool,
    "trainable": str,
    "num_samples": int,
    "first_of_run": int,
    "time_budget_s": _is_number,
    "gpu_hours_used": _is_number,
    "live": str,
    "search_id": str,
    "search_space": dict,
    "confirmed": {...: [int | float]},
    "earlier": [_EARLIER],
    "priors": {...: _is_prior},
}
