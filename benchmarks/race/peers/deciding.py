"""A scheduler that leaves every decision to the searcher, for peers that both propose and stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler


class Decider(Protocol):
    """A searcher that also decides whether trials go on."""

    def decision(self, trial_id: str, result: Mapping[str, Any]) -> str:
        """Return Ray's `CONTINUE`, `PAUSE` or `STOP` for a trial that has reported."""


class Deciding(FIFOScheduler):
    """Asks the searcher after each report."""

    def __init__(self, searcher: Decider) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._searcher = searcher

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """Return the searcher's decision."""
        return self._searcher.decision(str(trial.trial_id), result)
