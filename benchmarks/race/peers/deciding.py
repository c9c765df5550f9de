"""A scheduler that leaves every decision to the searcher, for peers that both propose and stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler


class Decider(Protocol):
    """A searcher that decides about trials, too."""

    def decision(self, trial_id: str, result: Mapping[str, Any]) -> str:
        """Whether a trial that has reported goes on: a word of Ray's schedulers."""


class Deciding(FIFOScheduler):
    """Asks the searcher after each report."""

    def __init__(self, searcher: Decider) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._searcher = searcher

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """What the searcher says."""
        return self._searcher.decision(str(trial.trial_id), result)
