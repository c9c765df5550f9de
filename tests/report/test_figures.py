"""The plots as figures, and the page as a file."""

from __future__ import annotations

import gzip
import json
import math
import re
from importlib import resources
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from made_up import RUNGS, SPACE, figures, html_of, study

from raytuner.errors import SettingError
from raytuner.history import History, TrialState
from raytuner.report.figures import Figures
from raytuner.report.style import MANY, scatter, value_axis
from raytuner.report.text import configuration_as_toml
from raytuner.space import Categorical, Float, Normal, Space

N = 150


def named(figure: go.Figure, name: str) -> go.Scatter:
    return next(trace for trace in figure.data if trace.name == name)


def test_the_incumbent_only_gets_better_and_ends_at_the_best() -> None:
    history = study(N)
    best = history.best
    assert best is not None
    line = named(figures(N).incumbent(), "best final")
    assert list(line.y) == sorted(line.y, reverse=True)
    assert list(line.x) == sorted(line.x)
    assert line.y[-1] == best.value
    model = named(figures(N).incumbent(), "model")
    assert len(model.y) == len(line.y)


def test_curves_have_every_trial_and_the_rungs() -> None:
    history = study(N)
    figure = figures(N).curves()
    shown = {n for trace in figure.data if trace.mode == "lines" for n in trace.customdata}
    assert shown == {t.number for t in history.trials if t.values}
    assert {shape.x0 for shape in figure.layout.shapes} == set(RUNGS)
    marks = [t for t in figure.data if t.mode == "markers" and t.legendgroup == "STOPPED_EARLY"]
    assert sum(len(trace.x) for trace in marks) == history.counts[TrialState.STOPPED_EARLY]
    assert all("at rung" in text for trace in marks for text in trace.text)


def test_the_axis_has_room_for_the_best_at_any_resource() -> None:
    figure = figures(N).incumbent()
    low, high = figure.layout.yaxis.range
    reached = [value for trial in study(N).trials for _, value in trial.values]
    assert low <= min(reached) <= high


def test_the_timeline_shows_every_trial_from_its_start_to_its_end() -> None:
    shown = {
        number: (slot - 1, start, length)
        for trace in figures(N).timeline().data
        if trace.name != "starting"
        for number, slot, start, length in zip(
            trace.customdata, trace.y, trace.base, trace.x, strict=True
        )
    }
    began = study(N).trials[0].proposed_at
    for stay in figures(N).stays:
        slot, start, length = shown[stay.trial.number]
        assert slot == stay.slot
        assert start == pytest.approx(stay.runs - began, abs=1e-3)
        assert length == pytest.approx(stay.end - stay.runs, abs=1e-3)


@pytest.mark.parametrize(
    ("resources", "says"),
    [
        ({"cpu": 2, "gpu": 0.5}, "each 2 cpu, 0.5 gpu"),
        ("<function by_config>", "Share of the slots' time"),
        (None, "Share of the slots' time"),
    ],
)
def test_the_page_says_what_a_slot_is_if_it_can(resources: object, says: str) -> None:
    history = study(12)
    history.set_meta("settings", {"resources": resources})
    html = html_of(history)
    assert says in html
    assert ("GPU-hours" in html) == isinstance(resources, dict)


def test_a_run_of_no_known_program_has_none_on_the_page() -> None:
    history = study(5)
    run = {"what": "resumed", "at": 1e9, "command": "python tune_it.py", "folder": "/"}
    history.set_meta("runs", [{**run, "versions": {"ray": "2.60"}}])
    html = html_of(history)
    assert "Resumed 2001-09-09" in html
    assert "tune_it.py" not in html


def test_many_long_curves_are_thinned_and_keep_their_ends() -> None:
    history = History(SPACE, metric="loss", mode="min")
    (config,) = SPACE.sample(np.random.default_rng(0), 1)
    history.add("a", config)
    for t in range(1, 5001):
        history.report("a", t, 1 / t)
    curve = next(t for t in Figures(history).curves().data if t.mode == "lines")
    x = [v for v in curve.x if not math.isnan(v)]
    assert len(x) == 40
    assert (x[0], x[-1]) == (1, 5000)


def test_many_points_are_drawn_by_the_graphics_card() -> None:
    kinds = {n: {t.type for t in Figures(study(n)).curves().data} for n in (50, 2 * MANY)}
    assert kinds[50] == {"scatter"}
    assert "scattergl" in kinds[2 * MANY]


@pytest.mark.parametrize("name", [column.name for column in SPACE.columns])
def test_slices_show_the_model_in_the_units_of_the_hyperparameter(name: str) -> None:
    figure = figures(N).slice(name)
    model = named(figure, "model")
    if name in ("optimizer", "net/norm"):
        assert figure.layout.xaxis.ticktext is not None
        levels = len(figure.layout.xaxis.ticktext)
        assert list(model.x) == [-0.5, *range(levels), levels - 0.5]
        return
    low, high = {"lr": (1e-5, 1e-1), "width": (16, 512), "dropout": (0, 0.5)}[name]
    assert low <= min(model.x) < max(model.x) <= high
    assert (figure.layout.xaxis.type == "log") == (name != "dropout")


@pytest.mark.parametrize("n", [200, 503, 1100])
def test_a_slice_shows_at_most_500_trials_with_the_best_among_them(n: int) -> None:
    history = study(n)
    usable = [t for t in history.trials if t.values and t.state is not TrialState.FAILED]
    without_model = Figures(history)
    without_model.surrogate = None  # it takes seconds, and is not looked at
    points = without_model.slice(SPACE.columns[0].name).data
    shown = {number for trace in points for number in trace.customdata}
    assert len(shown) == sum(len(trace.x) for trace in points) <= 500
    assert shown >= {t.number for t in sorted(usable, key=lambda t: t.value)[:166]}
    assert len(usable) > 500 or len(shown) == len(usable)


def test_an_unknown_hyperparameter_is_named_with_those_there_are() -> None:
    with pytest.raises(SettingError, match=r"no hyperparameter 'rate' varies.*lr, width"):
        Figures(study(5)).slice("rate")


def test_interactions_are_of_the_most_important() -> None:
    found = figures(N).importances
    assert found is not None
    assert figures(N).pairs()[0] == tuple(found.index[:2])
    mean, sd = (figures(N).interaction("lr", "optimizer", what).data[0] for what in ("mean", "sd"))
    assert np.shape(mean.z) == np.shape(sd.z) == (3, 31)
    assert (np.asarray(sd.z) > 0).all()


def test_every_figure_of_odd_spaces_can_be_drawn() -> None:
    space = Space(
        {
            "shift": Normal(0, 10),
            "shape": Categorical([(1, 2), None, "x" * 60]),
            "one": Categorical([0.5, 2.0]),
        }
    )
    history = History(space, metric="score", mode="max")
    for i, config in enumerate(space.sample(np.random.default_rng(0), 20)):
        history.add(f"t{i}", config)
        history.report(f"t{i}", 1, 1e8 if i == 3 else -float(i))
        history.end(f"t{i}", TrialState.COMPLETED)
    history.add("nan", space.sample(np.random.default_rng(1), 1)[0])
    history.report("nan", 1, math.nan)
    assert "score" in html_of(history)


def test_a_value_axis_keeps_awful_values_from_flattening_the_rest() -> None:
    axis = value_axis([*np.linspace(-1, 2, 50), 1e6], True, "loss")
    assert axis["range"][0] < -1
    assert 2 <= axis["range"][1] < 4
    up = value_axis([*np.linspace(-1, 2, 50), -1e6], False, "score")
    assert up["range"][1] > 2
    assert -4 < up["range"][0] <= -1
    assert value_axis([0.1, 100.0], True, "loss")["type"] == "log"


def test_the_page_fetches_nothing_and_its_data_are_json() -> None:
    html = html_of(study(40))
    head = html[: html.index("<script>")]
    assert "default-src 'none'" in head
    assert "connect-src 'none'" in head
    assert not re.search(
        r"<(script|link|img|iframe)[^>]*\b(src|href)=", html[: html.index("</head>")]
    )
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    trials = json.loads(data)["trials"]
    columns = dict(trials["columns"])
    assert all(len(values) == 40 for values in columns.values())
    assert set(columns) >= {"trial", "loss", *(column.name for column in SPACE.columns)}


def test_toml_says_what_it_cannot_hold() -> None:
    text = configuration_as_toml({"a": None, "net": {"b": [1, 2], "c": Path}, "d": True})
    assert text.startswith("# a is None")
    assert "[net]\nb = [\n    1,\n    2,\n]" in text
    assert "d = true" in text


def test_parallel_coordinates_of_floats_are_what_was_tried() -> None:
    space = Space({"x": Float(0, 1)})
    history = History(space, metric="loss", mode="min")
    for i in range(4):
        history.add(f"t{i}", {"x": i / 4})
        history.report(f"t{i}", 1, float(i))
        history.end(f"t{i}", TrialState.COMPLETED)
    (trace,) = Figures(history).parallel().data
    assert list(trace.dimensions[0]["values"]) == [0, 0.25, 0.5, 0.75]
    assert list(trace.line.color) == pytest.approx([1, 2 / 3, 1 / 3, 0])


def test_the_page_is_small_and_has_the_code_of_all_its_plots() -> None:
    """Of plotly.js, it has the kinds of traces that it draws, and little else."""
    assert len(html_of(study(N)).encode()) < 1_500_000
    packed = resources.files("raytuner.report").joinpath("template", "plotly.js.gz").read_bytes()
    code = gzip.decompress(packed).decode()
    there = set(re.findall(r'moduleType:"trace",name:"(\w+)"', code))
    used = {trace.type for figure in figures(N).on_page().values() for trace in figure.data}
    assert used | {scatter(x=[0.0] * (MANY + 1)).type} == there
