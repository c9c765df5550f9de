"""The searcher beside a scheduler in the same Tuner."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Protocol, runtime_checkable

from raytuner.controller.report import Report
from raytuner.controller.search_layers import innermost_searcher
from raytuner.history import History


@runtime_checkable
class SearchPartner(Protocol):
    """A searcher that shares its table of trials with the scheduler.

    The scheduler calls `record` for each report before it decides, and enters pauses, resumed
    trials, stops and failures into the table itself. The searcher's own hooks, which Ray calls
    afterwards, find that done. A searcher is known by these members alone, so this package need not
    import it.
    """

    @property
    def history(self) -> History:
        """The table of trials."""

    def join_schedule(self, *, time_attr: str, max_t: float) -> None:
        """A scheduler judges trials by `time_attr` and ends them at `max_t`."""

    def record(self, trial_id: str, result: Mapping[str, Any]) -> Report:
        """Enter a report into the table; see `raytuner.controller.recorder.Recorder.record`."""

    def had_ended(self, trial_id: str) -> bool:
        """Return whether a trial had ended that Ray, killed before it saved that, runs again."""

    def remove_lost(self, known: Container[str]) -> None:
        """End the live trials that Ray does not know; `known` are the ids of Ray's trials."""


def find_partner(tune_controller: Any) -> SearchPartner | None:
    """Return the innermost searcher if it is a `SearchPartner`."""
    searcher = innermost_searcher(getattr(tune_controller, "search_alg", None))
    return searcher if isinstance(searcher, SearchPartner) else None
