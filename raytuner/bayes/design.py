"""Quasi-random proposals, and what is tried before there is a model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.stats import qmc

from raytuner.bayes.belief import Beliefs
from raytuner.bayes.proposer import PointwiseProposer, Proposal, proposals
from raytuner.history import Origin
from raytuner.history.snapshot import FloatArray
from raytuner.space import Space

# Points in a row that may be used before a random unused one is drawn instead.
_MISSES = 32
_AT_ONCE = 64  # points of the sequence that are computed together
_LONGEST = 20_000  # under constraints, the sequence is followed this far
# Points after which beliefs play no part: whoever still asks has found nothing, or has many slots.
_BELIEVED = 32


class SobolProposer(PointwiseProposer):
    """Points of a scrambled Sobol sequence: random search that leaves no holes.

    The unit cube's coordinates are the cumulative distributions of the hyperparameters, so a
    Sobol point has the same distribution as a random draw from the space. Where hyperparameters
    are fidelities, the first point is at full fidelity, so that there is a result whatever happens.

    Source: I. M. Sobol (1967), "On the distribution of points in a cube and the approximate
    evaluation of integrals"; A. B. Owen (1998), "Scrambling Sobol' and Niederreiter-Xing points".

    Args:
        space: The search space, d columns.
        seed: Seed of the scrambling; None draws one.
        first: `(k, d)` encoded configurations to try first, in this order; NaN leaves a coordinate
            to the sequence.
        beliefs: Where the optimum is believed to be. The first point of the sequence moves there,
            and every other one of the next few is drawn from the beliefs.
    """

    origin = Origin.SOBOL

    def __init__(
        self,
        space: Space,
        seed: int | None = None,
        *,
        first: FloatArray | None = None,
        beliefs: Beliefs | None = None,
    ) -> None:
        super().__init__(space, seed)
        self._first = np.empty((0, space.dim)) if first is None else first
        self._beliefs = beliefs
        self._engine: qmc.Sobol | None = None
        self._sequence = np.empty((0, space.dim))  # its first points that satisfy the constraints

    def ask(self, n: int) -> list[Proposal]:
        """Propose the next `n` unused points."""
        return proposals(self._space, *self.draw(n))

    def draw(self, n: int, *, with_first: bool = True) -> tuple[FloatArray, list[Origin]]:
        """Return the next `n` unused points, `(n, d)`, and the origin of each."""
        first = np.empty((0, self._space.dim))
        if with_first and len(self._first):
            first = self._completed_first()
            first = first[self.excluded.new(first)][:n]
            self.excluded.add(first)
        more = [self._draw() for _ in range(n - len(first))]
        origins = [Origin.EARLIER] * len(first) + [self.origin] * len(more)
        return np.vstack([first, *more]), origins

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
        if place == 0:
            full = self._space.in_full(point)
            point = full if self._space.allowed(full).all() else point
        if self._beliefs is None or place % 2 or place >= _BELIEVED or not len(point):
            return point
        believed = self._beliefs.draw(point) if place else self._beliefs.at_mode(point)
        return self._space.snap(believed)

    def _completed_first(self) -> FloatArray:
        rest = np.full_like(self._first, 0.5)
        for place in range(len(rest)):
            for point in self._at(place):
                rest[place] = point
        return self._space.snap(np.where(np.isnan(self._first), rest, self._first))
