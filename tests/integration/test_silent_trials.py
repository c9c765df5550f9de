"""Trials that hang, on a real cluster."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle, tune
from troubled_training import SPACE, training

import raytuner
from raytuner.history import TrialState

# Ray's workers cannot import the tests: they get the functions themselves.
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]

pytestmark = pytest.mark.usefixtures("ray_cluster")

MAX_SILENCE_S = 6.0


def test_a_trial_that_hangs_is_ended_and_its_slot_is_free(tmp_path: Path) -> None:
    # As code in C may hang: not even Python's other threads run on.
    train = training(lambda: ctypes.PyDLL(None).sleep(1000))
    study = raytuner.tune(
        train,
        SPACE,
        metric="loss",
        mode="min",
        num_samples=3,
        max_silence_s=MAX_SILENCE_S,
        max_concurrent_trials=1,  # the trial that hangs is in the way of all others
        storage_path=tmp_path,
        seed=0,
        progress=False,
    )
    states = {trial.config["trouble"]: trial for trial in study.trials}
    assert states["never"].state is TrialState.COMPLETED
    assert states["once"].state is TrialState.COMPLETED
    assert [t for t, _ in states["once"].values] == [1, 2, 3]
    assert states["always"].state is TrialState.FAILED
    assert "it has not reported for" in states["always"].reason
    silences = study.history.get_meta("silences")
    assert silences == {states["once"].trial_id: 1, states["always"].trial_id: 1}


def test_a_study_of_trials_that_hang_ends_in_time(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report({"loss": config["x"]})
        ctypes.PyDLL(None).sleep(1000)  # longer than a test may take

    study = raytuner.tune(
        train,
        {"x": tune.uniform(0, 1)},
        metric="loss",
        mode="min",
        num_samples=-1,
        time_budget_s=6,
        storage_path=tmp_path,
        progress=False,
    )
    assert not study.interrupted
    assert study.trials
    assert {trial.state for trial in study.trials} <= {
        TrialState.STOPPED_EARLY,
        TrialState.REMOVED,
    }


def _stop_for_a_while() -> None:
    """Stop this process as a debugger or a suspended machine does; another one continues it."""
    subprocess.Popen(["sh", "-c", f"sleep 4; kill -CONT {os.getpid()}"])
    os.kill(os.getpid(), signal.SIGSTOP)


def test_a_process_that_is_stopped_and_continued_loses_nothing(tmp_path: Path) -> None:
    study = raytuner.tune(
        training(_stop_for_a_while),
        SPACE,
        metric="loss",
        mode="min",
        num_samples=3,
        storage_path=tmp_path,
        seed=0,
        progress=False,
    )
    assert {trial.config["trouble"] for trial in study.trials} == {"never", "once", "always"}
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETED] * 3
    assert [[t for t, _ in trial.values] for trial in study.trials] == [[1, 2, 3]] * 3
    assert not study.history.get_meta("processes_killed")
