"""One epoch each, then the best in full: simple, and hard to beat.

Egele et al., "Is One Epoch All You Need For Multi-Fidelity Hyperparameter Optimization?" (2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from benchmarks.race.method import Contest, Search

# The share of the budget's epochs that are first ones (with set-up in them, they take two to five
# times their part of the time on LCBench). What is left is spent on the best, one after another.
FIRST_EPOCHS = 0.1


def one_epoch_top_k(contest: Contest) -> Search:
    """Random configurations, as many as `FIRST_EPOCHS` of the budget's epochs."""
    epochs = contest.budget * contest.workers * contest.problem.max_t
    count = max(contest.workers, round(FIRST_EPOCHS * epochs))
    problem = contest.problem
    return Search(
        BasicVariantGenerator(random_state=contest.seed),
        TopK(problem.metric, problem.mode, count),
        num_samples=count,
    )


class TopK(FIFOScheduler):
    """Pauses every trial after its first report, then resumes the best first.

    Args:
        metric: What trials report.
        mode: "min" or "max".
        count: How many trials there will be; none is resumed before all have reported.
    """

    def __init__(self, metric: str, mode: str, count: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._key = metric
        self._sign = 1.0 if mode == "max" else -1.0
        self._left = count
        self._first: dict[str, float] = {}

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Metric and mode are known already."""
        return True

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """Pause after the first report; go on after any other."""
        if trial.trial_id in self._first:
            return self.CONTINUE
        self._first[str(trial.trial_id)] = self._sign * result[self._key]
        self._left -= 1
        return self.PAUSE

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Trials not begun yet; then, once all have reported, the best of those that wait."""
        trials = [t for t in tune_controller.get_trials() if t.status in ("PENDING", "PAUSED")]
        pending = next((t for t in trials if t.status == Trial.PENDING), None)
        if pending is not None or self._left > 0:
            return pending
        paused = [t for t in trials if t.status == Trial.PAUSED]
        return max(paused, key=lambda t: self._first[str(t.trial_id)], default=None)
