"""The configurations a search has used up."""

from __future__ import annotations

import itertools

import numpy as np

from raytuner.history.snapshot import FloatArray
from raytuner.space import Space

# Up to this many configurations a finite space is listed to find those that are left; in a larger
# one a random draw finds an unused one long before.
_LISTABLE = 20_000


class Seen:
    """A set of encoded configurations, compared after snapping to what the space can represent.

    Args:
        space: The search space, d columns.
        points: ``(k, d)`` encoded configurations that are used up.
    """

    def __init__(self, space: Space, points: FloatArray) -> None:
        self._space = space
        self._keys = set(self._key(points))

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def exhausted(self) -> bool:
        """Whether the space has no other configuration left."""
        return len(self._keys) >= self._space.cardinality

    def add(self, points: FloatArray) -> None:
        """Use up ``(n, d)`` more."""
        self._keys.update(self._key(points))

    def new(self, points: FloatArray) -> np.ndarray:
        """``(n,)`` mask of the points that are not used up; repeats among them count once."""
        fresh = np.zeros(len(points), dtype=bool)
        here: set[bytes] = set()
        for row, key in enumerate(self._key(points)):
            fresh[row] = key not in self._keys and key not in here
            here.add(key)
        return fresh

    def unused(self, rng: np.random.Generator, n: int) -> FloatArray:
        """Up to ``n`` random points that are not used up; none if the space is exhausted."""
        if self.exhausted:
            return np.empty((0, self._space.dim))
        if self._space.cardinality <= _LISTABLE:
            levels = [column.domain.level_units() for column in self._space.columns]
            every = np.array(list(itertools.product(*levels)))
            left = every[self.new(every)]
            return left[rng.permutation(len(left))[:n]]
        draws = self._space.snap(rng.random((4 * n + 64, self._space.dim)))
        return draws[self.new(draws)][:n]

    def _key(self, points: FloatArray) -> list[bytes]:
        # Rounding folds together what differs by an encoding's last bits; + 0.0 turns -0.0 to 0.0.
        snapped = np.round(self._space.snap(np.asarray(points, dtype=np.float64)), 12) + 0.0
        return [row.tobytes() for row in snapped]
