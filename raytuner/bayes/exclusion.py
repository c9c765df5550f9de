"""The configurations that a search must not propose again."""

from __future__ import annotations

import copy

import numpy as np

from raytuner.history.snapshot import BoolArray, FloatArray
from raytuner.space import Space

# A finite space of up to this many configurations is listed to find the unused ones. In a larger
# space a random draw finds one long before.
_LISTABLE = 20_000
_DRAWS = 2_000  # at most, where few draws satisfy the constraints: less than 0.1 s


class ExclusionList:
    """A set of encoded configurations, compared after snapping to what the space can represent.

    Args:
        space: The search space, d columns.
        points: `(k, d)` encoded configurations that are used.
    """

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
        """Exclude `(n, d)` more points."""
        self._added |= set(self._key(points)) - self._keys

    def with_added(self, points: FloatArray) -> ExclusionList:
        """Return a list of its own that also excludes `(n, d)` more points."""
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
        """`(n,)` mask of unused points that satisfy the constraints; the first of equal points."""
        fresh = np.zeros(len(points), dtype=bool)
        here: set[bytes] = set()
        for row, key in enumerate(self._key(points)):
            fresh[row] = not (key in self._keys or key in self._added or key in here)
            here.add(key)
        if self._space.constraints:
            fresh[fresh] = self._space.allowed(np.asarray(points)[fresh])
        return fresh

    def unused(self, rng: np.random.Generator, n: int) -> FloatArray:
        """Draw up to `n` random unused points; none if no other is found."""
        if self.exhausted:
            return np.empty((0, self._space.dim))
        if self._space.cardinality <= _LISTABLE:
            every = self._space.listed()
            left = every[self.new(every)]
            return left[rng.permutation(len(left))[:n]]
        draws = self._space.snap(self._space.draw(rng, 4 * n + 64, most=_DRAWS))
        return draws[self.new(draws)][:n]

    def use_random(self, rng: np.random.Generator) -> FloatArray:
        """Draw and exclude an unused point, `(1, d)`; a used one if no other is found."""
        point = self.unused(rng, 1)
        if not len(point):
            point = self._space.snap(self._space.draw(rng, 1))
        self.add(point)
        return point

    def _key(self, points: FloatArray) -> list[bytes]:
        # Rounding removes differences in an encoding's last bits; + 0.0 turns -0.0 into 0.0.
        snapped = np.round(self._space.snap(np.asarray(points, dtype=np.float64)), 12) + 0.0
        return [row.tobytes() for row in snapped]
