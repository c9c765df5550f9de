"""The far side of background proposals: a proposer beside a copy of the record."""

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
    """What a proposer needs beside the record.

    Attributes:
        space: The search space.
        goal: What the search is after.
        make_proposer: Makes the proposer for a space and a seed.
        seed: Its seed.
        make_design: Makes what proposes where there is no proposal of the proposer's.
    """

    space: Space
    goal: Goal
    make_proposer: MakeProposer
    seed: int | None
    make_design: Callable[[Space, int | None], SobolProposer] = SobolProposer

    def proposer(self, state: dict[str, Any] | None) -> Proposer:
        """A new proposer, which goes on from ``state`` if there is one.

        Raises:
            HistoryError: The state is not one of a proposer of this kind.
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
    """What has happened, and how many proposals are wanted.

    Attributes:
        since: The version of the record that the mirror must be at.
        version: The version that the changes lead to.
        changes: What has happened in between.
        max_t: A trial's full resource, if known.
        left: How many more trials are to be proposed, if known.
        promised: Configurations (as ``Space.dump`` gives them) that are about to be handed out.
        n: How many proposals; 0 to be told only.
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
    """What came of a request.

    Attributes:
        proposals: Configurations, as ``Space.dump`` gives them, each with who proposed it.
        state: What the next proposals depend on beside the record.
    """

    proposals: tuple[tuple[dict[str, Any], Origin], ...]
    state: dict[str, Any]


class Mirror:
    """Answers requests, one after another; each carries only what has happened since the last.

    Args:
        setup: What the proposer needs.
        state: What an earlier mirror's last reply said; None begins anew.
    """

    def __init__(self, setup: Setup, state: dict[str, Any] | None = None) -> None:
        self._proposer = setup.proposer(state)
        self._record = History(setup.space, goal=setup.goal)
        self._version = 0

    def answer(self, request: Request) -> Reply:
        """Follow the record, and propose.

        Raises:
            ValueError: Something that happened in between was never told.
        """
        if request.since != self._version:
            raise ValueError(f"at version {self._version}, told what came after {request.since}")
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
    """The snapshot with ``(k, d)`` more configurations that are pending."""
    return replace(
        snapshot,
        trial_ids=snapshot.trial_ids + tuple(f"promised_{i}" for i in range(len(points))),
        states=snapshot.states + (TrialState.PENDING,) * len(points),
        points=np.vstack([snapshot.points, points]),
        left=None if snapshot.left is None else max(snapshot.left - len(points), 0),
    )
