"""The assumptions of a simulation about the cluster and Ray's loop."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from raytuner.errors import SettingError


@dataclass(frozen=True)
class NodeLoss:
    """A node that dies, and its workers with it.

    Attributes:
        at_s: When, in virtual seconds.
        workers: Numbers of its workers, from 0.
    """

    at_s: float
    workers: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "workers", tuple(dict.fromkeys(self.workers)))
        check_at_least("NodeLoss.at_s", self.at_s, 0.0)
        if not self.workers or min(self.workers) < 0:
            raise SettingError(
                f"NodeLoss.workers is {self.workers!r}; name the workers' numbers, from 0"
            )


@dataclass(frozen=True)
class Cluster:
    """The workers that trials run on. Each holds one trial at a time.

    Attributes:
        workers: How many there are.
        startup_s: Seconds from getting a worker to the start of training: a number, or a function
            that draws one from the `random.Random` it is given (seeded for each trial and attempt).
            Ray itself takes 1.8 to 2.5 s a trial.
        failure_rate: Probability that training raises during one unit of resource.
        losses: Nodes that die.
        notice_s: Seconds until Ray notices a lost node.
    """

    workers: int = 8
    startup_s: float | Callable[[random.Random], float] = 0.0
    failure_rate: float = 0.0
    losses: tuple[NodeLoss, ...] = ()
    notice_s: float = 2.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "losses", tuple(self.losses))
        check_at_least("Cluster.workers", self.workers, 1)
        if not callable(self.startup_s):
            check_at_least("Cluster.startup_s", self.startup_s, 0.0)
        check_at_least("Cluster.notice_s", self.notice_s, 0.0)
        if not 0.0 <= self.failure_rate < 1.0:
            raise SettingError(
                f"Cluster.failure_rate is {self.failure_rate!r}; it must be a probability below 1"
            )
        unknown = [w for loss in self.losses for w in loss.workers if w >= self.workers]
        if unknown:
            raise SettingError(
                f"Cluster.losses names worker {unknown[0]}; there are {self.workers}, from 0"
            )

    def startup(self, rng: random.Random) -> float:
        """Return the seconds of one start."""
        return self.startup_s(rng) if callable(self.startup_s) else self.startup_s


@dataclass(frozen=True)
class Settings:
    """Settings for checkpoints, metrics, and the time that the searcher itself takes.

    Attributes:
        charge: Whether the real seconds of searcher and scheduler pass on the virtual clock.
            "none": they cost nothing, and equal seeds give equal simulations. "inline": the loop
            stands still for so long, as Ray's does, and every report waits. "background": the same,
            except that a `BoTorchSearch(background=True)` computes in a process of its own: its
            replies are there when as many virtual seconds have passed as they took, no trial waits
            for them, and proposals grow stale as they would. Otherwise it computes in `suggest`.
        checkpoint_every: Iterations between checkpoints; None: no trial saves one by itself. A
            retried trial resumes from its last checkpoint, or from scratch.
        saves_on_pause: Whether a pause saves a checkpoint (a `Trainable` class does; a function
            resumes from what it reported itself, see `checkpoint_every`).
        poll_s: Seconds until a searcher that proposed nothing is asked again though nothing has
            happened; None: only after the next event. Ray asks every 0.1 s.
        strict_metrics: Whether a report without the metric aborts the experiment, as in Ray unless
            `TUNE_DISABLE_STRICT_METRIC_CHECKING` is 1.
        timer: Returns the real time in seconds.
    """

    charge: Literal["none", "inline", "background"] = "none"
    checkpoint_every: int | None = None
    saves_on_pause: bool = True
    poll_s: float | None = None
    strict_metrics: bool = True
    timer: Callable[[], float] = field(default=time.perf_counter, compare=False)

    def __post_init__(self) -> None:
        if self.charge not in ("none", "inline", "background"):
            raise SettingError(
                f"Settings.charge is {self.charge!r}; it must be 'none', 'inline' or 'background'"
            )
        if self.checkpoint_every is not None:
            check_at_least("Settings.checkpoint_every", self.checkpoint_every, 1)
        if self.poll_s is not None and not self.poll_s > 0:
            raise SettingError(f"Settings.poll_s is {self.poll_s!r}; it must be above 0 seconds")


def check_at_least(name: str, value: float, least: float) -> None:
    """Raise a `SettingError` unless `value` is a number of at least `least`."""
    if not (math.isfinite(value) and value >= least):
        raise SettingError(f"{name} is {value!r}; it must be a number of at least {least:g}")
