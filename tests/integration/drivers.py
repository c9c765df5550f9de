"""Searches in a process of their own that is killed or interrupted, on a real cluster."""

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

import ray
from integration_driver import GRACE, MAX_T, NUM_SAMPLES, loss
from ray.tune import ExperimentAnalysis

import raytuner
from raytuner.errors import HistoryError
from raytuner.folders import Folder, location
from raytuner.history import TrialState
from raytuner.search.restore import counted
from raytuner.study.study import Study

_DRIVER = Path(__file__).with_name("integration_driver.py")
PATIENCE_S = 240


@contextmanager
def driver(
    command: str, folder: Folder, logs: Path, save_every_s: float = 1, epoch_s: float = 0.15
) -> Iterator[subprocess.Popen[str]]:
    """A process that runs ``command``; Ray ends its trials when it dies."""
    environment = {
        **os.environ,
        "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
        "TUNE_GLOBAL_CHECKPOINT_S": str(save_every_s),
        "EPOCH_S": str(epoch_s),
    }
    process = subprocess.Popen(
        [sys.executable, str(_DRIVER), command, location(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=(logs / f"{command}.log").open("w"),
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def finished(command: str, folder: Folder, logs: Path) -> Any:
    """Run ``command`` to its end; what its last line says."""
    with driver(command, folder, logs) as process:
        output, _ = process.communicate(timeout=PATIENCE_S)
    log = (logs / f"{command}.log").read_text()
    assert process.returncode == 0, log
    return json.loads(output.splitlines()[-1])


def wait_until(
    ready: Callable[[Study], bool], folder: Folder, process: subprocess.Popen[str]
) -> None:
    """Wait for the study in ``folder`` to be ``ready``, read from its files as it runs."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the driver ended too early"
        begin = time.monotonic()
        try:
            if ready(raytuner.load(folder)):
                return
        except HistoryError:
            pass  # not begun yet
        # A look at a bucket takes a server's time: the study is to have as much.
        time.sleep(max(0.1, time.monotonic() - begin))
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
    folder: Folder,
    logs: Path,
    ready: Callable[[Study], bool] = under_way,
    save_every_s: float = 1,
    epoch_s: float = 0.15,
    meanwhile: Callable[[], None] = lambda: None,
) -> Study:
    """Kill ``command`` while it is under way; what it left behind."""
    with driver(command, folder, logs, save_every_s, epoch_s) as process:
        wait_until(ready, folder, process)
        meanwhile()
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
    of_ray = {trial.trial_id for trial in ExperimentAnalysis(location(after.path)).trials}
    assert of_ray <= new.keys()
    # What had ended before Ray saved that it asked for it counts, though Ray does not know it.
    counts = set(counted(after.history))
    assert of_ray <= counts
    assert len(counts) == NUM_SAMPLES
    assert new.keys() - of_ray <= old.keys()  # Ray had not saved that it asked for these
    for trial_id in new.keys() - of_ray:
        if old[trial_id].state.is_live:
            assert new[trial_id].state is TrialState.REMOVED
            assert "Ray saved it" in new[trial_id].reason
    ran = [new[trial_id] for trial_id in counts]
    for trial in ran:
        assert trial.state in (TrialState.COMPLETED, TrialState.STOPPED_EARLY)
        assert [t for t, _ in trial.values] == list(range(1, len(trial.values) + 1))
        assert [v for _, v in trial.values] == [loss(trial.config, t) for t, _ in trial.values]
        if trial.state is TrialState.COMPLETED:
            assert trial.t == MAX_T
    assert any(trial.state is TrialState.COMPLETED for trial in ran)
    configs = [json.dumps(trial.config, sort_keys=True) for trial in after.trials]
    assert len(set(configs)) == len(configs)


def check_resumption(folder: Folder, logs: Path, epoch_s: float = 0.15) -> None:
    """Kill a study of ``raytuner.tune`` while it is under way, and go on with it to its end."""
    before = kill("tune", folder, logs, epoch_s=epoch_s)
    said = finished("resume", folder, logs)
    after = raytuner.load(folder)
    assert said == {"interrupted": False, "trials": len(after.trials)}, f"{said}, then {after}"
    check(before, after)
    check_ranks(after)


def check_ranks(study: Study) -> None:
    """Trials were ranked among all that had come to the rung before, also before the kill."""
    at_rung = {
        trial.trial_id: at
        for trial in study.history.trials
        for (t, _), at in zip(trial.values, trial.reported_at, strict=True)
        if t == GRACE
    }
    for trial in study.trials:
        if trial.state is TrialState.STOPPED_EARLY:
            before = sum(at <= at_rung[trial.trial_id] for at in at_rung.values())
            assert f"of {before} at rung {GRACE}" in trial.reason
