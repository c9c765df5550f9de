"""Figures of the search space: parallel coordinates, slices, interactions, importance."""

from __future__ import annotations

import itertools
import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import plotly.graph_objects as go

from raytuner.bayes.dataset import most_informative
from raytuner.errors import SettingError
from raytuner.history import History, Trial, TrialState
from raytuner.history.snapshot import FloatArray
from raytuner.report import style, text
from raytuner.report.model import Surrogate, fitted, importance
from raytuner.space import Column
from raytuner.space.choices import is_number

if TYPE_CHECKING:
    import pandas as pd

_PAIRED = 4  # most important hyperparameters whose pairs the page shows
_SHOWN = 500  # trials in a slice: the best, and an even sample of the others
_FEW_LEVELS = 60
_LINE_POINTS = 81
_GRID_POINTS = 31  # of each hyperparameter of an interaction
_TICKS = 6  # of an axis of parallel coordinates
_NO_MODEL = "There are too few values for a model yet."


class SpaceFigures:
    """The plots of a study that have hyperparameters as axes."""

    def __init__(self, history: History) -> None:
        self.history = history
        self._minimise = history.mode == "min"

    @cached_property
    def surrogate(self) -> Surrogate | None:
        """The model of the study; None if there are too few values or the fit fails."""
        return fitted(self.history.space, self.history.snapshot(), self._minimise)

    @cached_property
    def importances(self) -> pd.DataFrame | None:
        """The Sobol indices (see `raytuner.report.model.importance`); None without a model."""
        return None if self.surrogate is None else importance(self.surrogate)

    @cached_property
    def _ranked(self) -> list[Trial]:
        """Trials with a finite last value that did not fail, the best value first."""
        trials = (t for t in self.history.trials if t.state is not TrialState.FAILED)
        found = [trial for trial in trials if math.isfinite(trial.value)]
        return sorted(found, key=lambda trial: trial.value, reverse=not self._minimise)

    @cached_property
    def _shown(self) -> tuple[list[Trial], FloatArray]:
        """At most `_SHOWN` of the ranked trials, and their `k x d`-dim points."""
        rows = most_informative(-np.arange(float(len(self._ranked))), _SHOWN)
        trials = [self._ranked[row] for row in rows]
        return trials, self.history.space.encode([trial.config for trial in trials])

    def parallel(self) -> go.Figure:
        """Return parallel coordinates of all trials with a value, coloured by rank."""
        trials, history = self._ranked, self.history
        if not trials:
            return style.blank(style.NO_VALUE)
        points = history.space.encode([trial.config for trial in trials])
        dimensions = []
        for column, at in zip(history.space.columns, points.T, strict=True):
            domain = column.domain
            few = domain.n_levels is not None and domain.n_levels <= _TICKS
            ticks = domain.level_units() if few else domain.snap(np.linspace(0, 1, _TICKS))
            labels = [style.plain(text.value(value), 16) for value in domain.from_units(ticks)]
            dimensions.append(_dimension(column.name, at, ticks, labels))
        if history.counts[TrialState.STOPPED_EARLY]:
            spent = np.array([trial.t for trial in trials])
            ticks = np.linspace(spent.min(), spent.max(), _TICKS)
            labels = [f"{t:.4g}" for t in ticks]
            dimensions.append(_dimension(history.time_attr, spent, ticks, labels))
        values = np.array([trial.value for trial in trials])
        axis = style.value_axis(values, self._minimise, history.metric)
        ticks = np.linspace(axis["range"][0], axis["range"][1], _TICKS)
        is_log = axis["type"] == "log"
        labels = [f"{10**v if is_log else v:.4g}" for v in ticks]
        at = np.log10(values) if is_log else values
        dimensions.append(_dimension(history.metric, at, ticks, labels))
        trace = go.Parcoords(
            dimensions=dimensions,
            customdata=[trial.number for trial in trials],
            line={
                "color": np.linspace(1, 0, len(trials)).tolist(),
                "cmin": 0,
                "cmax": 1,
                "colorscale": style.SCALE,
                "showscale": True,
                "colorbar": {"tickvals": [0, 1], "ticktext": ["worst", "best"], "thickness": 12},
            },
            unselected={"line": {"color": style.GREY, "opacity": 0.15}},
        )
        figure = style.styled(style.Plot(trace), height=400)
        return figure.update_layout(margin={"l": 60, "r": 30, "t": 56, "b": 24})

    def slice(self, name: str) -> go.Figure:
        """Return the metric against one hyperparameter: the trials and the model.

        The model's line keeps all other hyperparameters as in the best trial.

        Args:
            name: The hyperparameter.

        Raises:
            SettingError: No hyperparameter of this name varies.
        """
        (trials, encoded), best = self._shown, self.history.best
        j, axis = self._axis(name)
        if not trials:
            return style.blank(style.NO_VALUE)
        at = axis.positions(encoded[:, j])
        if axis.names is not None:  # points of one level lie side by side
            at = at + np.random.default_rng(0).uniform(-0.18, 0.18, len(at))
        values = np.array([trial.value for trial in trials])
        figure = style.Plot([*style.points_by_state(trials, at, values)])
        figure.update_traces({"opacity": 0.6}, {"name": "stopped early"})  # not final
        final = [trial.value for trial in trials if trial.state is TrialState.COMPLETED]
        visible = final if len(final) > 4 else values.tolist()
        if self.surrogate is not None and best is not None:
            units, lowest = axis.grid(_LINE_POINTS), style.floor(visible)
            x, shape = axis.positions(units), "linear"
            if axis.names is not None:  # a step from half a level before each to half a level after
                x, units = np.r_[-0.5, x, x[-1] + 0.5], np.pad(units, 1, mode="edge")
                shape = "hvh"
            points = np.repeat(self.history.space.encode([best.config]), len(units), axis=0)
            points[:, j] = units
            mean, sd = self.surrogate.predict(points)
            figure.add_traces([*style.model_line(x, mean, sd, lowest, shape)])
            visible += [max(min(mean) if self._minimise else max(mean), lowest)]
        return style.styled(
            figure,
            height=300,
            xaxis=axis.layout,
            yaxis=style.value_axis(visible, self._minimise, self.history.metric),
            showlegend=False,
        )

    def interaction(
        self, first: str, second: str, what: Literal["mean", "sd"] = "mean"
    ) -> go.Figure:
        """Return the model over two hyperparameters, with the trials.

        All other hyperparameters are as in the best trial.

        Args:
            first: The hyperparameter on the x axis.
            second: The hyperparameter on the y axis.
            what: The colour shows the model's "mean" or its standard deviation, "sd".

        Raises:
            SettingError: A name is not the name of a hyperparameter that varies.
        """
        (i, across), (j, up) = self._axis(first), self._axis(second)
        best, surrogate = self.history.best, self.surrogate
        if surrogate is None or best is None:
            return style.blank(_NO_MODEL)
        u, v = across.grid(_GRID_POINTS), up.grid(_GRID_POINTS)
        at_best = self.history.space.encode([best.config])
        points = np.repeat(at_best, len(u) * len(v), axis=0)
        points[:, i], points[:, j] = np.tile(u, len(v)), np.repeat(v, len(u))
        is_mean = what == "mean"
        z = surrogate.predict(points)[0 if is_mean else 1].reshape(len(v), len(u))
        # The worst tenth has one colour: a cliff would use up all the others.
        good_low = self._minimise or not is_mean
        low, high = np.quantile(z, [0, 0.9] if good_low else [0.1, 1])
        title = style.plain(self.history.metric, 12) if is_mean else "deviation"
        heat = go.Heatmap(
            x=across.positions(u).tolist(),
            y=up.positions(v).tolist(),
            z=z.tolist(),
            zmin=float(low),
            zmax=float(max(high, low + 1e-12)),
            colorscale=style.SCALE if is_mean else "Cividis",
            reversescale=good_low and is_mean,
            colorbar={"title": {"text": title}, "thickness": 12},
            hovertemplate="%{x}, %{y}: %{z:.5g}<extra></extra>",
        )
        edge = {"color": "#222", "width": 0.7}
        dots = {"size": 5, "color": "rgba(255,255,255,0.75)", "line": edge}
        star = {"symbol": "star", "size": 15, "color": style.RED, "line": {"color": "white"}}
        figure = style.Plot(heat)
        for trials, at, marker in ((*self._shown, dots), ([best], at_best, star)):
            x, y = across.positions(at[:, i]), up.positions(at[:, j])
            values = [f"{trial.value:.5g}" for trial in trials]
            trace = style.points(trials, x, y, marker=marker, text=values, hover="%{text}")
            figure.add_trace(trace)
        return style.styled(
            figure, height=340, xaxis=across.layout, yaxis=up.layout, showlegend=False
        )

    def importance(self) -> go.Figure:
        """Return the Sobol indices with their 90 % intervals, the most important on top."""
        if self.importances is None:
            return style.blank(_NO_MODEL)
        shown = self.importances.iloc[::-1]
        figure = style.Plot()
        names = [style.plain(name, 28) for name in shown.index]
        kinds = (("total", "with interactions", style.SKY), ("main", "alone", style.BLUE))
        for kind, title, colour in kinds:
            middle, low, high = shown[kind], shown[f"{kind}_low"], shown[f"{kind}_high"]
            figure.add_bar(
                x=middle.tolist(),
                y=names,
                orientation="h",
                name=title,
                marker_color=colour,
                error_x={
                    "array": (high - middle).tolist(),
                    "arrayminus": (middle - low).tolist(),
                    "symmetric": False,
                    "thickness": 1.2,
                    "color": style.GREY,
                },
                hovertemplate="%{y}: %{x:.2f}<extra></extra>",
            )
        return style.styled(
            figure,
            height=120 + 46 * len(shown),
            barmode="group",
            xaxis_title="share of the variance",
            xaxis_range=[0, 1.02],
        )

    def pairs(self) -> list[tuple[str, str]]:
        """Return the pairs of the most important hyperparameters, by name."""
        found = self.importances
        names = [c.name for c in self.history.space.columns] if found is None else list(found.index)
        return list(itertools.combinations(names[:_PAIRED], 2))

    def _axis(self, name: str) -> tuple[int, _Axis]:
        """Return the number of a hyperparameter's column, and its axis."""
        columns = self.history.space.columns
        names = [column.name for column in columns]
        if name not in names:
            raise SettingError(f"no hyperparameter {name!r} varies; these do: {', '.join(names)}")
        number = names.index(name)
        return number, _Axis(columns[number])


class _Axis:
    """The axis of one hyperparameter in a slice or an interaction."""

    def __init__(self, column: Column) -> None:
        self._domain = domain = column.domain
        self.names: list[str] | None = None  # of levels without an order; None: numbers
        self.layout: dict[str, Any] = {"title": {"text": style.plain(column.name)}}
        is_category, n = column.kind == "categorical", domain.n_levels
        if is_category or (n is not None and n <= _FEW_LEVELS):
            values = domain.from_units(domain.level_units())
            if is_category or not all(map(is_number, values)):
                self.names = [style.plain(value, 16) for value in values]
                self.layout |= {"tickvals": list(range(len(values))), "ticktext": self.names}
        if self.names is None and getattr(domain, "log", False):
            self.layout["type"] = "log"

    def positions(self, units: FloatArray) -> FloatArray:
        """Return where unit coordinates lie on the axis: values, or numbers of the levels."""
        if self.names is not None:
            return np.minimum(np.floor(units * len(self.names)), len(self.names) - 1)
        return np.array(self._domain.from_units(units), dtype=float)

    def grid(self, most: int) -> FloatArray:
        """Return unit coordinates to evaluate the model at: every level if they are few."""
        n = self._domain.n_levels
        if n is not None and n <= max(_FEW_LEVELS, most):
            return self._domain.level_units()
        return np.unique(self._domain.snap(np.linspace(0.001, 0.999, most)))


def _dimension(name: str, at: FloatArray, ticks: FloatArray, labels: list[str]) -> dict[str, Any]:
    """Return Plotly's description of an axis of parallel coordinates, from its first tick on."""
    low, high = float(ticks[0]), float(ticks[-1])
    room = 0.02 * (high - low) or 1.0
    return {
        "label": style.plain(name, 18),
        "values": np.clip(at, low, high).tolist(),
        "range": [low - room, high + room],
        "tickvals": ticks.tolist(),
        "ticktext": labels,
    }
