"""The Pareto front and the volume that it dominates, with their figures."""

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
from raytuner.report import style
from raytuner.space.choices import is_number

if TYPE_CHECKING:
    import pandas as pd


def hypervolumes(history: History, reference: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Return the volume that the front dominated after each trial; see `Study.hypervolume`.

    Source: E. Zitzler and L. Thiele (1998), "Multiobjective Optimization Using Evolutionary
    Algorithms", for the measure; the reference point as in BoTorch's `infer_reference_point`.
    """
    import pandas as pd

    ended = sorted(
        (t for t in history.trials if t.state is TrialState.COMPLETED and history.is_feasible(t)),
        key=lambda trial: trial.ended_at or math.inf,
    )
    objectives = history.goal.objectives
    names = [one.metric for one in objectives]
    if reference is not None and (
        set(reference) != set(names)
        or not all(is_number(v) and math.isfinite(v) for v in reference.values())
    ):
        raise SettingError(
            f"reference is {dict(reference)}; it must have a finite number for each objective:"
            f" {names}"
        )
    Y = np.array(
        [[o.score(history.metrics_of(trial)[o.metric]) for o in objectives] for trial in ended]
    ).reshape(len(ended), len(objectives))
    volumes: list[float] = []
    if ended:
        if reference is None:
            corner = infer_reference_point(torch.as_tensor(Y[non_dominated(Y)]))
        else:
            point = [o.score(float(reference[o.metric])) for o in objectives]
            corner = torch.tensor(point, dtype=torch.double)
        volume, front = Hypervolume(corner), Y[:0]
        for row in Y:
            front = np.vstack([front, row])
            front = front[non_dominated(front)]
            volumes.append(volume.compute(torch.as_tensor(front)))
    return pd.DataFrame(
        {
            "trial_id": [trial.trial_id for trial in ended],
            "ended_at": [trial.ended_at for trial in ended],
            "hypervolume": np.array(volumes, dtype=np.float64),
        }
    )


def pareto(history: History) -> go.Figure:
    """Draw the trials by their first two objectives, and mark the front among them."""
    trials = [t for t in history.trials if t.values and t.state is not TrialState.FAILED]
    if not trials:
        return style.blank("No trial has reported a value yet.")
    front = {trial.trial_id for trial in history.pareto()}
    groups: dict[str, list[Trial]] = {"others": [], "break a constraint": [], "Pareto front": []}
    for trial in trials:
        name = "Pareto front" if trial.trial_id in front else "others"
        groups[name if history.is_feasible(trial) else "break a constraint"].append(trial)
    one, two = history.goal.objectives[:2]
    figure = style.Plot()
    looks = ((style.GREY, "circle-open"), (style.RED, "x"), (style.BLUE, "circle"))
    for (name, ours), (colour, symbol) in zip(groups.items(), looks, strict=True):
        values = [history.metrics_of(trial) for trial in ours]
        figure.add_trace(
            style.points(
                ours,
                np.array([v[one.metric] for v in values]),
                np.array([v[two.metric] for v in values]),
                marker={"color": colour, "symbol": symbol, "size": 8},
                name=name,
                showlegend=bool(ours),
                text=[
                    "<br>".join(f"{style.plain(k)} {x:.5g}" for k, x in v.items()) for v in values
                ],
                hover="%{text}",
            )
        )
    return style.styled(
        figure, xaxis=_axis(one.metric, one.mode), yaxis=_axis(two.metric, two.mode)
    )


def _axis(metric: str, mode: str) -> dict[str, object]:
    better = "smaller" if mode == "min" else "larger"
    return {"title": {"text": f"{style.plain(metric)} ({better} is better)"}}


def growth(history: History) -> go.Figure:
    """Draw the dominated hypervolume after each trial that completed."""
    grown = hypervolumes(history)
    if grown.empty:
        return style.blank("No trial has completed yet.")
    began = history.trials[0].proposed_at
    unit, seconds = style.duration_unit(float(grown["ended_at"].iloc[-1]) - began)
    x = (grown["ended_at"] - began) / seconds
    return style.styled(
        style.Plot(style.line(x, grown["hypervolume"], "hypervolume", style.BLUE, shape="hv")),
        xaxis={"title": {"text": f"{unit} since the start"}, "rangemode": "tozero"},
        yaxis={"title": {"text": "hypervolume"}, "rangemode": "tozero"},
    )
