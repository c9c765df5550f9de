"""Any searcher and scheduler on the digits in a plain Tuner, and two searches in one table."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from ray import tune
from rich.table import Table

from raytuner.demo.digits import MAX_T, METRIC, SPACE, Scores, train
from raytuner.folders import Folder, location
from raytuner.history import History, TrialState


@dataclass(frozen=True)
class SearchResult:
    """The result and the cost of a search on the digits.

    Attributes:
        config: The best configuration, among trials trained in full if there are any; None if no
            trial reported.
        trained_in_full: Trials that reached `MAX_T`.
        stopped_early: Trials that reported and were not trained in full.
        failed: Trials that raised.
        epochs: Epochs of all trials together.
    """

    config: dict[str, Any] | None
    trained_in_full: int
    stopped_early: int
    failed: int
    epochs: float

    @classmethod
    def of_history(cls, history: History) -> SearchResult:
        """Return the result of a study."""
        best = history.best()
        counts = Counter(trial.state for trial in history.trials)
        return cls(
            config=None if best is None else best.config,
            trained_in_full=counts[TrialState.COMPLETED],
            stopped_early=counts[TrialState.STOPPED_EARLY],
            failed=counts[TrialState.FAILED],
            epochs=sum(trial.t for trial in history.trials),
        )

    @classmethod
    def of_results(cls, results: Any) -> SearchResult:
        """Return the result of a Tuner, given its `ResultGrid`."""
        reported = [r for r in results if r.metrics and METRIC in r.metrics]
        usable = [r.metrics for r in reported if r.error is None]
        full = [metrics for metrics in usable if metrics["training_iteration"] >= MAX_T]
        best = max(full or usable, key=itemgetter(METRIC), default=None)
        return cls(
            config=best and best["config"],
            trained_in_full=len(full),
            stopped_early=len(usable) - len(full),
            failed=results.num_errors,
            epochs=sum(r.metrics["training_iteration"] for r in reported),
        )


def fit_tuner(searcher: Any, scheduler: Any, *, time_budget_s: float, folder: Folder) -> Any:
    """Tune the digits with Ray's Tuner alone, by a searcher and scheduler of Ray's or ours.

    Args:
        searcher: The searcher.
        scheduler: The scheduler.
        time_budget_s: Seconds for the search.
        folder: Where Ray puts its files.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; Ray itself only ends the search early.
    """
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space=SPACE,
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="max",
            num_samples=-1,
            time_budget_s=time_budget_s,
            search_alg=searcher,
            scheduler=scheduler,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=folder.name, storage_path=location(folder.parent), verbose=0
        ),
    )
    start = time.monotonic()
    results = tuner.fit()
    if time.monotonic() - start < time_budget_s:
        raise KeyboardInterrupt
    return results


def comparison(
    results: Mapping[str, tuple[SearchResult, Scores | None]], time_budget_s: float
) -> Table:
    """Return a table of searches side by side.

    Args:
        results: By name, the result of a search and the scores of its best configuration after a
            full training.
        time_budget_s: Seconds that each search had.
    """
    table = Table("", title=f"The same {time_budget_s:.0f} s each. One run: luck plays a part.")
    columns = []
    for name, (result, scores) in results.items():
        table.add_column(name, justify="right")
        columns.append(
            {
                "validation accuracy": "-" if scores is None else f"{scores.validation:.4f}",
                "test accuracy": "-" if scores is None else f"{scores.test:.4f}",
                # Those that had begun: Ray also counts trials that it only made ready.
                "trials": str(result.trained_in_full + result.stopped_early + result.failed),
                "trained in full": str(result.trained_in_full),
                "stopped early": str(result.stopped_early),
                "failed": str(result.failed),
                "epochs": f"{result.epochs:g}",
            }
        )
    for title in columns[0]:
        table.add_row(title, *(column[title] for column in columns))
    return table
