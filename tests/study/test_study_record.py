"""What a study says about its record, and when it refuses to continue. Needs no cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raytuner
from raytuner.errors import (
    ConfigError,
    HistoryError,
    InUseError,
    RaytunerError,
    SettingError,
    TrainableError,
)
from raytuner.history import History, TrialState
from raytuner.search.restore import RECORD_FILE
from raytuner.space import Float, Space
from raytuner.study.run import note_run
from raytuner.study.settings import StudySettings
from raytuner.study.study import Study

SPACE = Space({"a": Float(0, 1), "b": Float(0, 1)})
SETTINGS: dict[str, Any] = {
    "scheduler": None,
    "resources": {"cpu": 1},
    "time_attr": "training_iteration",
    "max_t": None,
    "seed": 0,
    "max_concurrent_trials": None,
    "reuse_actors": False,
}


def make(folder: Path, n: int = 20, settings: dict[str, Any] | None = None) -> Study:
    history = History(SPACE, metric="loss", mode="min", path=folder / RECORD_FILE)
    for i, config in enumerate(SPACE.sample(np.random.default_rng(0), n)):
        history.add(f"t{i}", config)
        history.report(f"t{i}", 1, 3 * config["a"] + config["b"])
        history.end(f"t{i}", TrialState.COMPLETED)
    if settings is not None:
        history.set_meta("settings", settings)
    history.set_meta("finished", True)
    history.close()
    return raytuner.load(folder)


def test_it_predicts_explains_and_draws(tmp_path: Path) -> None:
    study = make(tmp_path)
    mean, sd = study.predict({"a": 0.25, "b": 0.5})
    assert mean == pytest.approx(1.25, abs=0.1)
    assert sd > 0
    assert list(study.importance().index) == ["a", "b"]
    assert study.figures is study.figures  # the model is fitted once
    assert study.figures.slice("a").data
    assert study.report() == tmp_path / "report.html"
    assert study.report(tmp_path / "other.html").read_text().startswith("<!DOCTYPE html>")
    with pytest.raises(ConfigError, match="b: missing"):
        study.predict({"a": 0.25})


def test_ranked_has_the_final_values_first(tmp_path: Path) -> None:
    history = History(SPACE, metric="score", mode="max")
    for i, (state, value) in enumerate(
        [
            (TrialState.STOPPED_EARLY, 9.0),
            (TrialState.COMPLETED, 1.0),
            (TrialState.COMPLETED, 2.0),
            (TrialState.FAILED, 5.0),
        ]
    ):
        history.add(f"t{i}", {"a": i / 9, "b": 0.5})
        history.report(f"t{i}", 1, value)
        history.end(f"t{i}", state)
    study = Study(tmp_path, history)
    assert [t.value for t in study.ranked] == [2.0, 1.0, 9.0]
    assert study.best == study.ranked[0]


def test_a_study_without_values_says_what_a_model_takes(tmp_path: Path) -> None:
    study = make(tmp_path, n=1)
    for ask in (study.importance, lambda: study.predict({"a": 0, "b": 0})):
        with pytest.raises(HistoryError, match=r"too few values for a model.*two configurations"):
            ask()


def train(config: dict[str, Any]) -> None:
    """Never run here."""


@pytest.mark.parametrize(
    ("settings", "given", "says"),
    [
        (None, {}, "was not run by raytuner.tune"),
        (
            {"scheduler": "PopulationBasedTraining"},
            {},
            "scheduler, PopulationBasedTraining; pass",
        ),
        ({"resources": "<function f>"}, {}, "resources=<function f>.*pass them again"),
        ({}, {"budget": {"usd": -2.0}}, "usd is -2.0"),
    ],
)
def test_what_cannot_be_extended_says_why(
    settings: dict[str, Any] | None, given: dict[str, Any], says: str, tmp_path: Path
) -> None:
    study = make(tmp_path, settings=None if settings is None else SETTINGS | settings)
    before = study.trials
    with pytest.raises(RaytunerError, match=says):
        study.extend(**{"num_samples": 3, "trainable": train, **given})
    assert raytuner.load(tmp_path).trials == before
    assert not raytuner.load(tmp_path).interrupted


@pytest.mark.parametrize("method", ["extend", "resume", "confirm"])
def test_a_study_keeps_the_function_that_it_was_run_with(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function of a notebook cannot be imported, and was given to `tune` a cell before."""
    seen = []

    def go_on(path: Path, history: History, trainable: Any, *args: Any, **settings: Any) -> History:
        seen.append(trainable)
        return history

    for name in ("extend.extend", "run.resume", "confirm.confirm"):
        monkeypatch.setattr(f"raytuner.study.{name}", go_on)
    study = Study(tmp_path, History(SPACE, metric="loss", mode="min"), train)
    getattr(study, method)()
    getattr(study, method)(trainable=print)
    getattr(study.extend(1), method)()
    assert [one for one in seen if one is not train] == [print]
    with pytest.raises(TrainableError, match="pass it as the argument trainable"):
        getattr(Study(tmp_path, study.history), method)()


def test_a_report_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot write the report to"):
        make(tmp_path, n=2).report(tmp_path / "no" / "report.html")


def test_how_a_study_came_about_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(SPACE, metric="loss", mode="min")
    monkeypatch.setattr("sys.argv", ["/usr/bin/raytuner", "run", "my study.toml"])
    note_run(history, "run")
    monkeypatch.setattr("sys.argv", ["/home/me/tune_it.py", "--fast=1"])
    note_run(history, "resumed")
    monkeypatch.setattr("sys.argv", ["/lib/ipykernel_launcher.py", "-f", "secret.json"])
    note_run(history, "extended")
    runs = history.get_meta("runs")
    assert [run["program"] for run in runs] == ["raytuner", "tune_it.py", None]
    assert "fast" not in str(runs)
    assert all({"Python", "ray", "torch"} <= run["versions"].keys() for run in runs)
    settings = StudySettings(
        train, {}, mode="min", num_samples=2, seed=3, resources=lambda config: {}, scheduler=None
    )
    settings.keep(history, strategy="grid")
    kept = history.get_meta("settings")
    assert (kept["seed"], kept["num_samples"], kept["strategy"]) == (3, 2, "grid")
    assert isinstance(kept["resources"], str)


CALLS: dict[str, Any] = {
    "resume": lambda study: study.resume(train),
    "extend": lambda study: study.extend(2, train),
    "confirm": lambda study: study.confirm(trainable=train),
    "tune": lambda study: raytuner.tune(
        train,
        SPACE,
        metric="loss",
        mode="min",
        num_samples=2,
        storage_path=study.path.parent,
        name=study.path.name,
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_study_that_another_process_runs_is_left_alone(
    call: str, tmp_path: Path, another_process: Any
) -> None:
    study = make(tmp_path, settings=SETTINGS)
    before = (tmp_path / RECORD_FILE).read_bytes()
    with another_process(tmp_path / RECORD_FILE) as first:
        match = rf"process {first.pid} on .*, which began .* ago, is writing to .*kill {first.pid}"
        with pytest.raises(InUseError, match=match):
            CALLS[call](study)
        assert (tmp_path / RECORD_FILE).read_bytes() == before
        assert raytuner.load(tmp_path).trials == study.trials


def test_a_record_that_another_process_writes_is_not_recovered(
    tmp_path: Path, another_process: Any
) -> None:
    make(tmp_path)
    record = tmp_path / RECORD_FILE
    record.write_bytes(record.read_bytes()[:-4096])
    with another_process(record), pytest.raises(InUseError):
        raytuner.recover(tmp_path)
    assert raytuner.recover(tmp_path).kept is not None
