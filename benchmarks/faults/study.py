"""The program that is hurt: one study, begun or gone on with.

``python -m benchmarks.faults.study METHOD FOLDER-OR-URI``, with RAY_ADDRESS set. It continues
what is in the folder, by whatever the method offers for that. The last line that it prints says
how.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler as RaysASHA
from ray.tune.search.optuna import OptunaSearch

import raytuner
from benchmarks.faults.ledger import Pen
from raytuner.errors import HistoryError
from raytuner.folders import Folder, folder_of, location

IN_S3 = "raytuner.tune, results in S3"
NUM_SAMPLES = 24
MAX_T = 9
SECONDS_A_REPORT = 0.1
SPACE: dict[str, Any] = {"x": tune.uniform(-1, 1), "lr": tune.loguniform(1e-4, 1e-1)}
LEDGER = "FAULTS_LEDGER"
"""Environment: the folder of the trials' ledgers, not on the study's disk."""
JUMP = "FAULTS_CLOCK_JUMP"
"""Environment: ``after_s:by_s``, how long after its start the driver's clock jumps, and how far."""


def loss(config: dict[str, Any], t: int) -> float:
    """What each trial reports at t."""
    return float(config["x"] ** 2 + 1 / t)


def train(config: dict[str, Any]) -> None:
    """Trains nothing, in ``MAX_T`` epochs, with a checkpoint and entries in the ledger at each."""
    pen = Pen(config["ledger"], str(tune.get_context().get_trial_id()))
    begin = 0
    if (checkpoint := tune.get_checkpoint()) is not None:
        with checkpoint.as_directory() as place:
            begin = int(Path(place, "t").read_text())
    pen.note("begun", begin, 0.0)
    for t in range(begin + 1, MAX_T + 1):
        time.sleep(SECONDS_A_REPORT)
        value = loss(config, t)
        with tempfile.TemporaryDirectory() as place:
            Path(place, "t").write_text(str(t))
            pen.note("sent", t, value)
            # Its own count: Ray's starts again with each restart of a trial.
            tune.report({"loss": value, "t": t}, checkpoint=tune.Checkpoint.from_directory(place))
            pen.note("acknowledged", t, value)


def _one_call(folder: Folder) -> str:
    """``raytuner.tune``; then ``resume``, or ``extend`` where Ray has saved nothing."""
    try:
        study = raytuner.load(folder)
    except HistoryError:
        raytuner.tune(
            train,
            {**SPACE, "ledger": os.environ[LEDGER]},
            metric="loss",
            mode="min",
            num_samples=NUM_SAMPLES,
            max_t=MAX_T,
            scheduler="asha",
            time_attr="t",
            seed=0,
            storage_path=folder.parent,
            name=folder.name,
            progress=False,
        )
        return "begun"
    try:
        study.resume(train)
        return "resumed"
    except HistoryError:
        ended = sum(not trial.state.is_live for trial in study.trials)
        study.extend(max(1, NUM_SAMPLES - ended), train, progress=False)
        return "extended"


def _two_lines(folder: Folder) -> str:
    """A Tuner with raytuner's searcher and scheduler."""
    return _tuner(
        folder,
        lambda: raytuner.BoTorchSearch(seed=0, time_attr="t"),
        lambda: raytuner.ASHAScheduler("t", max_t=MAX_T, seed=0),
    )


def _rays(folder: Folder) -> str:
    """A Tuner with Ray's searcher for Optuna and Ray's ASHA."""
    return _tuner(
        folder,
        lambda: OptunaSearch(seed=0),
        lambda: RaysASHA("t", max_t=MAX_T, grace_period=1, reduction_factor=3),
    )


def _tuner(folder: Folder, searcher: Callable[[], Any], scheduler: Callable[[], Any]) -> str:
    if tune.Tuner.can_restore(location(folder)):
        tune.Tuner.restore(location(folder), train).fit()
        return "resumed"
    tune.Tuner(
        train,
        param_space={**SPACE, "ledger": os.environ[LEDGER]},
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=NUM_SAMPLES,
            search_alg=searcher(),
            scheduler=scheduler(),
        ),
        run_config=tune.RunConfig(
            name=folder.name, storage_path=location(folder.parent), verbose=0
        ),
    ).fit()
    return "begun"


METHODS: dict[str, Callable[[Folder], str]] = {
    "raytuner.tune": _one_call,
    IN_S3: _one_call,
    "BoTorchSearch + ASHAScheduler": _two_lines,
    "Ray's OptunaSearch + ASHA": _rays,
}


def _let_the_clock_jump() -> None:
    after, by = map(float, os.environ[JUMP].split(":"))
    clock, start = time.time, time.monotonic()
    time.time = lambda: clock() + (by if time.monotonic() - start > after else 0.0)


def main() -> None:
    """See the module."""
    if JUMP in os.environ:
        _let_the_clock_jump()
    # Ray's workers need not find the benchmarks: they get the functions themselves.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]
    ray.cloudpickle.register_pickle_by_value(sys.modules[Pen.__module__])  # type: ignore[no-untyped-call]
    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    print(METHODS[sys.argv[1]](folder_of(sys.argv[2])))


if __name__ == "__main__":
    main()
