"""The plots of a study, for the page and for a notebook."""

from __future__ import annotations

import math
import time
from functools import cached_property
from typing import Any

import numpy as np
import plotly.graph_objects as go

from raytuner.errors import SettingError
from raytuner.history import History, Trial, TrialState
from raytuner.report import style, text
from raytuner.report.events import Stay, events, improvements, rung_of, stays
from raytuner.report.front import hypervolumes
from raytuner.report.space_figures import SpaceFigures

_CURVE_POINTS = 40  # of a longer curve, evenly chosen ones are drawn


class Figures(SpaceFigures):
    """The plots of a study; `Study.figures` returns them.

    Each method returns a `plotly.graph_objects.Figure`. The first plot that needs the model fits
    it. The plots do not follow a running study.

    Args:
        history: The record of the study.
        now: The time until which live trials have run, in Unix seconds. None: the present.
    """

    def __init__(self, history: History, now: float | None = None) -> None:
        super().__init__(history)
        self.now = time.time() if now is None else now

    @cached_property
    def stays(self) -> tuple[Stay, ...]:
        """The timeline: each trial in its slot."""
        return stays(self.history, self.now)

    def incumbent(self) -> go.Figure:
        """Return the best value so far over time.

        The plot also shows each trial's last value, and the model's prediction for a full training
        of each best trial so far.
        """
        history, happened = self.history, events(self.history)
        if not happened:
            return style.blank(style.NO_VALUE)
        any_steps = improvements(happened, self._minimise, final=False)
        final_steps = improvements(happened, self._minimise, final=True)
        began = history.trials[0].proposed_at
        unit, seconds = style.duration_unit(happened[-1].at - began)
        lasts = [event for event in happened if event.t == event.trial.t]
        x, y = np.array([((event.at - began) / seconds, event.value) for event in lasts]).T
        figure = style.Plot([*style.points_by_state([event.trial for event in lasts], x, y)])
        finals = [event.value for event in happened if event.final]
        visible = finals if len(finals) > 4 else y.tolist()
        visible += [event.value for event in any_steps[-1:]]
        if not history.counts[TrialState.STOPPED_EARLY]:
            any_steps = ()
        for steps, name, dash in (
            (any_steps, "best at any resource", "dot"),
            (final_steps, "best final", "solid"),
        ):
            if not steps:
                continue
            x = np.array([(event.at - began) / seconds for event in (*steps, happened[-1])])
            held = (*steps, steps[-1])  # until the last report
            if steps is final_steps and self.surrogate is not None:
                configs = [event.trial.config for event in held]
                mean, sd = self.surrogate.predict(history.space.encode(configs))
                lowest = style.floor(visible)
                figure.add_traces([*style.model_line(x, mean, sd, lowest, shape="hv")])
            values = [event.value for event in held]
            figure.add_trace(style.line(x, values, name, style.BLUE, shape="hv", dash=dash))
        return style.styled(
            figure,
            xaxis_title=f"{unit} since the start",
            xaxis_rangemode="tozero",
            yaxis=style.value_axis(visible, self._minimise, history.metric),
        )

    def curves(self) -> go.Figure:
        """Return the learning curves of all trials, with the rungs and where and why each ended."""
        history = self.history
        trials = [trial for trial in history.trials if trial.values]
        if not trials:
            return style.blank(style.NO_VALUE)
        figure = style.Plot()
        for state in reversed(style.MARKS):  # COMPLETED is drawn last, over the others
            ours = [trial for trial in trials if trial.state is state]
            if ours:
                figure.add_trace(_curves_of(ours, state))
                t, values = np.array([trial.values[-1] for trial in ours]).T
                (ends,) = style.points_by_state(ours, t, values)
                ends.text = [style.plain(trial.reason or text.WORDS[state]) for trial in ours]
                hover = "trial %{customdata}: %{y:.5g} at %{x:g}<br>%{text}<extra></extra>"
                ends.update(hovertemplate=hover, legendgroup=state.value, showlegend=False)
                figure.add_trace(ends)
        best = history.best
        if best is not None:
            x, y = zip(*best.values, strict=True)
            line = style.line(x, y, f"best trial ({best.number})", style.PINK)
            figure.add_trace(line.update(mode="lines+markers", line_width=3))
        for level in {rung_of(trial) for trial in trials} - {None}:
            figure.add_vline(x=level, line={"dash": "dash", "width": 1, "color": style.GREY})
        values = [v for trial in trials for v in (*(v for _, v in trial.values[::4]), trial.value)]
        return style.styled(
            figure,
            height=460,
            xaxis_title=style.plain(history.time_attr),
            xaxis_range=[0, 1.03 * max(trial.t for trial in trials)],
            yaxis=style.value_axis(values, self._minimise, history.metric),
        )

    def timeline(self) -> go.Figure:
        """Return a timeline: which trial ran in which slot when."""
        if not self.stays:
            return style.blank("No trial has run yet.")
        began = min(stay.begin for stay in self.stays)
        unit, seconds = style.duration_unit(max(stay.end for stay in self.stays) - began)
        bars = {("starting", "#b8b8b8"): [(stay, stay.begin, stay.runs) for stay in self.stays]}
        for state, mark in style.MARKS.items():
            bars[text.WORDS[state], mark.colour] = [
                (stay, stay.runs, stay.end) for stay in self.stays if stay.trial.state is state
            ]
        figure = style.Plot()
        for (name, colour), ours in bars.items():
            if ours:
                figure.add_bar(
                    base=[(start - began) / seconds for _, start, _ in ours],
                    x=[(end - start) / seconds for _, start, end in ours],
                    y=[stay.slot + 1 for stay, _, _ in ours],
                    customdata=[stay.trial.number for stay, _, _ in ours],
                    orientation="h",
                    marker={"color": colour, "line": {"width": 0}},
                    name=name,
                    hovertemplate=f"trial %{{customdata}}, {name}<extra></extra>",
                )
        slots = max(stay.slot for stay in self.stays) + 1
        return style.styled(
            figure,
            barmode="overlay",
            height=int(110 + slots * np.clip(240 / slots + 8, 11, 22)),
            xaxis_title=f"{unit} since the start",
            yaxis={
                "title": {"text": "slot"},
                "range": [slots + 0.5, 0.5],
                "tick0": 1,
                "dtick": max(1, slots // 10),
                "showgrid": False,
                "zeroline": False,
            },
        )

    def pareto(self) -> go.Figure:
        """Return the trials by their first two objectives, with the Pareto front.

        Raises:
            SettingError: The study has only one objective.
        """
        self._require_several()
        history = self.history
        trials = [t for t in history.trials if t.values and t.state is not TrialState.FAILED]
        if not trials:
            return style.blank(style.NO_VALUE)
        front = {trial.trial_id for trial in history.pareto}

        def group(trial: Trial) -> str:
            if not history.is_feasible(trial):
                return "constraint not satisfied"
            return "Pareto front" if trial.trial_id in front else "others"

        first, second = history.goal.objectives[:2]
        figure = style.Plot()
        for name, colour, symbol in (
            ("others", style.GREY, "circle-open"),
            ("constraint not satisfied", style.RED, "x"),
            ("Pareto front", style.BLUE, "circle"),
        ):
            ours = [trial for trial in trials if group(trial) == name]
            values = [{m: trial.value_of(m) for m in history.goal.metrics} for trial in ours]
            trace = style.points(
                ours,
                np.array([v[first.metric] for v in values]),
                np.array([v[second.metric] for v in values]),
                marker={"color": colour, "symbol": symbol, "size": 8},
                name=name,
                showlegend=bool(ours),
                text=[style.plain(text.one_line(v)) for v in values],
                hover="%{text}",
            )
            figure.add_trace(trace)
        better = {"min": "smaller is better", "max": "larger is better"}
        return style.styled(
            figure,
            xaxis_title=f"{style.plain(first.metric)} ({better[first.mode]})",
            yaxis_title=f"{style.plain(second.metric)} ({better[second.mode]})",
        )

    def hypervolume(self) -> go.Figure:
        """Return the hypervolume of the Pareto front over time.

        Raises:
            SettingError: The study has only one objective.
        """
        self._require_several()
        grown = hypervolumes(self.history)
        if grown.empty:
            return style.blank("No trial has completed yet.")
        began = self.history.trials[0].proposed_at
        unit, seconds = style.duration_unit(float(grown["ended_at"].iloc[-1]) - began)
        x = (grown["ended_at"] - began) / seconds
        return style.styled(
            style.Plot(style.line(x, grown["hypervolume"], "hypervolume", style.BLUE, shape="hv")),
            xaxis_title=f"{unit} since the start",
            yaxis_title="hypervolume",
            yaxis_rangemode="tozero",
        )

    def _require_several(self) -> None:
        objectives = self.history.goal.objectives
        if len(objectives) == 1:
            raise SettingError(
                f"a Pareto front needs two or more objectives; this study has only"
                f" {objectives[0].metric}"
            )

    def on_page(self) -> dict[str, go.Figure]:
        """Return every figure of the report page, by its id on the page."""
        made = {
            "incumbent": self.incumbent(),
            "curves": self.curves(),
            "parallel": self.parallel(),
            "importance": self.importance(),
            "timeline": self.timeline(),
        }
        if len(self.history.goal.objectives) > 1:
            made |= {"pareto": self.pareto(), "hypervolume": self.hypervolume()}
        for i, column in enumerate(self.history.space.columns):
            made[f"slice-{i}"] = self.slice(column.name)
        for i, pair in enumerate(self.pairs()):
            made[f"pair-{i}-mean"] = self.interaction(*pair, "mean")
            made[f"pair-{i}-sd"] = self.interaction(*pair, "sd")
        return made


def _curves_of(trials: list[Trial], state: TrialState) -> Any:
    """The trace of all curves that ended in one state, with a gap after each."""
    points = []
    for trial in trials:
        rows = np.unique(np.linspace(0, len(trial.values) - 1, _CURVE_POINTS).round().astype(int))
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
