"""Figures of how the search went: the incumbent, learning curves, slots."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from raytuner.history import History, Origin, Trial, TrialState
from raytuner.report import style, text
from raytuner.report.events import Event, Stay, events, improvements
from raytuner.report.model import Surrogate

Over = Literal["time", "resource", "trials"]

_CURVE_POINTS = 40  # of a longer curve, evenly chosen ones are drawn
_LEAST_CURVE_POINTS = 8
_ALL_POINTS = 120_000
_AT_RUNG = re.compile(r"at rung ([0-9.]+(?:e[+-]?[0-9]+)?)")


def incumbent(history: History, surrogate: Surrogate | None, over: Over) -> go.Figure:
    """Draw the best value so far, each trial's last value, and what the model says of the best."""
    happened = events(history)
    if not happened:
        return style.blank("No trial has reported a value yet.")
    minimise = history.mode == "min"
    began = history.trials[0].proposed_at
    unit, seconds = style.duration_unit(happened[-1].at - began)
    axes: dict[Over, tuple[Callable[[Event], float], str]] = {
        "time": (lambda event: (event.at - began) / seconds, f"{unit} since the start"),
        "resource": (lambda event: event.spent, f"{history.time_attr}, all trials together"),
        "trials": (lambda event: event.reported, "trials"),
    }
    x_of, title = axes[over]
    lasts = [event for event in happened if event.last]
    x, y = np.array([x_of(event) for event in lasts]), np.array([event.value for event in lasts])
    figure = style.Plot([*style.points_by_state([event.trial for event in lasts], x, y)])
    finals = [event.value for event in happened if event.final]
    visible = finals if len(finals) > 4 else y.tolist()
    visible += [event.value for event in improvements(happened, minimise, final=False)[-1:]]
    for final, name, dash in (
        (False, "best at any resource", "dot"),
        (True, "best final", "solid"),
    ):
        steps = improvements(happened, minimise, final=final)
        if not steps or (not final and not history.counts()[TrialState.STOPPED_EARLY]):
            continue
        x = np.array([x_of(event) for event in (*steps, happened[-1])])
        steps = (*steps, steps[-1])
        if final and surrogate is not None:
            configs = [event.trial.config for event in steps]
            mean, sd = surrogate.predict(surrogate.space.encode(configs))
            figure.add_traces([*style.model_line(x, mean, sd, style.floor(visible), shape="hv")])
        values = [event.value for event in steps]
        figure.add_trace(style.line(x, values, name, style.BLUE, shape="hv", dash=dash))
    return style.styled(
        figure,
        xaxis={"title": {"text": style.plain(title)}, "rangemode": "tozero"},
        yaxis=style.value_axis(visible, minimise, history.metric),
    )


def rungs(trials: Iterable[Trial]) -> list[float]:
    """Return the rungs at which trials were stopped, as their reasons say."""
    found = (_AT_RUNG.search(t.reason) for t in trials if t.state is TrialState.STOPPED_EARLY)
    return sorted({float(match[1]) for match in found if match})


def curves(history: History) -> go.Figure:
    """Draw every learning curve, the rungs, and where and why trials ended."""
    trials = [trial for trial in history.trials if trial.values]
    if not trials:
        return style.blank("No trial has reported a value yet.")
    most = min(max(_ALL_POINTS // len(trials), _LEAST_CURVE_POINTS), _CURVE_POINTS)
    figure = style.Plot()
    for state in reversed(style.MARKS):  # COMPLETED is drawn last, over the others
        ours = [trial for trial in trials if trial.state is state]
        if ours:
            figure.add_trace(_curves_of(ours, state, most))
            t, values = np.array([trial.values[-1] for trial in ours]).T
            (ends,) = style.points_by_state(ours, t, values)
            ends.text = [style.plain(trial.reason or text.WORDS[state]) for trial in ours]
            ends.hovertemplate = "trial %{customdata}: %{y:.5g} at %{x:g}<br>%{text}<extra></extra>"
            figure.add_trace(ends.update(legendgroup=state.value, showlegend=False))
    best = history.best()
    if best is not None:
        x, y = zip(*best.values, strict=True)
        line = style.line(x, y, f"the best, trial {best.number}", style.PINK)
        figure.add_trace(line.update(mode="lines+markers", line_width=3))
    for level in rungs(trials):
        figure.add_vline(x=level, line={"dash": "dash", "width": 1, "color": style.GREY})
    values = [v for trial in trials for v in (*(v for _, v in trial.values[::4]), trial.value)]
    return style.styled(
        figure,
        height=460,
        xaxis={
            "title": {"text": style.plain(history.time_attr)},
            "range": [0, 1.03 * max(trial.t for trial in trials)],
        },
        yaxis=style.value_axis(values, history.mode == "min", history.metric),
    )


def _curves_of(trials: list[Trial], state: TrialState, most: int) -> Any:
    """The trace of all curves that ended in one state, with a gap after each."""
    points = []
    for trial in trials:
        rows = np.unique(np.linspace(0, len(trial.values) - 1, most).round().astype(int))
        points += [(*trial.values[row], trial.number) for row in rows]
        points += [(math.nan, math.nan, trial.number)]
    x, y, numbers = map(list, zip(*points, strict=True))
    return style.scatter(
        x=x,
        y=y,
        customdata=numbers,
        mode="lines",
        line={"color": style.MARKS[state].colour, "width": 1},
        opacity=float(np.clip(12 / np.sqrt(len(trials)), 0.15, 0.8)),
        name=f"{text.WORDS[state]} ({len(trials)})",
        legendgroup=state.value,
        hovertemplate="trial %{customdata}: %{y:.5g} at %{x:g}<extra></extra>",
    )


def timeline(history: History, found: Sequence[Stay]) -> go.Figure:
    """Draw which trial was in which slot when."""
    if not found:
        return style.blank("No trial has run yet.")
    began = min(t.proposed_at for t in history.trials if t.origin is not Origin.EVALUATED)
    unit, seconds = style.duration_unit(max(stay.end for stay in found) - began)
    bars = {("starting", "#b8b8b8"): [(stay, stay.begin, stay.runs) for stay in found]}
    for state, mark in style.MARKS.items():
        bars[text.WORDS[state], mark.colour] = [
            (stay, stay.runs, stay.end) for stay in found if stay.trial.state is state
        ]
    figure = style.Plot()
    for (name, colour), ours in bars.items():
        if ours:
            figure.add_trace(
                go.Bar(
                    base=[(start - began) / seconds for _, start, _ in ours],
                    x=[(end - start) / seconds for _, start, end in ours],
                    y=[stay.slot + 1 for stay, _, _ in ours],
                    customdata=[stay.trial.number for stay, _, _ in ours],
                    orientation="h",
                    marker={"color": colour, "line": {"width": 0}},
                    name=name,
                    hovertemplate=f"trial %{{customdata}}, {name}<extra></extra>",
                )
            )
    slots = max(stay.slot for stay in found) + 1
    return style.styled(
        figure,
        barmode="overlay",
        height=int(110 + slots * np.clip(240 / slots + 8, 11, 22)),
        xaxis={"title": {"text": f"{unit} since the start"}},
        yaxis={
            "title": {"text": "slot"},
            "range": [slots + 0.5, 0.5],
            "tickformat": "d",
            "showgrid": False,
            "zeroline": False,
        },
    )
