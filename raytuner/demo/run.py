"""Run the demo: search, show the result, and compare if requested."""

from __future__ import annotations

import os
import time
from typing import Any

from ray.tune.schedulers import ASHAScheduler
from rich.console import Console

from raytuner.demo.digits import MAX_T, METRIC, SPACE, load_data, retrain, train
from raytuner.folders import Folder
from raytuner.history import History, TrialState
from raytuner.study.study import Study
from raytuner.study.summary import summary, table
from raytuner.study.tuning import tune


def column(history: History) -> dict[str, str]:
    """Train the best configuration once more; return what the comparison says, by title."""
    best, counts = history.best, history.counts
    scores = None if best is None else retrain(best.config)
    ended = [counts[s] for s in (TrialState.COMPLETED, TrialState.STOPPED_EARLY, TrialState.FAILED)]
    return {
        "validation accuracy": "-" if scores is None else f"{scores.validation:.4f}",
        "test accuracy": "-" if scores is None else f"{scores.test:.4f}",
        "trials": str(sum(ended)),
        "trained in full": str(ended[0]),
        "stopped early": str(ended[1]),
        "failed": str(ended[2]),
        "epochs": f"{sum(trial.t for trial in history.trials):g}",
    }


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

    With `compare`, random search and Ray's ASHAScheduler get the same time afterwards. The other
    arguments are those of `raytuner.tune`.
    """
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # else Ray prints a banner at verbose=0 too
    data = load_data()
    sizes = [len(split.digits) for split in (data.train, data.validation, data.test)]
    console.print(
        "Tuning a network that reads handwritten digits"
        f" ({sizes[0]} for training, {sizes[1]} for validation, {sizes[2]} for test).\n"
        "BoTorchSearch proposes configurations, PredictiveTerminationScheduler stops bad trials"
        f" early. A full training has {MAX_T} epochs.\n"
        "Press Ctrl-C to end the search with the best result so far. Starting Ray...\n",
        highlight=False,
    )
    settings: dict[str, Any] = {
        "metric": METRIC,
        "mode": "max",
        "resources": {"cpu": 1},
        "max_t": MAX_T,
        "storage_path": storage_path,
        "seed": seed,
        "reuse_actors": True,
    }
    name = f"digits_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
    start = time.monotonic()
    study = tune(
        train,
        SPACE,
        name=name,
        num_samples=num_samples,
        time_budget_s=time_budget_s,
        **settings,
    )
    seconds = time.monotonic() - start
    console.print(summary(study))
    ours = column(study.history)
    console.print(
        f"\nTrained again: {METRIC} {ours['validation accuracy']} on the validation split,"
        f" {ours['test accuracy']} on the test split, which the search never saw.",
        highlight=False,
    )
    if not compare or study.interrupted:
        return study
    console.print(
        f"\nNow random search with Ray's ASHAScheduler, also for {seconds:.0f} s...\n",
        highlight=False,
    )
    random = tune(
        train,
        SPACE,
        name=f"{name}_random",
        num_samples=-1,
        time_budget_s=seconds,
        strategy="random",
        scheduler=ASHAScheduler(max_t=MAX_T, grace_period=1, reduction_factor=3),
        **settings,
    )
    if random.interrupted:
        return study
    theirs = column(random.history)
    names = ["", "BoTorchSearch + PredictiveTerminationScheduler"]
    names += ["random search + Ray's ASHAScheduler"]
    rows = [[title, ours[title], theirs[title]] for title in ours]
    console.print(table(names, rows, right=names[1:]))
    console.print(
        f"{seconds:.0f} s each. This is a single run, so chance plays a role.", highlight=False
    )
    return study
