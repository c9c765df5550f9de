"""Compute proposals from a copy of the record, as the background process does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raytuner.bayes import Proposer, SobolProposer
from raytuner.errors import HistoryError, RaytunerError
from raytuner.history import Change, Goal, History, Origin, Snapshot, TrialState
from raytuner.space import Space

MakeProposer = Callable[[Space, int | None], Proposer]


@dataclass(frozen=True)
class Setup:
    """The parts that a proposer is made of. It can be pickled.

    Attributes:
        space: The search space.
        goal: What the search optimises.
        make_proposer: Makes the proposer from a space and a seed.
        seed: Seed of the proposer.
        make_design: Makes the proposer of quasi-random configurations, for when no proposal of
            the other is ready.
    """

    space: Space
    goal: Goal
    make_proposer: MakeProposer
    seed: int | None
    make_design: Callable[[Space, int | None], SobolProposer] = SobolProposer

    def proposer(self, state: dict[str, Any] | None) -> Proposer:
        """Return a new proposer, which continues from `state` if there is one.

        Raises:
            HistoryError: The state belongs to another kind of proposer.
        """
        proposer = self.make_proposer(self.space, self.seed)
        try:
            if state is not None:
                proposer.load_state_dict(state)
        except RaytunerError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise HistoryError(
                f"the proposer's state in the record cannot be read ({error!r}); it must be what"
                " state_dict() gave"
            ) from error
        return proposer


@dataclass(frozen=True)
class Request:
    """Changes of the record, and the number of proposals that are wanted.

    Attributes:
        since: The version of the record that the mirror has.
        version: The version after the changes.
        changes: The changes.
        max_t: A trial's full resource, if known.
        promised: Configurations (from `Space.dump`) that will be handed out before the reply.
        n: The number of proposals; 0 only applies the changes.
        left: The number of trials that are still to be proposed, if known.
    """

    since: int
    version: int
    changes: tuple[Change, ...]
    max_t: float | None
    promised: tuple[dict[str, Any], ...]
    n: int
    left: int | None = None


@dataclass(frozen=True)
class Reply:
    """The answer to a request.

    Attributes:
        proposals: Configurations (from `Space.dump`), each with its origin.
        state: The proposer's `state_dict`.
    """

    proposals: tuple[tuple[dict[str, Any], Origin], ...]
    state: dict[str, Any]


class Mirror:
    """Mirrors the record from the changes in each request, and computes proposals.

    Args:
        setup: What the proposer is made of.
        state: The proposer's state in the last reply of an earlier mirror. None begins anew.
    """

    def __init__(self, setup: Setup, state: dict[str, Any] | None = None) -> None:
        self._proposer = setup.proposer(state)
        self._record = History(setup.space, goal=setup.goal)
        self._version = 0

    def answer(self, request: Request) -> Reply:
        """Apply the changes, and propose.

        Raises:
            ValueError: Earlier changes are missing.
        """
        if request.since != self._version:
            raise ValueError(
                f"at version {self._version}, received the changes since {request.since}"
            )
        for change in request.changes:
            self._record.apply(change)
        self._version = request.version
        if self._record.max_t != request.max_t:
            self._record.max_t = request.max_t
        self._record.left = request.left
        space, proposals = self._record.space, []
        if request.n:
            promised = [space.load(config) for config in request.promised]
            points = space.encode(promised) if promised else np.empty((0, space.dim))
            self._proposer.tell(_with_pending(self._record.snapshot(), points))
            proposals = self._proposer.ask(request.n)
        return Reply(
            tuple((space.dump(proposal.config), proposal.origin) for proposal in proposals),
            self._proposer.state_dict(),
        )


def _with_pending(snapshot: Snapshot, points: np.ndarray) -> Snapshot:
    """Return the snapshot with `(k, d)` more pending configurations."""
    return replace(
        snapshot,
        trial_ids=snapshot.trial_ids + tuple(f"promised_{i}" for i in range(len(points))),
        states=snapshot.states + (TrialState.PENDING,) * len(points),
        points=np.vstack([snapshot.points, points]),
        left=None if snapshot.left is None else max(snapshot.left - len(points), 0),
    )
