"""The search of `drop_in.py` in one call."""

from pathlib import Path
from typing import Any

from ray import tune

import raytuner


def train(config: dict[str, Any]) -> None:
    """Stand in for a training: the loss falls at each step, and depends on both values."""
    for step in range(1, 28):
        tune.report({"loss": (config["lr"] - 0.01) ** 2 + config["momentum"] / step})


def main(storage_path: Path | None = None) -> raytuner.Study:
    """Search, and print the result."""
    study = raytuner.tune(
        train,
        {"lr": tune.loguniform(1e-4, 1e-1), "momentum": tune.uniform(0.0, 0.99)},
        metric="loss",
        mode="min",
        num_samples=20,
        max_t=27,
        storage_path=storage_path,
    )
    print(study.best.config, study.best.value)
    print(study.counts, study.path)
    return study


if __name__ == "__main__":
    main()
