"""Ray's loop around a scheduler, in the order of its calls; what happens next is drawn."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.tune.schedulers import TrialScheduler

from raytuner import BoTorchSearch
from raytuner.bayes import SobolProposer
from raytuner.space import Float, Space

LIVE = ("PENDING", "RUNNING", "PAUSED")
MAX_STEPS = 5000


@dataclass(eq=False)
class LoopTrial:
    """A trial as schedulers see it, and where its training is."""

    trial_id: str
    x: float
    status: str = "PENDING"
    last_result: dict[str, Any] = field(default_factory=dict)
    t: int = 0
    saved_t: int = 0
    saving: bool = False

    def set_status(self, status: str) -> None:
        self.status = status

    def get_trainable_cls(self) -> None:
        return None


class Forgetful:
    """A searcher that keeps no record, and gives no more than ``limit`` trials that have not ended.

    As many of Ray's do, it counts those that are paused.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.live: set[str] = set()

    def suggest(self, trial_id: str) -> dict[str, float] | None:
        if self.limit is not None and len(self.live) >= self.limit:
            return None
        self.live.add(trial_id)
        return {"x": random.Random(trial_id).random()}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        pass

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        self.live.remove(trial_id)


def remembering(limit: int | None) -> BoTorchSearch:
    """A searcher of ours, with its record; paused trials do not count in its limit."""
    searcher = BoTorchSearch(
        Space({"x": Float(0, 1)}), "loss", "min", seed=0, proposer=SobolProposer
    )
    if limit is not None:
        searcher.set_max_concurrency(limit)
    return searcher


class Search:
    """Stands for Ray's SearchGenerator."""

    def __init__(self, searcher: Any, samples: int) -> None:
        self.searcher = searcher
        self.samples = samples
        self.given = 0

    def is_finished(self) -> bool:
        return self.given >= self.samples


class Loop:
    """One experiment, with everything that can befall it.

    Args:
        make: Makes the scheduler; again at each restore, since Ray saves nothing of it.
        searcher: The searcher.
        rng: Draws what happens.
        samples: How many trials.
        slots: How many run at a time.
        folder: Where a searcher of ours is saved; None: nothing is ever restored.
        jumps: Whether reports may leave out iterations.
        retries: Whether a trial that fails may be tried again.
    """

    def __init__(
        self,
        make: Callable[[], TrialScheduler],
        searcher: Any,
        rng: random.Random,
        *,
        samples: int,
        slots: int,
        folder: Path | None = None,
        jumps: bool = False,
        retries: bool = True,
    ) -> None:
        self.make, self.rng, self.width, self.folder = make, rng, slots, folder
        self.jumps, self.retries = jumps, retries
        self.retried = self.restored = 0
        self.search_alg = Search(searcher, samples)
        self.scheduler: Any = make()
        self.trials: list[LoopTrial] = []
        self.cap = 1
        self.decisions: list[tuple[str, int, str]] = []
        self.on_step: Callable[[], None] = lambda: None
        self._trial_to_actor: dict[Any, Any] = {}  # a trial that starts does so at once
        self._actor_manager = None

    # -- what schedulers call --------------------------------------------------------------------

    def get_trials(self) -> list[LoopTrial]:
        return self.trials

    def slots(self) -> int:
        return self.width

    def get_live_trials(self) -> list[LoopTrial]:
        return self.of(*LIVE)

    def update_max_pending_trials(self, cap: int) -> None:
        self.cap = cap

    def stop_trial(self, trial: LoopTrial) -> None:
        searcher = self.search_alg.searcher
        if trial.status in ("PENDING", "PAUSED"):
            self.scheduler.on_trial_remove(self, trial)
            searcher.on_trial_complete(trial.trial_id)
        elif trial.status == "RUNNING":
            self.scheduler.on_trial_complete(self, trial, trial.last_result)
            searcher.on_trial_complete(trial.trial_id, trial.last_result)
        trial.status, trial.saving = "TERMINATED", False

    # -- the loop --------------------------------------------------------------------------------

    def of(self, *statuses: str) -> list[LoopTrial]:
        return [trial for trial in self.trials if trial.status in statuses]

    def run(self) -> None:
        """To the end."""
        for _ in range(MAX_STEPS):
            if self.search_alg.is_finished() and not self.of(*LIVE):
                return
            self.step()
            self.on_step()
        raise AssertionError(f"no end: {[t.status for t in self.trials]}")

    def step(self) -> None:
        while not self.search_alg.is_finished() and len(self.of("PENDING")) < self.cap:
            trial_id = f"trial_{self.search_alg.given:03d}"
            config = self.search_alg.searcher.suggest(trial_id)
            if config is None:
                break
            self.search_alg.given += 1
            trial = LoopTrial(trial_id, config["x"])
            self.trials.append(trial)
            self.scheduler.on_trial_add(self, trial)
        chosen = self.scheduler.choose_trial_to_run(self)
        if chosen is not None:
            assert chosen.status in ("PENDING", "PAUSED")
            assert self.scheduler.choose_trial_to_run(self) is chosen  # as Ray demands
            chosen.status = "PENDING"
            self.start(chosen)
        for trial in self.of("PENDING"):
            self.start(trial)
        self.something_happens()

    def start(self, trial: LoopTrial) -> None:
        if len(self.of("RUNNING")) < self.width:
            trial.status, trial.t = "RUNNING", trial.saved_t

    def something_happens(self) -> None:
        event = self.rng.random()
        if event < 0.02 and self.folder is not None:
            self.restore()
            return
        if event < 0.04 and (live := self.of(*LIVE)):
            self.stop_trial(self.rng.choice(live))  # the user does
            return
        if running := self.of("RUNNING"):
            trial = self.rng.choice(running)
            if event < 0.12:
                self.fail(trial, again=self.retries and self.rng.random() < 0.7)
            elif trial.saving:
                trial.saving, trial.saved_t = False, trial.t
                trial.status = "PAUSED"
            elif event < 0.14:
                self.stop_trial(trial)  # its training returns, or a criterion ends it
            else:
                self.report(trial)

    def report(self, trial: LoopTrial) -> None:
        fixed = random.Random(trial.trial_id)  # a retry reports the same again
        trial.t += fixed.randint(1, 4) if self.jumps else 1
        diverges_at = fixed.randint(1, 40) if self.folder is not None else math.inf
        value = math.nan if trial.t >= diverges_at else trial.x + 1 / trial.t
        result = {"training_iteration": trial.t, "loss": value}
        decision = self.scheduler.on_trial_result(self, trial, result)
        self.decisions.append((trial.trial_id, trial.t, decision))
        if decision != "STOP":
            self.search_alg.searcher.on_trial_result(trial.trial_id, result)
        trial.last_result = result
        if self.rng.random() < 0.3:
            trial.saved_t = trial.t
        if decision == "STOP":
            self.stop_trial(trial)
        else:
            trial.saving = decision == "PAUSE"

    def fail(self, trial: LoopTrial, *, again: bool) -> None:
        trial.saving = False
        if again:
            self.retried += 1
            trial.status = "ERROR"
            self.scheduler.on_trial_error(self, trial)
            trial.status = "PENDING"
            self.trials.remove(trial)
            self.trials.append(trial)
            self.scheduler.on_trial_add(self, trial)
        else:
            self.scheduler.on_trial_error(self, trial)
            self.search_alg.searcher.on_trial_complete(trial.trial_id, error=True)
            trial.status = "ERROR"

    def restore(self) -> None:
        """The process dies: what Ray has saved goes on, and the scheduler's state is not there."""
        self.restored += 1
        searcher = self.search_alg.searcher
        if isinstance(searcher, BoTorchSearch):
            assert self.folder is not None
            searcher.save(str(self.folder / "saved"))
            limit = searcher._settings.max_concurrent
            self.search_alg.searcher = remembering(limit)
            self.search_alg.searcher.restore(str(self.folder / "saved"))
        self.scheduler, self.cap = self.make(), 1
        trials, self.trials = self.trials, []
        for trial in self.rng.sample(trials, len(trials)):
            trial.saving = False
            if trial.status in LIVE:
                trial.status = "PENDING"
            self.trials.append(trial)
            self.scheduler.on_trial_add(self, trial)
