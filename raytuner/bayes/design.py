"""What is tried before there is a model."""

from __future__ import annotations

import numpy as np

from raytuner.bayes.belief import Beliefs
from raytuner.bayes.proposer import Proposal
from raytuner.bayes.sobol import SobolProposer
from raytuner.history import Origin
from raytuner.history.snapshot import FloatArray
from raytuner.space import Space

# Points of the sequence after which it is quasi-random alone: whoever still asks for more has found
# nothing, or has many slots.
_BELIEVED = 32


class Design(SobolProposer):
    """Given points first, then quasi-random ones.

    Args:
        space: The search space, d columns.
        seed: As for :class:`SobolProposer`.
        first: ``(k, d)`` encoded configurations, the first of them to be tried first; NaN leaves a
            coordinate to the sequence.
        beliefs: Where the optimum is believed to be. The first point of the sequence moves there,
            and of the first few every other one is drawn from the beliefs.
    """

    def __init__(
        self,
        space: Space,
        seed: int | None = None,
        first: FloatArray | None = None,
        beliefs: Beliefs | None = None,
    ) -> None:
        super().__init__(space, seed)
        self._beliefs = beliefs
        self._given = np.empty((0, space.dim)) if first is None else first

    def ask(self, n: int) -> list[Proposal]:
        """The next ``n`` that are not used up."""
        points, origins = self.draw(n)
        configs = self._space.decode(points)
        return [Proposal(c, origin) for c, origin in zip(configs, origins, strict=True)]

    def draw(self, n: int, *, with_first: bool = True) -> tuple[FloatArray, list[Origin]]:
        """The next ``n`` as an ``(n, d)`` array in the unit cube, and where each comes from."""
        first = np.empty((0, self._space.dim))
        if with_first and len(self._given):
            given = self._completed()
            first = given[self._seen.new(given)][:n]
            self._seen.add(first)
        more = self.points(n - len(first))
        origins = [Origin.EARLIER] * len(first) + [Origin.SOBOL] * len(more)
        return np.vstack([first, more]), origins

    def _at(self, place: int) -> FloatArray:
        point = super()._at(place)
        if self._beliefs is None or place % 2 or place >= _BELIEVED or not len(point):
            return point
        believed = self._beliefs.draw(point) if place else self._beliefs.at_mode(point)
        return self._space.snap(believed)

    def _completed(self) -> FloatArray:
        rest = np.full_like(self._given, 0.5)
        for place, row in enumerate(rest):
            for point in self._at(place):
                row[:] = point
        return self._space.snap(np.where(np.isnan(self._given), rest, self._given))
