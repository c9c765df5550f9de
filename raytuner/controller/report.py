"""Read a trial's report: the resource, the goal's metrics and the further numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from numbers import Real
from typing import Any

from ray.tune.result import (
    AUTO_RESULT_KEYS,
    DEBUG_METRICS,
    DEFAULT_EXPERIMENT_INFO_KEYS,
    DONE,
    EPISODES_THIS_ITER,
    RESULT_DUPLICATE,
    SHOULD_CHECKPOINT,
    TIMESTEPS_THIS_ITER,
)

from raytuner.errors import MetricError
from raytuner.history import Goal

# What Ray adds to every report or reads as a signal: not the user's metrics.
_RAYS_OWN = {
    *AUTO_RESULT_KEYS,
    *DEBUG_METRICS,
    *DEFAULT_EXPERIMENT_INFO_KEYS,
    DONE,
    EPISODES_THIS_ITER,
    RESULT_DUPLICATE,
    SHOULD_CHECKPOINT,
    TIMESTEPS_THIS_ITER,
}
# Ray flattens reports: `config` arrives as `config/lr`, the machine's load as `perf/...`.
_RAYS_OWN_PREFIXES = ("config/", "perf/")

_MOST_FURTHER = 100  # numbers of one report
_LONGEST_NAME = 200  # characters


@dataclass(frozen=True, slots=True)
class Report:
    """One report, as far as the search can use it.

    Attributes:
        t: The resource spent, in units of `time_attr`; None without a finite one.
        metrics: The goal's metrics by name. None if the report is skipped: it lacks one of the
            required metrics, or is invalid.
        error: Why the report is invalid: a metric or the resource is no number, or there is no
            resource. Empty if it is valid, and if it lacks a metric.
    """

    t: float | None
    metrics: dict[str, float] | None = None
    error: str = ""


def read_report(result: Mapping[str, Any], time_attr: str, goal: Goal) -> Report:
    """Read the resource and the goal's metrics.

    A function may validate every few epochs: a report without the metric is not an error.

    Args:
        result: The report, flattened, with the keys that Ray adds.
        time_attr: The key of the resource.
        goal: What the search optimises. A report may lack its optional metrics.

    Example:
        >>> goal = Goal.of("loss", "min")
        >>> read_report({"loss": 0.5, "epoch": 3}, "epoch", goal)
        Report(t=3.0, metrics={'loss': 0.5}, error='')
        >>> read_report({"train_loss": 0.5, "epoch": 4}, "epoch", goal)
        Report(t=4.0, metrics=None, error='')
    """
    t = read_resource(result, time_attr)
    if lacking(result, goal.required):
        return Report(t)
    try:
        read_number(result, time_attr, role="time_attr", finite=True)
        return Report(t, read_metrics(result, goal))
    except MetricError as error:
        return Report(t, error=str(error))


def read_resource(result: Mapping[str, Any], time_attr: str) -> float | None:
    """Return the resource of a report, or None if it has no finite one."""
    t = _number(result.get(time_attr))
    return t if t is not None and math.isfinite(t) else None


def read_metrics(result: Mapping[str, Any], goal: Goal) -> dict[str, float]:
    """Return the goal's metrics by name. Optional metrics may be missing.

    Raises:
        MetricError: A required metric is missing, or a value is not a number.
    """
    optional = [name for name in goal.optional if not lacking(result, [name])]
    names = (*goal.required, *optional)
    return {name: read_number(result, name, role="metric") for name in names}


def read_number(result: Mapping[str, Any], key: str, *, role: str, finite: bool = False) -> float:
    """Return one number of a report.

    Args:
        result: The report, flattened, with the keys that Ray adds.
        key: The key to read.
        role: What the key is to the caller, for the message: "metric" or "time_attr".
        finite: Whether NaN and the infinities are refused. Defaults to False.

    Returns:
        The value of an int, a float, a NumPy scalar or anything with `ndim` 0 and an `item()`
        (a tensor).

    Raises:
        MetricError: The key is missing or its value is not a number. A bool is not a number:
            whoever reports `loss < best` did not mean to have 0 and 1 ranked.

    Example:
        >>> read_number({"loss": 0.5, "pid": 7}, "loss", role="metric")
        0.5
    """
    if key not in result:
        raise MetricError(
            f"the {role} {key!r} is not in the trial's report; it has {_metrics(result)}. "
            f"Report {key!r} each time, or name another {role}"
        )
    number = _number(result[key])
    if number is None or (finite and not math.isfinite(number)):
        value = result[key]
        what = "a finite number" if finite else "a number"
        raise MetricError(
            f"the {role} {key!r} was reported as {_short(value)} ({type(value).__name__}), which "
            f"is not {what}; report an int or a float. The report has {_metrics(result)}"
        )
    return number


def read_further(result: Mapping[str, Any], but: Iterable[str]) -> dict[str, float]:
    """Return the numbers of a report that the search does not need, by name.

    Ray's own numbers are left out, and so are values that are not numbers, and names that are not
    printable or longer than 200 characters. Of more than 100 numbers, the first 100 are returned.

    Args:
        result: The report, flattened, with the keys that Ray adds.
        but: Keys to leave out.

    Example:
        >>> read_further({"loss": 0.5, "accuracy": 0.9, "note": "best", "pid": 7}, but=["loss"])
        {'accuracy': 0.9}
    """
    found: dict[str, float] = {}
    left_out = {*but}
    for key, value in result.items():
        if not (isinstance(key, str) and len(key) <= _LONGEST_NAME and key.isprintable()):
            continue
        if key in left_out or not _is_users(key):
            continue
        number = None
        with suppress(Exception):  # the user's own object may raise anything here
            number = _number(value)
        if number is not None:
            found[key] = number
            if len(found) == _MOST_FURTHER:
                break
    return found


def lacking(result: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Return the names for which a report has no value; None is no value."""
    return [name for name in names if result.get(name) is None]


def own_keys(result: Mapping[str, Any]) -> list[str]:
    """Return the keys of a report that are the user's own metrics, sorted."""
    return sorted(filter(_is_users, map(str, result)))


def _is_users(key: str) -> bool:
    return key not in _RAYS_OWN and not key.startswith(_RAYS_OWN_PREFIXES)


def _number(value: object) -> float | None:
    """The value as a float, or None if it is not a number."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:  # an int too large for a float
        return -math.inf if value < 0 else math.inf


def _metrics(result: Mapping[str, Any]) -> str:
    """The user's own keys of a report, for a message."""
    keys = own_keys(result)
    return "the metrics " + ", ".join(map(repr, keys)) if keys else "no metrics at all"


def _short(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # the user's own object may raise anything here
        return "something that cannot be shown"
    return text if len(text) <= 60 else text[:57] + "..."
