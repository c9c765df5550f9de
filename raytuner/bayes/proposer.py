"""The interface of proposers, the configurations to exclude, and proposers without a model."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy.stats import qmc

from raytuner.history import Origin, Snapshot
from raytuner.history.snapshot import BoolArray, FloatArray
from raytuner.space import Config, Space

if TYPE_CHECKING:
    from raytuner.bayes.belief import Beliefs

# A finite space of up to this many configurations is listed to find the unused ones. In a larger
# space a random draw finds one long before.
_LISTABLE = 20_000
_DRAWS = 2_000  # at most, where few draws satisfy the constraints: less than 0.1 s
# Points in a row that may be used before a random unused one is drawn instead.
_MISSES = 32
_AT_ONCE = 64  # points of the sequence that are computed together
_LONGEST = 20_000  # under constraints, the sequence is followed this far
_CHEAP = 0.5  # points of the sequence stay in this share of a fidelity's range, at the cheap end
# Points after which beliefs play no part: whoever still asks has found nothing, or has many slots.
_BELIEVED = 32


@dataclass(frozen=True)
class Proposal:
    """A configuration to try, and its origin."""

    config: Config
    origin: Origin


class Proposer(Protocol):
    """Proposes configurations, given the record of a search.

    Each `tell` passes the whole record, in which trials without a final value are pending.
    Proposals since the last `tell` are pending too. The same seed, snapshots and calls give the
    same proposals, even if the state is loaded into a new proposer in between.
    """

    def tell(self, snapshot: Snapshot) -> None:
        """Learn from the record. Fast: models are fitted in `ask`."""

    def ask(self, n: int) -> list[Proposal]:
        """Propose `n >= 1` configurations to evaluate at the same time.

        None of them is in the record or was proposed before, unless the space has no others.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return the proposer's state besides the record, as values that JSON can hold."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""


class ExclusionList:
    """A set of encoded configurations, `k x d`-dim, compared after snapping to the space."""

    def __init__(self, space: Space, points: FloatArray) -> None:
        self._space = space
        self._points = points
        self._keys = set(self._key(points))
        self._added: set[bytes] = set()  # disjoint from `_keys`

    @property
    def exhausted(self) -> bool:
        """True if every configuration of the space is used."""
        return len(self._keys) + len(self._added) >= self._space.cardinality

    def add(self, points: FloatArray) -> None:
        """Exclude more points, `n x d`-dim."""
        self._added |= set(self._key(points)) - self._keys

    def with_added(self, points: FloatArray) -> ExclusionList:
        """Return a new list that also excludes more points, `n x d`-dim."""
        longer = copy.copy(self)
        longer._added = set(self._added)
        longer.add(points)
        return longer

    def reset(self, points: FloatArray) -> None:
        """Exclude exactly these points. Fast if they extend the points of the last reset."""
        before = len(self._points)
        if len(points) < before or not np.array_equal(points[:before], self._points):
            self._keys, before = set(), 0
        self._keys.update(self._key(points[before:]))
        self._points = points
        self._added = set()

    def new(self, points: FloatArray) -> BoolArray:
        """Return which points are unused and allowed, `n`-dim; only the first of equal points."""
        fresh = np.zeros(len(points), dtype=bool)
        here: set[bytes] = set()
        for row, key in enumerate(self._key(points)):
            fresh[row] = not (key in self._keys or key in self._added or key in here)
            here.add(key)
        if self._space.constraints:
            fresh[fresh] = self._space.allowed(np.asarray(points)[fresh])
        return fresh

    def unused(self, rng: np.random.Generator, n: int) -> FloatArray:
        """Draw up to `n` random unused points; none if no unused point is found."""
        if self.exhausted:
            return np.empty((0, self._space.dim))
        if self._space.cardinality <= _LISTABLE:
            every = self._space.listed()
            left = every[self.new(every)]
            return left[rng.permutation(len(left))[:n]]
        draws = self._space.snap(self._space.draw(rng, 4 * n + 64, most=_DRAWS))
        return draws[self.new(draws)][:n]

    def use_random(self, rng: np.random.Generator) -> FloatArray:
        """Draw and exclude an unused point, `1 x d`-dim; a used one if no other is found."""
        point = self.unused(rng, 1)
        if not len(point):
            point = self._space.snap(self._space.draw(rng, 1))
        self.add(point)
        return point

    def _key(self, points: FloatArray) -> list[bytes]:
        # Rounding removes differences in an encoding's last bits; + 0.0 turns -0.0 into 0.0.
        snapped = np.round(self._space.snap(np.asarray(points, dtype=np.float64)), 12) + 0.0
        return [row.tobytes() for row in snapped]


class PointwiseProposer(ABC):
    """Proposes one point after another without a model, from only the seed and the record.

    Args:
        space: The search space, d columns.
        seed: Seed of the points; None draws one.
    """

    origin: Origin

    def __init__(self, space: Space, seed: int | None = None) -> None:
        self._space = space
        self.seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        self.excluded = ExclusionList(space, np.empty((0, space.dim)))  # not to be proposed
        self._place = 0  # of the next point

    def tell(self, snapshot: Snapshot) -> None:
        """Exclude the configurations of the record."""
        self.excluded.reset(snapshot.points)
        self._place = len(snapshot.points)

    def ask(self, n: int) -> list[Proposal]:
        """Propose the next `n` points."""
        return proposals(self._space, *self.draw(n))

    def draw(self, n: int) -> tuple[FloatArray, list[Origin]]:
        """Return the next `n` points, `n x d`-dim, and the origin of each."""
        points = [self._draw() for _ in range(n)]
        return np.vstack([np.empty((0, self._space.dim)), *points]), [self.origin] * n

    def state_dict(self) -> dict[str, Any]:
        """Return the seed."""
        return {"seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.seed = int(state["seed"])

    @abstractmethod
    def _draw(self) -> FloatArray:
        """Return the next point, `1 x d`-dim, and exclude it."""


def proposals(space: Space, points: FloatArray, origins: Sequence[Origin]) -> list[Proposal]:
    """Return points, `n x d`-dim, as proposals."""
    return list(map(Proposal, space.decode(points), origins))


class RandomProposer(PointwiseProposer):
    """Proposes independent draws from the space's distribution, without repeats."""

    origin = Origin.RANDOM

    def _draw(self) -> FloatArray:
        rng = np.random.default_rng([self.seed, self._place])
        self._place += 1
        return self.excluded.use_random(rng)


class SobolProposer(PointwiseProposer):
    """Proposes points of a scrambled Sobol sequence, which cover the space evenly.

    A Sobol point has the same distribution as a random draw from the space. With fidelities, points
    are in the cheaper half of each, unless constraints forbid that: one full trial costs as much as
    many cheap ones.

    Source: I. M. Sobol (1967), "On the distribution of points in a cube and the approximate
    evaluation of integrals"; A. B. Owen (1998), "Scrambling Sobol' and Niederreiter-Xing points".

    Args:
        space: The search space, d columns.
        seed: Seed of the scrambling; None draws one.
        first: Returns encoded configurations to try first, `k x d`-dim; the sequence replaces NaN.
            It is called once, for the first point.
        beliefs: Priors of the optimum. The first point of the sequence moves to the most likely
            location, and every second of the next points is drawn from the priors.
    """

    origin = Origin.SOBOL

    def __init__(
        self,
        space: Space,
        seed: int | None = None,
        *,
        first: Callable[[], FloatArray] | None = None,
        beliefs: Beliefs | None = None,
    ) -> None:
        super().__init__(space, seed)
        self._make_first = first
        self._beliefs = beliefs
        self._engine: qmc.Sobol | None = None
        self._sequence = np.empty((0, space.dim))  # its first points that satisfy the constraints

    def draw(self, n: int, *, with_first: bool = True) -> tuple[FloatArray, list[Origin]]:
        """Return the next `n` unused points, `n x d`-dim, and the origin of each."""
        first = np.empty((0, self._space.dim))
        if with_first and len(self._first):
            rest = np.full_like(self._first, 0.5)
            for place in range(len(rest)):
                for point in self._at(place):
                    rest[place] = point
            first = self._space.snap(np.where(np.isnan(self._first), rest, self._first))
            first = first[self.excluded.new(first)][:n]
            self.excluded.add(first)
        more, origins = super().draw(n - len(first))
        return np.vstack([first, more]), [Origin.EARLIER] * len(first) + origins

    @cached_property
    def _first(self) -> FloatArray:
        return np.empty((0, self._space.dim)) if self._make_first is None else self._make_first()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        super().load_state_dict(state)
        self._engine = None

    def _draw(self) -> FloatArray:
        for _ in range(1 if self.excluded.exhausted else _MISSES):
            point = self._at(self._place)
            self._place += 1
            if self.excluded.new(point)[:1].any():
                self.excluded.add(point)
                return point
        # Little of the space is left or allowed.
        return self.excluded.use_random(np.random.default_rng([self.seed, self._place]))

    def _at(self, place: int) -> FloatArray:
        """`(1, d)` the point at a place of the sequence; `(0, d)` if none is found there."""
        if self._engine is None:
            rng = np.random.default_rng(self.seed)
            self._engine = qmc.Sobol(self._space.dim, scramble=True, rng=rng)
            self._sequence = self._sequence[:0]
        longest = _LONGEST if self._space.constraints else math.inf
        while len(self._sequence) <= place and self._engine.num_generated < longest:
            points = self._space.snap(np.asarray(self._engine.random(_AT_ONCE)))
            points = points[self._space.allowed(points)]
            self._sequence = np.vstack([self._sequence, points])
        point = self._sequence[place : place + 1]
        if self._space.fidelities:
            cheap = point.copy()
            cheap[:, self._space.fidelities] *= _CHEAP
            cheap = self._space.snap(cheap)
            point = cheap if self._space.allowed(cheap).all() else point
        if self._beliefs is None or place % 2 or place >= _BELIEVED or not len(point):
            return point
        believed = self._beliefs.draw(point) if place else self._beliefs.at_mode(point)
        return self._space.snap(believed)
