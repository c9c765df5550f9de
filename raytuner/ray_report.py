"""Reading a trial's report: one number, or an error that says what the report had instead."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
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


def read_metrics(result: Mapping[str, Any], names: Iterable[str]) -> dict[str, float]:
    """Several metrics out of a report, by name; raises as `read_number`."""
    return {name: read_number(result, name, role="metric") for name in names}


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
    keys = [k for k in result if k not in _RAYS_OWN and not str(k).startswith(_RAYS_OWN_PREFIXES)]
    if not keys:
        return "no metrics at all"
    return "the metrics " + ", ".join(sorted(map(repr, keys)))


def _short(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # the user's own object may raise anything here
        return "something that cannot be shown"
    return text if len(text) <= 60 else text[:57] + "..."
