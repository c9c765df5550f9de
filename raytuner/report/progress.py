"""Figures of how the search went: incumbent, learning curves, slots."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import plotly.graph_objects as go

from raytuner import text
from raytuner.history import History, Origin, Trial, TrialState
from raytuner.history.snapshot import FloatArray
from raytuner.report import look
from raytuner.report.events import Event, Stay, events, improvements
from raytuner.report.model import Surrogate

Over = Literal["time", "resource", "trials"]

_POINTS_A_CURVE = 40  # more are thinned; first, last and best stay
_LEAST_POINTS = 8
_NAMED_SLOTS = 16
_ALL_POINTS = 120_000


def incumbent(history: History, surrogate: Surrogate | None, over: Over) -> go.Figure:
    """The best value so far, each trial's last value, and what the model says of the incumbents.

    Args:
        history: The record.
        surrogate: Its model, or None.
        over: What is on the x axis: seconds since the first proposal, the resource that all trials
            have spent, or how many trials have ended.
    """
    happened = events(history)
    if not happened:
        return look.blank("No trial has reported a value yet.")
    minimise = history.mode == "min"
    place, title = _places(happened, over, history)
    figure = look.Plot()
    ends = {event.trial.number: i for i, event in enumerate(happened)}  # each trial's last report
    lasts = sorted(ends.values())
    for state, mark in look.MARKS.items():
        rows = [i for i in lasts if happened[i].trial.state is state]
        if rows:
            figure.add_trace(
                look.scatter(
                    len(lasts),
                    x=place[rows],
                    y=np.array([happened[i].value for i in rows]),
                    customdata=[happened[i].trial.number for i in rows],
                    mode="markers",
                    marker={
                        "color": mark.colour,
                        "symbol": mark.symbol,
                        "size": 6,
                        "opacity": 0.6,
                    },
                    name=text.WORDS[state],
                    hovertemplate="trial %{customdata}: %{y:.5g}<extra></extra>",
                )
            )
    ends_of_all = [event.value for event in happened if event.final]
    values = ends_of_all if len(ends_of_all) > 4 else [happened[i].value for i in lasts]
    values = [*values, *(e.value for e in improvements(happened, minimise, final=False)[-1:])]
    end = float(place[-1])
    index = {id(event): i for i, event in enumerate(happened)}
    for final, name, dash in (
        (False, "best at any resource", "dot"),
        (True, "best final", "solid"),
    ):
        steps = improvements(happened, minimise, final=final)
        if not steps or (not final and history.counts()[TrialState.STOPPED_EARLY] == 0):
            continue
        x = [*(float(place[index[id(event)]]) for event in steps), end]
        if final and surrogate is not None:
            _expected(figure, surrogate, steps, x, look.floor(values))
        figure.add_trace(
            go.Scatter(
                x=x,
                y=[*(event.value for event in steps), steps[-1].value],
                mode="lines",
                line={"shape": "hv", "color": look.BLUE, "width": 2.5, "dash": dash},
                name=name,
                hovertemplate="best %{y:.5g}<extra></extra>",
            )
        )
    return look.styled(
        figure,
        xaxis={"title": {"text": look.plain(title)}, "rangemode": "tozero"},
        yaxis=look.value_axis(values, minimise, history.metric),
    )


def _places(happened: Sequence[Event], over: Over, history: History) -> tuple[FloatArray, str]:
    """Where each event is on the x axis, and the axis's title."""
    if over == "resource":
        return np.array([e.spent for e in happened]), f"{history.time_attr}, all trials together"
    if over == "trials":
        last = {event.trial.number: i for i, event in enumerate(happened)}
        ends = np.zeros(len(happened))
        ends[list(last.values())] = 1
        return np.cumsum(ends), "trials"
    began = min(trial.proposed_at for trial in history.trials)
    unit, seconds = look.duration_unit(happened[-1].at - began)
    return np.array([(e.at - began) / seconds for e in happened]), f"{unit} since the start"


def _expected(
    figure: go.Figure, surrogate: Surrogate, steps: Sequence[Event], x: list[float], floor: float
) -> None:
    """What the model, knowing all, expects of each incumbent at full resource, with 95 %."""
    mean, sd = surrogate.predict(surrogate.space.encode([e.trial.config for e in steps]))
    mean, sd = np.append(mean, mean[-1]), np.append(sd, sd[-1])
    low, high = (np.maximum(mean + side * 1.96 * sd, floor) for side in (-1, 1))
    figure.add_traces(
        look.band(x, low, high, name="95 % of the model", shape="hv", legendgroup="model")
    )
    figure.add_trace(
        go.Scatter(
            x=x,
            y=np.maximum(mean, floor),
            mode="lines",
            line={"shape": "hv", "color": look.PINK, "width": 1.5},
            legendgroup="model",
            name="model's mean for the incumbent",
            hovertemplate="model expects %{y:.5g}<extra></extra>",
        )
    )


def rungs(trials: Iterable[Trial]) -> list[float]:
    """The rungs at which trials were stopped, as their reasons say.

    >>> from raytuner.report.progress import _AT_RUNG
    >>> _AT_RUNG.search("rank 7 of 9 at rung 3: the best 3 go on").group(1)
    '3'
    """
    found = (_AT_RUNG.search(t.reason) for t in trials if t.state is TrialState.STOPPED_EARLY)
    return sorted({float(match.group(1)) for match in found if match})


_AT_RUNG = re.compile(r"at rung ([0-9.]+(?:e[+-]?[0-9]+)?)")


def curves(history: History) -> go.Figure:
    """Every learning curve, the rungs, and where and why trials were stopped."""
    trials = [trial for trial in history.trials if trial.values]
    if not trials:
        return look.blank("No trial has reported a value yet.")
    most = min(max(_ALL_POINTS // len(trials), _LEAST_POINTS), _POINTS_A_CURVE)
    figure = look.Plot()
    n = sum(min(len(trial.values), most) for trial in trials)
    # What ran to its end is drawn last, over the others.
    for state in reversed(list(look.MARKS)):
        ours = [trial for trial in trials if trial.state is state]
        if ours:
            _curves_of(figure, ours, state, n, most)
    best = history.best()
    if best is not None:
        x, y = zip(*best.values, strict=True)
        figure.add_trace(
            go.Scatter(
                x=x,
                y=y,
                mode="lines+markers",
                line={"color": look.PINK, "width": 3},
                marker={"size": 5},
                name=f"the best, trial {best.number}",
                hovertemplate="%{y:.5g} at %{x:g}<extra></extra>",
            )
        )
    for level in rungs(trials):
        figure.add_vline(x=level, line={"dash": "dash", "width": 1, "color": look.GREY})
    ends = [trial.value for trial in trials]
    widest = max(trial.t for trial in trials)
    return look.styled(
        figure,
        height=460,
        xaxis={"title": {"text": look.plain(history.time_attr)}, "range": [0, 1.03 * widest]},
        yaxis=look.value_axis(
            [*ends, *(v for trial in trials for _, v in trial.values[::4])],
            history.mode == "min",
            history.metric,
        ),
    )


def _curves_of(
    figure: go.Figure, trials: list[Trial], state: TrialState, n: int, most: int
) -> None:
    mark = look.MARKS[state]
    x: list[float] = []
    y: list[float] = []
    whose: list[int] = []
    for trial in trials:
        values = _thinned(trial.values, most)
        x += [t for t, _ in values] + [np.nan]
        y += [value for _, value in values] + [np.nan]
        whose += [trial.number] * (len(values) + 1)
    figure.add_trace(
        look.scatter(
            n,
            x=np.array(x, dtype=np.float64),
            y=np.array(y, dtype=np.float64),
            customdata=np.array(whose, dtype=np.int32),
            mode="lines",
            line={"color": mark.colour, "width": 1},
            opacity=float(np.clip(12 / np.sqrt(len(trials)), 0.15, 0.8)),
            name=f"{text.WORDS[state]} ({len(trials)})",
            legendgroup=state.value,
            hovertemplate="trial %{customdata}: %{y:.5g} at %{x:g}<extra></extra>",
        )
    )
    figure.add_trace(
        look.scatter(
            n,
            x=np.array([trial.t for trial in trials], dtype=np.float64),
            y=np.array([trial.value for trial in trials], dtype=np.float64),
            customdata=[trial.number for trial in trials],
            text=[look.plain(trial.reason or text.WORDS[state]) for trial in trials],
            mode="markers",
            marker={"color": mark.colour, "symbol": mark.symbol, "size": 5, "opacity": 0.7},
            legendgroup=state.value,
            showlegend=False,
            hovertemplate="trial %{customdata}: %{y:.5g} at %{x:g}<br>%{text}<extra></extra>",
        )
    )


def _thinned(values: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most ``most`` points of a curve, evenly over its reports, first and last among them."""
    if len(values) <= most:
        return list(values)
    return [values[i] for i in np.linspace(0, len(values) - 1, most).round().astype(int)]


def timeline(found: Sequence[Stay], began: float, idle: Sequence[float]) -> go.Figure:
    """Which trial was in which slot when; gaps are idle.

    Args:
        found: Which trial was where.
        began: When the search began, in Unix seconds.
        idle: Which part of its time each slot was idle.
    """
    if not found:
        return look.blank("No trial has run yet.")
    unit, seconds = look.duration_unit(max(stay.end for stay in found) - began)
    slots = 1 + max(stay.slot for stay in found)
    width = float(np.clip(240 / slots, 3, 14))
    named = range(0, slots, max(1, slots // _NAMED_SLOTS))
    figure = look.Plot()
    _bars(
        figure,
        "starting",
        "#b8b8b8",
        width,
        [(stay, stay.begin - began, stay.runs - began) for stay in found],
        seconds,
    )
    for state, mark in look.MARKS.items():
        ours = [stay for stay in found if stay.trial.state is state]
        if ours:
            spans = [(stay, stay.runs - began, stay.end - began) for stay in ours]
            _bars(figure, text.WORDS[state], mark.colour, width, spans, seconds)
    return look.styled(
        figure,
        height=int(110 + slots * (width + 8)),
        xaxis={"title": {"text": f"{unit} since the start"}},
        yaxis={
            "automargin": True,
            "range": [slots + 0.5, 0.5],
            "tickvals": [slot + 1 for slot in named],
            "ticktext": [f"slot {slot + 1}: {idle[slot]:.0%} idle " for slot in named],
            "showgrid": False,
            "zeroline": False,
        },
    )


def _bars(
    figure: go.Figure,
    name: str,
    colour: str,
    width: float,
    spans: Sequence[tuple[Stay, float, float]],
    seconds: float,
) -> None:
    """Horizontal bars, drawn as thick lines with a point in the middle to hover over."""
    x, y, whose = [], [], []
    for stay, begin, end in spans:
        x += [begin / seconds, (begin + end) / 2 / seconds, end / seconds, np.nan]
        y += [stay.slot + 1] * 3 + [np.nan]
        whose += [stay.trial.number] * 4
    figure.add_trace(
        look.scatter(
            len(x),
            x=np.array(x, dtype=np.float32),
            y=np.array(y, dtype=np.float32),
            customdata=np.array(whose, dtype=np.int32),
            mode="lines",
            line={"color": colour, "width": width},
            name=name,
            hovertemplate=f"trial %{{customdata}}, {name}<extra></extra>",
        )
    )


def began_at(history: History) -> float:
    """When the first trial was proposed that ran here, in Unix seconds; 0 if none was."""
    ours = [t.proposed_at for t in history.trials if t.origin is not Origin.EVALUATED]
    return min(ours, default=0.0)
