"""Figures of the search space: parallel coordinates, slices, interactions, importance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import plotly.graph_objects as go

from raytuner.history import History, Trial, TrialState
from raytuner.history.snapshot import FloatArray
from raytuner.report import style
from raytuner.report.model import Surrogate
from raytuner.space import Column
from raytuner.space.choices import is_number
from raytuner.space.numeric import Float, Integer

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 500  # trials in a slice: the best, and an even share of the others
_FEW_LEVELS = 60
_LINE_POINTS = 81
_GRID_POINTS = 31  # of each hyperparameter of an interaction
_LABEL = 18  # signs
_NO_MODEL = "Too few values for a model yet."


@dataclass(frozen=True)
class Axis:
    """The axis of one hyperparameter."""

    column: Column

    @cached_property
    def names(self) -> list[str] | None:
        """The levels as text if they have no order; None for numbers."""
        domain, is_category = self.column.domain, self.column.kind == "categorical"
        n = domain.n_levels
        if n is None or (n > _FEW_LEVELS and not is_category):
            return None
        values = domain.from_units(domain.level_units())
        if not is_category and all(map(is_number, values)):
            return None
        return [style.plain(value, 16) for value in values]

    @property
    def is_log(self) -> bool:
        """Whether the axis is logarithmic."""
        domain = self.column.domain
        return self.names is None and isinstance(domain, Float | Integer) and bool(domain.log)

    def positions(self, units: FloatArray) -> FloatArray:
        """Return where unit coordinates lie on the axis: values, or numbers of the levels."""
        if self.names is not None:
            return np.minimum(np.floor(units * len(self.names)), len(self.names) - 1)
        return np.array(self.column.domain.from_units(units), dtype=float)

    def grid(self, most: int) -> FloatArray:
        """Return unit coordinates to evaluate the model at: every level if they are few."""
        domain = self.column.domain
        if domain.n_levels is not None and domain.n_levels <= max(_FEW_LEVELS, most):
            return domain.level_units()
        return np.unique(domain.snap(np.linspace(0.001, 0.999, most)))

    def layout(self) -> dict[str, Any]:
        """Return Plotly's description of the axis."""
        axis: dict[str, Any] = {"title": {"text": style.plain(self.column.name)}}
        if self.names is not None:
            axis |= {"tickvals": list(range(len(self.names))), "ticktext": self.names}
        return {**axis, "type": "log"} if self.is_log else axis

    def dimension(self, units: FloatArray) -> dict[str, Any]:
        """Return Plotly's description of the axis and its values in parallel coordinates."""
        at = self.positions(units)
        if self.names is None:
            return _dimension(self.column.name, at, self.is_log)
        return {
            "label": style.plain(self.column.name, _LABEL),
            "values": at.tolist(),
            "range": [-0.2, len(self.names) - 0.8],
            "tickvals": list(range(len(self.names))),
            "ticktext": self.names,
        }


def _dimension(
    name: str, values: FloatArray, is_log: bool, ends: Sequence[float] | None = None
) -> dict[str, Any]:
    """An axis of numbers in parallel coordinates; a logarithmic one shows logarithms."""
    at = np.log10(values) if is_log else values
    low, high = (at.min(), at.max()) if ends is None else ends
    room = 0.02 * (high - low) or 1.0
    found = {
        "label": style.plain(name, _LABEL),
        "values": np.clip(at, low, high).tolist(),
        "range": [float(low - room), float(high + room)],
    }
    if not is_log:
        return {**found, "tickformat": "~g"}
    decades = np.arange(np.floor(low), np.ceil(high) + 1)
    ticks = np.add.outer(decades, np.log10([1, 2, 5] if high - low < 2 else [1])).ravel()
    ticks = ticks[(low <= ticks) & (ticks <= high)]
    return {**found, "tickvals": ticks.tolist(), "ticktext": [f"{10**v:g}" for v in ticks]}


def _ranked(history: History) -> list[Trial]:
    """Trials with a finite last value that did not fail, the best value first."""
    usable = (trial for trial in history.trials if trial.state is not TrialState.FAILED)
    found = [trial for trial in usable if math.isfinite(trial.value)]
    return sorted(found, key=lambda trial: trial.value, reverse=history.mode == "max")


def _sample(history: History) -> list[Trial]:
    """At most `_SHOWN` trials: the best, and an even share of the others."""
    trials, half = _ranked(history), _SHOWN // 2
    step = math.ceil((len(trials) - half) / half)
    return trials[:half] + trials[half :: max(step, 1)]


def parallel(history: History) -> go.Figure:
    """Draw parallel coordinates of all trials that have a value, coloured by rank."""
    trials = _ranked(history)
    if not trials:
        return style.blank(style.NO_VALUE)
    points = history.space.encode([trial.config for trial in trials])
    dimensions = [
        Axis(column).dimension(points[:, j]) for j, column in enumerate(history.space.columns)
    ]
    if any(trial.state is TrialState.STOPPED_EARLY for trial in trials):
        spent = np.array([trial.t for trial in trials])
        dimensions.append(_dimension(history.time_attr, spent, is_log=False))
    values = np.array([trial.value for trial in trials])
    axis = style.value_axis(values, history.mode == "min", history.metric)
    dimensions.append(_dimension(history.metric, values, axis["type"] == "log", axis["range"]))
    trace = go.Parcoords(
        dimensions=dimensions,
        customdata=[trial.number for trial in trials],
        line={
            "color": np.linspace(1, 0, len(trials)).tolist(),
            "cmin": 0,
            "cmax": 1,
            "colorscale": style.SCALE,
            "showscale": True,
            "colorbar": {
                "title": {"text": "rank"},
                "tickvals": [0, 1],
                "ticktext": ["worst", "best"],
                "thickness": 12,
            },
        },
        unselected={"line": {"color": style.GREY, "opacity": 0.15}},
    )
    figure = style.styled(style.Plot(trace), height=400)
    return figure.update_layout(margin={"l": 60, "r": 30, "t": 56, "b": 24})


def slice_of(history: History, surrogate: Surrogate | None, column: Column) -> go.Figure:
    """Draw the metric against one hyperparameter: trials, and the model through the best trial."""
    trials, best = _sample(history), history.best()
    if not trials:
        return style.blank(style.NO_VALUE)
    axis, j = Axis(column), history.space.columns.index(column)
    at = axis.positions(history.space.encode([trial.config for trial in trials])[:, j])
    if axis.names is not None:  # points of one level lie side by side
        at = at + np.random.default_rng(0).uniform(-0.18, 0.18, len(at))
    values = np.array([trial.value for trial in trials])
    figure = style.Plot([*style.points_by_state(trials, at, values)])
    figure.update_traces({"opacity": 0.6}, {"name": "stopped early"})  # not final
    final = [trial.value for trial in trials if trial.state is TrialState.COMPLETED]
    visible = final if len(final) > 4 else values.tolist()
    if surrogate is not None and best is not None:
        units, lowest = axis.grid(_LINE_POINTS), style.floor(visible)
        x, shape = axis.positions(units), "linear"
        if axis.names is not None:  # a step from half a level before each to half a level after
            x, units, shape = np.r_[-0.5, x, x[-1] + 0.5], np.pad(units, 1, mode="edge"), "hvh"
        points = np.repeat(history.space.encode([best.config]), len(units), axis=0)
        points[:, j] = units
        mean, sd = surrogate.predict(points)
        figure.add_traces([*style.model_line(x, mean, sd, lowest, shape)])
        visible += [max(min(mean) if history.mode == "min" else max(mean), lowest)]
    return style.styled(
        figure,
        height=300,
        xaxis=axis.layout(),
        yaxis=style.value_axis(visible, history.mode == "min", history.metric),
        showlegend=False,
    )


def interaction(
    history: History,
    surrogate: Surrogate | None,
    pair: tuple[Column, Column],
    what: Literal["mean", "sd"],
) -> go.Figure:
    """Draw the model over two hyperparameters, others as in the best trial, and the trials."""
    best, encode = history.best(), history.space.encode
    if surrogate is None or best is None:
        return style.blank(_NO_MODEL)
    first, second = (Axis(column) for column in pair)
    i, j = (history.space.columns.index(column) for column in pair)
    u, v = first.grid(_GRID_POINTS), second.grid(_GRID_POINTS)
    points = np.repeat(encode([best.config]), len(u) * len(v), axis=0)
    points[:, i], points[:, j] = np.tile(u, len(v)), np.repeat(v, len(u))
    is_mean = what == "mean"
    z = surrogate.predict(points)[0 if is_mean else 1].reshape(len(v), len(u))
    # The worst tenth has one colour, so that a cliff does not take all of them.
    good_low = history.mode == "min" or not is_mean
    low, high = np.quantile(z, [0, 0.9] if good_low else [0.1, 1])
    title = style.plain(history.metric, 12) if is_mean else "deviation"
    heat = go.Heatmap(
        x=first.positions(u).tolist(),
        y=second.positions(v).tolist(),
        z=z.tolist(),
        zmin=float(low),
        zmax=float(max(high, low + 1e-12)),
        colorscale=style.SCALE if is_mean else "Cividis",
        reversescale=good_low and is_mean,
        colorbar={"title": {"text": title}, "thickness": 12},
        hovertemplate="%{x}, %{y}: %{z:.5g}<extra></extra>",
    )
    dots = {"size": 5, "color": "rgba(255,255,255,0.75)", "line": {"color": "#222", "width": 0.7}}
    star = {"symbol": "star", "size": 15, "color": style.RED, "line": {"color": "white"}}
    figure = style.Plot(heat)
    for trials, marker in ((_sample(history), dots), ([best], star)):
        at = encode([trial.config for trial in trials])
        x, y = first.positions(at[:, i]), second.positions(at[:, j])
        values = [f"{trial.value:.5g}" for trial in trials]
        figure.add_trace(style.points(trials, x, y, marker=marker, text=values, hover="%{text}"))
    return style.styled(
        figure, height=340, xaxis=first.layout(), yaxis=second.layout(), showlegend=False
    )


def importance_bars(found: pd.DataFrame | None) -> go.Figure:
    """Draw the Sobol indices with their intervals, the most important on top."""
    if found is None:
        return style.blank(_NO_MODEL)
    shown = found.iloc[::-1]
    figure = style.Plot()
    for kind, title, colour in (
        ("total", "with interactions", style.SKY),
        ("main", "alone", style.BLUE),
    ):
        ends = {
            "array": (shown[f"{kind}_high"] - shown[kind]).tolist(),
            "arrayminus": (shown[kind] - shown[f"{kind}_low"]).tolist(),
        }
        figure.add_trace(
            go.Bar(
                x=shown[kind].tolist(),
                y=[style.plain(name, 28) for name in shown.index],
                orientation="h",
                name=title,
                marker={"color": colour},
                error_x={**ends, "symmetric": False, "thickness": 1.2, "color": style.GREY},
                hovertemplate="%{y}: %{x:.2f}<extra></extra>",
            )
        )
    return style.styled(
        figure,
        height=120 + 46 * len(shown),
        barmode="group",
        xaxis={"title": {"text": "share of the variance"}, "range": [0, 1.02]},
    )
