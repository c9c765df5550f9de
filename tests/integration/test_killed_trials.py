"""Trials whose own process is killed, on a real cluster, in a Tuner of the user's own."""

from __future__ import annotations

import functools
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle, tune
from troubled_training import MAX_T, SPACE, training

import raytuner
from raytuner.history import TrialState

_FILES = 64
_FILE_BYTES = 2**20

# Ray's workers cannot import the tests: they get the functions themselves.
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.mark.parametrize("early_stopping", [True, False])
def test_it_goes_on_from_its_last_checkpoint_unless_it_does_so_again(
    tmp_path: Path, early_stopping: bool
) -> None:
    train = training(lambda: os.kill(os.getpid(), signal.SIGKILL))
    if early_stopping:
        tuner = tune.Tuner(
            train,
            param_space=SPACE,
            tune_config=tune.TuneConfig(
                metric="loss",
                mode="min",
                num_samples=3,
                search_alg=raytuner.BoTorchSearch(seed=0),
                # No rung before the end: no trial is stopped before it dies.
                scheduler=raytuner.ASHAScheduler(max_t=MAX_T, grace_period=MAX_T),
            ),
            run_config=tune.RunConfig(storage_path=str(tmp_path), name="study", verbose=0),
        )
        tuner.fit()
    else:
        raytuner.tune(
            train,
            SPACE,
            metric="loss",
            mode="min",
            num_samples=3,
            storage_path=tmp_path,
            name="study",
            seed=0,
            progress=False,
        )
    study = raytuner.load(tmp_path / "study")
    trials = {trial.config["trouble"]: trial for trial in study.trials}
    assert trials["never"].state is TrialState.COMPLETED
    assert trials["once"].state is TrialState.COMPLETED
    assert [t for t, _ in trials["once"].values] == [1, 2, 3]
    assert trials["always"].state is TrialState.FAILED
    assert [t for t, _ in trials["always"].values] == [1, 2]
    killed = {trials["once"].trial_id: 1, trials["always"].trial_id: 2}  # and for the last time
    assert study.history.get_meta("processes_killed") == killed


def _kill_within(study: Path, files: str) -> None:
    """Kill this process when some, but not all, of a checkpoint's files are there."""
    while not 0 < len([*study.glob(files)]) < _FILES:
        time.sleep(0.0005)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_kill_while_a_checkpoint_is_written_costs_that_checkpoint_alone(tmp_path: Path) -> None:
    """Ray copies a checkpoint file by file: the trial goes on from the last one that is whole."""
    notes = tmp_path / "notes"
    notes.mkdir()

    def train(config: dict[str, Any]) -> None:
        begin = 1
        if (checkpoint := tune.get_checkpoint()) is not None:
            with checkpoint.as_directory() as place:
                steps = [path.read_bytes().rstrip(b"-") for path in Path(place).iterdir()]
            # One whole checkpoint: no file is missing or of another step.
            assert steps == [steps[0]] * _FILES, steps
            begin = int(steps[0]) + 1
            (notes / f"went on at {begin}").touch()
        for t in range(begin, 7):
            with tempfile.TemporaryDirectory() as place:
                for i in range(_FILES):
                    Path(place, str(i)).write_bytes(str(t).encode().ljust(_FILE_BYTES, b"-"))
                if t in (3, 5) and not (notes / f"killed at {t}").exists():
                    (notes / f"killed at {t}").touch()
                    files = f"*/checkpoint_{t - 1:06}/*"  # Ray numbers them from 0
                    kill = functools.partial(_kill_within, tmp_path / "study", files)
                    threading.Thread(target=kill, daemon=True).start()
                tune.report({"loss": 1 / t}, checkpoint=tune.Checkpoint.from_directory(place))

    study = raytuner.tune(
        train,
        {"x": tune.uniform(0, 1)},
        metric="loss",
        mode="min",
        num_samples=1,
        storage_path=tmp_path,
        name="study",
        progress=False,
    )
    (trial,) = study.trials
    assert trial.state is TrialState.COMPLETED, trial.reason
    assert [t for t, _ in trial.values] == [1, 2, 3, 4, 5, 6]
    assert study.history.get_meta("processes_killed") == {trial.trial_id: 2}
    assert {path.name for path in notes.iterdir()} == {
        *("killed at 3", "went on at 3", "killed at 5", "went on at 5")
    }
