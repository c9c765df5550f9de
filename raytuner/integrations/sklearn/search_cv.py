"""The search estimator."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from numbers import Integral, Real
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import parallel_config
from sklearn.base import clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.model_selection._search import BaseSearchCV  # what all of its searches derive from
from sklearn.utils import check_random_state, indexable
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _check_method_params

from raytuner.errors import SettingError
from raytuner.folders import Folder, RemoteFolder, folder_of
from raytuner.integrations.sklearn.candidates import Part, parts_of
from raytuner.integrations.sklearn.evaluation import GROWS, SCORE, Evaluation, Steps

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

    from raytuner.integrations.sklearn.trials import Found


class RayTunerSearchCV(BaseSearchCV):  # type: ignore[misc]  # scikit-learn has no types
    """A scikit-learn search estimator that uses Bayesian optimisation.

    It searches the parameters of an estimator by cross-validation, in this process or on Ray, and
    sets the attributes of `GridSearchCV`. It tries either all of `param_grid`, or `n_iter`
    candidates that Bayesian optimisation proposes from `param_distributions`.

    Args:
        estimator: The estimator; may be a `Pipeline` or `ColumnTransformer`.
        param_distributions: For each parameter a list of values, a distribution of `scipy.stats`
            (or any object with `ppf`), a Ray Tune domain, an Optuna distribution, or a
            scikit-optimize dimension. The latter may be a tuple `(low, high)` or
            `(low, high, "log-uniform")`: a range of integers if both bounds are integers, with
            both bounds included. Any other tuple is a list of values. In a list of such dicts,
            `n_iter` is shared equally, and a pair `(dict, n)` gets `n` further candidates. If a
            dict has no more combinations than candidates, all are tried.
        param_grid: For each parameter a list of values, or a list of such dicts. Give either this
            or `param_distributions`.
        n_iter: Number of candidates to try from `param_distributions`.
        scoring: As in scikit-learn. With several scores, the search maximises the score that
            `refit` names, or else the first.
        n_jobs: Number of candidates that run at the same time on Ray; below 0, as many as fit. None
            or 1: one by one in this process, unless `early_stopping`, `parallel_folds`,
            `resources` or `storage_path` need Ray. In that case None is as many as fit.
        refit: As in scikit-learn.
        cv: As in scikit-learn.
        verbose: Above 0, shows progress.
        pre_dispatch: No effect; accepted for compatibility.
        random_state: Seed of the proposals.
        error_score: As in scikit-learn. On Ray, "raise" raises after all candidates have ended.
        return_train_score: As in scikit-learn.
        early_stopping: Stop bad candidates early (ASHA). They are compared after each of `max_t`
            steps. A step is one pass over the data ("partial_fit"), a `max_t`-th of the candidate's
            `n_estimators` or `max_iter` ("warm_start"), or one fold ("folds"; `max_t` is then the
            number of folds). True takes the first of these that the estimator supports.
            `cv_results_` has the further columns `n_steps` and `completed`, and `best_index_` is a
            completed candidate. Scores are from the last step, and NaN for folds that did not run.
        max_t: Number of steps of a full evaluation.
        scheduler: A raytuner or Ray scheduler in place of ASHA, with the same `max_t`. Fitted
            estimators are then saved at each step, so it may pause candidates.
        parallel_folds: Run the folds of a candidate at the same time, each in a separate process
            with `resources`. For few candidates on many processors.
        resources: Resources of one fit, such as `{"cpu": 2, "gpu": 0.5}`. None: one CPU.
        time_budget_s: Seconds after which no more candidates are tried. In this process, the first
            candidate is always evaluated. On Ray, an error is raised if none was evaluated in time.
        storage_path: Folder or URI for the studies, which `study_paths_` then lists. None keeps no
            studies.

    Raises:
        SettingError, SpaceError: In `fit`: bad input, or `time_budget_s` was too short.

    Examples:
        >>> from scipy.stats import loguniform
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.linear_model import LogisticRegression
        >>> X, y = load_iris(return_X_y=True)
        >>> model, space = LogisticRegression(max_iter=500), {"C": loguniform(1e-3, 1e3)}
        >>> search = RayTunerSearchCV(model, space, n_iter=5, random_state=0).fit(X, y)
        >>> bool(search.best_score_ > 0.9), len(search.cv_results_["params"])
        (True, 5)
    """

    _parameter_constraints: dict[str, Any] = {  # noqa: RUF012  # scikit-learn's name and form
        **BaseSearchCV._parameter_constraints,
        "param_distributions": [dict, list, None],
        "param_grid": [dict, list, None],
        "n_iter": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "early_stopping": ["boolean", StrOptions({"partial_fit", "warm_start", "folds"})],
        "max_t": [Interval(Integral, 1, None, closed="left")],
        "scheduler": [HasMethods(["on_trial_add", "choose_trial_to_run"]), None],
        "parallel_folds": ["boolean"],
        "resources": [dict, None],
        "time_budget_s": [Interval(Real, 0, None, closed="neither"), None],
        "storage_path": [str, Path, RemoteFolder, None],
    }

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any = None,
        *,
        param_grid: Any = None,
        n_iter: int = 10,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        random_state: Any = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        early_stopping: bool | str = False,
        max_t: int = 27,
        scheduler: TrialScheduler | None = None,
        parallel_folds: bool = False,
        resources: Mapping[str, float] | None = None,
        time_budget_s: float | None = None,
        storage_path: str | Folder | None = None,
    ) -> None:
        super().__init__(
            estimator=estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.param_distributions = param_distributions
        self.param_grid = param_grid
        self.n_iter = n_iter
        self.random_state = random_state
        self.early_stopping = early_stopping
        self.max_t = max_t
        self.scheduler = scheduler
        self.parallel_folds = parallel_folds
        self.resources = resources
        self.time_budget_s = time_budget_s
        self.storage_path = storage_path

    def fit(self, X: Any, y: Any = None, **params: Any) -> RayTunerSearchCV:
        """Run the search, then fit the estimator with the best parameters on all data.

        Args:
            X: The data.
            y: The target.
            **params: `groups` and arguments of the estimator's `fit`, as in scikit-learn.
        """
        if isinstance(self.cv, Iterator):  # two readers: scikit-learn's search, and `_splits`
            self.cv: Any = list(self.cv)
        ray_only = (self.early_stopping, self.parallel_folds, self.resources, self.storage_path)
        on_ray = self.n_jobs not in (None, 1) or any(one not in (False, None) for one in ray_only)
        with ExitStack() as backend:
            # Of this call. On Ray, `results` is a joblib backend, which `backend` closes.
            self._call = SimpleNamespace(
                X=X, y=y, params=params, start=time.monotonic(), backend=backend, results=None
            )
            try:
                if on_ray:
                    from raytuner.integrations.sklearn.trials import FoundResults

                    self._call.results = FoundResults()
                    backend.enter_context(parallel_config(backend=self._call.results))
                super().fit(X, y, **params)
            finally:
                del self._call
        return self

    def _run_search(self, evaluate_candidates: Callable[..., Any]) -> None:
        """Propose candidates and have scikit-learn's search evaluate them."""
        parts = parts_of(self.param_grid, self.param_distributions, self.n_iter)
        seeds = check_random_state(self.random_state).randint(2**31 - 1, size=len(parts)).tolist()
        on_ray = self._call.results is not None
        splits = self._splits() if on_ray else []
        steps, max_t = self._steps(len(splits))
        if on_ray:
            evaluation = self._evaluation(splits, steps, max_t)
            self._search_on_ray(parts, seeds, evaluation, evaluate_candidates)
            return
        for number, (part, seed) in enumerate(zip(parts, seeds, strict=True)):
            if number == 0 or self._time_left() != 0:
                self._search_here(part, seed, evaluate_candidates)

    def _search_here(self, part: Part, seed: int, evaluate: Callable[..., Any]) -> None:
        """Evaluate a part in this process; each proposal uses all previous scores."""
        if part.listed is not None:
            at_once = part.count if self.time_budget_s is None else 1
            for place in range(0, part.count, at_once):
                if place == 0 or self._time_left() != 0:
                    evaluate(part.listed[place : place + at_once])
            return
        # The engine alone: Ray takes a second to import. And a trial's process needs no torch.
        from raytuner.bayes import BayesProposer
        from raytuner.history import History, TrialState

        proposer = BayesProposer(part.space.space, seed)
        history = History(part.space.space, metric=SCORE, mode="max")
        for trial_id in map(str, range(part.count)):
            if len(history) and self._time_left() == 0:
                break
            proposer.tell(history.snapshot())
            [proposal] = proposer.ask(1)
            history.add(trial_id, proposal.config)
            results = evaluate([part.space.params(proposal.config)])
            first = next(name for name in results if name.startswith("mean_test_"))
            # `refit` names no score if there is one, or if any will do.
            score = float(results.get(f"mean_test_{self.refit}", results[first])[-1])
            state = TrialState.COMPLETED if math.isfinite(score) else TrialState.FAILED
            if state is TrialState.COMPLETED:
                history.report(trial_id, 1, score)
            history.end(trial_id, state)

    def _search_on_ray(
        self,
        parts: Sequence[Part],
        seeds: Sequence[int],
        evaluation: Evaluation,
        evaluate: Callable[..., Any],
    ) -> None:
        """Search on Ray, then hand the results of the trials to scikit-learn's search."""
        from raytuner.integrations.sklearn.trials import run_trials

        found: list[Found] = []
        paths = []
        n_jobs = None if self.n_jobs is None or self.n_jobs < 0 else self.n_jobs
        with TemporaryDirectory(prefix="raytuner-", ignore_cleanup_errors=True) as scratch:
            for part, seed in zip(parts, seeds, strict=True):
                if self._time_left() == 0:
                    break
                more, path = run_trials(
                    self,
                    evaluation,
                    part,
                    folder_of(self.storage_path or scratch),
                    seed=seed,
                    time_budget_s=self._time_left(),
                    max_concurrent_trials=n_jobs,
                )
                found += more
                paths.append(path)
        if self.storage_path is not None:
            self.study_paths_ = paths
        if not found:
            if self._time_left() != 0:
                raise KeyboardInterrupt  # nothing else ends a study without any result
            raise SettingError(
                "the search ended before a candidate was evaluated: time_budget_s is"
                f" {self.time_budget_s!r}, which includes the start of Ray; give more seconds"
            )
        columns = None
        if evaluation.steps is not None:
            columns = {
                "n_steps": [one.t for one in found],
                "completed": [one.completed for one in found],
            }
        self._call.results.found = found
        with warnings.catch_warnings():
            if evaluation.steps == "folds":  # that some were not run is no news
                warnings.filterwarnings("ignore", "One or more of the")
            evaluate([one.params for one in found], more_results=columns)
        self._call.backend.close()  # what is fitted from here on is fitted here

    def _steps(self, n_splits: int) -> tuple[Steps | None, int]:
        """Return what early stopping goes by, if any, and the number of steps of an evaluation."""
        if self.early_stopping is False:
            if self.scheduler is not None:
                raise SettingError(
                    "a scheduler was given, but early_stopping is False; choose its steps with"
                    ' early_stopping=True, "partial_fit", "warm_start" or "folds"'
                )
            return None, 1
        own, can = self.estimator.get_params(deep=False), ["folds"]
        if "warm_start" in own and any(key in own for key in GROWS):
            can.insert(0, "warm_start")
        if hasattr(self.estimator, "partial_fit"):
            can.insert(0, "partial_fit")
        steps: Any = can[0] if self.early_stopping is True else self.early_stopping
        if steps not in can:
            raise SettingError(
                f"early_stopping is {steps!r}, which {type(self.estimator).__name__} does not"
                f" support; it supports {', '.join(map(repr, can))}"
            )
        if self.parallel_folds:
            raise SettingError(
                "parallel_folds and early_stopping cannot be combined, since a trial that may be"
                " stopped runs its folds itself; leave one out"
            )
        max_t = n_splits if steps == "folds" else self.max_t
        if (its_own := getattr(self.scheduler, "max_t", None)) not in (None, max_t):
            raise SettingError(
                f"the scheduler's max_t is {its_own}, but a full evaluation has {max_t} steps;"
                " give both the same value"
            )
        return steps, max_t

    def _evaluation(self, splits: list[Any], steps: Steps | None, max_t: int) -> Evaluation:
        """Return the evaluation that scikit-learn's search would make of a candidate."""
        X, y, routed = self._inputs()
        return Evaluation(
            estimator=clone(self.estimator),
            X=X,
            y=y,
            splits=splits,
            settings={
                "scorer": self._get_scorers()[0],
                "fit_params": dict(routed.estimator.fit),
                "score_params": dict(routed.scorer.score),
                "return_train_score": self.return_train_score,
                "error_score": self.error_score,
            },
            metric=self.refit,
            steps=steps,
            max_t=max_t,
        )

    def _splits(self) -> list[Any]:
        """Return the rows to train on and those to test on, of each split."""
        X, y, routed = self._inputs()
        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        return list(cv.split(X, y, **routed.splitter.split))

    def _inputs(self) -> tuple[Any, Any, Any]:
        """Return the data, and which argument of `fit` goes where."""
        X, y = indexable(self._call.X, self._call.y)
        params = _check_method_params(X, params=self._call.params)
        return X, y, self._get_routed_params_for_fit(params)

    def _time_left(self) -> float | None:
        if self.time_budget_s is None:
            return None
        return max(self.time_budget_s - (time.monotonic() - self._call.start), 0.0)

    @staticmethod
    def _select_best_index(refit: Any, refit_metric: str, results: Mapping[str, Any]) -> int:
        """Return the best candidate, of those whose evaluation was completed if any was."""
        done = results.get("completed")
        if done is None or callable(refit) or not np.any(done):
            return int(BaseSearchCV._select_best_index(refit, refit_metric, results))
        ranks = np.where(done, results[f"rank_test_{refit_metric}"], np.iinfo(np.int32).max)
        return int(ranks.argmin())
