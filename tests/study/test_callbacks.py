"""Callbacks and loggers that fail, and reports that they cannot show."""

from __future__ import annotations

import decimal
import errno
import json
import logging
import pickle
from collections import OrderedDict
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.air._internal.json import SafeFallbackEncoder
from ray.tune import Callback
from ray.tune.callback import CallbackList
from ray.tune.experiment.trial import _TrainingRunMetadata  # type: ignore[attr-defined]
from ray.tune.logger import CSVLoggerCallback, JsonLoggerCallback, TBXLoggerCallback

from raytuner.errors import HistoryError, SettingError
from raytuner.study import callbacks as module
from raytuner.study.callbacks import Guarded, Plain, guarded, plain


def strange() -> dict[str, Any]:
    """What a report may hold beside its metric."""
    return {
        "huge": 2**70,
        "beyond a float": -(10**400),
        "complex": 1 + 2j,
        "complex of numpy": np.complex128(1j),
        "decimal": decimal.Decimal("0.1"),
        "keys": {(0, 1): 3, 2: {None: 1}},
        "ordered": OrderedDict(a=OrderedDict(b=2**80)),
        "object": object(),
        "huge ones": [2**70, [10**400, None], ("x", object())],
        "objects": np.array([1, "x"], dtype=object),
        "empty": np.zeros(0),
        "times": np.array(["2026-01-01"], dtype="datetime64[D]"),
        "tensor": torch.ones(3),
        "half": torch.tensor(2.0, dtype=torch.bfloat16),
        "nested": {"deep": {"deeper": [{"x": 2**65}]}},
    }


class FakeTrial:
    """What Ray's loggers ask of a trial."""

    trial_id = "a"
    config: dict[str, Any] = {}  # noqa: RUF012
    evaluated_params: dict[str, Any] = {"lr": 0.1}  # noqa: RUF012
    checkpoint = None

    def __init__(self, folder: Path) -> None:
        self.local_path = str(folder)

    def init_local_path(self) -> None:
        Path(self.local_path).mkdir(exist_ok=True)


def together(callbacks: list[Callback]) -> Any:
    """What Ray makes of the callbacks of an experiment."""
    return CallbackList(callbacks)


def tags_in(folder: Path) -> set[str]:
    """Names of the curves that TensorBoard shows of a folder."""
    (file,) = folder.glob("events.out.tfevents.*")
    data = file.read_bytes()
    return {name for name in ("loss", "after", "huge") if f"ray/tune/{name}".encode() in data}


def report_to_rays_loggers(folder: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Hand two reports to what `raytuner.tune` gives to Ray, as Ray does. Return the last."""
    trial, all_ = FakeTrial(folder), together(guarded())
    all_.setup(stop=None, num_samples=1, total_num_samples=1)
    all_.on_trial_start(iteration=0, trials=[trial], trial=trial)
    for t in (1, 2):
        report = {"loss": 0.5, **result, "after": 1.0, "training_iteration": t}
        all_.on_trial_result(iteration=t, trials=[trial], trial=trial, result=report)
    all_.on_trial_complete(iteration=3, trials=[trial], trial=trial)
    all_.on_experiment_end(trials=[trial])
    return report


@pytest.mark.parametrize("name", strange())
def test_a_metric_affects_at_most_its_own_display(name: str, tmp_path: Path) -> None:
    report = report_to_rays_loggers(tmp_path, {name: strange()[name]})
    lines = (tmp_path / "result.json").read_text().splitlines()
    assert [json.loads(line)["loss"] for line in lines] == [0.5, 0.5]
    assert [json.loads(line)["after"] for line in lines] == [1.0, 1.0]
    assert (tmp_path / "progress.csv").read_text().count("0.5") == 2
    assert {"loss", "after"} <= tags_in(tmp_path)
    # Ray saves the last report with the experiment, and averages what is a number.
    json.dumps(report, cls=SafeFallbackEncoder)
    averages = _TrainingRunMetadata()
    for value in (report[name], report[name]):
        if isinstance(value, Number):
            averages.update_metric(name, value, step=1)


def test_a_usual_report_stays_as_it_is() -> None:
    array = np.ones(3)
    report = {
        "loss": 0.5,
        "n": 3,
        "ok": True,
        "none": None,
        "list": [1, 2],
        "a": {"b": 1},
        "x": array,
    }
    same = dict(report)
    Plain().on_trial_result(1, [], None, result=report)
    assert report == same
    assert report["x"] is array


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text()
    | st.decimals()
    | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.integers() | st.tuples(st.integers()), inner)
    ),
)


@settings(max_examples=40 * settings().max_examples // 100)
@given(st.dictionaries(st.text(), junk))
def test_every_report_can_be_saved(report: dict[str, Any]) -> None:
    json.dumps(plain(report), cls=SafeFallbackEncoder)


class Failing(Callback):
    """Raises in each hook."""

    def __init__(self, error: BaseException) -> None:
        self.error, self.calls = error, 0

    def _fail(self, *args: Any, **info: Any) -> Any:
        self.calls += 1
        raise self.error

    setup = on_step_begin = on_step_end = on_trial_start = on_trial_restore = _fail
    on_trial_save = on_trial_result = on_trial_complete = on_trial_recover = _fail
    on_trial_error = on_checkpoint = on_experiment_end = get_state = set_state = _fail


STEP: dict[str, Any] = {"iteration": 1, "trials": []}
TRIAL: dict[str, Any] = {**STEP, "trial": None}
HOOKS: dict[str, dict[str, Any]] = {
    "on_step_begin": STEP,
    "on_step_end": STEP,
    "on_trial_start": TRIAL,
    "on_trial_restore": TRIAL,
    "on_trial_save": TRIAL,
    "on_trial_complete": TRIAL,
    "on_trial_recover": TRIAL,
    "on_trial_error": TRIAL,
    "on_trial_result": {**TRIAL, "result": {"loss": 1}},
    "on_checkpoint": {**TRIAL, "checkpoint": None},
    "on_experiment_end": {"trials": []},
}


def test_the_hooks_are_all_of_rays() -> None:
    own = {name for name in vars(Callback) if name.startswith("on_")}
    assert own == HOOKS.keys()


@pytest.mark.parametrize("hook", HOOKS)
def test_what_a_callback_raises_is_logged_once(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    errors = [ValueError("no"), OSError(errno.ENOSPC, "full")]
    failing = Failing(errors[0])
    all_ = together([Guarded(failing)])
    for failing.error in (*errors, *errors):
        getattr(all_, hook)(**HOOKS[hook])
    assert failing.calls == 4
    assert len(caplog.records) == 2
    for record, error in zip(caplog.records, errors, strict=True):
        assert record.levelno == logging.ERROR
        assert f"Failing failed in {hook}" in record.getMessage()
        assert record.exc_info is not None
        assert record.exc_info[1] is error


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(1), HistoryError("enough")])
def test_a_callback_can_stop_a_study(stop: BaseException) -> None:
    with pytest.raises(type(stop)):
        together([Guarded(Failing(stop))]).on_step_end(**STEP)


def test_a_callback_that_cannot_be_set_up_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    failing = Failing(ConnectionError("no server"))
    all_ = together([Guarded(failing)])
    all_.setup(stop=None, num_samples=1, total_num_samples=1)
    for hook, given_ in HOOKS.items():
        getattr(all_, hook)(**given_)
    assert failing.calls == 1
    assert [record.getMessage().split(". ", 1)[1] for record in caplog.records] == [
        "The study continues without it. Further failures of this kind will not be logged."
    ]


class Plainer(Callback):
    """Does nothing."""


class Counting(Callback):
    """Keeps a state that Ray saves."""

    def __init__(self) -> None:
        self.state: Any = {"count": 1}

    def get_state(self) -> Any:
        return self.state

    def set_state(self, state: Any) -> None:
        self.state = state


def test_the_state_of_a_callback_is_saved() -> None:
    callback = Counting()
    all_ = together([Guarded(Failing(ValueError())), Guarded(callback)])
    assert all_.get_state() == {0: None, 1: {"count": 1}}
    all_.set_state({0: {"x": 1}, 1: {"count": 2}})
    assert callback.state == {"count": 2}


def test_a_guarded_callback_is_pickled_with_what_it_holds() -> None:
    again = pickle.loads(pickle.dumps(Guarded(Counting())))
    assert again.get_state() == {"count": 1}


def test_rays_own_loggers_are_added_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def kinds(callbacks: list[Any]) -> list[type]:
        return [
            type(one.callback)  # type: ignore[attr-defined]
            for one in guarded(callbacks)
        ]

    json_logger: Any = JsonLoggerCallback
    rays = [CSVLoggerCallback, JsonLoggerCallback, TBXLoggerCallback]
    assert kinds([]) == [Plain, *rays]
    assert kinds([json_logger(), Counting()]) == [
        JsonLoggerCallback,
        Counting,
        Plain,
        CSVLoggerCallback,
        TBXLoggerCallback,
    ]
    monkeypatch.setenv("RAY_TUNE_CALLBACKS", f"{Plainer.__module__}.Plainer")
    assert [kind.__name__ for kind in kinds([])][:2] == ["Plainer", "Plain"]
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    assert [kind.__name__ for kind in kinds([])] == ["Plainer", "Plain"]


def test_ray_adds_none_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.tune.utils.callback import _create_default_callbacks

    ours = guarded([])
    monkeypatch.setenv("RAY_TUNE_CALLBACKS", f"{Plainer.__module__}.Plainer")
    for name, value in module.RAYS_CHOICE.items():
        monkeypatch.setenv(name, value)
    added = _create_default_callbacks(list(ours))[len(ours) :]
    assert [type(one).__name__ for one in added] == ["TrialProgressCallback"]


@pytest.mark.parametrize("bad", [Plainer, None])
def test_what_is_no_callback_is_an_error(bad: Any) -> None:
    with pytest.raises(SettingError, match=r"callbacks\[1\] is .*ray\.tune\.Callback"):
        guarded([Plainer(), bad])
