"""What a person sees while a study runs."""

import errno
import io
import json
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from ray.tune import TuneError
from rich.console import Console, Group

from raytuner.errors import HistoryError
from raytuner.history import History, TrialState
from raytuner.space import Float, Space
from raytuner.study import progress as module
from raytuner.study.callbacks import Guarded
from raytuner.study.progress import FIGURES_FILE, Progress, RayMetrics, Screen
from raytuner.study.run import _own_error
from raytuner.study.summary import Standing


def a_history() -> History:
    history = History(Space({"lr": Float(0.0, 1.0)}), metric="accuracy", mode="max")
    for name in "abcde":
        history.add(name, {"lr": 0.125})
    for name, t, value in (("a", 9, 0.75), ("b", 1, 0.25), ("c", 1, 0.5)):
        history.report(name, t=t, value=value)
    history.end("a", TrialState.COMPLETED)
    history.end("b", TrialState.STOPPED_EARLY)
    history.end("d", TrialState.FAILED, "RuntimeError: no")
    return history


def a_search(history: History | None = None) -> SimpleNamespace:
    return SimpleNamespace(history=history or a_history())


def standing(**changes: object) -> Standing:
    history = a_history()
    facts: dict[str, object] = {
        "counts": history.counts,
        "num_samples": 12,
        "elapsed_s": 30.0,
        "time_budget_s": 90.0,
        "metric": "accuracy",
        "best": history.best,
        "max_t": 9,
    }
    return Standing(**{**facts, **changes})  # type: ignore[arg-type]


def test_it_says_how_many_trials_are_in_each_state_the_best_and_the_time() -> None:
    assert standing().lines() == {
        "time": "0:30 of 1:30, about 1:00 left",
        "trials": "3 of 12 done: 1 running, 1 pending, 1 completed, 1 stopped early, 1 failed",
        "best": "accuracy 0.75 (trial 0 at 9 of 9): lr=0.125",
    }


def test_it_says_what_is_busy_when_it_improved_and_what_failed_last() -> None:
    lines = standing(
        busy=3, slots=8, since_improved_s=75.0, failures=("1 x RuntimeError: no",)
    ).lines()
    assert lines["slots"] == "3 of 8 busy"
    assert lines["best"] == "accuracy 0.75 (trial 0 at 9 of 9, 1:15 ago): lr=0.125"
    assert lines["failed"] == "1 x RuntimeError: no"


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({}, 60),  # the budget; the pace would take 90 s more
        ({"time_budget_s": None}, 90),
        ({"time_budget_s": None, "done_before": 1}, None),  # two say nothing yet
        ({"num_samples": -1}, 60),
        ({"num_samples": -1, "time_budget_s": None}, None),
        ({"elapsed_s": 200.0}, 0),
    ],
)
def test_the_time_left_is_that_of_the_limit_that_comes_first(
    changes: dict[str, object], left: float | None
) -> None:
    assert standing(**changes).left_s == left


def test_without_limits_or_values_it_says_what_there_is() -> None:
    bare = standing(counts={}, num_samples=-1, time_budget_s=None, best=None, max_t=None)
    assert repr(bare) == "0:30 | 0 done: no trials yet | best: no value yet"
    assert bare.share is None


@pytest.mark.parametrize(
    ("num_samples", "time_budget_s", "share"),
    [(12, 90.0, 1 / 3), (4, 90.0, 0.75), (12, None, 0.25), (-1, 60.0, 0.5), (-1, 10.0, 1.0)],
)
def test_the_limit_that_comes_first_is_the_share(
    num_samples: int, time_budget_s: float | None, share: float
) -> None:
    stand = standing(num_samples=num_samples, time_budget_s=time_budget_s)
    assert stand.share == pytest.approx(share)


@pytest.mark.parametrize("width", [40, 200])
def test_the_picture_holds_every_line_also_in_a_narrow_terminal(width: int) -> None:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(standing().picture())
    text = console.export_text()
    lines = [line.rstrip() for line in text.splitlines()]
    assert [line.split()[0] for line in lines if line and not line.startswith("    ")] == [
        "time",
        "trials",
        "best",
    ]
    assert lines[-1] == ""
    words = text.split()
    for line in standing().lines().values():
        assert set(line.split()) <= set(words)


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], Progress]:
    def _make(terminal: bool) -> Progress:
        monkeypatch.setattr(
            module, "Screen", lambda **kwargs: Console(force_terminal=terminal, **kwargs)
        )
        return Progress(a_search(), num_samples=12, time_budget_s=90)

    return _make


def test_outside_of_a_terminal_it_writes_few_plain_lines(
    make: Callable[[bool], Progress],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("raytuner.study.progress.time.monotonic", lambda: now[0])
    shown = make(False)
    shown.setup()
    for step in range(251):  # 25 s in steps of 0.1 s
        now[0] = 100 + step / 10
        shown.on_step_begin(step, [])
        shown.on_step_end(step, [])
    shown.on_experiment_end([])
    shown.close()
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert [line.split(" |")[0] for line in lines] == [
        "0:10 of 1:30",
        "0:20 of 1:30",
        "0:25 of 1:30",
    ]
    assert "\x1b" not in err


def test_in_a_terminal_it_draws_at_most_four_times_a_second_and_gives_the_terminal_back(
    make: Callable[[bool], Progress],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = []

    picture = Standing.picture

    def drawing(stand: Standing) -> Group:
        drawn.append(stand)
        return picture(stand)

    monkeypatch.setattr(Standing, "picture", drawing)
    now = [0.0]
    monkeypatch.setattr("raytuner.study.progress.time.monotonic", lambda: now[0])
    shown = make(True)
    for step in range(1000):  # 10 s
        now[0] = step / 100
        shown.on_step_begin(step, [])
        shown.on_step_end(step, [])
    shown.close()
    assert 30 <= len(drawn) <= 42
    err = capsys.readouterr().err
    assert "accuracy 0.75" in err
    assert err.count("\x1b[?25l") == err.count("\x1b[?25h") == 1  # the cursor is hidden, then back


@pytest.mark.parametrize("terminal", [True, False])
def test_it_can_be_pickled_at_any_time_and_closed_twice_or_unopened(
    terminal: bool, make: Callable[[bool], Progress], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = make(terminal)
    pickle.loads(pickle.dumps(shown)).close()
    assert capsys.readouterr().err == ""
    shown.setup()
    copy = pickle.loads(pickle.dumps(shown))
    shown.close()
    shown.close()
    copy.setup()
    copy.close()
    assert capsys.readouterr().err.count("3 of 12 done") >= 2


def test_machines_get_the_same_figures_as_json_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr("raytuner.study.progress.time.monotonic", lambda: now[0])
    history = a_history()
    file = tmp_path / "made" / FIGURES_FILE
    shown = Progress(a_search(history), num_samples=12, path=file.parent, quiet=True)
    shown.setup()
    runs = [SimpleNamespace(status="RUNNING", placement_group_factory=None)] * 2
    for step in range(25):
        now[0] += 1
        if step == 12:
            history.report("c", t=9, value=0.875)
            history.end("c", TrialState.COMPLETED)
        shown.on_step_end(step, runs)
    shown.close()
    assert capsys.readouterr().err == ""
    first, second, last = map(json.loads, file.read_text().splitlines())
    assert (first["elapsed_s"], second["elapsed_s"], last["elapsed_s"]) == (10, 20, 25)
    assert first["states"] == {
        "RUNNING": 1,
        "COMPLETED": 1,
        "STOPPED_EARLY": 1,
        "FAILED": 1,
        "PENDING": 1,
    }
    assert first["busy"] == 2
    assert first["best"] == {
        "trial": 0,
        "trial_id": "a",
        "value": 0.75,
        "t": 9,
        "config": {"lr": 0.125},
    }
    assert first["since_improved_s"] is None  # it was so when this run began
    assert first["failures"] == ["1 x RuntimeError: no"]
    assert (second["best"]["value"], second["since_improved_s"]) == (0.875, 0)
    assert last["since_improved_s"] == 5


@pytest.mark.parametrize(
    ("statuses", "slots", "says"),
    [
        (["PENDING", "PENDING"], 2, "slots: 0 of 2 busy, 2 starting"),
        (["RUNNING", "PENDING", "PENDING"], 2, "slots: 1 of 2 busy, 1 starting"),  # one waits
        (["RUNNING", "RUNNING", "PENDING"], 2, "slots: 2 of 2 busy"),
        (["RUNNING", "PAUSED", "TERMINATED"], 2, "slots: 1 of 2 busy"),
        (["RUNNING", "RUNNING"], 1, "slots: 2 of 1 busy"),  # a node is gone
        (["PENDING"], None, "slots: 0 busy"),  # it may wait for a node
    ],
)
def test_a_trial_that_starts_in_a_free_slot_is_said_to(
    statuses: list[str],
    slots: int | None,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [100.0]
    monkeypatch.setattr("raytuner.study.progress.time.monotonic", lambda: now[0])
    monkeypatch.setattr("raytuner.study.progress.room", lambda trials: slots)
    shown = Progress(a_search(), num_samples=12)
    shown.setup()
    now[0] += 11
    shown.on_step_end(0, [SimpleNamespace(status=status) for status in statuses])
    assert f"| {says} |" in capsys.readouterr().err
    shown.on_experiment_end([])
    assert "starting" not in capsys.readouterr().err


class FakeGauge:
    """What Ray's gauge would be told."""

    told: ClassVar[dict[tuple[str, ...], float]] = {}

    def __init__(self, name: str, tag_keys: tuple[str, ...]) -> None:
        self._name, self._tag_keys = name, tag_keys

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.told[self._name, *(tags[key] for key in self._tag_keys)] = value


def test_gauges_hold_what_is_known_and_no_state_that_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FakeGauge, "told", {})
    metrics = RayMetrics("mine", FakeGauge)
    metrics.record(standing(counts={TrialState.RUNNING: 2}, best=None, time_budget_s=None))
    told = FakeGauge.told
    assert told["raytuner_trials", "mine", "RUNNING"] == 2
    assert told["raytuner_elapsed_s", "mine"] == 30
    assert not {"raytuner_best", "raytuner_time_budget_s", "raytuner_slots"} & {k[0] for k in told}
    metrics.record(standing(counts={TrialState.COMPLETED: 2}, busy=1, slots=8))
    assert told["raytuner_trials", "mine", "RUNNING"] == 0
    assert told["raytuner_trials", "mine", "COMPLETED"] == 2
    assert told["raytuner_best", "mine"] == 0.75
    assert (told["raytuner_busy", "mine"], told["raytuner_slots", "mine"]) == (1, 8)


def test_ray_metrics_name_a_study_in_ascii() -> None:
    """Ray raises a UnicodeEncodeError for other tags."""
    RayMetrics("Größe 1", FakeGauge).record(standing())
    assert FakeGauge.told["raytuner_elapsed_s", "Gr%C3%B6%C3%9Fe 1"] == 30


class Full(io.StringIO):
    """A file on a full disk, or a terminal that is gone."""

    error = OSError(errno.ENOSPC, "No space left on device")
    fails = True

    def write(self, text: str) -> int:
        if self.fails:
            raise self.error
        return super().write(text)

    def close(self) -> None:
        pass


def test_a_full_disk_is_logged_once_and_the_figures_go_on_when_there_is_room(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    now, disk = [100.0], Full()
    monkeypatch.setattr("raytuner.study.progress.time.monotonic", lambda: now[0])
    monkeypatch.setattr(Path, "open", lambda *args, **kwargs: disk)
    shown = Progress(a_search(), 12, path=tmp_path, quiet=True)
    shown.setup()
    for step in range(60):
        now[0] += 1
        disk.fails = step < 35
        shown.on_step_end(step, [])
    shown.close()
    (record,) = caplog.records
    assert f"{tmp_path / FIGURES_FILE}: [Errno 28] No space left on device" in record.getMessage()
    assert [json.loads(line)["elapsed_s"] for line in disk.getvalue().splitlines()] == [
        40,
        50,
        60,
        60,
    ]


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("I/O on closed file")])
def test_a_terminal_that_is_gone_ends_no_study(
    terminal: bool, error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone = Full()
    gone.error = error  # type: ignore[assignment]
    gone.fails = False
    screen = Screen(force_terminal=terminal, file=gone)
    monkeypatch.setattr(module, "Screen", lambda **kwargs: screen)
    now = [100.0]
    monkeypatch.setattr("raytuner.study.progress.time.monotonic", lambda: now[0])
    shown = Guarded(Progress(a_search(), 12, path=tmp_path))
    shown.setup()
    for step in range(30):
        now[0] += 1
        gone.fails = step > 5
        shown.on_step_end(iteration=step, trials=[])
    shown.call("close")
    assert len((tmp_path / FIGURES_FILE).read_text().splitlines()) >= 3


def test_a_full_disk_ends_a_study_with_one_clear_error() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "searcher-state.pkl")
    with pytest.raises(
        HistoryError, match=r"disk is full: .*searcher-state\.pkl.*resume"
    ) as raised:
        raise _own_error(_in_ray(full))
    assert "Make room" in str(raised.value)
    ours = HistoryError("cannot write to the record")
    assert _own_error(_in_ray(ours)) is ours
    ours.__cause__ = full
    assert _own_error(_in_ray(ours)) is ours
    other = OSError(errno.EACCES, "Permission denied")
    wrapped = _in_ray(other)
    assert _own_error(wrapped) is wrapped


def _in_ray(error: Exception) -> BaseException:
    """The error as it leaves Ray: the text of a traceback, with the original as its context."""
    try:
        try:
            raise error
        except Exception:
            raise TuneError(traceback.format_exc())  # noqa: B904
    except TuneError as wrapped:
        return wrapped
