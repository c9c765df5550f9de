"""Transfer: bring earlier studies into the space of this search."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from raytuner.bayes.dataset import dataset
from raytuner.bayes.transfer import Task
from raytuner.errors import ConfigError, HistoryError, MetricError
from raytuner.history import Goal, History, Snapshot, TrialState
from raytuner.search.transfer_source import SourceStudy, SourceTrial
from raytuner.space import ABSENT, Domain, Space
from raytuner.space.choices import alike, is_number
from raytuner.space.template import MISSING, path_name

logger = logging.getLogger(__name__)

EARLIER = "earlier"
"""Metadata: the trials of earlier studies that this search uses."""


def within(study: SourceStudy, space: Space, goal: Goal) -> SourceStudy:
    """Return the part of an earlier study that a search can use, with values of its space.

    The model of the study leaves out hyperparameters that the study did not have, and those under
    conditions on them. Trials with a missing value, or with one that the space does not allow, are
    dropped.

    Raises:
        MetricError: The study lacks a metric of the goal, or optimised it the other way.
        ConfigError: It shares no hyperparameter with the space, or too few of its trials lie in it.
    """
    for one in goal.objectives:
        if study.modes.get(one.metric, "lacking") not in (None, one.mode):
            had = ", ".join(f"{m!r} with mode {mode!r}" for m, mode in study.modes.items())
            wants = ", ".join(f"{o.metric!r} with mode {o.mode!r}" for o in goal.objectives)
            raise MetricError(
                f"{study.name} optimised {had}, and this search {wants}; give studies of the same"
                " metrics and modes, or a table with a column of each"
            )
    shared = _shared(space, set(study.names))
    if not shared.any():
        raise ConfigError(
            f"{study.name} has values of {', '.join(study.names) or 'nothing'}, and this search"
            f" varies {', '.join(c.name for c in space.columns)}; they share no hyperparameter:"
            " rename those that are the same"
        )
    task, kept, reasons = _fitting(study, space, goal, shared)
    if not _is_usable(task):
        why = "; ".join(f"{n} left out: {reason}" for reason, n in reasons.most_common(3))
        names = " and ".join(repr(one.metric) for one in goal.objectives)
        raise ConfigError(
            f"{study.name}: of {len(study.trials)} trials, fewer than two lie in this search space"
            f" and ended with a value of {names}{f' ({why})' if why else ''}; give a study that"
            " has some, or leave it out"
        )
    _log_used(study, space, task, reasons)
    trials = tuple(
        replace(
            ran,
            values={
                column.name: value
                for column, is_shared in zip(space.columns, shared, strict=True)
                if is_shared
                and column.domain.contains(value := ran.values.get(column.name, MISSING))
            },
        )
        for ran in kept
    )
    return replace(study, trials=trials)


def tasks_within(studies: Iterable[SourceStudy], space: Space, goal: Goal) -> tuple[Task, ...]:
    """Return the earlier studies that have enough trials in a space, as tasks for a proposer.

    The space may be narrower than the one that was given to `within`.
    """
    found = (_fitting(s, space, goal, _shared(space, set(s.names)))[0] for s in studies)
    return tuple(task for task in found if _is_usable(task))


def to_json(studies: Sequence[SourceStudy], space: Space, goal: Goal) -> list[dict[str, Any]]:
    """Return what `within` left of earlier studies, for the record."""
    domains = {column.name: column.domain for column in space.columns}
    return [
        {
            "name": study.name,
            "max_t": study.max_t,
            "trials": [
                {
                    "values": {k: domains[k].to_json(v) for k, v in ran.values.items()},
                    "state": ran.state.value,
                    "curve": [
                        [t, *(_or_null(reached.get(one.metric)) for one in goal.objectives)]
                        for t, reached in ran.curve
                    ],
                }
                for ran in study.trials
            ],
        }
        for study in studies
    ]


def earlier_of(history: History) -> tuple[SourceStudy, ...]:
    """Return the earlier studies that a record holds.

    Raises:
        HistoryError: They do not fit the record's space and goal.
    """
    domains = {column.name: column.domain for column in history.space.columns}
    modes = {one.metric: one.mode for one in history.goal.objectives}

    def trial(data: Mapping[str, Any]) -> SourceTrial:
        values = {name: domains[name].from_json(v) for name, v in data["values"].items()}
        curve = tuple(
            (t, dict(zip(modes, map(_or_nan, reached), strict=True)))
            for t, *reached in data["curve"]
        )
        return SourceTrial(values, TrialState(data["state"]), curve)

    try:
        return tuple(
            SourceStudy(data["name"], modes, data["max_t"], tuple(map(trial, data["trials"])))
            for data in history.get_meta(EARLIER) or ()
        )
    except (KeyError, ValueError) as error:
        raise HistoryError(
            f"what the record keeps of earlier studies does not fit its space: {error}"
        ) from error


def _or_null(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _shared(space: Space, names: set[str]) -> np.ndarray:
    """Return `(d,)` which columns have values, and depend only on columns that have them."""
    shared = np.array([column.name in names for column in space.columns])
    for _ in space.columns:  # conditions may depend on one another
        for j, column in enumerate(space.columns):
            shared[j] &= all(shared[r.column] for r in column.requires)
    return shared


def _encoded(space: Space, values: Mapping[str, Any], shared: np.ndarray) -> np.ndarray | str:
    """Return the `(d,)` unit coordinates of a trial, or why it has none."""
    for path, leaf in space.leaves().items():
        name = path_name(path)
        if isinstance(leaf, Domain) or name not in values or is_number(leaf):
            continue
        if not alike(leaf, values[name]):
            return f"{name} is {values[name]!r}, here always {leaf!r}"
    point = np.full(space.dim, ABSENT)
    wrong: dict[int, str] = {}
    for j, column in enumerate(space.columns):
        value = values.get(column.name, MISSING)
        if not shared[j]:
            continue
        if column.domain.contains(value):
            point[j] = column.domain.to_unit(value)
        else:
            outside = f"lies outside of {column.domain.describe()}"
            wrong[j] = f"{column.name} {'is missing' if value is MISSING else outside}"
    there = space.active(point[None])[0]
    for j, reason in wrong.items():
        if there[j]:
            return reason
    return np.where(shared, space.snap(point[None])[0], ABSENT)


def _fitting(
    study: SourceStudy, space: Space, goal: Goal, shared: np.ndarray
) -> tuple[Task, list[SourceTrial], Counter[str]]:
    """Return the trials that lie in the space, and why the others do not, with counts."""
    points, kept, reasons = [], [], Counter[str]()
    for trial in study.trials:
        found = _encoded(space, trial.values, shared)
        if isinstance(found, str):
            reasons[found] += 1
        else:
            points.append(found)
            kept.append(trial)
    snapshot = _snapshot(kept, points, space.dim, goal, study.max_t)
    return Task(study.name, snapshot, shared), kept, reasons


def _is_usable(task: Task) -> bool:
    """Whether there are values for a model and a best configuration."""
    return len(dataset(task.snapshot).evaluated) >= 2 and len(task.best()) > 0


def _snapshot(
    trials: Sequence[SourceTrial],
    points: Sequence[np.ndarray],
    dim: int,
    goal: Goal,
    max_t: float | None,
) -> Snapshot:
    rows = [(row, t, reached) for row, ran in enumerate(trials) for t, reached in ran.curve]
    trial = np.array([row for row, _, _ in rows], dtype=np.int64)
    is_last = np.append(trial[1:] != trial[:-1], True)[: len(rows)]
    is_complete = np.array([ran.state is TrialState.COMPLETED for ran in trials], dtype=np.bool_)
    m = goal.n_objectives
    outcomes = np.array([goal.outcomes(reached)[:m] for _, _, reached in rows]).reshape(-1, m)
    return Snapshot(
        trial_ids=tuple(str(row) for row in range(len(trials))),
        states=tuple(ran.state for ran in trials),
        points=np.array(points).reshape(len(points), dim),
        trial=trial,
        t=np.array([t for _, t, _ in rows], dtype=np.float64),
        y=outcomes[:, 0].copy(),
        final=is_last & is_complete[trial],
        max_t=max_t,
        others=outcomes[:, 1:].copy() if m > 1 else None,
        n_objectives=m,
    )


def _log_used(study: SourceStudy, space: Space, task: Task, reasons: Counter[str]) -> None:
    names = [column.name for column in space.columns]
    lacking = [name for name, there in zip(names, task.shared, strict=True) if not there]
    constants = {path_name(path) for path in space.leaves()} - set(names)
    unknown = [name for name in study.names if name not in {*names, *constants}]
    parts = [f"{len(task.snapshot.trial_ids)} of {len(study.trials)} trials used"]
    parts += [f"{n} left out because {reason}" for reason, n in reasons.most_common()]
    if lacking:
        parts.append(f"it has no values of {', '.join(lacking)}")
    if unknown:
        parts.append(f"not used: {', '.join(unknown)}")
    logger.info("%s: %s.", study.name, "; ".join(parts))
