"""Trials whose own process is killed, on a real cluster, in a Tuner of the user's own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from befallen import MAX_T, SPACE, befallen
from ray import tune

import raytuner
from raytuner.history import TrialState

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.mark.parametrize("early_stopping", [True, False])
def test_it_goes_on_from_its_last_checkpoint_unless_it_does_so_again(
    tmp_path: Path, early_stopping: bool
) -> None:
    train = befallen(lambda: os.kill(os.getpid(), signal.SIGKILL))
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
    trials = {trial.config["befallen"]: trial for trial in study.trials}
    assert trials["never"].state is TrialState.COMPLETED
    assert trials["once"].state is TrialState.COMPLETED
    assert [t for t, _ in trials["once"].values] == [1, 2, 3]
    assert trials["always"].state is TrialState.FAILED
    assert [t for t, _ in trials["always"].values] == [1, 2]
    killed = {trials["once"].trial_id: 1, trials["always"].trial_id: 2}  # and for the last time
    assert study.history.get_meta("processes_killed") == killed
