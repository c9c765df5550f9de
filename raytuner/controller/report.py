"""Read each report of a trial once, and enter it into the table of trials."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
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

from raytuner.errors import MetricError, RaytunerWarning
from raytuner.history import Goal, Table, TrialState
from raytuner.space.choices import shown

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

    Examples:
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
        if t is None:
            read_number(result, time_attr, role="time_attr", finite=True)  # raises
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
    return {
        name: read_number(result, name, role="metric")
        for name in goal.metrics
        if name in goal.required or not lacking(result, [name])
    }


def read_number(result: Mapping[str, Any], key: str, *, role: str, finite: bool = False) -> float:
    """Return one number of a report.

    Args:
        result: The report, flattened, with the keys that Ray adds.
        key: The key to read.
        role: The role of the key, for the message: "metric" or "time_attr".
        finite: Whether NaN and infinities are errors.

    Returns:
        The value of an int, a float, a NumPy scalar or anything with `ndim` 0 and an `item()`
        (a tensor).

    Raises:
        MetricError: The key is missing or its value is not a number. A bool is not a number: a
            report such as `loss < best` is probably a mistake.
    """
    if key not in result:
        raise MetricError(
            f"the {role} {key!r} is not in the trial's report, which has"
            f" {listed(own_keys(result))}. Report {key!r} each time, or name another {role}"
        )
    number = _number(result[key])
    if number is None or (finite and not math.isfinite(number)):
        value = result[key]
        what = "a finite number" if finite else "a number"
        text, kind = shown(value), type(value).__name__
        text = text if len(text) <= 60 else f"{text[:57]}..."
        raise MetricError(
            f"the {role} {key!r} was reported as {text} ({kind}), which is not {what};"
            f" report an int or a float. The report has {listed(own_keys(result))}"
        )
    return number


def read_further(result: Mapping[str, Any], but: Iterable[str]) -> dict[str, float]:
    """Return the numbers of a report that the search does not need, by name.

    Ray's own numbers are left out, and so are values that are not numbers, and names that are not
    printable or longer than 200 characters. Of more than 100 numbers, the first 100 are returned.

    Args:
        result: The report, flattened, with the keys that Ray adds.
        but: Keys to leave out.

    Examples:
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
        with suppress(Exception):  # the user's own object may raise anything here
            if (number := _number(value)) is not None:
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


def listed(keys: Iterable[str]) -> str:
    """Return the names of metrics, for a message."""
    return "the metrics " + ", ".join(map(repr, keys)) if keys else "no metrics at all"


_CHECKPOINT = "checkpoint/"  # and the trial's id: a key of the record's metadata
_CHECKPOINT_FOLDER = "checkpoint_dir_name"  # of the checkpoint that came with a report
_RESUMED_WITH = (_CHECKPOINT_FOLDER, "training_iteration", "time_total_s")


def record_report(
    history: Table, trial_id: str, result: Mapping[str, Any], *, further: bool = True
) -> Report:
    """Read a report, and enter it into the table if its trial is live.

    Args:
        history: The table of trials.
        trial_id: The trial.
        result: The report, flattened, with the keys that Ray adds.
        further: Whether to keep the numbers that the goal does not need. Defaults to True.

    Returns:
        The report. Once any trial has sent a valid report, one with the metric but without
        `time_attr` counts as one that lacks the metric.

    Raises:
        MetricError: The report is invalid, its trial is live, and no trial has sent a valid one so
            far: the name is wrong rather than the trial.
    """
    report = read_report(result, history.time_attr, history.goal)
    if report.error and history.has_values and lacking(result, [history.time_attr]):
        report = Report(None)
    if history.is_live(trial_id):
        if report.error and not history.has_values:
            raise MetricError(report.error)
        enter(history, trial_id, report.t, report.metrics, result, further=further)
    return report


def enter(
    history: Table,
    trial_id: str,
    t: float | None,
    metrics: Mapping[str, float] | None,
    result: Mapping[str, Any],
    *,
    further: bool = True,
) -> None:
    """Enter what was read of a report into the table; nothing if it has no resource.

    That includes which checkpoint came with it: Ray saves that only with the experiment, every ten
    seconds or less often.
    """
    if t is None:
        return
    if further:
        needed = (*history.goal.metrics, history.time_attr)
        history.keep(trial_id, t, read_further(result, needed))
    if metrics is not None:
        record_metrics(history, trial_id, t, metrics)
        if result.get(_CHECKPOINT_FOLDER):
            kept = {name: result[name] for name in _RESUMED_WITH if name in result}
            history.set_meta(_CHECKPOINT + trial_id, kept)


def never_reported(names: Sequence[str], keys: Iterable[str], role: str = "metric") -> str:
    """Return a message that a trial never reported some metrics, but others, the `keys`.

    Examples:
        >>> never_reported(["loss"], {"accuracy"})
        "it never reported the metric 'loss'; it reported 'accuracy'. Report 'loss' at least \
once in each trial, or name another metric"
    """
    missing = " and ".join(map(repr, names))
    known = ", ".join(map(repr, sorted(keys))) or "no metrics at all"
    return (
        f"it never reported the {role} {missing}; it reported {known}. Report {missing} at least"
        f" once in each trial, or name another {role}"
    )


def record_metrics(history: Table, trial_id: str, t: float, metrics: Mapping[str, float]) -> None:
    """Record the goal's metrics. Warn once of a cost or standard error that cannot be used."""
    for name, what in history.goal.unusable(metrics).items():
        if name in history.warned_of:
            continue
        history.warned_of.add(name)
        if name in metrics:
            problem = (
                f"reported the {what} {name!r} as {metrics[name]}; it must be finite and not"
                " negative. Such values are ignored"
            )
        else:
            problem = (
                f"reported no {what}: {name!r} is not in its report. It counts as if all trials had"
                f" the same {what}"
            )
        warnings.warn(f"trial {trial_id} {problem}", RaytunerWarning, stacklevel=3)
    others = {name: value for name, value in metrics.items() if name != history.metric}
    history.report(trial_id, t, metrics[history.metric], others)


def last_checkpoint(history: Table, trial_id: str) -> Mapping[str, Any]:
    """Return the folder of a trial's last checkpoint and how far the trial had come there.

    Under Ray's names: `checkpoint_dir_name`, `training_iteration`, `time_total_s`. Empty if the
    trial has no checkpoint.
    """
    found: Mapping[str, Any] = history.get_meta(_CHECKPOINT + trial_id, {})
    return found


def stop_early(history: Table, trial_id: str, reason: str) -> None:
    """End a live trial that a scheduler stops before its full resource.

    It is STOPPED_EARLY; FAILED if its last value is not finite; REMOVED if it has none.
    """
    if not history.is_live(trial_id):
        return
    if (last := history.last(trial_id)) is None:
        history.end(trial_id, TrialState.REMOVED, "stopped before it reported")
    elif odd := not_finite(history, history.metrics_at(trial_id, last[0])):
        history.end(trial_id, TrialState.FAILED, odd)
    else:
        history.end(trial_id, TrialState.STOPPED_EARLY, reason)


def not_finite(history: Table, metrics: Mapping[str, float]) -> str:
    """Return which required metric is not finite at a trial's end; empty if all are finite."""
    for name in history.goal.required:
        if not math.isfinite(value := metrics.get(name, math.nan)):
            return f"{name} is {value} at its end"
    return ""
