"""Candidates as trials of a study on Ray, whose results go back to scikit-learn's search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import ray

# joblib's base class for the backends of other libraries; Ray's own derives from a sibling of it.
from joblib._parallel_backends import ThreadingBackend
from ray import cloudpickle, tune
from ray.tune import Callback

import raytuner
from raytuner.errors import TrainableError
from raytuner.folders import Folder, location
from raytuner.history import TrialState
from raytuner.integrations.sklearn.candidates import POSITION, Part
from raytuner.integrations.sklearn.evaluation import SCORE, Evaluation, Params, Scored
from raytuner.space import Config
from raytuner.study.cross_validation import checkpoint_state, report_with_state

if TYPE_CHECKING:
    from raytuner.integrations.sklearn.search_cv import RayTunerSearchCV

_pickled: Callable[[Any], bytes] = cloudpickle.dumps  # Ray's has no types

_FOLDS = "folds"
_ERROR = "raised"


@dataclass(frozen=True)
class Found:
    """The result of a candidate after `t` steps; `completed` is whether they were all."""

    params: Params
    folds: list[Scored]
    t: int
    completed: bool


class FoundResults(ThreadingBackend):  # type: ignore[misc]  # joblib has no types
    """A joblib backend that answers the calls of scikit-learn's search with results of trials.

    A search hands the fits of all candidates to joblib, and makes `cv_results_` and all the rest of
    their results. So that stays scikit-learn's, also if trials ran the fits. `found` are the
    results in scikit-learn's order.
    """

    found: Sequence[Found] = ()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return 2: with one job, joblib makes the calls itself."""
        return 2

    def submit(self, func: Any, callback: Any = None) -> Any:
        """Take a batch of calls."""
        return super().submit(partial(self._results, func), callback)

    def _results(self, batch: Any) -> list[Any]:
        return [
            self.found[call["candidate_progress"][0]].folds[call["split_progress"][0]]
            if "candidate_progress" in call
            else function(*args, **call)  # of an estimator or a splitter, not of the search
            for function, args, call in batch.items
        ]


def run_trials(
    search: RayTunerSearchCV,
    evaluation: Evaluation,
    part: Part,
    storage_path: Folder,
    **settings: Any,
) -> tuple[list[Found], str]:
    """Search on Ray as a `RayTunerSearchCV` says: a trial fits and scores one candidate.

    `settings` are further arguments of `raytuner.tune`.

    Returns:
        The candidates in the order of proposal, and the study's folder.
    """
    last = _LastResults()
    each = dict(search.resources or {"cpu": 1})
    bundles = {"bundles": [each] * len(evaluation.splits)}
    positions = [{POSITION: place} for place in range(part.count)]
    # By rank: a forecast needs more candidates than most searches here have.
    by_rank = None if evaluation.steps is None else "asha"
    study = raytuner.tune(
        tune.with_parameters(
            _run_trial,
            evaluation=evaluation,
            params_of=part.space.params,
            saves=search.scheduler is not None,
            parallel=each if search.parallel_folds else None,
        ),
        part.space.space,
        metric=SCORE,
        mode="max",
        num_samples=part.count,
        resources=bundles if search.parallel_folds else each,
        max_t=None if evaluation.steps is None else evaluation.max_t,
        scheduler=by_rank if search.scheduler is None else deepcopy(search.scheduler),
        points_to_evaluate=None if part.listed is None else positions,
        storage_path=storage_path,
        callbacks=[last],
        progress=search.verbose > 0,
        stop_after_failures=0,  # error_score says what to do about failures
        # A trial that cannot be stopped leaves its process as it found it.
        reuse_actors=evaluation.steps is None,
        **settings,
    )
    for result in last.results.values():
        if _ERROR in result:
            raise cloudpickle.loads(result[_ERROR])
    found = []
    for trial in study.trials:
        folds = last.results.get(trial.trial_id, {}).get(_FOLDS, [])
        if folds or trial.state is TrialState.FAILED:  # others ended before their first report
            params = part.space.params(trial.config)
            died = None if folds else f"the trial's process ended: {trial.reason}"
            if died and evaluation.raises:
                raise TrainableError(f"{died}; the parameters were {params!r}")
            not_run = [evaluation.missing(died)] * (len(evaluation.splits) - len(folds))
            folds = [*folds, *not_run]
            failed = any(one["fit_error"] is not None for one in folds)
            is_whole = trial.t >= evaluation.max_t and not failed
            found.append(Found(params, folds, int(trial.t), is_whole))
    return found, location(study.path)


def _run_trial(
    config: Config,
    *,
    evaluation: Evaluation,
    params_of: Callable[[Config], Params],
    saves: bool,
    parallel: Mapping[str, float] | None,
) -> None:
    """Evaluate one candidate, in a trial's process.

    `saves`: whether to save the fitted estimators at each step. `parallel`: what each fit needs if
    all folds run at the same time; else None.
    """
    params = params_of(config)
    try:
        saved = checkpoint_state()
        # The driver of this search wrote it: nothing else is unpickled.
        begun = (0, None) if saved is None else cloudpickle.loads(saved)
        steps = (
            evaluation.run_steps(params, begun)
            if parallel is None
            else [(_folds_in_parallel(evaluation, params, parallel), None)]
        )
        for t, (folds, state) in enumerate(steps, start=begun[0] + 1):
            report = {SCORE: evaluation.mean_score(folds), _FOLDS: folds}
            if saves:
                report_with_state(report, _pickled((t, state)))
            else:
                tune.report(report)
    except Exception as error:
        if not evaluation.raises:
            raise
        tune.report({SCORE: float("nan"), _ERROR: _pickled(error)})


def _folds_in_parallel(
    evaluation: Evaluation, params: Params, each: Mapping[str, float]
) -> list[Scored]:
    # The trial's process holds the first bundle of the request, and fits the first fold itself.
    others = {key: n for key, n in each.items() if key not in ("cpu", "gpu")}
    task = ray.remote(Evaluation.fit).options(
        num_cpus=each.get("cpu", 0), num_gpus=each.get("gpu", 0), resources=others
    )
    shared = ray.put(evaluation)
    running = [task.remote(shared, params, fold) for fold in range(1, len(evaluation.splits))]
    return [evaluation.fit(params, 0), *ray.get(running)]


class _LastResults(Callback):
    """Keeps the last report of each trial, by its id."""

    def __init__(self) -> None:
        self.results: dict[str, dict[str, Any]] = {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Keep a report."""
        if _FOLDS in result or _ERROR in result:
            self.results[trial.trial_id] = result
