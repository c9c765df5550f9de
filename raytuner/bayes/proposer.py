"""The interface of proposers, and the base class of those without a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from raytuner.bayes.exclusion import ExclusionList
from raytuner.history import Origin, Snapshot
from raytuner.history.snapshot import FloatArray
from raytuner.space import Config, Space


@dataclass(frozen=True)
class Proposal:
    """A configuration to try, and who proposed it."""

    config: Config
    origin: Origin


class Proposer(Protocol):
    """Proposes configurations, given the record of a search.

    A proposer holds no observations: each `tell` hands it the whole record, in which trials without
    a final value are pending. What it was asked for since the last `tell` is pending too, so
    `ask(2)` and two calls of `ask(1)` both give two different configurations.

    The same seed, snapshots and calls give the same proposals, also if the state was saved and
    loaded into a new proposer in between.
    """

    def tell(self, snapshot: Snapshot) -> None:
        """Learn from the record. Fast: models are fitted in `ask`."""

    def ask(self, n: int) -> list[Proposal]:
        """Propose `n` configurations to evaluate at the same time.

        None of them is in the record or was asked for already, unless the space has no others.

        Args:
            n: How many, at least 1.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what the next proposals depend on besides the record, as JSON-able values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""


class PointwiseProposer(ABC):
    """Proposes one point after another without a model; all depends on the seed and the record.

    Args:
        space: The search space, d columns.
        seed: Seed of the points; None draws one.

    Attributes:
        seed: A number derived from `seed`, or a random one if that is None.
        excluded: The configurations that must not be proposed.
    """

    origin: Origin

    def __init__(self, space: Space, seed: int | None = None) -> None:
        self._space = space
        self.seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        self.excluded = ExclusionList(space, np.empty((0, space.dim)))
        self._place = 0  # of the next point

    def tell(self, snapshot: Snapshot) -> None:
        """Exclude the configurations of the record."""
        self.excluded.reset(snapshot.points)
        self._place = len(snapshot.points)

    def ask(self, n: int) -> list[Proposal]:
        """Propose the next `n` points."""
        points = np.vstack([self._draw() for _ in range(n)])
        return proposals(self._space, points, [self.origin] * n)

    def state_dict(self) -> dict[str, Any]:
        """Return the seed."""
        return {"seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.seed = int(state["seed"])

    @abstractmethod
    def _draw(self) -> FloatArray:
        """Return the next point, `(1, d)`, and exclude it."""


def proposals(space: Space, points: FloatArray, origins: Sequence[Origin]) -> list[Proposal]:
    """Return `(n, d)` points as proposals."""
    return list(map(Proposal, space.decode(points), origins))
