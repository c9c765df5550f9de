"""What a simulation assumes about the cluster and about Ray's loop."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from raytuner.errors import SettingError

Charge = Literal["none", "inline", "background"]

StartUp = float | Callable[[random.Random], float]


@dataclass(frozen=True)
class NodeLoss:
    """A node that dies, and its workers with it.

    Attributes:
        at_s: When, in virtual seconds.
        workers: Numbers of its workers, from 0. Workers that join later are numbered on.
    """

    at_s: float
    workers: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "workers", tuple(self.workers))
        _at_least("NodeLoss.at_s", self.at_s, 0.0)
        if not self.workers or min(self.workers) < 0:
            raise SettingError(
                f"NodeLoss.workers is {self.workers!r}; name the workers' numbers, from 0"
            )


@dataclass(frozen=True)
class WorkersJoin:
    """Workers that become available during the search.

    Attributes:
        at_s: When, in virtual seconds.
        count: How many.
    """

    at_s: float
    count: int

    def __post_init__(self) -> None:
        _at_least("WorkersJoin.at_s", self.at_s, 0.0)
        _at_least("WorkersJoin.count", self.count, 1)


@dataclass(frozen=True)
class Cluster:
    """The workers that trials run on; each holds one trial at a time.

    Attributes:
        workers: Workers at the start; 0 needs workers that join.
        startup_s: Seconds from getting a worker to the start of training: a number, or a function
            that draws one from the ``random.Random`` it is given (seeded for each trial and
            attempt). Ray itself takes 1.8 to 2.5 s a trial.
        teardown_s: Seconds from the end of a trial until its worker is free.
        failure_rate: Probability that training raises during one unit of resource.
        losses: Nodes that die.
        joins: Workers that come later.
        notice_s: Seconds until Ray notices a lost node.
    """

    workers: int = 8
    startup_s: StartUp = 0.0
    teardown_s: float = 0.0
    failure_rate: float = 0.0
    losses: tuple[NodeLoss, ...] = ()
    joins: tuple[WorkersJoin, ...] = ()
    notice_s: float = 2.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "losses", tuple(self.losses))
        object.__setattr__(self, "joins", tuple(self.joins))
        _at_least("Cluster.workers", self.workers, 0 if self.joins else 1)
        if not callable(self.startup_s):
            _at_least("Cluster.startup_s", self.startup_s, 0.0)
        _at_least("Cluster.teardown_s", self.teardown_s, 0.0)
        _at_least("Cluster.notice_s", self.notice_s, 0.0)
        if not 0.0 <= self.failure_rate < 1.0:
            raise SettingError(
                f"Cluster.failure_rate is {self.failure_rate!r}; it must be a probability below 1"
            )
        known = self.workers + sum(join.count for join in self.joins)
        unknown = [w for loss in self.losses for w in loss.workers if w >= known]
        if unknown:
            raise SettingError(
                f"Cluster.losses names worker {unknown[0]}; there are {known}, numbered from 0"
            )

    def startup(self, rng: random.Random) -> float:
        """Seconds that one start takes."""
        return self.startup_s(rng) if callable(self.startup_s) else self.startup_s


@dataclass(frozen=True)
class Settings:
    """How Ray's loop behaves, and what the searcher's own time costs.

    Attributes:
        charge: What becomes of the real seconds that searcher and scheduler take in their hooks.
            "none": they cost no virtual time, and equal seeds give equal records. "inline": the
            loop stands still for so long, as Ray's does, and every report waits. "background": the
            loop goes on, and only the trial that is proposed waits until the searcher, which does
            one thing after another, has got that far. A searcher of ours that thinks in a process
            of its own (``background=True``) does so on the virtual clock then: its replies are
            there when as many virtual seconds have passed as they took, no trial waits for them,
            and proposals grow stale as they would; it thinks inside ``suggest`` otherwise.
        checkpoint_every: Iterations between checkpoints; None: no trial saves one by itself. A
            retried trial goes on from its last checkpoint, or from scratch.
        saves_on_pause: Whether a pause saves a checkpoint (a ``Trainable`` class does; a function
            goes on from what it reported itself, see ``checkpoint_every``).
        save_s: Seconds of saving a checkpoint.
        restore_s: Seconds of reading one back.
        turn_s: Seconds of a turn of the loop, which handles one event.
        poll_s: Seconds until a searcher that proposed nothing is asked again though nothing has
            happened. None: it is asked again at the next event (Ray asks every 0.1 s; this matters
            to a searcher that looks at the clock).
        max_pending: Trials proposed ahead of free workers. None: as Ray, 1 for a searcher, the
            limit of a ``ConcurrencyLimiter``, at least 200 for random search; BoTorchSearch raises
            it to what the workers could start, here as there.
        strict_metrics: Whether a report without the metric aborts the experiment, as in Ray unless
            ``TUNE_DISABLE_STRICT_METRIC_CHECKING`` is 1.
        timer: Seconds now, by the real clock.
    """

    charge: Charge = "none"
    checkpoint_every: int | None = None
    saves_on_pause: bool = True
    save_s: float = 0.0
    restore_s: float = 0.0
    turn_s: float = 0.0
    poll_s: float | None = None
    max_pending: int | None = None
    strict_metrics: bool = True
    timer: Callable[[], float] = field(default=time.perf_counter, compare=False)

    def __post_init__(self) -> None:
        if self.charge not in ("none", "inline", "background"):
            raise SettingError(
                f"Settings.charge is {self.charge!r}; it must be 'none', 'inline' or 'background'"
            )
        if self.checkpoint_every is not None:
            _at_least("Settings.checkpoint_every", self.checkpoint_every, 1)
        for name in ("save_s", "restore_s", "turn_s"):
            _at_least(f"Settings.{name}", getattr(self, name), 0.0)
        if self.poll_s is not None and not self.poll_s > 0:
            raise SettingError(f"Settings.poll_s is {self.poll_s!r}; it must be above 0 seconds")
        if self.max_pending is not None:
            _at_least("Settings.max_pending", self.max_pending, 1)


def _at_least(name: str, value: float, least: float) -> None:
    if not (math.isfinite(value) and value >= least):
        raise SettingError(f"{name} is {value!r}; it must be a number of at least {least:g}")
