"""Searches whose driver is killed or interrupted, on a real cluster."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
import ray
from drivers import (
    PATIENCE_S,
    check,
    check_ranks,
    check_resumption,
    driver,
    finished,
    first_has_ended,
    kill,
    some_wait,
    under_way,
    wait_until,
)
from integration_driver import GRACE, NUM_SAMPLES, slow
from ray import tune
from ray.tune import ExperimentAnalysis
from ray.tune.search import SearchGenerator

import raytuner
from raytuner.errors import InUseError
from raytuner.history import TrialState

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_a_killed_tuner_is_restored(tmp_path: Path) -> None:
    folder = tmp_path / "drop_in"

    def second() -> None:
        with pytest.raises(InUseError, match=r"process \d+ on .* is writing to"):
            tune.Tuner.restore(str(folder), slow).fit()

    before = kill("drop_in", folder, tmp_path, meanwhile=second)
    finished("drop_in_restore", folder, tmp_path)
    check(before, raytuner.load(folder))
    check_ranks(raytuner.load(folder))


def test_as_many_run_as_were_asked_for_though_rays_files_are_of_two_moments(tmp_path: Path) -> None:
    folder = tmp_path / "torn"
    before = kill("tune", folder, tmp_path)
    (file,) = folder.glob(SearchGenerator.CKPT_FILE_TMPL.format("*"))
    state = ray.cloudpickle.loads(file.read_bytes())
    state["counter"] -= 1  # as before the last trial was asked for
    file.write_bytes(ray.cloudpickle.dumps(state))  # type: ignore[no-untyped-call]
    said = finished("resume", folder, tmp_path)
    after = raytuner.load(folder)
    assert said == {"interrupted": False, "trials": len(after.trials)}
    check(before, after)


def test_a_killed_tuner_with_paused_trials_is_restored(tmp_path: Path) -> None:
    folder = tmp_path / "promotion"
    before = kill("promotion", folder, tmp_path, some_wait)
    finished("promotion_restore", folder, tmp_path)
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
    before = kill("saving", folder, tmp_path, first_has_ended, save_every_s=3600)
    ended = {one.trial_id: one for one in before.trials if not one.state.is_live}
    killed_at = time.time()
    finished("saving_restore", folder, tmp_path)
    after = raytuner.load(folder)
    check(before, after)
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
    check_resumption(tmp_path / "study", tmp_path)


def test_ctrl_c_gives_the_best_so_far(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    with driver("tune", folder, tmp_path) as process:
        wait_until(under_way, folder, process)
        with pytest.raises(InUseError, match=f"process {process.pid} on .* is writing to"):
            raytuner.load(folder).resume(slow)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, (tmp_path / "tune.log").read_text()
    before = raytuner.load(folder)
    assert before.best is not None
    assert json.loads(output) == {"interrupted": True, "best": before.best.value}
    said = finished("resume", folder, tmp_path)
    after = raytuner.load(folder)
    assert said == {"interrupted": False, "trials": NUM_SAMPLES}
    check(before, after)
    check_ranks(after)
