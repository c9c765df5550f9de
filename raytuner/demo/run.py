"""The demo from start to end: search, show, and compare if asked."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from raytuner.demo.baseline import random_search
from raytuner.demo.digits import MAX_T, METRIC, SPACE, Scores, load_data, retrain, train
from raytuner.folders import Folder
from raytuner.history import History, TrialState
from raytuner.study import Study, tune
from raytuner.study.summary import summary


def run_demo(
    console: Console,
    *,
    compare: bool = False,
    seed: int = 0,
    time_budget_s: float = 90.0,
    num_samples: int = 60,
    storage_path: Folder | None = None,
) -> Study:
    """Tune the digits network and say what came out.

    Args:
        console: Where to say it.
        compare: Give Ray's own random search and ASHAScheduler the same time afterwards.
        seed: Seed of the search.
        time_budget_s: Seconds for the search.
        num_samples: Trials at the most; -1 for as many as there is time for.
        storage_path: Folder for the results; None: the default of `raytuner.tune`.

    Returns:
        The study.
    """
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # else Ray prints a banner at verbose=0 too
    data = load_data()
    sizes = [len(split.digits) for split in (data.train, data.validation, data.test)]
    console.print(
        "Tuning a network that reads handwritten digits "
        f"({sizes[0]} to train on, {sizes[1]} to validate, {sizes[2]} to test).\n"
        f"BoTorchSearch proposes, ASHAScheduler stops what does badly; a full training is {MAX_T}"
        " epochs.\nCtrl-C ends the search with the best so far. Starting Ray...\n",
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
    best = study.history.best()
    scores = None if best is None else retrain(best.config)
    console.print(summary(study, unit="epoch", more=_in_words(scores)))
    if compare and not study.interrupted:
        console.print(
            f"\nNow Ray's own random search and ASHAScheduler, {seconds:.0f} s as well...",
            highlight=False,
        )
        other = random_search(seconds=seconds, seed=seed, folder=study.path / "random_search")
        theirs = other.best()
        other_scores = None if theirs is None else retrain(theirs.config)
        console.print(
            comparison(
                {
                    "BoTorchSearch + ASHAScheduler": (study.history, scores),
                    "Ray's random search + ASHA": (other, other_scores),
                },
                seconds,
            )
        )
    return study


def _in_words(scores: Scores | None) -> Mapping[str, str]:
    if scores is None:
        return {}
    return {
        "Retrained": f"{METRIC} {scores.validation:.4f} on the validation split,"
        f" {scores.test:.4f} on the test split, which the search never saw"
    }


def comparison(results: Mapping[str, tuple[History, Scores | None]], seconds: float) -> Table:
    """Two searches side by side.

    Args:
        results: By name: the record of a search, and the scores of its best configuration after
            a full training.
        seconds: What each search had.
    """
    table = Table(title=f"The same {seconds:.0f} s each, one run: the luck of a draw is in it")
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")
    columns = [_column(history, scores) for history, scores in results.values()]
    for row in columns[0]:
        table.add_row(row, *(column[row] for column in columns))
    return table


def _column(history: History, scores: Scores | None) -> dict[str, str]:
    """What there is to say of one search, by row."""
    counts = history.counts()
    return {
        "validation accuracy": "-" if scores is None else f"{scores.validation:.4f}",
        "test accuracy": "-" if scores is None else f"{scores.test:.4f}",
        "trials": str(len(history)),
        "trained in full": str(counts[TrialState.COMPLETED]),
        "stopped early": str(counts[TrialState.STOPPED_EARLY]),
        "failed": str(counts[TrialState.FAILED]),
        "epochs": f"{sum(trial.t for trial in history.trials):g}",
    }
