"""A trial as the loop knows it: what it has done, and the actor that it has."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any

from ray.tune.experiment import Trial

from raytuner.simulate.objective import Curve


@dataclass(slots=True)
class Checkpoint:
    """What a trial can go on from."""

    iteration: int
    time_total: float
    metrics: dict[str, Any]


@dataclass(slots=True)
class Run:
    """What the loop remembers of a trial beside Ray's own object.

    Attributes:
        trial: Ray's trial.
        number: Its place in the order of proposals, from 0.
        curve: What it would report.
        flat_config: Its configuration as it appears in a flat result (``config/lr``).
        proposed_at: Virtual seconds.
        ready_at: When the searcher has thought it out (see ``Settings.charge``).
        iteration: Its newest ``training_iteration``.
        t: Its resource so far, in the scheduler's unit.
        ending: Why it ended: "criterion", "scheduler", "returned", "error" or "removed".
        cut_off: Its status when the end of the experiment cut it off.
    """

    trial: Trial
    number: int
    curve: Curve
    flat_config: dict[str, Any]
    proposed_at: float
    ready_at: float
    actor: Actor | None = None
    attempts: int = 0
    checkpoint: Checkpoint | None = None
    saving: bool = False
    values: dict[float, float] = field(default_factory=dict)
    units: int = 0
    trained_s: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    iteration: int = 0
    t: float = 0.0
    ending: str = ""
    cut_off: str | None = None


class Actor:
    """One attempt at a trial, from the request for a worker to its release."""

    __slots__ = (
        "busy_until",
        "doomed_after",
        "doomed_fraction",
        "epoch",
        "gone",
        "held_since",
        "iteration",
        "iterations_since_restore",
        "lost",
        "ready_at",
        "rng",
        "run",
        "stopping",
        "time_since_restore",
        "time_this_iter",
        "time_total",
        "trains_since",
        "worker",
    )

    def __init__(self, run: Run, rng: random.Random, ready_at: float, failure_rate: float) -> None:
        self.run = run
        self.rng = rng
        self.ready_at = ready_at  # no start before: its configuration is still being thought out
        self.worker: int | None = None
        self.held_since = 0.0
        self.epoch = 0
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
        self.doomed_after = _units_until_failure(rng, failure_rate)
        self.doomed_fraction = rng.random()


def _units_until_failure(rng: random.Random, rate: float) -> int | None:
    """How many units succeed before one raises; None: all do."""
    if rate <= 0.0:
        return None
    return int(math.log(1.0 - rng.random()) / math.log1p(-rate))
