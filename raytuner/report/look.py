"""Colours, marks and axes that all figures share."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.io

from raytuner.history import TrialState
from raytuner.history.snapshot import FloatArray
from raytuner.space.choices import shown


@dataclass(frozen=True)
class Mark:
    """How trials of a state are drawn: told apart by colour and by shape."""

    colour: str
    symbol: str


# M. Okabe, K. Ito (2008), "Color universal design": told apart with any colour vision.
BLUE, ORANGE, GREEN, RED, SKY, PINK, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#8c8c8c",
)
MARKS = {
    TrialState.COMPLETED: Mark(BLUE, "circle"),
    TrialState.STOPPED_EARLY: Mark(ORANGE, "diamond"),
    TrialState.FAILED: Mark(RED, "x"),
    TrialState.RUNNING: Mark(GREEN, "triangle-up"),
    TrialState.PAUSED: Mark(SKY, "square"),
    TrialState.PENDING: Mark(GREY, "circle-open"),
    TrialState.REMOVED: Mark(PINK, "cross"),
}
SCALE = "Viridis"  # even in lightness, also for the colour-blind

MANY = 2000  # more points than this are drawn by the graphics card


class Plot(go.Figure):  # type: ignore[misc]  # Plotly has no types
    """A figure that every notebook can show, and every page exported from a notebook."""

    def _ipython_display_(self) -> None:
        # In a kernel, Plotly's choice is a format that only some notebooks can read. Others, and
        # exported pages, take the HTML.
        if plotly.io.renderers.default != "plotly_mimetype":
            super()._ipython_display_()
            return
        from IPython.display import display  # every notebook has it

        html = self.to_html(full_html=False, include_plotlyjs="cdn")
        display(self._repr_mimebundle_() | {"text/html": html}, raw=True)


def scatter(n: int, **how: Any) -> Any:
    """A scatter trace for ``n`` points: as SVG, or by WebGL where they are many."""
    return go.Scattergl(**how) if n > MANY else go.Scatter(**how)


def band(x: Any, low: FloatArray, high: FloatArray, *, name: str | None = None, **how: Any) -> Any:
    """The model's interval from ``low`` to ``high``: two traces, the second named."""
    line = {"width": 0, "color": PINK, "shape": how.pop("shape", "linear")}
    both = {"x": x, "mode": "lines", "hoverinfo": "skip", "line": line, **how}
    return (
        go.Scatter(y=high, showlegend=False, **both),
        go.Scatter(
            y=low,
            fill="tonexty",
            fillcolor="rgba(204, 121, 167, 0.25)",
            name=name,
            showlegend=name is not None,
            **both,
        ),
    )


def blank(says: str) -> go.Figure:
    """A figure that has nothing to show, and says why."""
    figure = Plot()
    figure.add_annotation(text=says, showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper")
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return styled(figure, height=160)


def styled(figure: go.Figure, *, height: int = 420, **layout: Any) -> go.Figure:
    """The figure with what all of them have in common."""
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 60, "r": 16, "t": 16, "b": 48},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        hovermode="closest",
        **layout,
    )
    return figure


def plain(text: object) -> str:
    """Text as it is: Plotly reads a few HTML tags."""
    return html.escape(shown(text, str), quote=False)


def scale_of(values: Sequence[float] | FloatArray) -> str:
    """How an axis of these values is spaced.

    >>> scale_of([1.0, 5000.0]), scale_of([-1.0, 5000.0])
    ('log', 'linear')
    """
    finite = [v for v in values if math.isfinite(v)]
    if not finite or min(finite) <= 0:
        return "linear"
    return "log" if max(finite) / min(finite) > 100 else "linear"


def floor(values: Sequence[float] | FloatArray) -> float:
    """What is below this is drawn at it: a logarithmic axis of these values has no room for it."""
    if scale_of(values) == "linear":
        return -math.inf
    return min(v for v in values if math.isfinite(v)) / 10


def log_ticks(low: float, high: float) -> dict[str, Any]:
    """Ticks of a logarithmic axis, written out: 1, 2 and 5 times powers of ten where they fit.

    >>> log_ticks(16, 512)["ticktext"]
    ['20', '50', '100', '200', '500']
    >>> log_ticks(1e-5, 0.1)["ticktext"]
    ['1e-05', '0.0001', '0.001', '0.01', '0.1']
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    few = math.log10(high / low) < 2.2
    step = math.ceil(len(decades) / 6)
    ticks = [
        float(f"{n}e{decade}") for decade in decades[::step] for n in ((1, 2, 5) if few else (1,))
    ]
    shown = [tick for tick in ticks if low * 0.99 <= tick <= high * 1.01]
    return {"tickvals": shown, "ticktext": [f"{tick:g}" for tick in shown]}


def linear_ticks(low: float, high: float, most: int = 6) -> dict[str, Any]:
    """Round ticks between two numbers, written out.

    >>> linear_ticks(0.94, 4.06)["ticktext"]
    ['1', '2', '3', '4']
    >>> linear_ticks(-0.01, 0.66)["ticktext"]
    ['0', '0.2', '0.4', '0.6']
    """
    if not high > low:
        return {"tickvals": [low], "ticktext": [f"{low:.4g}"]}
    decade = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(n * decade for n in (1, 2, 5, 10) if (high - low) / (n * decade) <= most)
    ticks = [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return {"tickvals": ticks, "ticktext": [f"{tick:.6g}" for tick in ticks]}


def value_axis(values: Sequence[float] | FloatArray, minimise: bool, title: str) -> dict[str, Any]:
    """An axis for the metric on which a few awful values do not flatten the others.

    It shows all from the best to the worst tenth, and that too if it is not far off; a double click
    shows everything.
    """
    array = np.asarray([v for v in values if math.isfinite(v)], dtype=float)
    kind = scale_of(array)
    axis: dict[str, Any] = {"title": {"text": plain(title)}, "type": kind}
    if not len(array):
        return axis
    if kind == "log":
        array = np.log10(array)
    if not minimise:
        array = -array
    best, tenth, worst = array.min(), np.quantile(array, 0.9), array.max()
    if worst - best > 3 * (tenth - best) > 0:
        worst = best + 1.25 * (tenth - best)
    room = 0.06 * (worst - best) or 0.06 * abs(best) or 1.0
    low, high = best - room, worst + room
    axis["range"] = [float(low), float(high)] if minimise else [float(-high), float(-low)]
    if kind == "log":
        axis |= log_ticks(*(10.0**end for end in axis["range"]))
    return axis


def duration_unit(seconds: float) -> tuple[str, float]:
    """A unit to show times up to ``seconds`` in, and how many seconds it has.

    >>> duration_unit(90), duration_unit(7200)
    (('seconds', 1.0), ('minutes', 60.0))
    """
    if seconds < 300:
        return "seconds", 1.0
    return ("minutes", 60.0) if seconds < 3 * 3600 else ("hours", 3600.0)
