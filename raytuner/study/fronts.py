"""How good a Pareto front is, and how it grew."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from botorch.utils.multi_objective.hypervolume import Hypervolume, infer_reference_point

from raytuner.errors import SettingError
from raytuner.history import History, TrialState, non_dominated

if TYPE_CHECKING:
    import pandas as pd


def hypervolumes(history: History, reference: Mapping[str, float] | None = None) -> pd.DataFrame:
    """The volume that the front dominated after each trial; see :meth:`Study.hypervolume`.

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
    if reference is not None and set(reference) != set(names):
        raise SettingError(
            f"reference has {sorted(reference)}; it must have a value of each objective: {names}"
        )
    if not len(Y):
        return frame.assign(hypervolume=np.array([], dtype=np.float64))
    if reference is None:
        corner = infer_reference_point(torch.as_tensor(Y[non_dominated(Y)]))
    else:
        corner = torch.tensor([o.score(float(reference[o.metric])) for o in objectives])
    volume = Hypervolume(corner.to(torch.double))
    found, front = [], Y[:0]
    for row in Y:
        front = np.vstack([front, row])
        front = front[non_dominated(front)]
        found.append(volume.compute(torch.as_tensor(front)))
    return frame.assign(hypervolume=found)
