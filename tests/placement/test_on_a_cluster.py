"""Studies on clusters of several nodes, in processes of their own: Ray allows one in each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import raytuner
from raytuner.history import TrialState

_DRIVER = Path(__file__).with_name("cluster_driver.py")
_PATIENCE_S = 540
MAX_T, GRACE = 9, 3  # of the driver


def found(command: str, folder: Path) -> Any:
    """What the driver says after ``command``."""
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    # Ray notes the address of a cluster among its temporary files, and whoever starts Ray next
    # looks for that cluster: in a folder of their own nobody else does. Sockets need a short path.
    with (
        (folder / "log").open("w") as log,
        TemporaryDirectory(prefix="rt", dir="/tmp", ignore_cleanup_errors=True) as short,
    ):
        done = subprocess.run(
            [sys.executable, str(_DRIVER), command],
            cwd=folder,
            env={**environment, "RAY_TMPDIR": short},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            timeout=_PATIENCE_S,
        )
    assert done.returncode == 0, (folder / "log").read_text()[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_trials_are_placed_as_they_ask(tmp_path: Path) -> None:
    said = found("placed", tmp_path)
    assert said["room"] == 6
    assert said["states"] == ["COMPLETED"]
    placed = [(node, json.loads(bundle)) for node, bundle in said["placed"]]
    for each in (
        ("a100", {"GPU": 0.25, "slot": 1.0}),
        ("a100", {"GPU": 0.5, "accelerator_type:A100": 0.001}),
        ("a100", {"GPU": 1.0}),
        ("head", {"CPU": 1.0}),
        ("t4", {"GPU": 1.0}),
        ("t4", {"GPU": 1.0, "accelerator_type:T4": 0.001}),
    ):
        placed.remove(each)
    assert placed == []
    assert said["at_once"] >= 4
    assert said["gpus_at_once"] <= 3


def test_trials_of_a_killed_node_go_on_elsewhere(tmp_path: Path) -> None:
    said = found("killed", tmp_path)
    assert said["alive"] == 2
    assert len(said["lost"]) >= 1
    assert set(said["lost"].values()) == {1}
    study = raytuner.load(tmp_path / "killed")
    # None has failed, none is left, and each went on from its last checkpoint, elsewhere.
    assert study.failures == ()
    assert {trial.state for trial in study.trials} <= {
        TrialState.COMPLETED,
        TrialState.STOPPED_EARLY,
    }
    assert len(study.trials) == 6
    assert said["pending"] == 0
    for trial_id in said["lost"]:
        assert trial_id not in said["ended_there"]
        if study.history[trial_id].t > GRACE:
            assert said["began"][trial_id] > 1
    # Each value once, and the rung counts each trial once.
    for trial in study.trials:
        assert trial.values == tuple((t, trial.config["x"] ** 2 + 1 / t) for t, _ in trial.values)
        assert [t for t, _ in trial.values] == list(range(1, len(trial.values) + 1))
    at_rung = {
        trial.trial_id: at
        for trial in study.history.trials
        for (t, _), at in zip(trial.values, trial.reported_at, strict=True)
        if t == GRACE
    }
    stopped = [trial for trial in study.trials if trial.state is TrialState.STOPPED_EARLY]
    for trial in stopped:
        before = sum(at <= at_rung[trial.trial_id] for at in at_rung.values())
        assert f"of {before} at rung {GRACE}" in trial.reason


def test_trials_share_a_gpu_as_their_memory_allows(tmp_path: Path) -> None:
    said = found("memory", tmp_path)
    # 3 GB of 10, with a margin: two at a time.
    assert said["resources"] == {"cpu": 0.5, "gpu": 0.5}
    study = raytuner.load(tmp_path / "memory")
    fits, grows, never, wrong, other = study.trials
    last = {number: said["last"][trial_id] for trial_id, number in said["numbers"].items()}
    assert [last[n] for n in (fits.number, other.number)] == [[0.5, 1], [0.5, 1]]
    # One that was too large for its share went on from its checkpoint, alone, and is complete.
    assert last[grows.number] == [1.0, 2]
    assert [t.state for t in (fits, grows, other)] == [TrialState.COMPLETED] * 3
    assert [t for t, _ in grows.values] == [1, 2, 3]
    # One that no GPU holds has failed, after one more try; so has, at once, one that is wrong.
    assert (never.state, wrong.state) == (TrialState.FAILED, TrialState.FAILED)
    assert "out of memory" in never.reason.lower()
    assert said["out_of_memory"] == {grows.trial_id: 1, never.trial_id: 1}
    assert "right answer" in wrong.reason


def test_trials_with_trainers_leave_one_another_room(tmp_path: Path) -> None:
    said = found("trainers", tmp_path)
    assert said == {"at_once": 2, "workers": [2.0], "free": 5.0, "left": 0}
    study = raytuner.load(tmp_path / "trainers")
    assert study.counts.keys() == {TrialState.COMPLETED, TrialState.STOPPED_EARLY}
    for trial in study.trials:
        assert trial.values == tuple((t, trial.config["x"] ** 2 + 1 / t) for t, _ in trial.values)


def test_a_study_stops_within_its_budget_in_dollars(tmp_path: Path) -> None:
    """By its own count and by the log of the nodes, though some come and go."""
    said = found("priced", tmp_path)
    assert 120 < said["spent"] <= 200
    assert abs(said["spent"] - said["log"]) < 17  # five seconds of the dearest node
    assert said["finished"]
    assert said["reasons"] in ([], ["the budget of 200 USD is used up"])
    assert set(said["states"]) <= {"COMPLETED", "STOPPED_EARLY", "REMOVED"}


@pytest.mark.parametrize(
    ("command", "workers"), [("trainers_lost", [2.0]), ("elastic", [3.0, 4.0])]
)
def test_trials_with_trainers_outlive_a_worker_and_a_node(
    command: str, workers: list[float], tmp_path: Path
) -> None:
    """Under freeze-thaw, each from its last checkpoint, and no epoch twice.

    An elastic trainer goes on with fewer workers.
    """
    said = found(command, tmp_path)
    assert said["gone"] == 1
    assert sum(said["processes_killed"].values()) == 1
    assert sum(said["nodes_lost"].values()) >= 1
    assert said["workers"] == workers
    assert said["left"] == 0
    retried = {*said["processes_killed"], *said["nodes_lost"]}
    assert all(any(i == trial and first > 1 for i, _, first in said["epochs"]) for trial in retried)
    study = raytuner.load(tmp_path / "trainers")
    assert study.counts.keys() <= {TrialState.COMPLETED, TrialState.STOPPED_EARLY}
    assert study.counts[TrialState.COMPLETED] >= 1
    for trial in study.trials:
        assert trial.values == tuple((t, trial.config["x"] ** 2 + 1 / t) for t, _ in trial.values)
        assert [t for t, _ in trial.values] == list(range(1, len(trial.values) + 1))
