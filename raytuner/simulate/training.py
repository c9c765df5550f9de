"""Simulated training: a trial as it proceeds, and the actor of each attempt."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from ray.tune.result import RESULT_DUPLICATE

from raytuner.simulate.objective import Curve
from raytuner.simulate.settings import Settings
from raytuner.simulate.simulation import SimulatedTrial

COUNTED = frozenset(
    {"time_this_iter_s", "time_total_s", "time_since_restore", "iterations_since_restore"}
)
"""Metrics that the trainable counts, whatever a report says of them."""


class SimulatedFailure(Exception):  # noqa: N818
    """A simulated training raised."""


class Saved(NamedTuple):
    """The result of saving a trial. Ray's controller reads both fields.

    Attributes:
        checkpoint: Iteration and seconds of training; None if there was nothing to save.
        metrics: The last result at that time.
    """

    checkpoint: tuple[int, float] | None
    metrics: dict[str, Any]


@dataclass(kw_only=True)
class Training(SimulatedTrial):
    """A trial as it proceeds.

    Attributes:
        curve: What it would report.
        metric: Name of a report that is a bare number.
        settings: When it saves checkpoints.
        t: Its resource so far, in the scheduler's unit.
        ending: Why it ended, if it ended.
    """

    curve: Curve = field(compare=False, repr=False)
    metric: str = field(compare=False, repr=False)
    settings: Settings = field(compare=False, repr=False)
    t: float = field(default=0.0, repr=False)
    ending: Literal["", "criterion", "scheduler", "error", "removed"] = field(
        default="", repr=False
    )


class Actor:
    """One attempt at a trial, from the request for a worker to its release.

    It has the callbacks of Ray's `TrackedActor` and the tasks of a trainable.

    Args:
        training: The trial.
        seed: Seed of start-up times and failures, for all trials.
        failure_rate: Probability that a unit of training raises.
        on_start: Called with the actor when it has started.
        on_stop: Called with the actor when it has stopped.
        on_error: Called with the actor and the error when it is found dead.
    """

    def __init__(
        self,
        training: Training,
        seed: int,
        failure_rate: float,
        on_start: Callable[[Actor], None],
        on_stop: Callable[[Actor], None],
        on_error: Callable[[Actor, Exception], None],
    ) -> None:
        training.attempts += 1
        self.training = training
        self.on_start = on_start
        self.on_stop = on_stop
        self.on_error = on_error
        self.task_errors: list[Callable[[Actor, Exception], None]] = []  # of unfinished tasks
        self.worker: int | None = None
        self.epoch = 0  # events scheduled in an earlier one are void
        self.is_lost = False  # its node is dead
        self.is_stopping = False
        self.is_gone = False
        self.busy_until = 0.0
        self.trains_since: float | None = None
        self.rng = random.Random(f"{seed}/{training.number}/{training.attempts}")
        # How many units succeed before one raises.
        self._units_left = math.inf
        if failure_rate > 0.0:
            self._units_left = math.log(1.0 - self.rng.random()) // math.log1p(-failure_rate)
        self._failing_share = self.rng.random()
        self._iteration = 0
        self._unit_s = 0.0
        self._seconds = 0.0
        self._iterations_since_restore = 0
        self._seconds_since_restore = 0.0
        self._metrics: dict[str, Any] = {}  # of the last result

    def set_on_stop(self, on_stop: None) -> None:
        """Do nothing: Ray drops this callback of an actor that is gone."""

    def set_on_error(self, on_error: None) -> None:
        """Do nothing: Ray drops this callback of an actor that is gone."""

    def train(self) -> tuple[float, Callable[[], dict[str, Any]]]:
        """Begin a unit of training.

        Returns:
            Its seconds, and a function that ends it: it returns the result or raises
            `SimulatedFailure`.
        """
        curve, t = self.training.curve, self._iteration + 1
        if curve.report(t) is None:
            return 0.0, lambda: {RESULT_DUPLICATE: True}  # a function that returned says no more
        self._unit_s = curve.duration(t)
        if self._units_left == self._iterations_since_restore:
            return self._unit_s * self._failing_share, self._fail
        fails = curve.fails(t, self.training.attempts)
        return self._unit_s, self._fail if fails else self._report

    def save(self) -> Saved:
        """Return a checkpoint, if it saves one now."""
        saves = self.training.settings.saves_on_pause or self._saves_now()
        state = (self._iteration, self._seconds) if saves else None
        return Saved(state, self._metrics.copy())

    def restore(self, saved: Saved) -> None:
        """Resume from a checkpoint."""
        assert saved.checkpoint is not None
        self._iteration, self._seconds = saved.checkpoint
        self._metrics = saved.metrics.copy()

    def first_result(self) -> dict[str, Any]:
        """Return what Ray takes for the last result of a trial that has not reported."""
        # The search begins with 1970.
        date = datetime.fromtimestamp(int(self.busy_until), UTC).strftime("%Y-%m-%d_%H-%M-%S")
        return {
            "trial_id": self.training.trial_id,
            "date": date,
            "timestamp": int(self.busy_until),
            "pid": self.worker,
            "hostname": "simulated",
            "node_ip": "127.0.0.1",
            "config": self.training.config,
        }

    def _fail(self) -> dict[str, Any]:
        raise SimulatedFailure

    def _report(self) -> dict[str, Any]:
        """Count a finished unit, and return its result with the keys of a Ray trainable's."""
        training = self.training
        self._iteration += 1
        self._iterations_since_restore += 1
        self._seconds += self._unit_s
        self._seconds_since_restore += self._unit_s
        training.units += 1
        training.iteration = self._iteration
        report: Any = training.curve.report(self._iteration)
        if isinstance(report, int | float):
            report = {training.metric: report}
        result = {
            **self.first_result(),
            "checkpoint_dir_name": None,
            "done": False,
            "training_iteration": self._iteration,
            **report,
            "time_this_iter_s": self._unit_s,
            "time_total_s": self._seconds,
            "time_since_restore": self._seconds_since_restore,
            "iterations_since_restore": self._iterations_since_restore,
        }
        if self._saves_now():
            number = self._iteration // (training.settings.checkpoint_every or 1) - 1
            result["checkpoint_dir_name"] = f"checkpoint_{number:06d}"
            result["should_checkpoint"] = True
        self._metrics = result.copy()
        return result

    def _saves_now(self) -> bool:
        every = self.training.settings.checkpoint_every
        return every is not None and self._iteration % every == 0
