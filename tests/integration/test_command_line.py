"""A study from the command line: killed and resumed; extended; longer, and within less."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray

import raytuner
from raytuner.errors import HistoryError
from raytuner.history import Origin, TrialState
from raytuner.report.text import WORDS
from raytuner.study.run import can_resume
from raytuner.study.study import Study

pytestmark = pytest.mark.usefixtures("ray_cluster")

_PATIENCE_S = 240
_TRAIN = """
import time
from ray import tune

def fit(config):
    for t in range(1, 28):
        time.sleep(0.1)
        tune.report({"loss": config["x"] ** 2 + 1 / t})
"""
_STUDY = """
trainable = "train_for_toml:fit"
metric = "loss"
mode = "min"
max_t = 9
name = "study"
storage_path = "."
reuse_actors = true
seed = 0
num_samples = 6
grace_period = 3
scheduler = "asha"
[space]
x = { type = "float", low = -1, high = 1 }
"""


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """`raytuner ...` in a folder, on the tests' cluster."""
    return subprocess.Popen(
        [sys.executable, "-c", "from raytuner.cli import main; main()", *words],
        cwd=folder,
        env={
            **os.environ,
            "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
            "TUNE_GLOBAL_CHECKPOINT_S": "1",
            "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finished(folder: Path, *words: str, code: int = 0) -> str:
    """What a command writes to standard output."""
    process = start(folder, *words)
    try:
        out, err = process.communicate(timeout=_PATIENCE_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == code, err
    return out if code == 0 else err


def wait_for(folder: Path, process: subprocess.Popen[str], ended: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        try:
            study = raytuner.load(folder)
        except HistoryError:
            study = None
        if study is not None and can_resume(study.path):
            over = study.counts[TrialState.COMPLETED] + study.counts[TrialState.STOPPED_EARLY]
            if over >= ended and study.history.live():
                return
        time.sleep(0.1)
    raise AssertionError("the study did not get far enough")


def check_report(study: Study, html: str) -> None:
    (_, _, rest) = html.partition('<script type="application/json" id="data">')
    columns = dict(json.loads(rest.partition("</script>")[0])["trials"]["columns"])
    assert columns["id"] == [trial.trial_id for trial in study.trials]
    assert columns["state"] == [WORDS[trial.state] for trial in study.trials]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The study's folder, not there yet; beside it, the files that it starts from."""
    (tmp_path / "train_for_toml.py").write_text(_TRAIN)
    (tmp_path / "study.toml").write_text(_STUDY)
    return tmp_path / "study"


def test_killed_and_resumed_with_reports(tmp_path: Path, folder: Path) -> None:
    process = start(tmp_path, "run", "study.toml")
    try:
        wait_for(folder, process, ended=2)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    killed = raytuner.load(folder)
    assert killed.interrupted
    error = finished(tmp_path, "extend", "study", "--num-samples", "1", code=2)
    assert "run `raytuner resume study` first" in error
    check_report(killed, killed.report().read_text())

    out = finished(tmp_path, "resume", "study")
    assert "Best configuration" in out
    resumed = raytuner.load(folder)
    assert not resumed.interrupted
    before = {trial.trial_id: trial for trial in killed.trials}
    after = {trial.trial_id: trial for trial in resumed.trials}
    assert before.keys() <= after.keys()
    for trial_id, trial in before.items():
        assert set(trial.values) <= set(after[trial_id].values)
    assert resumed.counts[TrialState.COMPLETED] + resumed.counts[TrialState.STOPPED_EARLY] == 6
    assert resumed.history.live() == ()
    assert [run["what"] for run in resumed.history.get_meta("runs")] == ["run", "resumed"]
    check_report(resumed, resumed.report().read_text())
    assert resumed.best is not None
    assert json.loads(finished(tmp_path, "best", "study")) == resumed.best.config


def test_extended_then_longer_and_within_less(tmp_path: Path, folder: Path) -> None:
    finished(tmp_path, "run", "study.toml")
    first = raytuner.load(folder)
    finished(tmp_path, "extend", "study", "--num-samples", "3")
    extended = raytuner.load(folder)
    assert not extended.interrupted
    assert len(extended.trials) == len(first.trials) + 3
    # What was there is as it was, and what is new was compared with it at the rungs.
    assert extended.trials[: len(first.trials)] == first.trials
    for trial in extended.trials[len(first.trials) :]:
        if trial.state is TrialState.STOPPED_EARLY:
            assert int(trial.reason.split(" of ")[1].split()[0]) > 3, trial.reason
    configs = [json.dumps(t.config) for t in extended.trials]
    assert len(set(configs)) == len(configs)
    assert [run["what"] for run in extended.history.get_meta("runs")] == ["run", "extended"]

    # Longer, and within less.
    (tmp_path / "narrow.toml").write_text('x = { type = "float", low = -0.5, high = 0.5 }')
    finished(
        tmp_path,
        *("extend", "study", "--num-samples", "4", "--max-t", "27", "--space", "narrow.toml"),
    )
    longer = raytuner.load(folder)
    before = len(extended.trials)
    assert len(longer.trials) == before + 4
    assert [t.config for t in longer.trials[:before]] == [t.config for t in extended.trials]
    assert not any(t.state is TrialState.COMPLETED for t in longer.trials[:before])
    reached = [t for t in extended.trials if t.state is TrialState.COMPLETED]
    inside = sorted((t.value, t.config["x"]) for t in reached if abs(t.config["x"]) <= 0.5)
    again = [t for t in longer.trials[before:] if t.origin is Origin.AGAIN]
    assert [t.config["x"] for t in again] == [x for _, x in inside][: len(again)]
    assert all(abs(t.config["x"]) <= 0.5 for t in longer.trials[before:])
    assert longer.best is not None
    assert (longer.best.state, longer.best.t, longer.history.max_t) == (
        TrialState.COMPLETED,
        27,
        27,
    )
    html = longer.report().read_text()
    check_report(longer, html)
    assert "Changed from here on: max_t: 9, now 27." in html
    lines = (folder / "raytuner-progress.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["done"] == len(longer.trials)
