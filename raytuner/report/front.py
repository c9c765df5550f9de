"""The Pareto front: what it is, how good it is, and how it grew."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
import torch
from botorch.utils.multi_objective.hypervolume import Hypervolume, infer_reference_point

from raytuner.errors import SettingError
from raytuner.history import History, Trial, TrialState, non_dominated
from raytuner.report import look
from raytuner.space.choices import is_number

if TYPE_CHECKING:
    import pandas as pd


def hypervolumes(history: History, reference: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Return the volume that the front dominated after each trial; see :meth:`Study.hypervolume`.

    Source: E. Zitzler and L. Thiele (1998), "Multiobjective Optimization Using Evolutionary
    Algorithms", for the measure; the reference point as in BoTorch's ``infer_reference_point``.
    """
    import pandas as pd

    ended = sorted(
        (t for t in history.trials if t.state is TrialState.COMPLETED and history.is_feasible(t)),
        key=lambda trial: trial.ended_at or math.inf,
    )
    objectives = history.goal.objectives
    Y = np.array(
        [[o.score(history.metrics_of(trial)[o.metric]) for o in objectives] for trial in ended]
    ).reshape(len(ended), len(objectives))
    frame = pd.DataFrame(
        {"trial_id": [t.trial_id for t in ended], "ended_at": [t.ended_at for t in ended]}
    )
    names = [one.metric for one in objectives]
    if reference is not None and (
        set(reference) != set(names)
        or not all(is_number(v) and math.isfinite(v) for v in reference.values())
    ):
        raise SettingError(
            f"reference is {dict(reference)}; it must have a finite number for each objective:"
            f" {names}"
        )
    if not len(Y):
        return frame.assign(hypervolume=np.array([], dtype=np.float64))
    if reference is None:
        corner = infer_reference_point(torch.as_tensor(Y[non_dominated(Y)]))
    else:
        point = [o.score(float(reference[o.metric])) for o in objectives]
        corner = torch.tensor(point, dtype=torch.double)
    volume = Hypervolume(corner)
    found, front = [], Y[:0]
    for row in Y:
        front = np.vstack([front, row])
        front = front[non_dominated(front)]
        found.append(volume.compute(torch.as_tensor(front)))
    return frame.assign(hypervolume=found)


def pareto(history: History) -> go.Figure:
    """Two objectives against each other, the front among all trials; others show on hovering."""
    front = {trial.trial_id for trial in history.pareto()}
    one, two = history.goal.objectives[:2]
    figure = look.Plot()
    groups: dict[str, tuple[list[Trial], str, str]] = {
        "others": ([], look.GREY, "circle-open"),
        "break a constraint": ([], look.RED, "x"),
        "Pareto front": ([], look.BLUE, "circle"),
    }
    for trial in history.trials:
        if trial.values and trial.state is not TrialState.FAILED:
            name = "Pareto front" if trial.trial_id in front else "others"
            groups[name if history.is_feasible(trial) else "break a constraint"][0].append(trial)
    for name, (trials, colour, symbol) in groups.items():
        values = [history.metrics_of(trial) for trial in trials]
        if values:
            figure.add_trace(
                look.scatter(
                    len(values),
                    x=[v[one.metric] for v in values],
                    y=[v[two.metric] for v in values],
                    mode="markers",
                    marker={"color": colour, "symbol": symbol, "size": 8},
                    text=[
                        f"trial {trial.number}<br>"
                        + "<br>".join(f"{look.plain(k)} {x:.5g}" for k, x in v.items())
                        for trial, v in zip(trials, values, strict=True)
                    ],
                    hovertemplate="%{text}<extra></extra>",
                    name=name,
                )
            )
    if not figure.data:
        return look.blank("No trial has reported a value yet.")
    return look.styled(figure, xaxis=_axis(one.metric, one.mode), yaxis=_axis(two.metric, two.mode))


def growth(history: History) -> go.Figure:
    """The dominated hypervolume after each trial that completed."""
    grown = hypervolumes(history)
    if grown.empty:
        return look.blank("No trial has completed yet.")
    began = min(trial.proposed_at for trial in history.trials)
    unit, seconds = look.duration_unit(float(grown["ended_at"].iloc[-1]) - began)
    figure = look.Plot(
        go.Scatter(
            x=(grown["ended_at"] - began) / seconds,
            y=grown["hypervolume"],
            mode="lines",
            line={"shape": "hv", "color": look.BLUE, "width": 2.5},
            hovertemplate="%{y:.5g}<extra></extra>",
        )
    )
    return look.styled(
        figure,
        xaxis={"title": {"text": f"{unit} since the start"}, "rangemode": "tozero"},
        yaxis={"title": {"text": "hypervolume"}, "rangemode": "tozero"},
    )


def _axis(metric: str, mode: str) -> dict[str, object]:
    better = "smaller" if mode == "min" else "larger"
    return {"title": {"text": f"{look.plain(metric)} ({better} is better)"}}
