"""Utilisation of 1,000 workers on the virtual clock, with proposals' seconds charged."""

from __future__ import annotations

import math
import random
import time
from typing import Any

from ray import tune

from raytuner import BoTorchSearch
from raytuner.simulate import Cluster, Curve, Settings, Simulation, simulate

SPACE: dict[str, Any] = {f"x{i}": tune.uniform(0, 1) for i in range(8)}


def objective(config: dict[str, Any]) -> Curve:
    """Nine epochs, whose seconds differ from trial to trial by a factor of four or so."""
    rng = random.Random(repr(sorted(config.items())))
    floor = sum((config[f"x{i}"] - 0.3) ** 2 for i in range(8))
    seconds = 10.0 * math.exp(rng.gauss(0, 0.35))
    return Curve([{"loss": floor + 1 / t} for t in range(1, 10)], seconds=seconds)


def run(workers: int, trials: int, background: bool) -> tuple[Simulation, float, dict[str, int]]:
    """Simulate; the simulation, the real seconds that it took, and the proposals' kinds."""
    searcher = BoTorchSearch(seed=0, background=background)
    start = time.perf_counter()
    simulation = simulate(
        objective,
        SPACE,
        searcher=searcher,
        metric="loss",
        mode="min",
        num_samples=trials,
        cluster=Cluster(workers=workers, startup_s=2.0),
        settings=Settings(charge="background" if background else "inline"),
        seed=0,
    )
    return simulation, time.perf_counter() - start, searcher.proposal_counts
