"""Where a searcher gets its proposals from."""

from __future__ import annotations

from typing import Any, Protocol

from raytuner.bayes.exclusion import ExclusionList
from raytuner.bayes.proposer import Proposal
from raytuner.history import History
from raytuner.search.mirror import Setup


class Proposals(Protocol):
    """A source of proposals. The record is the searcher's, and handed in with each call."""

    def turn(self, history: History, *, free: int, slots: int | None) -> None:
        """Something happened, or time passed: a chance to do what can be done in no time.

        Args:
            history: The record.
            free: Slots that a trial will be asked for at once.
            slots: Slots there are; None if unknown.
        """

    def take(
        self, history: History, used: ExclusionList, *, free: int, slots: int | None, alone: bool
    ) -> Proposal | None:
        """A configuration that is not used, to be handed out now.

        Args:
            history: The record.
            used: What is used up; the space has others.
            free: How many slots are free now; 0: the trial is for the next slot that falls free.
            slots: How many slots there are; None if unknown.
            alone: Whether nobody asks again after None. Then the method waits itself where a better
                proposal is worth it. Otherwise it returns None there, to be asked again.
        """

    def state_dict(self) -> dict[str, Any] | None:
        """What the next proposals depend on beside the record; None if that is nothing."""

    def close(self) -> None:
        """Let go of all but memory. Asked again, it begins again."""


class InsideSuggest:
    """Proposals that are computed when they are asked for.

    Args:
        setup: What the proposer needs.
        state: What it goes on from; None begins anew.
    """

    def __init__(self, setup: Setup, state: dict[str, Any] | None) -> None:
        self._proposer = setup.proposer(state)

    def turn(self, history: History, *, free: int, slots: int | None) -> None:
        """Nothing happens in between."""

    def take(
        self, history: History, used: ExclusionList, *, free: int, slots: int | None, alone: bool
    ) -> Proposal:
        """The best configuration for all that is known now."""
        self._proposer.tell(history.snapshot())
        (proposal,) = self._proposer.ask(1)
        return proposal

    def state_dict(self) -> dict[str, Any]:
        """The proposer's."""
        return self._proposer.state_dict()

    def close(self) -> None:
        """There is nothing to let go of."""
