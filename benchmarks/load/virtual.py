"""Many trials on the virtual clock."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler as RaysASHA
from ray.tune.search import BasicVariantGenerator

import raytuner
from benchmarks.load.meter import HOOKS, Meter, Stretch
from benchmarks.load.training import MAX_T
from raytuner.simulate import Cluster, Curve, simulate

SPACE: dict[str, Any] = {f"x{i}": tune.uniform(0, 1) for i in range(8)}
WORKERS = 64


def objective(config: dict[str, Any]) -> Curve:
    """Nine reports of a trial that differs in length from the others."""
    rng = random.Random(repr(sorted(config.items())))
    floor = sum((config[f"x{i}"] - 0.3) ** 2 for i in range(8))
    return Curve([{"loss": floor + 1 / t} for t in range(1, MAX_T + 1)], seconds=rng.uniform(5, 20))


def ours(strategy: str) -> tuple[Any, Any]:
    """Our searcher, by this strategy and inside of the loop, and our scheduler."""
    searcher = raytuner.BoTorchSearch(seed=0, strategy=strategy, background=False)
    return searcher, raytuner.ASHAScheduler(max_t=MAX_T, seed=0)


def rays() -> tuple[Any, Any]:
    """Ray's random search and its ASHA."""
    searcher = BasicVariantGenerator(max_concurrent=WORKERS, random_state=0)
    return searcher, RaysASHA(max_t=MAX_T, grace_period=1, reduction_factor=3)


SEARCHES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "raytuner, random": lambda: ours("random"),
    "raytuner, bayes": lambda: ours("bayes"),
    "Ray's random search + ASHA": rays,
}


def run(search: str, trials: int, every: int) -> list[Stretch]:
    """Simulate a search of so many trials."""
    searcher, scheduler = SEARCHES[search]()
    meter = Meter(every)
    meter.watch(scheduler, HOOKS["scheduler"])
    if isinstance(searcher, raytuner.BoTorchSearch):
        meter.watch(searcher, HOOKS["searcher"])
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(searcher, raytuner.BoTorchSearch):
            searcher.keep_record_in(Path(folder) / "record.sqlite")
        simulate(
            objective,
            SPACE,
            searcher=searcher,
            scheduler=scheduler,
            metric="loss",
            mode="min",
            num_samples=trials,
            cluster=Cluster(workers=WORKERS, startup_s=0.0),
            seed=0,
        )
    return meter.stretches
