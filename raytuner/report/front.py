"""The volume that the Pareto front dominates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from botorch.utils.multi_objective.hypervolume import Hypervolume, infer_reference_point

from raytuner.errors import SettingError
from raytuner.history import History, TrialState, non_dominated
from raytuner.space.choices import is_number

if TYPE_CHECKING:
    import pandas as pd


def hypervolumes(history: History, reference: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Return the hypervolume of the front after each completed trial; see `Study.hypervolume`.

    Source: E. Zitzler and L. Thiele (1998), "Multiobjective Optimization Using Evolutionary
    Algorithms". The default reference point is BoTorch's `infer_reference_point`.
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
        [[o.score(trial.value_of(o.metric)) for o in objectives] for trial in ended]
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
