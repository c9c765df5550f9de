"""The assumptions of a simulation about the cluster and Ray's loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from raytuner.errors import SettingError


@dataclass(frozen=True)
class Cluster:
    """The workers that trials run on. Each holds one trial at a time.

    Attributes:
        workers: How many there are.
        startup_s: Seconds from getting a worker to the start of training. Ray itself takes 1.8 to
            2.5 s a trial.
    """

    workers: int = 8
    startup_s: float = 0.0

    def __post_init__(self) -> None:
        check_at_least("Cluster.workers", self.workers, 1)
        check_at_least("Cluster.startup_s", self.startup_s, 0.0)


@dataclass(frozen=True)
class Settings:
    """Settings for checkpoints, and the time that the searcher itself takes.

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


def check_at_least(name: str, value: float, least: float) -> None:
    """Raise a `SettingError` unless `value` is a number of at least `least`."""
    if not (math.isfinite(value) and value >= least):
        raise SettingError(f"{name} is {value!r}; it must be a number of at least {least:g}")
