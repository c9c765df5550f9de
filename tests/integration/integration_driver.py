"""Training functions, and a program that runs a study with them, to be killed or interrupted.

Usage: integration_driver.py COMMAND FOLDER-OR-URI, with RAY_ADDRESS set to the cluster to use, and
EPOCH_S to the seconds that a report takes.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune

import raytuner
from raytuner.folders import Folder, folder_of, location

SPACE: dict[str, Any] = {"x": tune.uniform(-1, 1), "opt": {"lr": tune.loguniform(1e-4, 1e-1)}}
# Ray's workers cannot import the tests: they get the functions themselves.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]

NUM_SAMPLES = 6
MAX_T = 9
EPOCH_S = float(os.environ.get("EPOCH_S", "0.15"))
GRACE = 3  # the only rung: with a reduction factor of 3, the next would be MAX_T


def loss(config: dict[str, Any], t: float) -> float:
    """What every function here reports: known for each trial and t."""
    return float(config["x"] ** 2 + 1 / t)


def train(config: dict[str, Any]) -> None:
    for t in range(1, MAX_T + 1):
        tune.report({"loss": loss(config, t)})


def slow(config: dict[str, Any]) -> None:
    for t in range(1, MAX_T + 1):
        time.sleep(EPOCH_S)
        tune.report({"loss": loss(config, t)})


def saving(config: dict[str, Any]) -> None:
    """As `slow`, with a checkpoint at each report."""
    begin = 1
    if (checkpoint := tune.get_checkpoint()) is not None:
        with checkpoint.as_directory() as place:
            begin = int(Path(place, "t").read_text()) + 1
    for t in range(begin, MAX_T + 1):
        time.sleep(EPOCH_S)
        with tempfile.TemporaryDirectory() as place:
            Path(place, "t").write_text(str(t))
            checkpoint = tune.Checkpoint.from_directory(place)
            tune.report({"loss": loss(config, t)}, checkpoint=checkpoint)


def _drop_in(folder: Folder, train: Any = slow, **asha: Any) -> None:
    tune.Tuner(
        train,
        param_space=SPACE,
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=NUM_SAMPLES,
            search_alg=raytuner.BoTorchSearch(seed=0),
            scheduler=raytuner.ASHAScheduler(max_t=MAX_T, grace_period=GRACE, seed=0, **asha),
        ),
        run_config=tune.RunConfig(
            name=folder.name, storage_path=location(folder.parent), verbose=0
        ),
    ).fit()


def _drop_in_restore(folder: Folder, train: Any = slow) -> None:
    results = tune.Tuner.restore(location(folder), train).fit()
    print(json.dumps(len(results)))


def _tune(folder: Folder) -> None:
    study = raytuner.tune(
        slow,
        SPACE,
        metric="loss",
        mode="min",
        num_samples=NUM_SAMPLES,
        max_t=MAX_T,
        grace_period=GRACE,
        seed=0,
        storage_path=folder.parent,
        name=folder.name,
    )
    best = study.history.best
    value = None if best is None else best.value
    print(json.dumps({"interrupted": study.interrupted, "best": value}))


def _resume(folder: Folder) -> None:
    study = raytuner.load(folder)
    assert study.interrupted
    study = study.resume(slow)
    print(json.dumps({"interrupted": study.interrupted, "trials": len(study.trials)}))


def main() -> None:
    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    command, folder = sys.argv[1], folder_of(sys.argv[2])
    commands: dict[str, Callable[[Folder], None]] = {
        "drop_in": _drop_in,
        "drop_in_restore": _drop_in_restore,
        "saving": partial(_drop_in, train=saving),
        "saving_restore": partial(_drop_in_restore, train=saving),
        "promotion": partial(_drop_in, train=saving, variant="promotion"),
        "promotion_restore": partial(_drop_in_restore, train=saving),
        "tune": _tune,
        "resume": _resume,
    }
    commands[command](folder)


if __name__ == "__main__":
    main()
