"""Training the best few trials of a study again, to tell a good one from a lucky one."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from raytuner.errors import HistoryError, RaytunerWarning, SettingError
from raytuner.folders import Folder
from raytuner.history import History, Trial, TrialState, record_exists
from raytuner.search.restore import open_record, record_at
from raytuner.space import Config
from raytuner.study.settings import kept_resources
from raytuner.study.trainable import Trainable, check_trainable

if TYPE_CHECKING:
    from raytuner.placement.request import Resources

CONFIRMED = "confirmed"
"""Key of the record for the values of repeats, by trial id."""


@dataclass(frozen=True)
class Confirmed:
    """A trial, and the values from training its configuration again.

    Attributes:
        trial: The trial that the search ran.
        values: The metric of each repeat that ended with one.
    """

    trial: Trial
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The repeats' mean; NaN without any. It leaves out the search's own value."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def standard_error(self) -> float:
        """The standard error of the mean; NaN with fewer than two repeats."""
        if len(self.values) < 2:
            return math.nan
        return statistics.stdev(self.values) / math.sqrt(len(self.values))


def confirmed(history: History) -> tuple[Confirmed, ...]:
    """Return the trials that were trained again, the best mean first."""
    sign = 1.0 if history.mode == "min" else -1.0
    known: Mapping[str, list[float]] = history.get_meta(CONFIRMED, {})
    found = [Confirmed(history[trial_id], tuple(values)) for trial_id, values in known.items()]
    return tuple(sorted(found, key=lambda c: (math.isnan(c.mean), sign * c.mean)))


def confirm(
    path: Folder,
    history: History,
    trainable: Trainable,
    *,
    k: int,
    repeats: int,
    seed_key: str | None,
    seed: int | None,
    resources: Resources | None,
    max_concurrent_trials: int | None,
) -> None:
    """Train a study's best few again and record the values; see `Study.confirm`."""
    from raytuner.study.resources import with_resources
    from raytuner.study.run import train_again

    check_trainable(trainable)
    trials = chosen(history, k, repeats, seed_key)
    if resources is None:
        resources = kept_resources(history, "study.confirm(resources=...)")
    runnable = with_resources(trainable, resources)
    configs = repeated(trials, repeats, seed_key, seed)
    values = train_again(path, history, runnable, configs, max_concurrent_trials)
    note(history, trials, values)
    if record_exists(record_at(path)):
        with closing(open_record(path, history, history.space)) as live:
            live.set_meta(CONFIRMED, history.get_meta(CONFIRMED))


def chosen(history: History, k: int, repeats: int, seed_key: str | None) -> list[Trial]:
    """Return the `k` best trials that completed and satisfy the outcome constraints.

    Raises:
        SettingError: A number is below 1, or `seed_key` is searched.
        HistoryError: No trial has completed.
    """
    for name, number in (("k", k), ("repeats", repeats)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise SettingError(f"{name} is {number!r}; it must be a whole number of at least 1")
    if seed_key in {column.path[0] for column in history.space.columns}:
        raise SettingError(
            f"seed_key is {seed_key!r}, which is a hyperparameter that is searched; name the key"
            " that the training function takes its seed from"
        )
    found = [
        trial
        for trial in history.ranked()
        if trial.state is TrialState.COMPLETED and history.is_feasible(trial)
    ]
    if not found:
        raise HistoryError("the study has no trial that completed: there is none to confirm")
    return found[:k]


def repeated(
    trials: Sequence[Trial], repeats: int, seed_key: str | None, seed: int | None
) -> list[Config]:
    """Return each configuration `repeats` times, with the same seeds for all configurations."""
    seeds = np.random.default_rng(seed).integers(2**31, size=repeats).tolist()
    return [
        trial.config if seed_key is None else {**trial.config, seed_key: number}
        for trial in trials
        for number in seeds
    ]


def note(history: History, trials: Sequence[Trial], values: Sequence[float]) -> None:
    """Add the values of repeats to the record, trial by trial."""
    known = history.get_meta(CONFIRMED, {})
    repeats = len(values) // len(trials)
    for number, trial in enumerate(trials):
        new = [v for v in values[number * repeats : (number + 1) * repeats] if math.isfinite(v)]
        if len(new) > 1 and len(set(new)) == 1:
            warnings.warn(
                f"all repeats of trial {trial.number} gave {new[0]:g}: does the training set"
                " its own seed? Name the key it is taken from: study.confirm(seed_key=...)",
                RaytunerWarning,
                stacklevel=3,
            )
        known[trial.trial_id] = [*known.get(trial.trial_id, []), *new]
    history.set_meta(CONFIRMED, known)
