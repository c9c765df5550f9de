"""Colours, traces and axes that all figures share."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
import plotly.io

from raytuner.history import Trial, TrialState
from raytuner.history.snapshot import FloatArray
from raytuner.report import text
from raytuner.space.choices import shown


class Mark(NamedTuple):
    """The look of trials in one state."""

    colour: str
    symbol: str


# M. Okabe, K. Ito (2008), "Color universal design": distinct for any colour vision. The blue is
# lighter than theirs, for dark pages.
BLUE, ORANGE, GREEN, RED = "#1F82C8", "#E69F00", "#009E73", "#D55E00"
SKY, PINK, GREY = "#56B4E9", "#CC79A7", "#8c8c8c"
MARKS = {
    TrialState.COMPLETED: Mark(BLUE, "circle"),
    TrialState.STOPPED_EARLY: Mark(ORANGE, "diamond"),
    TrialState.FAILED: Mark(RED, "x"),
    TrialState.RUNNING: Mark(GREEN, "triangle-up"),
    TrialState.PAUSED: Mark(SKY, "square"),
    TrialState.PENDING: Mark(GREY, "circle-open"),
    TrialState.REMOVED: Mark(PINK, "cross"),
}
SCALE = "Viridis"
NO_VALUE = "No trial has reported a value yet."
MANY = 1000
"""WebGL draws traces with more points than this."""


class Plot(go.Figure):  # type: ignore[misc]  # Plotly has no types
    """A figure that every notebook, and every page exported from one, can show."""

    def _ipython_display_(self) -> None:
        # Plotly's default in a kernel is a format that only some notebooks can read.
        if plotly.io.renderers.default != "plotly_mimetype":
            super()._ipython_display_()
            return
        from IPython.display import display  # every notebook has it

        as_html = self.to_html(full_html=False, include_plotlyjs="cdn")
        display(self._repr_mimebundle_() | {"text/html": as_html}, raw=True)


def scatter(**how: Any) -> Any:
    """Return a scatter trace, drawn as SVG, or by WebGL if it has many points."""
    return go.Scattergl(**how) if len(how["x"]) > MANY else go.Scatter(**how)


def points(trials: Sequence[Trial], x: FloatArray, y: FloatArray, **how: Any) -> Any:
    """Return a trace with a point for each trial; the page filters by its `customdata`."""
    hover = how.pop("hover", "%{y:.5g}")
    return scatter(
        x=x.tolist(),
        y=y.tolist(),
        customdata=[trial.number for trial in trials],
        mode="markers",
        hovertemplate=f"trial %{{customdata}}: {hover}<extra></extra>",
        **how,
    )


def points_by_state(trials: Sequence[Trial], x: FloatArray, y: FloatArray) -> Iterator[Any]:
    """Yield a trace of points for each state that trials are in."""
    for state, (colour, symbol) in MARKS.items():
        rows = [i for i, trial in enumerate(trials) if trial.state is state]
        if rows:
            marker = {"color": colour, "symbol": symbol, "size": 6, "opacity": 0.6}
            ours = [trials[i] for i in rows]
            yield points(ours, x[rows], y[rows], marker=marker, name=text.WORDS[state])


def line(x: Any, y: Any, name: str, colour: str, *, shape: str = "linear", **how: Any) -> Any:
    """Return a line that shows its name and value on hovering."""
    return go.Scatter(
        x=list(x),
        y=list(y),
        mode="lines",
        line={"color": colour, "shape": shape, "width": 2, "dash": how.pop("dash", "solid")},
        name=name,
        hovertemplate=f"{name} %{{y:.5g}}<extra></extra>",
        **how,
    )


def model_line(
    x: FloatArray, mean: FloatArray, sd: FloatArray, lowest: float, shape: str = "linear"
) -> Iterator[Any]:
    """Yield the traces of the model's mean and 95 % interval, both cut at `lowest`."""
    low, high = (np.maximum(mean + side * 1.96 * sd, lowest) for side in (-1, 1))
    edge = {"width": 0, "color": PINK, "shape": shape}
    how = {"x": x.tolist(), "mode": "lines", "hoverinfo": "skip", "line": edge}
    yield go.Scatter(y=high.tolist(), showlegend=False, legendgroup="model", **how)
    yield go.Scatter(
        y=low.tolist(),
        fill="tonexty",
        fillcolor="rgba(204, 121, 167, 0.25)",
        name="95 % interval",
        legendgroup="model",
        **how,
    )
    yield line(x, np.maximum(mean, lowest), "model", PINK, shape=shape, legendgroup="model")


def blank(says: str) -> go.Figure:
    """Return an empty figure with a text that explains why."""
    figure = Plot()
    figure.add_annotation(text=says, showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper")
    return styled(figure, height=160, xaxis_visible=False, yaxis_visible=False)


def styled(figure: go.Figure, *, height: int = 420, **layout: Any) -> go.Figure:
    """Return the figure with the layout that all figures share."""
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 60, "r": 16, "t": 16, "b": 48},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        hovermode="closest",
        **layout,
    )
    # On a log axis, 2e-3 is written in full; by default it is a small "2".
    axes = {"automargin": True, "exponentformat": "e", "minorloglabels": "complete"}
    return figure.update_xaxes(axes).update_yaxes(axes)


def plain(item: object, most: int = 200) -> str:
    """Return text of at most `most` characters, with HTML escaped that Plotly would read."""
    words = shown(item, str)
    return html.escape(words if len(words) <= most else words[: most - 1] + "…", quote=False)


def is_log(values: Sequence[float] | FloatArray) -> bool:
    """Return whether an axis of these values is logarithmic.

    Examples:
        >>> is_log([1.0, 5000.0]), is_log([-1.0, 5000.0])
        (True, False)
    """
    finite = [v for v in values if math.isfinite(v)]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) > 100


def floor(values: Sequence[float] | FloatArray) -> float:
    """Return the least value to draw for a model: a log axis has no negative values."""
    return min(v for v in values if math.isfinite(v)) / 10 if is_log(values) else -math.inf


def value_axis(values: Sequence[float] | FloatArray, minimise: bool, title: str) -> dict[str, Any]:
    """Return an axis for the metric on which a few very bad values do not flatten the others.

    It shows the best nine tenths of the values, and the rest if it is not far off. A double click
    shows everything.
    """
    array = np.asarray([v for v in values if math.isfinite(v)], dtype=float)
    axis = {"title": {"text": plain(title)}, "type": "log" if is_log(array) else "linear"}
    if not len(array):
        return axis
    if is_log(array):
        array = np.log10(array)
    loss = array if minimise else -array
    best, tenth, worst = loss.min(), np.quantile(loss, 0.9), loss.max()
    if worst - best > 3 * (tenth - best) > 0:
        worst = best + 1.25 * (tenth - best)
    room = 0.06 * (worst - best) or 0.06 * abs(best) or 1.0
    low, high = float(best - room), float(worst + room)
    return {**axis, "range": [low, high] if minimise else [-high, -low]}


def duration_unit(seconds: float) -> tuple[str, float]:
    """Return a unit for times up to `seconds`, and its length in seconds.

    Examples:
        >>> duration_unit(90), duration_unit(7200)
        (('seconds', 1.0), ('minutes', 60.0))
    """
    if seconds < 300:
        return "seconds", 1.0
    return ("minutes", 60.0) if seconds < 3 * 3600 else ("hours", 3600.0)
