"""Learning curves that cross, so that a rank at an early rung says little of the end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ray import tune

from raytuner.simulate import Cluster, Curve, Simulation, simulate

MAX_T = 27
SPACE = {"x": tune.uniform(0, 1), "rate": tune.uniform(0, 1)}


def loss_at(config: Mapping[str, Any], t: int) -> float:
    """Losses that cross: what falls fast at first ends high. The best end is at x = 0.3."""
    floor = (config["x"] - 0.3) ** 2
    start, speed = 1.0 - 0.5 * config["x"], 0.2 + config["rate"]
    return float(floor + start * math.exp(-speed * t / 3))


def objective(config: Mapping[str, Any]) -> Curve:
    return Curve([{"loss": loss_at(config, t)} for t in range(1, MAX_T + 1)], seconds=1.0)


def run(
    scheduler: Any,
    searcher: Any,
    num_samples: int,
    cluster: Cluster = Cluster(workers=4),  # noqa: B008
    **settings: Any,
) -> Simulation:
    return simulate(
        objective,
        SPACE,
        searcher=searcher,
        scheduler=scheduler,
        metric="loss",
        mode="min",
        num_samples=num_samples,
        cluster=cluster,
        seed=0,
        **settings,
    )
