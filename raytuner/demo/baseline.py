"""What the demo compares itself with: Ray's own random search and ASHAScheduler."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from raytuner.demo.digits import MAX_T, METRIC, SPACE, train
from raytuner.demo.watch import Watch
from raytuner.history import History
from raytuner.study.progress import Progress


def random_search(*, seconds: float, seed: int, folder: Path) -> History:
    """Search by Ray alone for so many seconds; the record of it.

    Ray takes Ctrl-C for an early end of the search; here it is one again.

    Args:
        seconds: Time budget.
        seed: Seed of the random configurations.
        folder: Where Ray puts its files.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    watch = Watch(SPACE, METRIC, "max", MAX_T)
    progress = Progress(partial(getattr, watch, "history"), -1, MAX_T, seconds)
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space=SPACE,
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="max",
            num_samples=-1,
            time_budget_s=seconds,
            search_alg=BasicVariantGenerator(random_state=seed),
            scheduler=ASHAScheduler(max_t=MAX_T, grace_period=1, reduction_factor=3),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            verbose=0,
            callbacks=[watch, progress],
        ),
    )
    start = time.monotonic()
    try:
        tuner.fit()
    finally:
        progress.close()
    if time.monotonic() - start < seconds:
        raise KeyboardInterrupt
    watch.close()
    return watch.history
