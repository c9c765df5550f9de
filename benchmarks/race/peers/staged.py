"""Peers that ask for a part of a training, and later for more of some.

A trial pauses where its part ends. When the peer asks for more of that configuration, no new trial
begins: the paused one goes on, so that no epoch is trained twice.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict, deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from ray.tune.experiment import Trial

from benchmarks.problem import Problem
from benchmarks.race.peers.ask_tell import AskTell
from benchmarks.race.peers.deciding import Deciding


@dataclass(frozen=True)
class Stage:
    """A part of a training.

    Attributes:
        handle: The peer's own name or object for it.
        key: The same for all parts of one training.
        units: Where it ends, counted from the beginning of the training.
    """

    handle: Any
    key: Hashable
    units: int


class StagedSearcher(AskTell):
    """Runs the parts of trainings that a peer asks for. `Pausing` pauses and resumes the trials."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self._max_t = problem.max_t
        self._trials: dict[Hashable, str] = {}
        self._open: defaultdict[str, deque[Stage]] = defaultdict(deque)  # by trial, lowest first
        self._ended: set[str] = set()
        self.promoted: str | None = None  # the trial that is to go on next

    @abstractmethod
    def ask(self) -> tuple[Stage, dict[str, Any]]:
        """Return the next part of a training, and its configuration."""

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Ask the peer. Return None if a paused trial is to go on: it is in `promoted`."""
        while self.promoted is None:
            stage, config = self.ask()
            trial = self._trials.setdefault(stage.key, trial_id)
            if trial in self._ended:
                self.tell(stage, None)  # there is no more of a training that failed
                continue
            is_running = bool(self._open[trial])  # then it goes on without a pause
            self._open[trial].append(stage)
            if trial == trial_id:
                return config
            if not is_running:
                self.promoted = trial
        return None

    def decision(self, trial_id: str, result: Mapping[str, Any]) -> str:
        """Tell the peer about each part that has ended; pause the trial if no part is left."""
        stages, t = self._open[trial_id], result["training_iteration"]
        loss = self.loss(result)
        if loss is None or t >= self._max_t:
            return Deciding.CONTINUE  # the training ends here by itself
        while stages and stages[0].units <= t:
            self.tell(stages.popleft(), loss)
        return Deciding.CONTINUE if stages else Deciding.PAUSE

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the peer how the trial's open parts ended."""
        self._ended.add(trial_id)
        for stage in self._open.pop(trial_id, ()):
            self.tell(stage, None if error else self.loss(result))


class Pausing(Deciding):
    """Pauses trials where their parts end, and resumes those that are promoted."""

    def __init__(self, searcher: StagedSearcher) -> None:
        super().__init__(searcher)
        self._staged = searcher

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the promoted trial if it has paused, else the first pending one."""
        trials: list[Trial] = tune_controller.get_trials()
        for trial in trials:
            if trial.trial_id == self._staged.promoted and trial.status == Trial.PAUSED:
                self._staged.promoted = None
                return trial
        return next((trial for trial in trials if trial.status == Trial.PENDING), None)
