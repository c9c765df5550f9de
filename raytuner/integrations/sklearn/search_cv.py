"""The search estimator."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import parallel_config
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid
from sklearn.model_selection._search import BaseSearchCV  # what all of its searches derive from
from sklearn.utils import check_random_state, indexable
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _check_method_params

from raytuner.errors import SettingError
from raytuner.folders import Folder, RemoteFolder, folder_of, folders_in, location
from raytuner.integrations.sklearn.answers import Answers
from raytuner.integrations.sklearn.folds import GROWS, SCORE, Folds, Params, Steps
from raytuner.integrations.sklearn.parts import Part, parts_of
from raytuner.space import Integer, Space

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

    from raytuner.integrations.sklearn.trials import Found

# Of a grid, which is a list of candidates: the place of one.
_PLACE = "candidate"


class RayTunerSearchCV(BaseSearchCV):  # type: ignore[misc]  # scikit-learn has no types
    """Search over parameters of an estimator by cross-validation, in this process or on Ray.

    Replaces ``GridSearchCV``, ``RandomizedSearchCV`` or scikit-optimize's ``BayesSearchCV``, and
    fills ``cv_results_``, ``best_estimator_``, ``best_params_``, ``best_index_``,
    ``best_score_``, ``n_splits_``, ``refit_time_``, ``scorer_`` and ``multimetric_`` as they do.
    With ``param_distributions`` candidates are proposed by Bayesian optimisation
    (:class:`raytuner.BoTorchSearch`); with ``param_grid`` each candidate of the grid is evaluated.

    Args:
        estimator: The estimator; a ``Pipeline`` or ``ColumnTransformer`` too.
        param_distributions: For each parameter a list of values, a distribution of ``scipy.stats``,
            a Ray Tune domain, a dimension of scikit-optimize or its tuple ``(low, high)`` or
            ``(low, high, "log-uniform")``, or a distribution of Optuna (see
            :func:`raytuner.integrations.distributions.translated`). A list of such dicts shares
            ``n_iter`` equally; a dict with fewer combinations than its share leaves the rest to
            the others. A pair ``(dict, n)`` in the list gets ``n`` candidates of its own, beside
            ``n_iter``. If a dict has no more combinations than its number of candidates, each
            combination is evaluated once.
        param_grid: For each parameter a list of values, or a list of such dicts. Give this or
            ``param_distributions``.
        n_iter: How many candidates to try of ``param_distributions``.
        scoring: As in scikit-learn. With several scores, the search goes by the one that ``refit``
            names, else by the first.
        n_jobs: None or 1: candidates run one by one in this process, without Ray. Above 1: at most
            that many candidates run at a time, on Ray. Below 0: as many as the Ray cluster has room
            for. ``early_stopping``, ``parallel_folds``, ``resources`` and ``storage_path`` need
            Ray: with one of them, 1 means one candidate at a time on Ray, and None as many as the
            cluster has room for.
        refit: As in scikit-learn.
        cv: As in scikit-learn.
        verbose: Above 0, progress is shown.
        pre_dispatch: Has no effect; it is there for code that passes it.
        random_state: Seed of the proposals.
        error_score: As in scikit-learn. With "raise" the first error is raised once all candidates
            have ended, if they run on Ray.
        return_train_score: As in scikit-learn.
        early_stopping: Stop candidates that do badly before they have cost much (ASHA). They are
            judged after each of ``max_t`` steps: "partial_fit", a pass over the data;
            "warm_start", a ``max_t``-th of the candidate's ``n_estimators`` or ``max_iter``;
            "folds", one more fold (``max_t`` is then the number of folds). True takes the first of
            these that the estimator has. ``cv_results_`` then says in ``n_steps`` and
            ``completed`` how far each one came; ``best_index_`` is of one that was completed.
            Scores are of the last step; those of folds that were not run are NaN.
        max_t: How many steps are a whole evaluation.
        scheduler: Who stops early in ASHA's place: a scheduler of raytuner's or Ray's with the same
            ``max_t``. ``raytuner.ASHAScheduler(max_t=27, type="promotion")`` pauses candidates and
            goes on with the best of them. With it, fitted estimators are kept at each step.
        parallel_folds: Run the folds of a candidate at the same time, each in a process of its own
            that gets ``resources``. For few candidates on many processors.
        resources: What one fit needs, ``{"cpu": 2, "gpu": 0.5}`` say; None for one CPU.
        time_budget_s: Seconds after which no more candidates are tried. In this process the first
            candidate is always evaluated; on Ray it is an error if none was evaluated in time.
        storage_path: Folder to keep the studies in, or its URI; ``study_paths_`` then says where
            they are. None keeps none.

    Raises:
        SettingError, SpaceError: In ``fit``, before anything is fitted: bad input. SettingError:
            ``time_budget_s`` ended before a candidate was evaluated.

    Callbacks of scikit-learn (``set_callbacks``, from 1.9 on) get every candidate and every fold of
    it. On Ray they get these after all trials have ended, and nothing from inside a fit.

    Example:
        >>> from scipy.stats import loguniform
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.linear_model import LogisticRegression
        >>> X, y = load_iris(return_X_y=True)
        >>> search = RayTunerSearchCV(
        ...     LogisticRegression(max_iter=500),
        ...     {"C": loguniform(1e-3, 1e3)},
        ...     n_iter=5,
        ...     n_jobs=1,
        ...     random_state=0,
        ... ).fit(X, y)
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
        """Search, and fit the estimator with the best parameters found on all data.

        Args:
            X: The data, n samples.
            y: The target, n values; None if the estimator needs none.
            **params: As for scikit-learn's searches: ``groups``, and what ``fit`` of the estimator
                takes.

        Returns:
            This estimator.
        """
        with ExitStack() as borrowed:
            self._run = _Run(X, y, params, borrowed, time.monotonic())
            try:
                if not self._here:
                    borrowed.enter_context(parallel_config(backend=self._run.answers))
                super().fit(X, y, **params)
            finally:
                del self._run
        return self

    @property
    def _here(self) -> bool:
        """Whether candidates are evaluated in this process."""
        needs_ray = (
            self.early_stopping is not False
            or self.parallel_folds
            or self.resources is not None
            or self.storage_path is not None
        )
        return self.n_jobs in (None, 1) and not needs_ray

    def _run_search(
        self, evaluate_candidates: Callable[..., Any], *, callback_ctx: Any = None
    ) -> None:
        """Propose candidates and have scikit-learn's search evaluate them.

        Args:
            evaluate_candidates: Evaluates a list of candidates and returns all results so far.
            callback_ctx: The context of scikit-learn's callbacks; None before version 1.9.
        """
        parts, seeds = self._parts(), check_random_state(self.random_state)
        seed = [int(seeds.randint(2**31 - 1)) for _ in parts]
        steps = self._steps()
        max_t = self.n_splits_ if steps == "folds" else self.max_t
        self._check_scheduler(max_t)
        with self._with_callbacks(evaluate_candidates, callback_ctx, parts) as evaluate:
            if self._here:
                for number, (part, its) in enumerate(zip(parts, seed, strict=True)):
                    if not number or self._time_left() != 0:
                        self._search_here(part, its, evaluate)
            else:
                self._search_there(parts, seed, evaluate, steps, max_t)

    @contextmanager
    def _with_callbacks(
        self, evaluate: Callable[..., Any], context: Any, parts: Sequence[Part]
    ) -> Iterator[Callable[..., Any]]:
        """Give ``evaluate`` a context of scikit-learn's callbacks for each list of candidates."""
        if context is None:
            yield evaluate
            return
        lists = sum(1 if self._at_once(part) else part.count for part in parts)
        search = context.subcontext(
            task_name="search", max_subtasks=lists if self._here else 1
        ).call_on_fit_task_begin(estimator=self)

        def evaluate_in_context(candidates: Sequence[Params], **more: Any) -> Any:
            candidate = search.subcontext(
                task_name="candidates",
                max_subtasks=len(candidates) * self.n_splits_,
                sequential_subtasks=False,
            ).call_on_fit_task_begin(estimator=self)
            results = evaluate(candidates, callback_ctx=candidate, **more)
            candidate.call_on_fit_task_end(estimator=self)
            return results

        yield evaluate_in_context
        search.call_on_fit_task_end(estimator=self)

    def _search_there(
        self,
        parts: Sequence[Part],
        seed: Sequence[int],
        evaluate: Callable[..., Any],
        steps: Steps | None,
        max_t: int,
    ) -> None:
        """Search on Ray, then hand scikit-learn's search what the trials found."""
        with TemporaryDirectory(prefix="raytuner-", ignore_cleanup_errors=True) as scratch:
            path = folder_of(scratch if self.storage_path is None else self.storage_path)
            found: list[Found] = []
            before = set(folders_in(path))
            for part, its in zip(parts, seed, strict=True):
                if self._time_left() == 0:
                    break
                found += self._search_on_ray(part, its, steps, max_t, path)
            if self.storage_path is not None:
                self.study_paths_ = [location(one) for one in folders_in(path) if one not in before]
        if not found:
            if self._time_left() != 0:
                raise KeyboardInterrupt  # nothing else ends a study without any result
            raise SettingError(
                "the search ended before a candidate was evaluated: time_budget_s is"
                f" {self.time_budget_s!r}, and starting Ray counts; give more seconds"
            )
        more = None
        if steps is not None:
            more = {
                "n_steps": [one.t for one in found],
                "completed": [one.completed for one in found],
            }
        self._run.answers.found = [one.folds for one in found]
        with warnings.catch_warnings():
            if steps == "folds":  # there are folds that were not run: no news
                warnings.filterwarnings("ignore", "One or more of the")
            evaluate([one.params for one in found], more_results=more)
        self._run.borrowed.close()  # what is fitted from here on is fitted here

    # -- what to try ----------------------------------------------------------------------------

    def _parts(self) -> list[Part]:
        """Searches to make one after the other: one, unless there is a list of spaces.

        Raises:
            SettingError: There is no search space, or there are two.
        """
        if (self.param_grid is None) == (self.param_distributions is None):
            got = "neither" if self.param_grid is None else "both"
            raise SettingError(
                f"got {got} of param_distributions and param_grid; give one: a grid to try all of"
                " it, distributions to try the best n_iter"
            )
        if self.param_grid is not None:
            return [Part(candidates=list(ParameterGrid(self.param_grid)))]
        return parts_of(self.param_distributions, self.n_iter)

    def _steps(self) -> Steps | None:
        """What early stopping goes by.

        Raises:
            SettingError: The estimator has no such thing.
        """
        if self.early_stopping is False:
            return None
        can: list[Steps] = ["folds"]
        own = self.estimator.get_params(deep=False)
        if "warm_start" in own and any(key in own for key in GROWS):
            can.insert(0, "warm_start")
        if hasattr(self.estimator, "partial_fit"):
            can.insert(0, "partial_fit")
        asked = can[0] if self.early_stopping is True else self.early_stopping
        if asked not in can:
            raise SettingError(
                f"early_stopping is {asked!r}, but {type(self.estimator).__name__} has no such"
                f" thing; it can go by {', '.join(map(repr, can))}"
            )
        if self.parallel_folds:
            raise SettingError(
                "parallel_folds and early_stopping were both given; a trial that may be stopped"
                " runs its folds itself: leave one out"
            )
        return asked

    def _check_scheduler(self, max_t: int) -> None:
        """Raises SettingError: it has nothing to stop, or another end in mind."""
        if self.scheduler is None:
            return
        if self.early_stopping is False:
            raise SettingError(
                "a scheduler was given, and early_stopping is False; say what it is to go by:"
                ' early_stopping=True, or "partial_fit", "warm_start" or "folds"'
            )
        if (its_own := getattr(self.scheduler, "max_t", max_t)) != max_t:
            raise SettingError(
                f"the scheduler's max_t is {its_own}, and a whole evaluation has"
                f" {max_t} steps; give both the same"
            )

    # -- how it is evaluated --------------------------------------------------------------------

    def _metric(self) -> str | None:
        return self.refit if isinstance(self.refit, str) else None

    def _search_here(self, part: Part, seed: int, evaluate: Callable[..., Any]) -> None:
        """Propose, evaluate, learn: one by one."""
        # Imported here because a trial's process imports this module too and needs no torch.
        from raytuner.search import BoTorchSearch

        if part.candidates is not None:
            at_once = len(part.candidates) if self._at_once(part) else 1
            for place in range(0, len(part.candidates), at_once):
                if not place or self._time_left() != 0:
                    evaluate(part.candidates[place : place + at_once])
            return
        assert part.space is not None  # it has either
        search = BoTorchSearch(part.space.space, SCORE, "max", background=False, seed=seed)
        for number in range(part.count):
            if number and self._time_left() == 0:
                break
            config = search.suggest(str(number))
            if not isinstance(config, dict):
                break  # a finite space is used up
            results = evaluate([part.space.params(config)])
            score = results[_column(results, self._metric())][-1]
            search.on_trial_complete(str(number), {SCORE: float(score), "training_iteration": 1})

    def _at_once(self, part: Part) -> bool:
        """Whether this process evaluates all candidates of a part in one call."""
        return part.candidates is not None and self.time_budget_s is None

    def _search_on_ray(
        self, part: Part, seed: int, steps: Steps | None, max_t: int, path: Folder
    ) -> list[Found]:
        from raytuner.integrations.sklearn.trials import run_trials

        settings: dict[str, Any] = {
            "num_samples": part.count,
            "seed": seed,
            "time_budget_s": self._time_left(),
            "max_concurrent_trials": None
            if self.n_jobs is None or self.n_jobs < 0
            else self.n_jobs,
            "progress": self.verbose > 0,
            # A trial that is never stopped leaves its process as it found it.
            "reuse_actors": steps is None,
        }
        params_of: Callable[[Any], Params]
        if part.candidates is None:
            assert part.space is not None  # it has either
            space, params_of = part.space.space, part.space.params
        else:
            # The record has the candidates' places: a grid may hold anything.
            space, params_of = Space({_PLACE: Integer(0, part.count)}), _Listed(part.candidates)
            settings["points_to_evaluate"] = [{_PLACE: place} for place in range(part.count)]
        return run_trials(
            self._folds(),
            space,
            params_of,
            metric=self._metric(),
            steps=steps,
            max_t=max_t,
            scheduler=deepcopy(self.scheduler),  # it remembers the trials that it has seen
            parallel_folds=self.parallel_folds,
            resources=self.resources,
            settings=settings,
            storage_path=path,
        )

    def _folds(self) -> Folds:
        """The evaluation that scikit-learn's search would make in its place."""
        X, y = indexable(self._run.X, self._run.y)
        params = _check_method_params(X, params=self._run.params)
        routed = self._get_routed_params_for_fit(params)
        scorer, _ = self._get_scorers()
        return Folds(
            estimator=clone(self.estimator),
            X=X,
            y=y,
            splits=list(self._checked_cv_orig.split(X, y, **routed.splitter.split)),
            scorer=scorer,
            fit_params=dict(routed.estimator.fit),
            score_params=dict(routed.scorer.score),
            return_train_score=self.return_train_score,
            error_score=self.error_score,
        )

    def _time_left(self) -> float | None:
        if self.time_budget_s is None:
            return None
        spent = time.monotonic() - self._run.begun
        return max(self.time_budget_s - spent, 0.0)

    @staticmethod
    def _select_best_index(refit: Any, refit_metric: str, results: Mapping[str, Any]) -> int:
        """The best of those that were evaluated to their end, if early stopping cut any short."""
        done = results.get("completed")
        if done is None or callable(refit) or not np.any(done):
            found: int = BaseSearchCV._select_best_index(refit, refit_metric, results)
            return found
        ranks = np.where(done, results[f"rank_test_{refit_metric}"], np.iinfo(np.int32).max)
        return int(ranks.argmin())


@dataclass
class _Run:
    """What one call of ``fit`` was given and borrows."""

    X: Any
    y: Any
    params: dict[str, Any]
    borrowed: ExitStack
    begun: float
    answers: Answers = field(default_factory=Answers)


@dataclass(frozen=True)
class _Listed:
    """The candidate at a place."""

    candidates: Sequence[Params]

    def __call__(self, config: Mapping[str, Any]) -> Params:
        return self.candidates[config[_PLACE]]


def _column(results: Mapping[str, Any], metric: str | None) -> str:
    names = [name for name in results if name.startswith("mean_test_")]
    wanted = f"mean_test_{metric}"
    return wanted if wanted in names else names[0]
