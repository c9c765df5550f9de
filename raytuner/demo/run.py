"""The demo from start to end: search, show the result, and compare if asked."""

from __future__ import annotations

import os
import time

from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator
from rich.console import Console

from raytuner.demo.comparison import SearchResult, comparison, fit_tuner
from raytuner.demo.digits import MAX_T, METRIC, SPACE, load_data, retrain, train
from raytuner.folders import Folder
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
    """Tune the digits network and show the result.

    Args:
        console: Where to show it.
        compare: Give Ray's own random search and ASHAScheduler the same time afterwards.
        seed: Seed of the search.
        time_budget_s: Seconds for the search.
        num_samples: Largest number of trials; -1 for as many as there is time for.
        storage_path: Folder for the results; None for the default of `raytuner.tune`.

    Returns:
        The study.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed during the comparison.
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
    ours = SearchResult.of_history(study.history)
    scores = None if ours.config is None else retrain(ours.config)
    more = {}
    if scores is not None:
        more["Retrained"] = (
            f"{METRIC} {scores.validation:.4f} on the validation split,"
            f" {scores.test:.4f} on the test split, which the search never saw"
        )
    console.print(summary(study, unit="epoch", more=more))
    if not compare or study.interrupted:
        return study
    console.print(
        f"\nNow Ray's own random search and ASHAScheduler, {seconds:.0f} s as well...",
        highlight=False,
    )
    results = fit_tuner(
        BasicVariantGenerator(random_state=seed),
        ASHAScheduler(max_t=MAX_T, grace_period=1, reduction_factor=3),
        time_budget_s=seconds,
        folder=study.path / "random_search",
    )
    theirs = SearchResult.of_results(results)
    their_scores = None if theirs.config is None else retrain(theirs.config)
    named = {
        "BoTorchSearch + ASHAScheduler": (ours, scores),
        "Ray's random search + ASHA": (theirs, their_scores),
    }
    console.print(comparison(named, seconds))
    return study
