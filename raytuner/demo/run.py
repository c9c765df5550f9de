"""The demo from start to end: search, show the result, and compare if asked."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from ray import tune as ray_tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator
from rich.console import Console

from raytuner.demo.digits import MAX_T, METRIC, SPACE, load_data, retrain, train
from raytuner.folders import Folder, location
from raytuner.history import History, TrialState
from raytuner.study.study import Study
from raytuner.study.summary import summary, table
from raytuner.study.tuning import tune


@dataclass(frozen=True)
class SearchResult:
    """The result and the cost of a search on the digits."""

    config: dict[str, Any] | None  # the best, of trials trained in full if any; None: no report
    trained_in_full: int
    stopped_early: int  # reported, and not trained in full
    failed: int
    epochs: float  # of all trials together

    @classmethod
    def of_history(cls, history: History) -> SearchResult:
        """Return the result of a study."""
        best, counts = history.best, history.counts
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

    def column(self) -> dict[str, str]:
        """Train the best configuration once more; return what the comparison says, by title."""
        scores = None if self.config is None else retrain(self.config)
        return {
            "validation accuracy": "-" if scores is None else f"{scores.validation:.4f}",
            "test accuracy": "-" if scores is None else f"{scores.test:.4f}",
            # Those that had begun: Ray also counts trials that it only made ready.
            "trials": str(self.trained_in_full + self.stopped_early + self.failed),
            "trained in full": str(self.trained_in_full),
            "stopped early": str(self.stopped_early),
            "failed": str(self.failed),
            "epochs": f"{self.epochs:g}",
        }


def fit_tuner(searcher: Any, scheduler: Any, *, time_budget_s: float, folder: Folder) -> Any:
    """Tune the digits with Ray's Tuner alone, by a searcher and scheduler of Ray's or ours.

    After Ctrl-C, which only ends Ray's search early, it raises `KeyboardInterrupt`.
    """
    tuner = ray_tune.Tuner(
        ray_tune.with_resources(train, {"cpu": 1}),
        param_space=SPACE,
        tune_config=ray_tune.TuneConfig(
            metric=METRIC,
            mode="max",
            num_samples=-1,
            time_budget_s=time_budget_s,
            search_alg=searcher,
            scheduler=scheduler,
            reuse_actors=True,
        ),
        run_config=ray_tune.RunConfig(
            name=folder.name, storage_path=location(folder.parent), verbose=0
        ),
    )
    start = time.monotonic()
    results = tuner.fit()
    if time.monotonic() - start < time_budget_s:
        raise KeyboardInterrupt
    return results


def run_demo(
    console: Console,
    *,
    compare: bool = False,
    seed: int = 0,
    time_budget_s: float = 90.0,
    num_samples: int = 60,
    storage_path: Folder | None = None,
) -> Study:
    """Tune the digits network, show the result, and return the study.

    With `compare`, Ray's own random search and ASHAScheduler get the same time afterwards. The
    other arguments are those of `raytuner.tune`.
    """
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # else Ray prints a banner at verbose=0 too
    data = load_data()
    sizes = [len(split.digits) for split in (data.train, data.validation, data.test)]
    console.print(
        "Tuning a network that reads handwritten digits"
        f" ({sizes[0]} to train on, {sizes[1]} to validate, {sizes[2]} to test).\nBoTorchSearch"
        f" proposes, ASHAScheduler stops bad trials early. A full training is {MAX_T} epochs.\n"
        "Ctrl-C ends the search with the best so far. Starting Ray...\n",
        highlight=False,
    )
    start = time.monotonic()
    study = tune(
        train,
        SPACE,
        metric=METRIC,
        mode="max",
        num_samples=num_samples,
        resources={"cpu": 1},
        max_t=MAX_T,
        time_budget_s=time_budget_s,
        storage_path=storage_path,
        name=f"digits_{time.strftime('%Y-%m-%d_%H-%M-%S')}",
        seed=seed,
        reuse_actors=True,
    )
    seconds = time.monotonic() - start
    console.print(summary(study))
    ours = SearchResult.of_history(study.history).column()
    console.print(
        f"\nTrained once more: {METRIC} {ours['validation accuracy']} on the validation split,"
        f" {ours['test accuracy']} on the test split, which the search never saw.",
        highlight=False,
    )
    if not compare or study.interrupted:
        return study
    console.print(
        f"\nNow Ray's own random search and ASHAScheduler, {seconds:.0f} s as well...\n",
        highlight=False,
    )
    results = fit_tuner(
        BasicVariantGenerator(random_state=seed),
        ASHAScheduler(max_t=MAX_T, grace_period=1, reduction_factor=3),
        time_budget_s=seconds,
        folder=study.path / "random_search",
    )
    theirs = SearchResult.of_results(results).column()
    names = ["", "BoTorchSearch + ASHAScheduler", "Ray's random search + ASHA"]
    rows = [[title, ours[title], theirs[title]] for title in ours]
    console.print(table(names, rows, right=names[1:]))
    console.print(f"The same {seconds:.0f} s each. One run: luck plays a part.", highlight=False)
    return study
