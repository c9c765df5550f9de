"""Candidates as trials of a study on Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray import cloudpickle, tune
from ray.tune import Callback, PlacementGroupFactory

import raytuner
from raytuner.errors import TrainableError
from raytuner.folders import Folder
from raytuner.history import Trial, TrialState
from raytuner.integrations.sklearn.folds import SCORE, Folds, Params, Scored, Steps, mean_score
from raytuner.space import Config, Space
from raytuner.study.cross_validation import checkpoint_state, report_with_state

_FOLDS = "folds"
_ERROR = "raised"


@dataclass(frozen=True)
class Found:
    """What came of one candidate.

    Attributes:
        params: The candidate.
        folds: What each fold scored; those that were not run are missing values.
        t: Steps that were run.
        completed: Whether it was evaluated to its end.
    """

    params: Params
    folds: list[Scored]
    t: int
    completed: bool


def run_trials(
    folds: Folds,
    space: Space,
    params_of: Callable[[Config], Params],
    *,
    metric: str | None,
    steps: Steps | None,
    max_t: int,
    scheduler: Any,
    parallel_folds: bool,
    resources: Mapping[str, float] | None,
    settings: Mapping[str, Any],
    storage_path: Folder,
) -> list[Found]:
    """Search on Ray: a trial fits and scores one candidate.

    Args:
        folds: How a candidate is evaluated.
        space: The search space.
        params_of: A configuration's parameters.
        metric: Which score is to be large.
        steps: What early stopping goes by; None for none.
        max_t: So many steps are a whole evaluation.
        scheduler: What stops or pauses early; None for ASHA.
        parallel_folds: Whether a trial's folds run at the same time, each in a process.
        resources: What one fit needs; None for one CPU.
        settings: Further arguments of :func:`raytuner.tune`.
        storage_path: Folder that the study is made in.

    Returns:
        The candidates in the order of proposal.

    Raises:
        TrainableError: A trial's process died, and ``error_score`` is "raise".
        Exception: What a fit raised, if ``error_score`` is "raise".
    """
    kept = _Keep()
    each = dict(resources or {"cpu": 1})
    request: Any = each
    if parallel_folds:
        bundle = {key.upper() if key in ("cpu", "gpu") else key: n for key, n in each.items()}
        request = PlacementGroupFactory([bundle] * len(folds.splits))
    study = raytuner.tune(
        tune.with_parameters(
            _evaluate,
            folds=folds,
            params_of=params_of,
            metric=metric,
            steps=steps,
            max_t=max_t,
            keeps=scheduler is not None,
            each=each if parallel_folds else None,
        ),
        space,
        metric=SCORE,
        mode="max",
        resources=request,
        max_t=None if steps is None else max_t,
        scheduler=scheduler,
        storage_path=storage_path,
        callbacks=[kept],
        stop_after_failures=0,  # error_score says what to do about failures
        **settings,
    )
    for raised in kept.errors.values():
        raise cloudpickle.loads(raised)
    whole = 1 if steps is None else max_t
    found = (_found(trial, folds, params_of, kept, whole) for trial in study.trials)
    return [one for one in found if one is not None]


def _found(
    trial: Trial, folds: Folds, params_of: Callable[[Config], Params], kept: _Keep, whole: int
) -> Found | None:
    scored = list(kept.folds.get(trial.trial_id, ()))
    if not scored and trial.state is not TrialState.FAILED:
        return None  # ended before it said anything: a time budget, Ctrl-C
    died = None if scored else f"the trial's process ended: {trial.reason}"
    if died and folds.error_score == "raise":
        raise TrainableError(f"{died}; the parameters were {params_of(trial.config)!r}")
    scored += [folds.missing(died)] * (len(folds.splits) - len(scored))
    failed = any(one["fit_error"] is not None for one in scored)
    done = trial.t >= whole and not failed
    return Found(params_of(trial.config), scored, int(trial.t), done)


def _evaluate(
    config: Config,
    *,
    folds: Folds,
    params_of: Callable[[Config], Params],
    metric: str | None,
    steps: Steps | None,
    max_t: int,
    keeps: bool,
    each: Mapping[str, float] | None,
) -> None:
    """Evaluate one candidate; runs in a trial's process."""
    params = params_of(config)
    try:
        if steps is not None:
            # This search has just written it: none is gone on with in another.
            before = checkpoint_state()
            begun = (0, ()) if before is None else cloudpickle.loads(before)
            grown = folds.grown(params, steps, max_t, begun)
            for t, (found, state) in enumerate(grown, start=begun[0] + 1):
                report = {SCORE: mean_score(found, metric), _FOLDS: found}
                if keeps:
                    report_with_state(report, _pickled((t, state)))
                else:
                    tune.report(report)
        else:
            found = _whole(folds, params, each)
            tune.report({SCORE: mean_score(found, metric), _FOLDS: found})
    except Exception as error:
        if folds.error_score != "raise":
            raise
        tune.report({SCORE: float("nan"), _ERROR: _pickled(error)})


def _pickled(anything: object) -> bytes:
    dumps: Callable[[Any], bytes] = cloudpickle.dumps  # Ray's has no types
    return dumps(anything)


def _whole(folds: Folds, params: Params, each: Mapping[str, float] | None) -> list[Scored]:
    count = range(len(folds.splits))
    if each is None:
        return [folds.fit(params, fold) for fold in count]
    # The trial's process holds the first bundle of the request, and fits the first fold itself.
    needs = {key: n for key, n in each.items() if key not in ("cpu", "gpu")}
    task = ray.remote(_fit).options(
        num_cpus=each.get("cpu", 0), num_gpus=each.get("gpu", 0), resources=needs
    )
    shared = ray.put(folds)
    others = [task.remote(shared, params, fold) for fold in count[1:]]
    return [folds.fit(params, 0), *ray.get(others)]


def _fit(folds: Folds, params: Params, fold: int) -> Scored:
    return folds.fit(params, fold)


class _Keep(Callback):
    """Keeps the last that each trial said of its folds."""

    def __init__(self) -> None:
        self.folds: dict[str, Sequence[Scored]] = {}
        self.errors: dict[str, bytes] = {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Keep it."""
        if _FOLDS in result:
            self.folds[trial.trial_id] = result[_FOLDS]
        if _ERROR in result:
            self.errors[trial.trial_id] = result[_ERROR]
