"""Fit and score one candidate on the folds of a cross-validation, at once or step by step."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning

# Private to scikit-learn, whose searches use it too: a score here is a score there. The comparisons
# with GridSearchCV in the tests would show a change.
from sklearn.model_selection._validation import _fit_and_score

SCORE = "mean_test_score"
"""The metric that a search maximises."""

Params = dict[str, Any]
"""The parameters of a candidate."""

Scored = dict[str, Any]
"""scikit-learn's record of one fit: `test_scores`, `fit_time`, `fit_error` and so on."""

Steps = Literal["partial_fit", "warm_start", "folds"]

GROWS = ("n_estimators", "max_iter")
"""Parameters that say how long an estimator with `warm_start` trains."""


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of candidates.

    Attributes:
        estimator: The estimator, unfitted.
        X: The data.
        y: The target, or None.
        splits: Indices `(train, test)` of each fold.
        settings: Arguments of scikit-learn's `_fit_and_score`, such as `scorer`.
        metric: Which of several scores is maximised; the first if none has this name.
        steps: What a step is; None if no candidate can be stopped early.
        max_t: Number of steps of a whole evaluation.
    """

    estimator: Any
    X: Any
    y: Any
    splits: Sequence[tuple[Any, Any]]
    settings: Mapping[str, Any]
    metric: Any = None
    steps: Steps | None = None
    max_t: int = 1

    def fit(self, params: Params, fold: int) -> Scored:
        """Fit and score a candidate on one fold."""
        return self._fit(clone(self.estimator), fold, params)

    def _fit(self, model: Any, fold: int, params: Params | None = None) -> Scored:
        train, test = self.splits[fold]
        scored: Scored = _fit_and_score(
            model,
            self.X,
            self.y,
            train=train,
            test=test,
            parameters=params,
            verbose=0,
            return_n_test_samples=True,
            return_times=True,
            **self.settings,
        )
        return scored

    @property
    def raises(self) -> bool:
        """True if a failed fit ends the search."""
        return isinstance(self.settings["error_score"], str)

    def missing(self, reason: str | None = None) -> Scored:
        """Return the result of a fold that was not run, or (with `reason`) whose process died."""
        score = math.nan if reason is None or self.raises else self.settings["error_score"]
        names = getattr(self.settings["scorer"], "_scorers", None)
        scores = score if names is None else dict.fromkeys(names, score)
        scored = {"test_scores": scores, "fit_error": reason, "n_test_samples": 0}
        if self.settings["return_train_score"]:
            scored["train_scores"] = scores
        return {**scored, "fit_time": 0.0, "score_time": 0.0}

    def mean_score(self, folds: Sequence[Scored]) -> float:
        """Return the mean over some folds of the test score to maximise."""
        scores = [scored["test_scores"] for scored in folds]
        if scores and isinstance(scores[0], dict):
            name = self.metric if self.metric in scores[0] else next(iter(scores[0]))
            scores = [by_name[name] for by_name in scores]
        return float(np.mean(scores)) if scores else math.nan

    def run_steps(
        self, params: Params, begun: tuple[int, Any] = (0, None)
    ) -> Iterator[tuple[list[Scored], Any]]:
        """Evaluate a candidate step by step; the last step is `max_t`, or one that fails.

        Without `steps` the whole evaluation is the one step. `begun` is where to continue: the
        number of steps that were run, and the state after the last.

        Yields:
            The results of the folds so far, and the state after this step. The next step changes
            the state.
        """
        t, state = begun
        if self.steps in (None, "folds"):
            folds = list(state or ())
            for fold in range(t, len(self.splits)):
                folds.append(self.fit(params, fold))
                if self.steps == "folds" or len(folds) == len(self.splits):
                    yield list(folds), folds
            return
        # As in scikit-learn: parameters may be estimators that candidates share.
        whole = clone(self.estimator).set_params(**clone(params, safe=False))
        models = state or [(clone(whole), None) for _ in self.splits]
        for step in range(t + 1, self.max_t + 1):
            models = [
                (model, self._train(model, before, fold, step, whole))
                for fold, (model, before) in enumerate(models)
            ]
            results = [scored for _, scored in models]
            yield results, models
            if any(scored["fit_error"] is not None for scored in results):
                return

    def _train(self, model: Any, before: Scored | None, fold: int, t: int, whole: Any) -> Scored:
        """Train a fold's model to step `t` and score it.

        `before` is its result after the last step, None at the first. `whole` is the candidate's
        estimator with the parameters of all steps together.
        """
        if self.steps == "partial_fit":
            of_all = {"classes": np.unique(self.y)} if t == 1 and is_classifier(model) else {}
            model.fit = partial(model.partial_fit, **of_all)  # scikit-learn's function calls `fit`
            try:
                scored = self._fit(model, fold)
            finally:
                del model.fit
        else:
            key = next(key for key in GROWS if key in whole.get_params())
            full = whole.get_params()[key]
            until, done = (math.ceil(full * step / self.max_t) for step in (t, t - 1))
            if before is not None and until == done:
                return before
            # Ensembles count the trees of all steps together, solvers those of one `fit`.
            is_ensemble = key == "n_estimators" or type(model).__name__.startswith("HistGradient")
            length = until if is_ensemble else until - done
            model.set_params(warm_start=True, **{key: length})
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # more steps follow
                scored = self._fit(model, fold)
        if before is not None:
            scored["fit_time"] += before["fit_time"]
        return scored
