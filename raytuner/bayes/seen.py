"""The configurations a search has used up, and those that it may yet try."""

from __future__ import annotations

import numpy as np

from raytuner.history.snapshot import FloatArray
from raytuner.space import Space

# Up to this many configurations a finite space is listed to find those that are left; in a larger
# one a random draw finds an unused one long before.
_LISTABLE = 20_000
# Under constraints that little keeps, so many are drawn, for less than a tenth of a second.
_DRAWS = 2_000


class Seen:
    """A set of encoded configurations, compared after snapping to what the space can represent.

    Args:
        space: The search space, d columns.
        points: ``(k, d)`` encoded configurations that are used up.
    """

    def __init__(self, space: Space, points: FloatArray) -> None:
        self._space = space
        self._points = points
        self._keys = set(self._key(points))
        self._added: set[bytes] = set()  # and not in the above

    def __len__(self) -> int:
        return len(self._keys) + len(self._added)

    @property
    def exhausted(self) -> bool:
        """Whether the space has no other configuration left."""
        return len(self) >= self._space.cardinality

    def add(self, points: FloatArray) -> None:
        """Use up ``(n, d)`` more."""
        self._added.update(key for key in self._key(points) if key not in self._keys)

    def become(self, points: FloatArray) -> None:
        """The points that are used up are these from now on, and no other.

        Where they are those from before and more, only these take time.
        """
        before = len(self._points)
        if len(points) < before or not np.array_equal(points[:before], self._points):
            self._keys, before = set(), 0
        self._keys.update(self._key(points[before:]))
        self._points = points
        self._added.clear()

    def new(self, points: FloatArray) -> np.ndarray:
        """``(n,)`` mask of the points that may be tried; repeats among them count once.

        They keep the space's constraints, and are not used up.
        """
        fresh = np.zeros(len(points), dtype=bool)
        here: set[bytes] = set()
        for row, key in enumerate(self._key(points)):
            fresh[row] = not (key in self._keys or key in self._added or key in here)
            here.add(key)
        if self._space.constraints:
            fresh[fresh] = self._space.allowed(np.asarray(points)[fresh])
        return fresh

    def unused(self, rng: np.random.Generator, n: int) -> FloatArray:
        """Up to ``n`` random points that may be tried; none if there are no others to be found."""
        if self.exhausted:
            return np.empty((0, self._space.dim))
        if self._space.cardinality <= _LISTABLE:
            every = self._space.listed()
            left = every[self.new(every)]
            return left[rng.permutation(len(left))[:n]]
        draws = self._space.snap(self._space.draw(rng, 4 * n + 64, most=_DRAWS))
        return draws[self.new(draws)][:n]

    def use_random(self, rng: np.random.Generator) -> FloatArray:
        """A random point that may be tried, ``(1, d)``, now used up; any, if none is found."""
        point = self.unused(rng, 1)
        if not len(point):
            point = self._space.snap(self._space.draw(rng, 1))
        self.add(point)
        return point

    def _key(self, points: FloatArray) -> list[bytes]:
        # Rounding folds together what differs by an encoding's last bits; + 0.0 turns -0.0 to 0.0.
        snapped = np.round(self._space.snap(np.asarray(points, dtype=np.float64)), 12) + 0.0
        return [row.tobytes() for row in snapped]
