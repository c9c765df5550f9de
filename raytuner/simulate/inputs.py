"""The inputs of a simulation: learning curves, the cluster, and settings."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from numbers import Integral
from typing import Any, Literal

from raytuner.errors import SettingError, TrainableError

Report = Mapping[str, Any] | float


@dataclass
class Curve:
    """The learning curve of one configuration.

    Attributes:
        reports: The report after each unit of resource, from t = 1. A report is a dict of metrics
            or a single number, the metric. An iterator, such as a generator that trains, is only
            advanced as far as the trial gets.
        seconds: Seconds of training for each unit: one number or a sequence.
        fails_at: Training raises in the unit that would end at this t. None: never.
        failures: Number of attempts that fail in this way. None: all. A retry resumes from the last
            checkpoint.

    Raises:
        TrainableError: `reports` is not a sequence of reports.
    """

    reports: Iterable[Report]
    seconds: float | Sequence[float] = 1.0
    fails_at: int | None = None
    failures: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.reports, Iterable) or isinstance(self.reports, str | Mapping):
            raise TrainableError(
                f"the reports of a learning curve are {self.reports!r}; an objective must return a"
                " raytuner.simulate.Curve, or a sequence of the reports of one training"
            )
        self._further = iter(self.reports)
        self._known: list[Report] = []

    def report(self, t: int) -> Report | None:
        """Return the report after `t` units; None if training ends earlier."""
        known = self._known  # a retry goes back
        known.extend(islice(self._further, max(0, t - len(known))))
        return known[t - 1] if t <= len(known) else None

    def duration(self, t: int) -> float:
        """Return the seconds of the unit that ends at `t`.

        Raises:
            TrainableError: They are negative or not a number.
        """
        seconds = self.seconds
        if isinstance(seconds, Sequence):
            seconds = seconds[min(t, len(seconds)) - 1]
        if not (math.isfinite(seconds) and seconds >= 0):
            raise TrainableError(
                f"unit {t} of a learning curve takes {seconds!r} seconds; it must be 0 or more"
            )
        return seconds

    @property
    def length(self) -> int | None:
        """Number of reports of a full training, if known in advance."""
        return len(self.reports) if isinstance(self.reports, Sequence) else None

    def fails(self, t: int, attempt: int) -> bool:
        """Return whether the unit that ends at `t` raises in this attempt (the first is 1)."""
        return t == self.fails_at and (self.failures is None or attempt <= self.failures)


Objective = Callable[[dict[str, Any]], Curve | Iterable[Report]]
"""A function that returns a configuration's `Curve`, or only its reports (one second each)."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A search without a recorded study: a benchmark, or your own estimate.

    Attributes:
        space: A `param_space` of Ray Tune.
        objective: Returns the learning curve of a configuration.
        metric: Name of the metric in the reports.
        mode: "min" or "max".
        max_t: Units of a full training.
    """

    space: Mapping[str, Any] = field(repr=False)
    objective: Objective = field(repr=False)
    metric: str
    mode: str
    max_t: int


@dataclass(frozen=True)
class Cluster:
    """The workers that trials run on. Each holds one trial at a time.

    Attributes:
        workers: Number of workers at the start.
        startup_s: Seconds from getting a worker to the start of training. Ray itself takes 1.8 to
            2.5 s per trial.
        changes: Pairs of a virtual second and the number of workers gained (or lost, if negative)
            at that time, in ascending order. `[(60, 10), (120, 10), (180, 10)]` is an autoscaler.
            With 1,000 workers, `[(300, -100), (600, 100)]` loses a tenth, which later returns. Lost
            workers are drawn at random, idle or busy, and Ray notices at once. Their trials fail,
            as on a lost node; see `max_failures` of `simulate`.

    Raises:
        SettingError: A number is out of range, or no worker is left at the end.
    """

    workers: int = 8
    startup_s: float = 0.0
    changes: Sequence[tuple[float, int]] = ()

    def __post_init__(self) -> None:
        least = 0 if self.changes else 1
        if not (_is_whole(self.workers) and self.workers >= least):
            raise SettingError(
                f"Cluster.workers is {self.workers!r}; it must be a whole number, at least {least}"
            )
        check_at_least("Cluster.startup_s", self.startup_s, 0.0)
        time, left = 0.0, self.workers
        for n, change in enumerate(self.changes):
            if not _is_change(change, time):
                raise SettingError(
                    f"Cluster.changes[{n}] is {change!r}; it must be a pair of a virtual second, of"
                    f" at least {time:g} here, and a whole number of workers gained or lost"
                )
            time, left = change[0], left + change[1]
            is_last = n + 1 == len(self.changes)
            if left < is_last:
                raise SettingError(
                    f"Cluster.changes leave {left} workers at {time:g} s; there must be"
                    f" {'at least 1 in the end' if is_last else '0 or more'}"
                )


@dataclass(frozen=True)
class Settings:
    """Settings for checkpoints, and for the time that searcher and scheduler take.

    Attributes:
        charge: Whether real seconds of searcher and scheduler count on the virtual clock. "none":
            they do not count, and equal seeds give equal simulations. "inline": they block the
            loop, as in Ray, so every report waits. "background": the same, except that a
            `BoTorchSearch(background=True)` computes as if in a separate process. Its replies
            arrive after the virtual seconds that they took in reality. No trial waits for them, and
            proposals become stale as in a real study. In the other modes it computes in `suggest`.
        checkpoint_every: Iterations between checkpoints. None: no regular checkpoints. A retried
            trial resumes from its last checkpoint, or from scratch.
        saves_on_pause: Whether a pause saves a checkpoint. A `Trainable` class does this. A
            function resumes from a checkpoint that it reported; see `checkpoint_every`.
        poll_s: Seconds until a searcher without a proposal is asked again if there was no event.
            None: only after the next event. Ray asks every 0.1 s.
        timer: Returns the real time in seconds.
    """

    charge: Literal["none", "inline", "background"] = "none"
    checkpoint_every: int | None = None
    saves_on_pause: bool = True
    poll_s: float | None = None
    timer: Callable[[], float] = field(default=time.perf_counter, compare=False)

    def __post_init__(self) -> None:
        if self.charge not in ("none", "inline", "background"):
            raise SettingError(
                f"Settings.charge is {self.charge!r}; it must be 'none', 'inline' or 'background'"
            )


def _is_change(change: Any, earliest: float) -> bool:
    try:
        second, workers = change
        return bool(earliest <= second < math.inf) and _is_whole(workers)
    except (TypeError, ValueError):
        return False


def _is_whole(number: Any) -> bool:
    return isinstance(number, Integral)


def check_at_least(name: str, value: float, least: float) -> None:
    """Raise a `SettingError` unless `value` is a number of at least `least`."""
    if not (math.isfinite(value) and value >= least):
        raise SettingError(f"{name} is {value!r}; it must be a number of at least {least:g}")
