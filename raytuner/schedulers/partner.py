"""How a scheduler finds and tells the searcher in the same Tuner.

Ray tells a searcher that a trial is over, not why: stopped early and complete look the same; and of
a pause it says nothing. A searcher that has these methods is told. It is known by the methods
alone, so that this room need not import the searchers.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from raytuner.history import Goal, Snapshot
from raytuner.space import Space


@runtime_checkable
class SearchPartner(Protocol):
    """A searcher that listens to the scheduler.

    Each call may come more than once for a trial (a retry adds it again); a searcher whose own
    settings say something else decides for itself which to believe.
    """

    def join_schedule(self, *, time_attr: str, max_t: float) -> None:
        """A trial was added to a schedule by this resource, complete at `max_t`."""

    def on_trial_stopped(self, trial_id: str, reason: str) -> None:
        """The trial will be stopped before `max_t`: its values so far are not final ones."""

    def on_trial_invalid(self, trial_id: str, reason: str) -> None:
        """The trial will be stopped because of a report that cannot be used: it has failed."""


@runtime_checkable
class RecordKeeper(Protocol):
    """A searcher that knows what was reported before this process began."""

    def reports(self) -> Iterable[tuple[str, float, Mapping[str, float]]]:
        """Every report of trials at full fidelity, `(trial_id, t, metrics)`, oldest first."""


class LateEnd(Protocol):
    """How a trial ended after Ray had last saved it."""

    @property
    def failed(self) -> bool:
        """Whether it had failed."""

    @property
    def report(self) -> Mapping[str, float]:
        """What is known of its last report."""


@runtime_checkable
class ProgressKeeper(Protocol):
    """A searcher that knows how far trials had come when their driver died."""

    def last_checkpoint(self, trial_id: str) -> Mapping[str, Any] | None:
        """Of the report that a trial's last checkpoint came with, what Ray keeps of progress.

        ``checkpoint_dir_name``, ``training_iteration`` and so on; None if there is none.
        """

    def end_again(self, trial_id: str) -> LateEnd | None:
        """How a trial had ended that Ray is about to run again; None if it had not. Asked once."""

    def end_unknown(self, known: Container[str]) -> None:
        """These are Ray's trials: others that its searcher takes for live were lost to it."""


@runtime_checkable
class RetryListener(Protocol):
    """A searcher that notes which trials went on after an error that was not theirs."""

    def on_trial_retried(self, what: str, trial_id: str, count: int) -> None:
        """It has happened to the trial so often by now.

        What it can be is said by :func:`raytuner.controller.retries.take_retry`.
        """


@runtime_checkable
class GoalKeeper(Protocol):
    """A searcher that knows what the search is after, which may be more than one metric."""

    @property
    def goal(self) -> Goal:
        """Objectives and outcome constraints."""


@runtime_checkable
class FidelityKeeper(Protocol):
    """A searcher whose trials may have less of the real thing than others."""

    def is_full(self, trial_id: str) -> bool:
        """Whether the trial is at full fidelity."""


@runtime_checkable
class CurveKeeper(Protocol):
    """A searcher whose record a model of learning curves can be fitted to."""

    def curves_with(
        self, trial_id: str, t: float, metrics: Mapping[str, float]
    ) -> tuple[Space, Snapshot]:
        """The search space and the record, this report in it though Ray has yet to hand it on."""

    def curves(self) -> tuple[Space, Snapshot]:
        """The search space and the record as they are."""


@runtime_checkable
class PauseListener(Protocol):
    """A searcher that hears of pauses; the names are those of Ray's searchers for BOHB."""

    def on_pause(self, trial_id: str) -> None:
        """The trial will be paused, after the report that the searcher is given next."""

    def on_unpause(self, trial_id: str) -> None:
        """The paused trial will go on as soon as there is a slot."""


def innermost_searcher(tune_controller: Any) -> Any:
    """The searcher itself, out of Ray's wrappers (`SearchGenerator`, `ConcurrencyLimiter`).

    Args:
        tune_controller: Ray's controller as a scheduler's hook gets it, wrapped or bare.
    """
    searcher = getattr(tune_controller, "search_alg", None)
    while (inner := getattr(searcher, "searcher", None)) is not None:
        searcher = inner
    return searcher


def find_partner(tune_controller: Any) -> SearchPartner | None:
    """The searcher beside this scheduler, if it is one that listens.

    Args:
        tune_controller: See `innermost_searcher`.

    Returns:
        The innermost searcher, or None if it lacks one of the methods of `SearchPartner`.
    """
    searcher = innermost_searcher(tune_controller)
    return searcher if isinstance(searcher, SearchPartner) else None
