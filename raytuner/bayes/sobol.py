"""Quasi-random proposals."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy.stats import qmc

from raytuner.bayes.proposer import Proposal
from raytuner.bayes.seen import Seen
from raytuner.history import Origin, Snapshot
from raytuner.space import Space

# Points of the sequence in a row that may not be tried, before others are looked for.
_MISSES = 32
# Under constraints, the sequence is followed so far, so many points at a time.
_LONGEST, _AT_ONCE = 20_000, 64


class SobolProposer:
    """Points of a scrambled Sobol sequence: random search that leaves no holes.

    The unit cube's coordinates are the cumulative distributions of the hyperparameters, so a
    Sobol point follows the same law as a random draw from the space. Where hyperparameters are
    fidelities, the first point is at full fidelity: whatever comes, there is an answer.

    Source: I. M. Sobol (1967), "On the distribution of points in a cube and the approximate
    evaluation of integrals"; A. B. Owen (1998), "Scrambling Sobol' and Niederreiter-Xing points".

    Args:
        space: The search space.
        seed: Seed of the scrambling; None draws one.

    Attributes:
        seed: A number that follows from ``seed``, or from chance if that is None.
    """

    def __init__(self, space: Space, seed: int | None = None) -> None:
        self._space = space
        self.seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        self._seen = Seen(space, np.empty((0, space.dim)))
        self._next = 0
        self._sequence: _Sequence | None = None

    def tell(self, snapshot: Snapshot) -> None:
        """Note which configurations are used up."""
        self._seen.become(snapshot.points)
        self._next = len(snapshot.trial_ids)

    def ask(self, n: int) -> list[Proposal]:
        """The next ``n`` points of the sequence that are not used up."""
        return [Proposal(c, Origin.SOBOL) for c in self._space.decode(self.points(n))]

    def points(self, n: int) -> np.ndarray:
        """The next ``n`` points as an ``(n, d)`` array in the unit cube."""
        return np.vstack([np.empty((0, self._space.dim)), *(self._new_point() for _ in range(n))])

    def _new_point(self) -> np.ndarray:
        """The next point that may be tried, ``(1, d)``; any, if there are no others."""
        for _ in range(1 if self._seen.exhausted else _MISSES):
            point = self._at(self._next)
            self._next += 1
            if self._seen.new(point)[:1].any():
                self._seen.add(point)
                return point
        # A space of which little is left, or allowed: go straight to that.
        return self._seen.use_random(np.random.default_rng([self.seed, self._next]))

    def _at(self, place: int) -> np.ndarray:
        """``(1, d)`` the point at a place; ``(0, d)`` if none is found there."""
        if self._sequence is None:
            self._sequence = _Sequence(self._space, self.seed)
        point = self._sequence(place)
        full = self._space.in_full(point)
        return full if place == 0 and self._space.allowed(full).all() else point

    def state_dict(self) -> dict[str, Any]:
        """The seed: the place in the sequence follows from the record."""
        return {"seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.seed = int(state["seed"])
        self._sequence = None


class _Sequence:
    """The points of a sequence that keep the space's constraints, each by its place among them.

    Args:
        space: The search space, d columns.
        seed: Seed of the scrambling.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._begin()
        self._kept = np.empty((0, space.dim))

    def __call__(self, place: int) -> np.ndarray:
        """``(1, d)`` the point at a place; ``(0, d)`` if it lies too far on to be found."""
        if not self._space.constraints:
            if self._engine.num_generated > place:
                self._begin()
            if place > self._engine.num_generated:
                self._engine.fast_forward(place - self._engine.num_generated)
            return self._space.snap(self._draw(1))
        while len(self._kept) <= place and self._engine.num_generated < _LONGEST:
            points = self._space.snap(self._draw(_AT_ONCE))
            self._kept = np.vstack([self._kept, points[self._space.allowed(points)]])
        return self._kept[place : place + 1]

    def _begin(self) -> None:
        rng = np.random.default_rng(self._seed)
        self._engine = qmc.Sobol(self._space.dim, scramble=True, rng=rng)

    def _draw(self, n: int) -> np.ndarray:
        with warnings.catch_warnings():
            # A few points at a time are no power of two; balance holds over the whole sequence.
            warnings.simplefilter("ignore", UserWarning)
            return np.asarray(self._engine.random(n))
