"""Trials that stop reporting, on a clock that the test sets."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.train._internal.storage import StorageContext

from raytuner.controller.retries import ResilientTrial
from raytuner.errors import SettingError
from raytuner.placement.silence import Silence

pytestmark = pytest.mark.usefixtures("ray_cluster")  # a trial's folder is in Ray's session


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which processes were killed."""
    found: list[str] = []
    monkeypatch.setattr(ray, "kill", found.append)
    return found


class Watched:
    """A trial under a watch."""

    def __init__(self, folder: Path, max_s: float | None, rule: Any = "retry") -> None:
        self.clock = Clock()
        self.silence = Silence(max_s, rule, clock=self.clock)
        storage = StorageContext(str(folder), "study")
        trial: Any = ResilientTrial("made_up", stub=True, storage=storage)
        self.trial = trial
        self.trial.init_local_path()
        self.start()

    def start(self) -> None:
        self.trial.status = ResilientTrial.RUNNING
        self.trial.temporary_state.ray_actor = f"process {self.trial.retries.get('silences', 0)}"
        self.silence.on_trial_start(0, [], self.trial)

    def report(self, after_s: int) -> None:
        self.passes(after_s)
        self.silence.on_trial_result(0, [], self.trial, {})

    def passes(self, seconds: int) -> None:
        for _ in range(seconds):  # Ray calls this in each turn, also when nothing happens
            self.clock.now += 1
            self.silence.on_step_begin(0, [self.trial])


def test_a_silent_trial_is_killed_and_goes_on_once(
    tmp_path: Path, killed: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    one = Watched(tmp_path, 30.0)
    one.report(20)
    one.passes(29)
    assert killed == []
    with caplog.at_level(logging.WARNING):
        one.passes(2)
    assert killed == ["process 0"]
    assert "has not reported for 31 s" in caplog.text
    one.trial.handle_error(RuntimeError("its process was killed"))
    assert one.trial.retried_for == "silences"
    assert one.trial.run_metadata.num_failures == 0
    one.start()
    one.passes(31)
    assert killed == ["process 0", "process 1"]
    one.trial.handle_error(RuntimeError("its process was killed"))
    assert one.trial.run_metadata.num_failures == 1  # the second time it has failed
    assert one.trial.killed_for == "it has not reported for 31 s"


def test_a_silent_trial_may_fail_at_once(tmp_path: Path, killed: list[str]) -> None:
    one = Watched(tmp_path, 30.0, "fail")
    one.passes(31)
    assert killed == ["process 0"]
    one.trial.handle_error(RuntimeError("its process was killed"))
    assert one.trial.run_metadata.num_failures == 1
    assert one.trial.retried_for is None


@pytest.mark.parametrize("silence", [(30.0, "warn"), (None, "retry")])
def test_a_silent_trial_may_only_be_told_of(
    tmp_path: Path,
    silence: tuple[float | None, Any],
    killed: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = Watched(tmp_path, *silence)
    with caplog.at_level(logging.INFO):
        one.passes(700)
        one.passes(700)
        assert caplog.text.count("has not reported") == 1  # and not at every turn
        one.report(1)
        assert "reports again" in caplog.text
    assert killed == []


def test_without_a_bound_slow_trials_are_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = Watched(tmp_path, None)
    one.report(200)
    with caplog.at_level(logging.WARNING):
        one.passes(1999)
        assert caplog.text == ""
        one.passes(2)
        assert "has not reported for 2001 s" in caplog.text


def test_while_the_driver_stands_still_no_trial_is_silent(
    tmp_path: Path, killed: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """After Ctrl-Z, for example: reports that trials send meanwhile wait for the driver."""
    one = Watched(tmp_path, 30.0)
    one.passes(20)
    one.clock.now += 1000
    one.passes(9)  # the first of these counts as two seconds, though it took 1001
    assert killed == []
    one.passes(1)
    assert killed == ["process 0"]

    usual = Watched(tmp_path / "usual", None)
    usual.clock.now += 10_000
    usual.report(1)  # no report has taken hours
    with caplog.at_level(logging.WARNING):
        usual.passes(601)
    assert "has not reported for 601 s" in caplog.text


def test_trials_that_do_not_run_are_not_watched(tmp_path: Path, killed: list[str]) -> None:
    one = Watched(tmp_path, 30.0)
    one.trial.status = ResilientTrial.PAUSED
    one.passes(31)
    one.trial.status = ResilientTrial.RUNNING
    one.passes(31)  # no process of it has been seen since
    assert killed == []


def test_a_trial_that_never_ends_saving_is_silent_too(tmp_path: Path, killed: list[str]) -> None:
    one = Watched(tmp_path, 30.0)
    one.trial.temporary_state.saving_to = "a checkpoint"
    one.passes(29)
    one.passes(2)
    assert killed == ["process 0"]


def test_a_copy_has_heard_nothing_yet(tmp_path: Path, killed: list[str]) -> None:
    one = Watched(tmp_path, 30.0)
    again = pickle.loads(pickle.dumps(one.silence))  # as Ray does when a Tuner is made
    again._clock.now += 31
    again.on_step_begin(0, [one.trial])
    assert killed == []


@pytest.mark.parametrize(
    ("max_s", "rule", "said"),
    [
        (0, "retry", "max_silence_s is 0; it must be a number of seconds above 0"),
        (True, "retry", "max_silence_s is True"),
        ("10min", "retry", "max_silence_s is '10min'"),
        (10, "stop", "on_silence is 'stop'; it must be one of warn, retry, fail"),
    ],
)
def test_bad_rules_are_refused(max_s: Any, rule: Any, said: str) -> None:
    with pytest.raises(SettingError) as error:
        Silence(max_s, rule)
    assert said in str(error.value)
