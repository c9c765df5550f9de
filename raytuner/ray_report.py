"""Reading a trial's report: one number, or an error that says what the report had instead."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
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

FEW = 3
"""A search stops once this many trials ended without the metric and none has reported it."""

# What Ray adds to every report, or takes as a signal: not the user's metrics.
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

_MOST = 100  # numbers of a report that are kept beside what the search needs
_LONGEST = 200  # characters of a name


def read_number(result: Mapping[str, Any], key: str, *, role: str, finite: bool = False) -> float:
    """A number out of a report.

    Args:
        result: The report, flattened, with the keys that Ray adds.
        key: The key to read.
        role: What the key is to the caller, for the message: "metric" or "time_attr".
        finite: Whether NaN and the infinities are refused. Defaults to False.

    Returns:
        The value of an int, a float, a NumPy scalar or anything with `ndim` 0 and an `item()`
        (a tensor).

    Raises:
        MetricError: If the key is missing or its value is not a number. A bool is not: whoever
            reports `loss < best` did not mean to have 0 and 1 ranked.

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


def read_metrics(
    result: Mapping[str, Any], names: Iterable[str], optional: Iterable[str] = ()
) -> dict[str, float]:
    """Read several metrics out of a report, by name; raises as `read_number`.

    Args:
        result: The report.
        names: The metrics that it must have.
        optional: Metrics that it may lack; the result then lacks them too.
    """
    metrics = {name: read_number(result, name, role="metric") for name in names}
    there = [name for name in optional if not lacking(result, [name])]
    return metrics | {name: read_number(result, name, role="metric") for name in there}


def read_report(
    result: Mapping[str, Any], time_attr: str, names: Sequence[str], optional: Sequence[str] = ()
) -> tuple[float, dict[str, float]] | None:
    """Read the resource `t` and the metrics out of a report.

    Args:
        result: The report.
        time_attr: The key of `t`.
        names: The metrics that a report needs to count. A function that validates every few
            epochs sends reports without them, which are skipped.
        optional: See `read_metrics`.

    Returns:
        `(t, metrics)`, or None if the report lacks one of `names`.

    Raises:
        MetricError: A value is not a number, or the report has the metrics and no `time_attr`.

    Example:
        >>> read_report({"loss": 0.5, "epoch": 3}, "epoch", ["loss"])
        (3.0, {'loss': 0.5})
        >>> read_report({"train_loss": 0.5, "epoch": 4}, "epoch", ["loss"]) is None
        True
    """
    if lacking(result, names):
        return None
    t = read_number(result, time_attr, role="time_attr", finite=True)
    return t, read_metrics(result, names, optional)


def resource_of(result: Mapping[str, Any], time_attr: str) -> float | None:
    """Return the resource `t` of a report, or None if it has no finite one."""
    t = _number(result.get(time_attr))
    return t if t is not None and math.isfinite(t) else None


def lacking(result: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Return the names for which a report has no value; None is no value."""
    return [name for name in names if result.get(name) is None]


def own_keys(result: Mapping[str, Any]) -> list[str]:
    """Return the keys of a report that are the user's own metrics, sorted."""
    return sorted(filter(_is_users, map(str, result)))


def never_reported(names: Sequence[str], keys: Iterable[str], role: str = "metric") -> str:
    """Say that a trial ended without a report of some metrics.

    Args:
        names: The metrics.
        keys: The metrics that it did report.
        role: What they are to the search.

    Example:
        >>> never_reported(["loss"], {"accuracy"})
        "it never reported the metric 'loss'; it reported 'accuracy'. Report 'loss' at least \
once in each trial, or name another metric"
    """
    listed = " and ".join(map(repr, names))
    known = ", ".join(map(repr, sorted(keys))) or "no metrics at all"
    return (
        f"it never reported the {role} {listed}; it reported {known}. Report {listed} at least"
        f" once in each trial, or name another {role}"
    )


class Unreported:
    """The trials that ended without ever reporting the metric, while no trial has reported it."""

    def __init__(self) -> None:
        self._keys: dict[str, set[str]] = {}  # of live trials
        self._reasons: list[str] = []

    def note(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Note that a trial sent a report without the metric."""
        self._keys.setdefault(trial_id, set()).update(own_keys(result))

    def forget(self, trial_id: str) -> frozenset[str]:
        """Forget a trial that has ended; return the other metrics that it reported."""
        return frozenset(self._keys.pop(trial_id, ()))

    def count(self, reason: str) -> None:
        """Count a trial that failed because it never reported the metric."""
        self._reasons.append(reason)

    def check(self, at_least: int) -> None:
        """Raise a MetricError if this many trials ended without the metric; 0 means never."""
        if 0 < at_least <= len(self._reasons):
            raise MetricError(f"the first {at_least} trials failed: {self._reasons[-1]}")


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
        if not (isinstance(key, str) and len(key) <= _LONGEST and key.isprintable()):
            continue
        if key in left_out or not _is_users(key):
            continue
        number = None
        with suppress(Exception):  # the user's own object may raise anything here
            number = _number(value)
        if number is not None:
            found[key] = number
            if len(found) == _MOST:
                break
    return found


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
