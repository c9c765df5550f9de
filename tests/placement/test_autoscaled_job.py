"""A study that is submitted as a job grows a cluster from no GPU node, and outlives its driver."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import autoscaled
from job import MAX_T, NUM_SAMPLES

import raytuner
from raytuner.errors import RaytunerError
from raytuner.history import TrialState
from raytuner.report.text import SPENT

_HERE = Path(__file__).parent
_PATIENCE_S = 240
# In a process of its own: this one may be connected to another cluster.
_ASK = """
import json, sys, ray
ray.init(sys.argv[1], logging_level="ERROR", log_to_driver=False)
from raytuner import check
found = check({"gpu": 1})
print(json.dumps([len(found.cluster.nodes), found.slots, found.most]))
"""


def ask(environment: dict[str, str]) -> tuple[int, int, int | None]:
    """How many nodes there are, how many trials fit, and how many might."""
    done = subprocess.run(
        [sys.executable, "-c", _ASK, f"127.0.0.1:{autoscaled.PORT}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    nodes, slots, most = json.loads(done.stdout.splitlines()[-1])
    return nodes, slots, most


def wait(until: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not until():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.5)


def test_a_job_grows_the_cluster_and_is_resumed(tmp_path: Path) -> None:
    environment = {
        **{key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"},
        "RAY_AUTH_MODE": "disabled",
        "PYTHONPATH": os.pathsep.join([str(_HERE.parents[1]), os.environ.get("PYTHONPATH", "")]),
        "TUNE_GLOBAL_CHECKPOINT_S": "1",
    }
    folder = tmp_path / "study"

    def ray_job(*args: str) -> str:
        done = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("ray")), "job", args[0]),
                *("--address", f"http://127.0.0.1:{autoscaled.DASHBOARD}", *args[1:]),
            ],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
        )
        return done.stdout + done.stderr

    def submit(name: str, command: str) -> None:
        def done() -> bool:  # not before the head's agent is there
            said = ray_job(
                *("submit", "--no-wait", "--submission-id", name, "--"),
                *(sys.executable, str(_HERE / "job.py"), command, str(folder)),
            )
            return "submitted successfully" in said

        wait(done, "a job to be taken")

    def study() -> Any:
        try:
            return raytuner.load(folder)
        except RaytunerError:
            return None  # not begun yet

    def under_way() -> bool:
        found = study()
        return found is not None and sum(2 <= t.t < 6 for t in found.trials) >= 1

    with autoscaled.head(tmp_path, **{k: v for k, v in environment.items() if k not in os.environ}):
        wait(lambda: "No jobs" in ray_job("list") or "[]" in ray_job("list"), "the job server")
        # There is an autoscaler, once it has reported, and from here nobody knows what it has.
        wait(lambda: ask(environment) == (1, 0, None), "the autoscaler's first report")
        submit("first", "run")
        wait(under_way, "a trial that reports")
        grown, slots, _ = ask(environment)
        assert grown >= 2
        assert slots >= 1
        wait(under_way, "a trial that reports, again: asking took a while")
        os.kill(int(folder.with_suffix(".pid").read_text()), signal.SIGKILL)
        wait(lambda: "FAILED" in ray_job("status", "first").upper(), "the first job's end")
        before = study()
        assert before.interrupted
        submit("second", "resume")
        wait(lambda: "SUCCEEDED" in ray_job("status", "second").upper(), "the second job's end")
        after = study()
        assert not after.interrupted
        states = [trial.state for trial in after.trials if trial.state is not TrialState.REMOVED]
        assert states == [TrialState.COMPLETED] * 4
        # What had been reported is there, each value once, and trials went on from checkpoints.
        for trial in before.trials:
            assert set(trial.values) <= set(after.history[trial.trial_id].values)
        for trial in after.trials:
            assert [t for t, _ in trial.values] == list(range(1, len(trial.values) + 1))
        results = [json.loads(path.read_text().splitlines()[-1]) for path in _results(folder)]
        assert any(result["begin"] > 1 for result in results)
        # Nodes cost their price while they are up: longer than trials ran. The count goes on.
        spent, first = (s.history.get_meta(SPENT) for s in (after, before))
        # The kill lost what was spent in the seconds before it.
        assert spent["gpu_hours"] >= 0.7 * NUM_SAMPLES * MAX_T / 3600
        assert spent["usd"] > max(36 * spent["gpu_hours"], first["usd"])
        assert first["usd"] > 0
        wait(lambda: ask(environment)[0] == 1, "idle nodes to go")


def _results(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/result.json"))
