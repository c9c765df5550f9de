"""What a notebook shows of studies, trials, progress and plots."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import plotly.io
import pytest

import raytuner
from raytuner.history import History, TrialState
from raytuner.report.style import blank
from raytuner.search.restore import RECORD_FILE
from raytuner.space import Categorical, Float, Space, when
from raytuner.study.progress import CELL_S, Progress
from raytuner.study.study import Study

SPACE = Space(
    {
        "lr": Float(1e-4, 0.1, log=True),
        "net": {"kind": Categorical(["<mlp>", "linear"]), "depth": when(Float(0, 1), kind="<mlp>")},
    }
)


def a_study(folder: Path, trials: int = 5) -> Study:
    """The last trial failed, the one before it has no value, the second is the best."""
    folder.mkdir()
    history = History(SPACE, metric="loss", mode="min", path=folder / RECORD_FILE)
    for i, config in enumerate(SPACE.sample(np.random.default_rng(0), trials)):
        history.add(f"t{i}", config)
        if i < trials - 2:
            history.report(f"t{i}", 3, abs(i - 1) / 7, {"acc": 0.5})
            history.end(f"t{i}", TrialState.COMPLETED)
    history.end(f"t{trials - 1}", TrialState.FAILED, "ValueError: <b> & co\nmore")
    history.set_meta("finished", False)
    history.close()
    return raytuner.load(folder)


def tables(shown: Any) -> list[list[list[str]]]:
    """The text of each outermost table by row and cell."""
    root = ElementTree.fromstring(f"<div>{shown._repr_html_()}</div>")
    return [
        [["".join(cell.itertext()) for cell in row] for row in table.findall("tr")]
        for table in root.findall("table")
    ]


def test_a_study_is_its_summary_and_its_best_trials(tmp_path: Path) -> None:
    study = a_study(tmp_path / "first")
    summary, ranked = tables(study)
    said = dict(summary)
    assert "loss 0 in trial 1" in said["Best"]
    assert said["Failures"] == "1 x ValueError: <b> & co"
    assert said["Results"] == str(tmp_path / "first")
    assert f"lr{study.best.config['lr']:.5g}" in said["Best configuration"]
    assert ranked[0][:4] == ["trial", "state", "loss", "acc"]
    assert [row[:5] for row in ranked[1:]] == [
        ["1", "completed", "0", "0.5", "3"],
        ["0", "completed", "0.14286", "0.5", "3"],
        ["2", "completed", "0.14286", "0.5", "3"],
    ]
    assert "study.resume()" in study._repr_html_()


def test_a_study_without_a_value_says_why(tmp_path: Path) -> None:
    (summary,) = tables(a_study(tmp_path / "first", trials=2))
    assert "no trial reported a usable loss" in dict(summary)["Best"]


def test_trials_and_what_is_chosen_of_them_are_tables(tmp_path: Path) -> None:
    study = a_study(tmp_path / "first")
    ((head, *rows),) = tables(study.trials)
    assert head == [
        *("trial", "state", "value", "acc", "t", "lr", "net/kind", "net/depth", "reason")
    ]
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "4"]
    assert rows[4][1:3] == ["failed", "nan"]
    assert rows[4][-1] == "ValueError: <b> & co"
    for row, trial in zip(rows, study.trials, strict=True):
        net = trial.config["net"]
        assert row[6] == net["kind"]
        assert row[7] == (f"{net['depth']:.5g}" if "depth" in net else "")
    assert {row[6] for row in rows} == {"<mlp>", "linear"}
    assert [row[0] for row in tables(study.ranked[:2])[0]] == ["trial", "1", "0"]
    assert [row[0] for row in tables(study.failures)[0]] == ["trial", "4"]
    assert study.trials == study.history.trials  # they are tuples all the same
    assert tables(study.trials[:0]) == []


def test_one_trial_is_a_table(tmp_path: Path) -> None:
    study = a_study(tmp_path / "first")
    said = dict(tables(study.best)[0])
    assert (said["trial"], said["state"], said["value"], said["t"]) == ("1", "COMPLETED", "0", "3")
    assert f"lr{study.best.config['lr']:.5g}" in said["configuration"]
    assert "reason" not in said
    assert "<b> & co" in dict(tables(study.trials[-1])[0])["reason"]


def test_of_many_trials_the_first_are_shown(tmp_path: Path) -> None:
    shown = a_study(tmp_path / "first", trials=100).trials
    assert len(tables(shown)[0]) == 61
    assert "and 40 more trials" in shown._repr_html_()


class Screen:
    """IPython's display, which keeps what it is given."""

    def __init__(self) -> None:
        self.shown: list[Any] = []
        self.updates: list[Any] = []

    def __call__(self, item: Any, *, display_id: bool = False, raw: bool = False) -> Any:
        self.shown.append(item)
        return SimpleNamespace(update=self.updates.append) if display_id else None


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Stands for a notebook's, whether IPython is installed or not."""
    screen = Screen()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=screen))
    return screen


def test_progress_is_updated_in_place(
    screen: Screen, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr("raytuner.study.progress.time.monotonic", lambda: now[0])
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    history = History(SPACE, metric="loss", mode="min")
    progress = Progress(SimpleNamespace(history=history), num_samples=2)
    progress.setup()
    assert [dict(tables(one)[0])["best"] for one in screen.shown] == ["no value yet"]
    (config,) = SPACE.sample(np.random.default_rng(0), 1)
    history.add("t0", config)
    history.report("t0", 1, 0.25)
    progress.on_step_end(0, [])  # too soon
    assert screen.updates == []
    now[0] += CELL_S
    progress.on_step_end(1, [])
    history.end("t0", TrialState.COMPLETED)
    progress.close()
    assert len(screen.shown) == 1
    first, last = screen.updates
    assert "loss 0.25 (trial 0 at 1" in dict(tables(first)[0])["best"]
    assert 'value="0.0000"' in first._repr_html_()
    assert 'value="0.5000"' in last._repr_html_()
    assert "1 of 2 done" in repr(last)
    assert capfd.readouterr() == ("", "")


def test_without_an_end_the_bar_has_no_value(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    history = History(SPACE, metric="loss", mode="min")
    Progress(SimpleNamespace(history=history), num_samples=-1).setup()
    assert "value=" not in screen.shown[0]._repr_html_()


def test_a_plot_has_html_for_notebooks_without_plotlys_extension(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = plotly.io.renderers.default
    try:
        plotly.io.renderers.default = "plotly_mimetype"  # Plotly's choice in a kernel
        blank("nothing")._ipython_display_()
        (bundle,) = screen.shown
        assert set(bundle) == {"application/vnd.plotly.v1+json", "text/html"}
        assert "nothing" in bundle["text/html"]
        plotly.io.renderers.default = "json"  # the user's
        shown: list[Any] = []
        monkeypatch.setattr(plotly.io, "show", shown.append)
        blank("nothing")._ipython_display_()
        assert len(shown) == len(screen.shown) == 1
    finally:
        plotly.io.renderers.default = before


def test_every_figure_is_such_a_plot(tmp_path: Path) -> None:
    figures = a_study(tmp_path / "first").figures
    for figure in (figures.curves(), figures.incumbent(), figures.timeline(), figures.parallel()):
        assert type(figure).__name__ == "Plot"
