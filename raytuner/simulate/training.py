"""Simulated training: what a trial has done, and the actor of each attempt."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from raytuner.simulate.objective import Curve
from raytuner.simulate.settings import Settings

COUNTED = frozenset(
    {"time_this_iter_s", "time_total_s", "time_since_restore", "iterations_since_restore"}
)
"""Metrics that the trainable counts, whatever a report says of them."""

_HOST = {"hostname": "simulated", "node_ip": "127.0.0.1"}


class Checkpoint(NamedTuple):
    """The state that a trial resumes from."""

    iteration: int
    time_total: float


class Saved(NamedTuple):
    """The result of saving a trial. Ray's controller reads both fields.

    Attributes:
        checkpoint: None if the trainable had none to save.
        metrics: The last result at that time.
    """

    checkpoint: Checkpoint | None
    metrics: dict[str, Any]


@dataclass(slots=True)
class Training:
    """One trial's training, over all its attempts.

    Attributes:
        trial_id: Ray's id.
        config: Its configuration.
        number: Its place in the order of proposals, from 0.
        curve: What it would report.
        proposed_at: Virtual seconds.
        ready_at: When the searcher has computed its configuration (see `Settings.charge`).
        metric: Name of a report that is a bare number.
        settings: When it saves checkpoints.
        iteration: Its newest `training_iteration`.
        t: Its resource so far, in the scheduler's unit.
        ending: Why it ended, if it ended.
        live_status: Its last status before Ray called it TERMINATED.
    """

    trial_id: str
    config: dict[str, Any]
    number: int
    curve: Curve
    proposed_at: float
    ready_at: float
    metric: str
    settings: Settings
    attempts: int = 0
    values: dict[float, float] = field(default_factory=dict)
    units: int = 0
    trained_s: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    iteration: int = 0
    t: float = 0.0
    ending: Literal["", "criterion", "scheduler", "error", "removed"] = ""
    live_status: str = ""

    def new_actor(self, seed: int, failure_rate: float, **callbacks: Any) -> Actor:
        """Begin another attempt, which draws its random numbers from a seed of its own."""
        self.attempts += 1
        rng = random.Random(f"{seed}/{self.number}/{self.attempts}")
        return Actor(self, rng, failure_rate, **callbacks)


class Actor:
    """One attempt at a trial, from the request for a worker to its release.

    The callbacks are those of Ray's `TrackedActor`.
    """

    def __init__(
        self,
        training: Training,
        rng: random.Random,
        failure_rate: float,
        *,
        on_start: Callable[[Actor], None] | None = None,
        on_stop: Callable[[Actor], None] | None = None,
        on_error: Callable[[Actor, Exception], None] | None = None,
    ) -> None:
        self.training = training
        self.rng = rng
        self.on_start = on_start
        self.on_stop = on_stop
        self.on_error = on_error
        self.task_errors: list[Callable[[Actor, Exception], None]] = []  # of unfinished tasks
        self.worker: int | None = None
        self.held_since = 0.0
        self.epoch = 0  # events scheduled in an earlier one are void
        self.lost = False  # its node is dead
        self.stopping = False
        self.gone = False
        self.busy_until = 0.0
        self.trains_since: float | None = None
        self.iteration = 0
        self.iterations_since_restore = 0
        self.time_total = 0.0
        self.time_since_restore = 0.0
        self.time_this_iter = 0.0
        self._metrics: dict[str, Any] = {}  # of the last result
        self._fails_after = _units_until_failure(rng, failure_rate)
        self._failing_share = rng.random()

    def set_on_stop(self, on_stop: Callable[[Actor], None] | None) -> None:
        """Replace the callback for a stop."""
        self.on_stop = on_stop

    def set_on_error(self, on_error: Callable[[Actor, Exception], None] | None) -> None:
        """Replace the callback for the actor's death."""
        self.on_error = on_error

    def next_unit(self) -> tuple[float, Literal["result", "error", "return"]]:
        """Return the seconds and the outcome of the next unit of training."""
        curve, t = self.training.curve, self.iteration + 1
        if curve.report(t) is None:
            return curve.end_duration(), "return"
        seconds = curve.duration(t)
        if self._fails_after == self.iterations_since_restore:
            return seconds * self._failing_share, "error"
        return seconds, "error" if curve.fails(t, self.training.attempts) else "result"

    def first_result(self) -> dict[str, Any]:
        """Return what Ray takes for the last result of a trial that has not reported."""
        # The search begins with 1970.
        date = datetime.fromtimestamp(int(self.busy_until), UTC).strftime("%Y-%m-%d_%H-%M-%S")
        return {
            "trial_id": self.training.trial_id,
            "date": date,
            "timestamp": int(self.busy_until),
            "pid": self.worker,
            **_HOST,
            "config": self.training.config,
        }

    def result(self) -> dict[str, Any]:
        """Count a finished unit, and return its result with the keys of a Ray trainable's."""
        training = self.training
        self.iteration += 1
        self.iterations_since_restore += 1
        self.time_total += self.time_this_iter
        self.time_since_restore += self.time_this_iter
        training.units += 1
        training.iteration = self.iteration
        report: Any = training.curve.report(self.iteration)
        if isinstance(report, int | float):
            report = {training.metric: report}
        result = {
            "checkpoint_dir_name": None,
            "done": False,
            "training_iteration": self.iteration,
            **report,
            **self.first_result(),
            "time_this_iter_s": self.time_this_iter,
            "time_total_s": self.time_total,
            "time_since_restore": self.time_since_restore,
            "iterations_since_restore": self.iterations_since_restore,
        }
        if self._saves_now():
            number = self.iteration // (training.settings.checkpoint_every or 1) - 1
            result["checkpoint_dir_name"] = f"checkpoint_{number:06d}"
            result["should_checkpoint"] = True
        self._metrics = result.copy()
        return result

    def save(self) -> Saved:
        """Return a checkpoint, if it saves one now."""
        saves = self.training.settings.saves_on_pause or self._saves_now()
        checkpoint = Checkpoint(self.iteration, self.time_total) if saves else None
        return Saved(checkpoint, self._metrics.copy())

    def restore(self, saved: Saved) -> None:
        """Resume from a checkpoint."""
        assert saved.checkpoint is not None
        self.iteration, self.time_total = saved.checkpoint
        self._metrics = saved.metrics.copy()

    def _saves_now(self) -> bool:
        every = self.training.settings.checkpoint_every
        return every is not None and self.iteration % every == 0


def _units_until_failure(rng: random.Random, rate: float) -> int | None:
    """Return how many units succeed before one raises; None: all do."""
    if rate <= 0.0:
        return None
    return int(math.log(1.0 - rng.random()) / math.log1p(-rate))
