"""Searches whose driver is killed or interrupted, on a real cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray
from integration_driver import GRACE, MAX_T, NUM_SAMPLES, loss
from ray.tune import ExperimentAnalysis

import raytuner
from raytuner.errors import HistoryError
from raytuner.history import TrialState
from raytuner.study import Study

pytestmark = pytest.mark.usefixtures("ray_cluster")

_DRIVER = Path(__file__).with_name("integration_driver.py")
_PATIENCE_S = 120


@contextmanager
def driver(command: str, folder: Path, save_every_s: float = 1) -> Iterator[subprocess.Popen[str]]:
    """A process that runs ``command``; Ray ends its trials when it dies."""
    environment = {
        **os.environ,
        "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
        "TUNE_GLOBAL_CHECKPOINT_S": str(save_every_s),
    }
    process = subprocess.Popen(
        [sys.executable, str(_DRIVER), command, str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=(folder.parent / f"{command}.log").open("w"),
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def finished(command: str, folder: Path) -> Any:
    """Run ``command`` to its end; what its last line says."""
    with driver(command, folder) as process:
        output, _ = process.communicate(timeout=_PATIENCE_S)
    log = (folder.parent / f"{command}.log").read_text()
    assert process.returncode == 0, log
    return json.loads(output.splitlines()[-1])


def wait_until(
    ready: Callable[[Study], bool], folder: Path, process: subprocess.Popen[str]
) -> None:
    """Wait for the study in ``folder`` to be ``ready``, read from its files as it runs."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the driver ended too early"
        try:
            if ready(raytuner.load(folder)):
                return
        except HistoryError:
            pass  # not begun yet
        time.sleep(0.1)
    raise AssertionError("the study did not get far enough")


def under_way(study: Study) -> bool:
    """Something has ended, and something that has reported runs."""
    counts = study.counts
    ended = counts[TrialState.COMPLETED] + counts[TrialState.STOPPED_EARLY]
    runs = [t for t in study.trials if t.state is TrialState.RUNNING]
    return ended >= 2 and len(runs) >= 1


def some_wait(study: Study) -> bool:
    """Something is paused, and something runs."""
    return study.counts[TrialState.PAUSED] >= 2 and study.counts[TrialState.RUNNING] >= 1


def first_has_ended(study: Study) -> bool:
    """The first trial, which Ray's first save has, is over."""
    return bool(study.trials) and not study.trials[0].state.is_live


def kill(
    command: str,
    folder: Path,
    ready: Callable[[Study], bool] = under_way,
    save_every_s: float = 1,
) -> Study:
    """Kill ``command`` while it is under way; what it left behind."""
    with driver(command, folder, save_every_s) as process:
        wait_until(ready, folder, process)
        os.killpg(process.pid, signal.SIGKILL)
    study = raytuner.load(folder)
    assert study.interrupted
    return study


def check(before: Study, after: Study) -> None:
    """Nothing was lost or counted twice, and all is over."""
    assert not after.interrupted
    assert after.history.live() == ()
    assert len(after.history.snapshot().pending) == 0
    old = {trial.trial_id: trial for trial in before.trials}
    new = {trial.trial_id: trial for trial in after.trials}
    assert old.keys() <= new.keys()
    for trial_id, trial in old.items():
        assert new[trial_id].config == trial.config
        assert set(trial.values) <= set(new[trial_id].values)
    of_ray = {trial.trial_id for trial in ExperimentAnalysis(str(after.path)).trials}
    assert len(of_ray) == NUM_SAMPLES
    assert of_ray <= new.keys()
    assert new.keys() - of_ray <= old.keys()  # Ray had not saved that it asked for these
    for trial_id in new.keys() - of_ray:
        if old[trial_id].state.is_live:
            assert new[trial_id].state is TrialState.REMOVED
            assert "Ray saved it" in new[trial_id].reason
    ran = [new[trial_id] for trial_id in of_ray]
    for trial in ran:
        assert trial.state in (TrialState.COMPLETED, TrialState.STOPPED_EARLY)
        assert [t for t, _ in trial.values] == list(range(1, len(trial.values) + 1))
        assert [v for _, v in trial.values] == [loss(trial.config, t) for t, _ in trial.values]
        if trial.state is TrialState.COMPLETED:
            assert trial.t == MAX_T
    assert any(trial.state is TrialState.COMPLETED for trial in ran)
    configs = [json.dumps(trial.config, sort_keys=True) for trial in after.trials]
    assert len(set(configs)) == len(configs)


def check_ranks(study: Study) -> None:
    """Trials were ranked among all that had come to the rung before, also before the kill."""
    at_rung = {
        trial_id: t[GRACE] for trial_id, t in study.history.report_times().items() if GRACE in t
    }
    for trial in study.trials:
        if trial.state is TrialState.STOPPED_EARLY:
            before = sum(at <= at_rung[trial.trial_id] for at in at_rung.values())
            assert f"of {before} at rung {GRACE}" in trial.reason


def test_a_killed_tuner_is_restored(tmp_path: Path) -> None:
    folder = tmp_path / "drop_in"
    before = kill("drop_in", folder)
    assert finished("drop_in_restore", folder) == NUM_SAMPLES
    check(before, raytuner.load(folder))
    check_ranks(raytuner.load(folder))


def test_a_killed_tuner_with_paused_trials_is_restored(tmp_path: Path) -> None:
    folder = tmp_path / "promotion"
    before = kill("promotion", folder, some_wait)
    assert finished("promotion_restore", folder) == NUM_SAMPLES
    after = raytuner.load(folder)
    check(before, after)
    # The rung counts all that ever came to it, and lets no more go on than its share.
    at_rung = [trial for trial in after.trials if trial.t >= GRACE]
    went_on = [trial for trial in at_rung if trial.t > GRACE]
    assert 1 <= len(went_on) <= len(at_rung) // 3
    assert all(trial.state is TrialState.COMPLETED for trial in went_on)
    for trial in at_rung:
        if trial not in went_on and trial.state is not TrialState.REMOVED:
            assert f"of {len(at_rung)} at rung {GRACE}" in trial.reason


def test_what_ended_after_rays_last_save_is_not_trained_again(tmp_path: Path) -> None:
    folder = tmp_path / "saving"
    before = kill("saving", folder, first_has_ended, save_every_s=3600)
    ended = {one.trial_id: one for one in before.trials if not one.state.is_live}
    killed_at = time.time()
    assert finished("saving_restore", folder) == NUM_SAMPLES
    after = raytuner.load(folder)
    found = [one for one in ExperimentAnalysis(str(folder)).trials if one.trial_id in ended]
    assert before.trials[0].trial_id in {one.trial_id for one in found}
    for of_ray in found:
        trial = ended[of_ray.trial_id]
        assert of_ray.status == "TERMINATED"
        assert of_ray.last_result.get("timestamp", 0) < killed_at  # and has not reported since
        assert of_ray.last_result["loss"] == trial.value
        assert after.history[trial.trial_id] == trial
        # The checkpoint is the one that came with the last value.
        checkpoint = of_ray.checkpoint
        assert checkpoint is not None
        with checkpoint.as_directory() as place:
            t = int(Path(place, "t").read_text())
        assert t == trial.t


def test_a_killed_study_is_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    before = kill("tune", folder)
    said = finished("resume", folder)
    after = raytuner.load(folder)
    assert said == {"interrupted": False, "trials": len(after.trials)}
    check(before, after)
    check_ranks(after)


def test_ctrl_c_gives_the_best_so_far(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    with driver("tune", folder) as process:
        wait_until(under_way, folder, process)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=_PATIENCE_S)
    assert process.returncode == 0, (tmp_path / "tune.log").read_text()
    before = raytuner.load(folder)
    assert before.best is not None
    assert json.loads(output) == {"interrupted": True, "best": before.best.value}
    said = finished("resume", folder)
    after = raytuner.load(folder)
    assert said == {"interrupted": False, "trials": NUM_SAMPLES}
    check(before, after)
    check_ranks(after)
