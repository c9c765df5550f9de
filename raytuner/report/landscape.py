"""Figures of the search space: parallel coordinates, slices, interactions, importance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import plotly.graph_objects as go

from raytuner import text
from raytuner.history import History, Trial, TrialState
from raytuner.history.snapshot import FloatArray
from raytuner.report import look
from raytuner.report.model import Surrogate
from raytuner.space import Column
from raytuner.space.numeric import Float, Integer

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 500  # trials in a slice: the best, and an even share of the others
_FEW_LEVELS = 60
_LINE = 81  # points of a slice's line
_SIDE = 31  # of an interaction's grid


@dataclass(frozen=True)
class Axis:
    """How the values of one hyperparameter lie on an axis.

    Attributes:
        column: The hyperparameter.
        names: Its levels as text if it has no order; None if it is a number.
        log: Whether the axis is logarithmic.
    """

    column: Column
    names: tuple[str, ...] | None
    log: bool

    @classmethod
    def of(cls, column: Column) -> Axis:
        """The axis of a hyperparameter."""
        domain = column.domain
        levels = domain.n_levels
        if levels is not None and levels <= _FEW_LEVELS:
            values = domain.from_units(domain.level_units())
            if not all(_is_number(v) for v in values):
                return cls(column, tuple(look.plain(v) for v in values), False)
        if levels is not None and column.kind == "categorical":
            return cls(
                column, tuple(look.plain(v) for v in domain.from_units(domain.level_units())), False
            )
        log = isinstance(domain, Float | Integer) and bool(domain.log)
        return cls(column, None, log)

    def positions(self, units: FloatArray) -> FloatArray:
        """Where unit coordinates lie on the axis: values, or numbers of the levels."""
        if self.names is not None:
            return np.minimum((units * len(self.names)).astype(int), len(self.names) - 1).astype(
                float
            )
        return np.array(self.column.domain.from_units(units), dtype=float)

    def grid(self, most: int) -> FloatArray:
        """Unit coordinates to draw a line through: every level if they are few."""
        domain = self.column.domain
        levels = domain.n_levels
        if levels is not None and levels <= max(_FEW_LEVELS, most):
            return domain.level_units()
        return np.unique(domain.snap(np.linspace(0.001, 0.999, most)))

    def layout(self) -> dict[str, Any]:
        """For Plotly."""
        title = {"text": look.plain(self.column.name)}
        if self.names is not None:
            ticks = list(range(len(self.names)))
            return {"title": title, "tickvals": ticks, "ticktext": [short(n) for n in self.names]}
        if self.log:
            low, high = self.column.domain.from_units(np.array([0.0, 1.0]))
            return {"title": title, "type": "log", **look.log_ticks(low, high)}
        return {"title": title}


def short(name: str, most: int = 16) -> str:
    """Text that fits beside an axis."""
    return name if len(name) <= most else name[: most - 1] + "…"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _usable(history: History) -> list[Trial]:
    """Trials with a finite last value, FAILED ones left out."""
    return [
        trial
        for trial in history.trials
        if trial.values and math.isfinite(trial.value) and trial.state is not TrialState.FAILED
    ]


def _goodness(trials: Sequence[Trial], minimise: bool) -> FloatArray:
    """Each trial's rank among the values, 1 for the best and 0 for the worst."""
    values = np.array([trial.value for trial in trials])
    order = np.argsort(np.argsort(-values if minimise else values, kind="stable"), kind="stable")
    return order / max(len(trials) - 1, 1)


def parallel(history: History) -> go.Figure:
    """Parallel coordinates of all trials that have a value, coloured by rank."""
    trials = _usable(history)
    if not trials:
        return look.blank("No trial has reported a value yet.")
    minimise = history.mode == "min"
    points = history.space.encode([trial.config for trial in trials])
    dimensions = []
    for j, column in enumerate(history.space.columns):
        axis = Axis.of(column)
        at = axis.positions(points[:, j])
        name = short(look.plain(column.name), 18)
        if axis.names is not None:
            ticks = list(range(len(axis.names)))
            dimensions.append(
                {
                    "label": name,
                    "values": at,
                    "range": [-0.2, len(ticks) - 0.8],
                    "tickvals": ticks,
                    "ticktext": [short(n) for n in axis.names],
                }
            )
        elif axis.log:
            dimensions.append({"label": name, "values": np.log10(at), **_log_ticks(at)})
        else:
            dimensions.append({"label": name, "values": at, **_ticks(at)})
    if any(trial.state is TrialState.STOPPED_EARLY for trial in trials):
        spent = np.array([trial.t for trial in trials])
        dimensions.append({"label": short(history.time_attr, 18), "values": spent, **_ticks(spent)})
    dimensions.append(_metric_dimension(history, trials))
    figure = look.Plot(
        go.Parcoords(
            dimensions=dimensions,
            customdata=[trial.number for trial in trials],
            line={
                "color": _goodness(trials, minimise),
                "colorscale": look.SCALE,
                "showscale": True,
                "colorbar": {
                    "title": {"text": "rank"},
                    "tickvals": [0, 1],
                    "ticktext": ["worst", "best"],
                    "thickness": 12,
                },
            },
        )
    )
    look.styled(figure, height=400)
    return figure.update_layout(margin={"l": 60, "r": 30, "t": 56, "b": 24})


def _metric_dimension(history: History, trials: Sequence[Trial]) -> dict[str, Any]:
    values = np.array([trial.value for trial in trials])
    axis = look.value_axis(values, history.mode == "min", history.metric)
    label = short(look.plain(history.metric), 18)
    if axis["type"] == "log":
        return {"label": label, "values": np.log10(values), **_log_ticks(values)}
    low, high = axis["range"]
    ticks = look.linear_ticks(low, high)
    return {"label": label, "values": np.clip(values, low, high), "range": [low, high], **ticks}


def _ticks(values: FloatArray) -> dict[str, Any]:
    return look.linear_ticks(float(values.min()), float(values.max()))


def _log_ticks(values: FloatArray) -> dict[str, Any]:
    ticks = look.log_ticks(float(values.min()), float(values.max()))
    return {**ticks, "tickvals": [math.log10(tick) for tick in ticks["tickvals"]]}


def slice_of(
    history: History, surrogate: Surrogate | None, column: Column, around: Trial | None
) -> go.Figure:
    """The metric against one hyperparameter: trials, and the model with all others held.

    Args:
        history: The record.
        surrogate: Its model, or None.
        column: The hyperparameter.
        around: The trial whose other values are held.
    """
    trials = _shown(_usable(history), history.mode == "min")
    if not trials:
        return look.blank("No trial has reported a value yet.")
    axis = Axis.of(column)
    j = history.space.columns.index(column)
    figure = look.Plot()
    points = history.space.encode([trial.config for trial in trials])
    at = axis.positions(points[:, j])
    if axis.names is not None:  # side by side, not on top of one another
        at = at + np.random.default_rng(0).uniform(-0.18, 0.18, len(at))
    values = np.array([trial.value for trial in trials])
    for state, mark in look.MARKS.items():
        rows = [i for i, trial in enumerate(trials) if trial.state is state]
        if rows:
            figure.add_trace(
                go.Scatter(
                    x=at[rows],
                    y=values[rows],
                    customdata=[trials[i].number for i in rows],
                    mode="markers",
                    marker={
                        "color": mark.colour,
                        "symbol": mark.symbol,
                        "size": 6,
                        "opacity": 0.35 if state is TrialState.STOPPED_EARLY else 0.75,
                    },
                    name=text.WORDS[state],
                    hovertemplate="trial %{customdata}: %{y:.5g}<extra></extra>",
                )
            )
    final = [trial.value for trial in trials if trial.state is TrialState.COMPLETED]
    seen = list(final if len(final) > 4 else values)
    if surrogate is not None and around is not None:
        mean = _expected(figure, surrogate, axis, j, around, look.floor(seen))
        seen += [float(mean.min() if history.mode == "min" else mean.max())]
    look.styled(
        figure,
        height=300,
        xaxis=axis.layout(),
        yaxis=look.value_axis(seen, history.mode == "min", history.metric),
        showlegend=False,
    )
    return figure


def _shown(trials: list[Trial], minimise: bool) -> list[Trial]:
    """At most so many trials: the best, and an even share of the others."""
    if len(trials) <= _SHOWN:
        return trials
    order = np.argsort(-_goodness(trials, minimise), kind="stable")
    share = np.linspace(_SHOWN // 2, len(trials) - 1, _SHOWN - _SHOWN // 2).round().astype(int)
    rows = sorted({*order[: _SHOWN // 2].tolist(), *order[share].tolist()})
    return [trials[row] for row in rows]


def _expected(
    figure: go.Figure, surrogate: Surrogate, axis: Axis, j: int, around: Trial, floor: float
) -> FloatArray:
    """The model's mean and 95 %, along one hyperparameter through a trial; returns the mean."""
    units = axis.grid(_LINE)
    points = np.repeat(surrogate.space.encode([around.config]), len(units), axis=0)
    points[:, j] = units
    mean, sd = surrogate.predict(points)
    low, high = (np.maximum(mean + side * 1.96 * sd, floor) for side in (-1, 1))
    mean = np.maximum(mean, floor)
    x = axis.positions(units)
    if axis.names is not None:
        figure.add_trace(
            go.Scatter(
                x=x,
                y=mean,
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": high - mean,
                    "arrayminus": mean - low,
                    "color": look.PINK,
                    "width": 6,
                },
                mode="markers",
                marker={"color": look.PINK, "symbol": "line-ew-open", "size": 22},
                name="model",
                hovertemplate="model: %{y:.5g}<extra></extra>",
            )
        )
        return mean
    figure.add_traces(look.band(x, low, high))
    figure.add_trace(
        go.Scatter(
            x=x,
            y=mean,
            mode="lines",
            line={"color": look.PINK, "width": 2},
            name="model",
            hovertemplate="model: %{y:.5g}<extra></extra>",
        )
    )
    return mean


def interaction(
    history: History,
    surrogate: Surrogate | None,
    pair: tuple[Column, Column],
    around: Trial | None,
    what: Literal["mean", "sd"],
) -> go.Figure:
    """The model over two hyperparameters with all others held, and where trials were.

    Args:
        history: The record.
        surrogate: Its model, or None.
        pair: The hyperparameters of the x and the y axis.
        around: The trial whose other values are held.
        what: The model's mean, or its standard deviation.
    """
    if surrogate is None or around is None:
        return look.blank("Too few values for a model yet.")
    first, second = (Axis.of(column) for column in pair)
    i, j = (history.space.columns.index(column) for column in pair)
    u, v = first.grid(_SIDE), second.grid(_SIDE)
    points = np.repeat(history.space.encode([around.config]), len(u) * len(v), axis=0)
    points[:, i], points[:, j] = np.tile(u, len(v)), np.repeat(v, len(u))
    mean, sd = surrogate.predict(points)
    z = (mean if what == "mean" else sd).reshape(len(v), len(u))
    good_low = history.mode == "min" or what == "sd"
    low, high = _colour_range(z, good_low)
    title = history.metric if what == "mean" else "deviation"
    figure = look.Plot(
        go.Heatmap(
            x=first.positions(u),
            y=second.positions(v),
            z=z,
            zmin=low,
            zmax=high,
            colorscale=look.SCALE if what == "mean" else "Cividis",
            reversescale=good_low and what == "mean",
            zsmooth=False,
            colorbar={"title": {"text": short(look.plain(title), 12)}, "thickness": 12},
            hovertemplate="%{x}, %{y}: %{z:.5g}<extra></extra>",
        )
    )
    trials = _shown(_usable(history), history.mode == "min")
    there = history.space.encode([trial.config for trial in trials])
    figure.add_trace(
        go.Scatter(
            x=first.positions(there[:, i]),
            y=second.positions(there[:, j]),
            customdata=[trial.number for trial in trials],
            text=[f"{trial.value:.5g}" for trial in trials],
            mode="markers",
            marker={
                "size": 5,
                "color": "rgba(255,255,255,0.75)",
                "line": {"color": "#222", "width": 0.7},
            },
            hovertemplate="trial %{customdata}: %{text}<extra></extra>",
        )
    )
    x, y = (
        float(axis.positions(history.space.encode([around.config])[:, k])[0])
        for axis, k in ((first, i), (second, j))
    )
    figure.add_trace(
        go.Scatter(
            x=[x],
            y=[y],
            customdata=[around.number],
            mode="markers",
            marker={
                "symbol": "star",
                "size": 15,
                "color": look.RED,
                "line": {"color": "white", "width": 1},
            },
            hovertemplate="the best, trial %{customdata}<extra></extra>",
        )
    )
    return look.styled(
        figure, height=340, xaxis=first.layout(), yaxis=second.layout(), showlegend=False
    )


def _colour_range(z: FloatArray, good_low: bool) -> tuple[float, float]:
    """From the best to the worst tenth: a cliff does not take all the colours."""
    low, high = float(z.min()), float(z.max())
    if good_low:
        high = float(np.quantile(z, 0.9))
    else:
        low = float(np.quantile(z, 0.1))
    return (low, high) if high > low else (low, low + 1e-12)


def importance(found: pd.DataFrame | None) -> go.Figure:
    """Bars of the Sobol indices with their intervals, the most important on top."""
    if found is None:
        return look.blank("Too few values for a model yet.")
    shown = found.iloc[::-1]
    figure = look.Plot()
    names = [short(look.plain(name), 28) for name in shown.index]
    for kind, name, colour in (
        ("total", "with interactions", look.SKY),
        ("main", "alone", look.BLUE),
    ):
        middle = shown[kind].to_numpy()
        figure.add_trace(
            go.Bar(
                x=middle,
                y=names,
                orientation="h",
                name=name,
                marker={"color": colour},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": shown[f"{kind}_high"].to_numpy() - middle,
                    "arrayminus": middle - shown[f"{kind}_low"].to_numpy(),
                    "thickness": 1.2,
                    "color": look.GREY,
                },
                hovertemplate="%{y}: %{x:.2f}<extra></extra>",
            )
        )
    return look.styled(
        figure,
        height=120 + 46 * len(shown),
        barmode="group",
        xaxis={"title": {"text": "share of the variance"}, "range": [0, 1.02]},
        yaxis={"automargin": True},
    )
