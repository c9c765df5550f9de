"""One candidate, fitted and scored on the folds of a cross-validation."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from traceback import format_exc
from typing import Any, Literal

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning

# Private to scikit-learn, and what its own searches are made of: with them a score here is its
# score. The comparisons with GridSearchCV in the tests watch them.
from sklearn.model_selection._validation import _fit_and_score, _score
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_method_params, _num_samples

SCORE = "mean_test_score"
"""The metric that a search maximises."""

Params = dict[str, Any]
"""The parameters of a candidate."""

Steps = Literal["partial_fit", "warm_start", "folds"]
Scored = dict[str, Any]
"""What scikit-learn notes of one fit: ``test_scores``, ``fit_time``, ``fit_error`` and so on."""

GROWS = ("n_estimators", "max_iter")
"""Parameters that say how long an estimator with ``warm_start`` trains."""


@dataclass(frozen=True)
class Folds:
    """Data, splits and scores: all that a candidate's evaluation needs besides its parameters.

    Attributes:
        estimator: The estimator, unfitted.
        X: The data.
        y: The target, or None.
        splits: Indices ``(train, test)`` of each fold.
        scorer: As scikit-learn's searches make it of ``scoring``.
        fit_params: Arguments of ``fit``, by name.
        score_params: Arguments of the scorer, by name.
        return_train_score: Whether to score on the training part as well.
        error_score: The score of a fit that failed, or "raise".
    """

    estimator: Any
    X: Any
    y: Any
    splits: Sequence[tuple[Any, Any]]
    scorer: Any
    fit_params: Mapping[str, Any]
    score_params: Mapping[str, Any]
    return_train_score: bool
    error_score: Any

    def fit(self, params: Mapping[str, Any], fold: int) -> Scored:
        """Fit and score one fold."""
        train, test = self.splits[fold]
        found: Scored = _fit_and_score(
            clone(self.estimator),
            self.X,
            self.y,
            scorer=self.scorer,
            train=train,
            test=test,
            verbose=0,
            parameters=dict(params),
            fit_params=self.fit_params,
            score_params=self.score_params,
            return_train_score=self.return_train_score,
            return_n_test_samples=True,
            return_times=True,
            error_score=self.error_score,
        )
        return found

    def missing(self, why: str | None = None) -> Scored:
        """What stands for a fold that was not run, or (with ``why``) whose process died."""
        score = math.nan if why is None or self.error_score == "raise" else self.error_score
        names = getattr(self.scorer, "_scorers", None)
        scores = score if names is None else dict.fromkeys(names, score)
        found: Scored = {
            "test_scores": scores,
            "fit_error": why,
            "fit_time": 0.0,
            "score_time": 0.0,
        }
        return (
            found
            | {"n_test_samples": 0}
            | ({"train_scores": scores} if self.return_train_score else {})
        )

    def grown(
        self,
        params: Mapping[str, Any],
        steps: Steps,
        max_t: int,
        begun: tuple[int, Sequence[Any]] = (0, ()),
    ) -> Iterator[tuple[list[Scored], list[Any]]]:
        """Fit all folds a step at a time; after each step, what they score.

        Args:
            params: The candidate.
            steps: What a step is: a ``partial_fit`` on all of the training part, a ``max_t``-th of
                the training by ``warm_start``, or one more fold.
            max_t: So many steps are the whole.
            begun: To go on: how many steps were done, and what came with the scores of the last.

        Returns:
            With the scores, what is needed to go on from there; valid until the next step.
        """
        t, state = begun
        if steps == "folds":
            done: list[Scored] = list(state)
            for fold in range(t, len(self.splits)):
                done.append(self.fit(params, fold))
                yield list(done), done
            return
        models = [_Model(self, params, fold, steps, max_t) for fold in range(len(self.splits))]
        for model, reached in zip(models, state, strict=False):
            model.go_on(*reached)
        for step in range(t + 1, max_t + 1):
            found = [model.step(step) for model in models]
            yield found, [model.reached for model in models]
            if any(scored["fit_error"] is not None for scored in found):
                return


class _Model:
    """One fold's model, which learns step by step."""

    def __init__(
        self, folds: Folds, params: Mapping[str, Any], fold: int, steps: Steps, max_t: int
    ) -> None:
        self._folds, self._steps, self._max_t = folds, steps, max_t
        train, test = folds.splits[fold]
        # As scikit-learn does: parameters may be estimators, shared between candidates.
        self._model = clone(folds.estimator).set_params(**clone(dict(params), safe=False))
        self._train = _safe_split(self._model, folds.X, folds.y, train)
        self._test = _safe_split(self._model, folds.X, folds.y, test, train)
        self._fit_params = _check_method_params(folds.X, params=folds.fit_params, indices=train)
        score_params = folds.score_params
        self._on_train = _check_method_params(folds.X, params=score_params, indices=train)
        self._on_test = _check_method_params(folds.X, params=score_params, indices=test)
        self._spent = 0.0
        if steps == "partial_fit" and is_classifier(self._model):
            self._fit_params = {"classes": np.unique(folds.y), **self._fit_params}
        if steps == "warm_start":
            self._key = next(key for key in GROWS if key in self._model.get_params())
            self._full = self._model.get_params()[self._key]
            self._model.set_params(warm_start=True)

    @property
    def reached(self) -> tuple[Any, float]:
        """The estimator as it is now, and the seconds that went into it."""
        return self._model, self._spent

    def go_on(self, model: Any, spent: float) -> None:
        """From where another had come."""
        self._model, self._spent = model, spent
        if self._steps == "partial_fit":
            self._fit_params.pop("classes", None)  # it knows them

    def step(self, t: int) -> Scored:
        """Train to step ``t`` and score."""
        folds, begun = self._folds, time.time()
        try:
            self._learn(t)
        except Exception:
            if folds.error_score == "raise":
                raise
            return folds.missing(format_exc())
        self._spent += time.time() - begun
        begun = time.time()
        X, y = self._test
        found: Scored = {
            "test_scores": _score(
                self._model, X, y, folds.scorer, self._on_test, folds.error_score
            ),
            "fit_error": None,
            "fit_time": self._spent,
            "score_time": time.time() - begun,
            "n_test_samples": _num_samples(X),
        }
        if folds.return_train_score:
            X, y = self._train
            found["train_scores"] = _score(
                self._model, X, y, folds.scorer, self._on_train, folds.error_score
            )
        return found

    def _learn(self, t: int) -> None:
        X, y = self._train
        given = () if y is None else (y,)
        if self._steps == "partial_fit":
            self._model.partial_fit(X, *given, **self._fit_params)
            self._fit_params.pop("classes", None)
            return
        until, before = (-(-self._full * at // self._max_t) for at in (t, t - 1))
        if until == before:
            return
        # A boosted tree counts from its beginning; a solver begins to count again at each call.
        more = until if self._key == "n_estimators" else until - before
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it is not to be done yet
            self._model.set_params(**{self._key: more}).fit(X, *given, **self._fit_params)


def mean_score(found: Sequence[Scored], metric: str | None) -> float:
    """The mean test score of some folds.

    Args:
        found: What the folds scored.
        metric: Which score, where there are several; None for the first.
    """
    scores = []
    for scored in found:
        score = scored["test_scores"]
        if isinstance(score, dict):
            score = score[metric] if metric in score else next(iter(score.values()))
        scores.append(float(score))
    return float(np.mean(scores)) if scores else math.nan
