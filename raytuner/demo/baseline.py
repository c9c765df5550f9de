"""The digits in a plain Tuner; what the demo compares itself with: Ray's own random search."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from ray import tune
from ray.tune import Callback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from raytuner.demo.digits import MAX_T, METRIC, SPACE, train
from raytuner.demo.watch import Watch
from raytuner.folders import Folder, location
from raytuner.history import History
from raytuner.study.progress import Progress


def random_search(*, seconds: float, seed: int, folder: Folder) -> History:
    """Search by Ray alone for so many seconds; the record of it.

    Args:
        seconds: Time budget.
        seed: Seed of the random configurations.
        folder: Where Ray puts its files.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    watch = Watch(SPACE, METRIC, "max", MAX_T)
    progress = Progress(partial(getattr, watch, "history"), -1, MAX_T, seconds)
    try:
        run_watched(
            watch,
            BasicVariantGenerator(random_state=seed),
            ASHAScheduler(max_t=MAX_T, grace_period=1, reduction_factor=3),
            seconds=seconds,
            folder=folder,
            callbacks=[progress],
        )
    finally:
        progress.close()
    return watch.history


def run_watched(
    watch: Watch,
    searcher: Any,
    scheduler: Any,
    *,
    seconds: float,
    folder: Folder,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Tune the digits by a plain Tuner: any searcher and scheduler, for so many seconds.

    Ray takes Ctrl-C for an early end of the search; here it is one again.

    Args:
        watch: Keeps the record.
        searcher: Ray's or ours.
        scheduler: Ray's or ours.
        seconds: Time budget.
        folder: Where Ray puts its files.
        callbacks: More of Ray's callbacks.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space=SPACE,
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="max",
            num_samples=-1,
            time_budget_s=seconds,
            search_alg=searcher,
            scheduler=scheduler,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=location(folder.parent),
            verbose=0,
            callbacks=[watch, *callbacks],
        ),
    )
    start = time.monotonic()
    tuner.fit()
    if time.monotonic() - start < seconds:
        raise KeyboardInterrupt
    watch.close()
