"""Sources of proposals."""

from __future__ import annotations

from typing import Any, Protocol

from raytuner.bayes.exclusion import ExclusionList
from raytuner.bayes.proposer import Proposal
from raytuner.history import History
from raytuner.search.mirror import Setup


class Proposals(Protocol):
    """A source of proposals. It reads the searcher's record in each call."""

    def turn(self, history: History, *, free: int, slots: int | None) -> None:
        """Do what takes no time, since something happened or time passed.

        Args:
            history: The record.
            free: The number of slots that Ray will ask trials for at once.
            slots: The number of slots; None if unknown.
        """

    def take(
        self, history: History, used: ExclusionList, *, free: int, slots: int | None, alone: bool
    ) -> Proposal | None:
        """Return a proposal to hand out now; None if a better one is worth waiting for.

        Args:
            history: The record.
            used: Configurations that are used. The space has others.
            free: The number of free slots. 0: the trial is for the next slot that becomes free.
            slots: The number of slots; None if unknown.
            alone: Whether nobody asks again after None. The method then waits itself.
        """

    def state_dict(self) -> dict[str, Any] | None:
        """Return what the next proposals depend on besides the record; None if nothing."""

    def close(self) -> None:
        """Release processes and other resources. The next call begins again."""


class InsideSuggest:
    """Computes each proposal when it is asked for.

    Args:
        setup: What the proposer is made of.
        state: The proposer's state. None begins anew.
    """

    def __init__(self, setup: Setup, state: dict[str, Any] | None) -> None:
        self._proposer = setup.proposer(state)

    def turn(self, history: History, *, free: int, slots: int | None) -> None:
        """Do nothing."""

    def take(
        self, history: History, used: ExclusionList, *, free: int, slots: int | None, alone: bool
    ) -> Proposal:
        """Return the best configuration for the record as it is now."""
        self._proposer.tell(history.snapshot())
        (proposal,) = self._proposer.ask(1)
        return proposal

    def state_dict(self) -> dict[str, Any]:
        """Return the proposer's state."""
        return self._proposer.state_dict()

    def close(self) -> None:
        """Do nothing."""
