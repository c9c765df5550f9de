"""A made-up problem: a parabola that is reached after nine epochs."""

from typing import Any

from ray import tune

from benchmarks.problem import Problem
from raytuner.simulate import Curve

EPOCHS = 9


def curve(config: dict[str, Any]) -> Curve:
    loss = (config["x"] - 0.3) ** 2
    return Curve([{"accuracy": 1 - loss - 1 / t} for t in range(1, EPOCHS + 1)], seconds=1.0)


def tiny_problem() -> Problem:
    return Problem(
        name="tiny",
        space={"x": tune.uniform(0, 1)},
        objective=curve,
        metric="accuracy",
        mode="max",
        max_t=EPOCHS,
        training_s=float(EPOCHS),
        best=1 - 1 / EPOCHS,
        median=1 - 1 / EPOCHS - 0.06,
    )
