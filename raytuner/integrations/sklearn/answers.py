"""Hand the results of trials to scikit-learn's own search as if it had made the fits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

# The base for a backend that a third party brings; Ray's own stands on a sibling of it.
from joblib._parallel_backends import ThreadingBackend
from sklearn.utils.metaestimators import _safe_split

from raytuner.integrations.sklearn.folds import Scored


class Answers(ThreadingBackend):  # type: ignore[misc]  # joblib has no types
    """A joblib backend that fits nothing: it answers scikit-learn's calls with what trials found.

    A search of scikit-learn's hands every fit of a candidate on a fold to joblib, and makes
    ``cv_results_`` and all the rest of what comes back. So all of that stays scikit-learn's.

    Attributes:
        found: For each candidate, in scikit-learn's order, what each fold scored.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: Sequence[Sequence[Scored]] = ()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Two: with one, joblib would make the calls itself."""
        return 2

    def submit(self, func: Any, callback: Any = None) -> Any:
        """Take a batch of calls."""
        return super().submit(partial(self._answer, func), callback)

    def _answer(self, batch: Any) -> list[Scored]:
        answers = []
        for _, args, call in batch.items:
            candidate, fold = call["candidate_progress"][0], call["split_progress"][0]
            _tell_callbacks(*args, **call)
            answers.append(self.found[candidate][fold])
        return answers


def _tell_callbacks(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    train: Any,
    callback_ctx: Any = None,
    caller: Any = None,
    **others: Any,
) -> None:
    """Call the hooks of scikit-learn's callbacks for a fit that a trial made."""
    if callback_ctx is None:  # before scikit-learn 1.9
        return
    X, y = _safe_split(estimator, X, y, train)
    callback_ctx.call_on_fit_task_begin(estimator=caller, X=X, y=y)
    callback_ctx.call_on_fit_task_end(estimator=caller, X=X, y=y)
