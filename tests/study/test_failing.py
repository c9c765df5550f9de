"""Studies whose training function fails every time: what is logged, and how they end."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from ray.exceptions import ActorDiedError

from raytuner.cli import main
from raytuner.errors import NoResultError, SettingError
from raytuner.history import History, TrialState
from raytuner.search.restore import RECORD_FILE
from raytuner.space import Float, Space
from raytuner.study.lifecycle import Lifecycle, reason_of
from raytuner.study.settings import StudySettings
from raytuner.study.stoppers import AlwaysFailing, require_success
from raytuner.study.study import Study
from raytuner.study.summary import failures

TRACEBACK = """\x1b[36mray::ImplicitFunc.train()\x1b[39m (pid=7, ip=10.0.0.1, repr=fit)
  File "/env/lib/python3.11/site-packages/ray/tune/trainable/trainable.py", line 329, in train
    raise skipped from exception_cause(skipped)
  File "/home/ann/my work/train.py", line 12, in fit
    loss = step(config["lr"])
  File "/home/ann/my work/steps.py", line 7, in step
    return a @ b
  File "/env/lib/python3.11/site-packages/numpy/core.py", line 3, in matmul
ValueError: shapes ({0},) and (3,) not aligned"""


def search(path: Path | None = None) -> Any:
    space = Space({"x": Float(0, 1)})
    history = History(space, metric="loss", mode="min", path=path)
    return SimpleNamespace(history=history, close=dict)


def fail(ends: Lifecycle, finder: Any, folder: Path, number: int) -> None:
    """A trial raises: Ray tells the searcher that it failed, and then the callbacks."""
    name = f"t{number}"
    finder.history.add(name, {"x": number / 100})
    finder.history.end(name, TrialState.FAILED, "its training raised an error")
    written = folder / f"{name}.txt"
    told = f"Failure # 1 (today)\nOSError: no\nFailure # 2 (then)\n{TRACEBACK.format(number)}\n"
    written.write_text(told)
    trial = SimpleNamespace(trial_id=name, error_file=str(written))
    ends.on_trial_error(0, [], trial)


def test_a_reason_names_the_place_in_the_users_code() -> None:
    expected = "ValueError: shapes (2,) and (3,) not aligned (steps.py:7 in step)"
    assert reason_of(TRACEBACK.format(2)) == expected
    assert reason_of('  File "C:\\Users\\ann\\t.py", line 4, in <lambda>\nKeyError: 1') == (
        "KeyError: 1 (t.py:4 in <lambda>)"
    )


def test_each_cause_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    finder = search()
    ends = Lifecycle(finder)
    with caplog.at_level(logging.INFO):
        for number in range(4):
            fail(ends, finder, tmp_path, number)
        ends.on_experiment_end([])
    (first,) = caplog.messages
    assert first.startswith("Trial 0 failed: ValueError: shapes (0,) and (3,) not aligned")
    assert 'File "/home/ann/my work/train.py", line 12, in fit' in first
    assert "trainable.py" not in first


def test_the_display_counts_failures_of_one_cause(tmp_path: Path) -> None:
    finder = search()
    for number in range(4):
        fail(Lifecycle(finder), finder, tmp_path, number)
    finder.history.add("odd", {"x": 0.9})
    finder.history.end("odd", TrialState.FAILED, "loss is nan at its end")
    assert failures(finder.history.heads()) == [
        "4 x ValueError: shapes (0,) and (3,) not aligned (steps.py:7 in step)",
        "1 x loss is nan at its end",
    ]


def test_a_study_ends_once_enough_trials_failed(tmp_path: Path) -> None:
    finder = search()
    failing = AlwaysFailing(finder, 5)
    ends = Lifecycle(finder, [failing])
    for number in range(5):
        assert not failing.stop_all()
        fail(ends, finder, tmp_path, number)
    finder.history.add("runs", {"x": 0.9})
    finder.history.report("runs", 1, 3.0)  # it fails later, as the others did
    assert failing.stop_all()
    stopped = SimpleNamespace(
        trial_id="runs", status="TERMINATED", ERROR="ERROR", is_finished=lambda: True
    )
    ends.on_step_end(0, [stopped])
    assert finder.history["runs"].state is TrialState.STOPPED_EARLY
    assert finder.history["runs"].reason == "every trial before it failed"
    with pytest.raises(NoResultError) as raised:
        require_success(finder.history, tmp_path)
    for part in ("5 of 5", "ValueError: shapes", "steps.py:7 in step", "stop_after_failures"):
        assert part in str(raised.value)
    again = pickle.loads(pickle.dumps(failing))  # as Ray saves it: a restored study decides anew
    assert not again.why


def test_reports_without_the_metric_end_a_study_too() -> None:
    finder = search()
    failing = AlwaysFailing(finder, 3)
    for number in range(3):
        finder.history.add(str(number), {"x": 0.5})
        finder.history.end(
            str(number), TrialState.FAILED, "it ended without a report: it has 'accuracy'"
        )
    assert failing.stop_all()
    with pytest.raises(NoResultError, match="it has 'accuracy'"):
        require_success(finder.history, Path("here"))


def test_zero_never_stops(tmp_path: Path) -> None:
    finder = search()
    failing = AlwaysFailing(finder, 0)
    for number in range(8):
        fail(Lifecycle(finder), finder, tmp_path, number)
        assert not failing.stop_all()
    failing.on_experiment_end([])
    require_success(finder.history, tmp_path)


@pytest.mark.parametrize("number", [-1, 2.5, True])
def test_a_number_that_is_none(number: object) -> None:
    with pytest.raises(SettingError, match=r"stop_after_failures is .*or 0"):
        StudySettings(print, {}, mode="min", num_samples=1, stop_after_failures=number)  # type: ignore[arg-type]


def test_best_says_why_there_is_none(tmp_path: Path) -> None:
    finder = search()
    with pytest.raises(NoResultError, match="loss: no trials yet"):
        _ = Study(tmp_path, finder.history).best
    for number in range(3):
        fail(Lifecycle(finder), finder, tmp_path, number)
    finder.history.add("waits", {"x": 0.5})
    with pytest.raises(NoResultError, match=r"1 pending, 3 failed\. 3 failed with: ValueError: .*"):
        _ = Study(tmp_path, finder.history).best.config


def test_commands_say_so_too(tmp_path: Path) -> None:
    finder = search(tmp_path / RECORD_FILE)
    for number in range(3):
        fail(Lifecycle(finder), finder, tmp_path, number)
    finder.history.close()
    shown = CliRunner().invoke(main, ["show", str(tmp_path)])
    assert shown.exit_code == 0
    assert "3 x ValueError: shapes (0,)" in shown.output


def test_a_process_that_cannot_begin_says_what_was_raised() -> None:
    written = (  # as Ray makes it of what was raised
        "The actor died because of an error raised in its creation task, ray::Setup."
        "__init__() (pid=7, ip=10.0.0.1, actor_id=8e3f)\n"
        '  File "/home/ann/train.py", line 6, in setup\n'
        '    raise KeyError("data")\n'
        "KeyError: 'data'"
    )
    assert reason_of(written) == "KeyError: 'data' (train.py:6 in setup)"
    assert reason_of(str(ActorDiedError())).startswith("The actor died")
