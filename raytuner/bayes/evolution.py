"""Proposals by an evolution strategy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from raytuner.bayes.proposer import PointwiseProposer
from raytuner.errors import SettingError
from raytuner.history import Origin, Snapshot, TrialState
from raytuner.history.snapshot import FloatArray
from raytuner.space import Space

if TYPE_CHECKING:
    from cmaes import CatCMAwM

_MOST_LEVELS = 200  # of an ordered hyperparameter; more levels make no difference
# The first generation's standard deviation: half of the way from the middle to an end.
_SIGMA = 3.0  # in units of a sixth of the library's own
_TRIES = 50  # draws for one unused proposal


class EvolutionProposer(PointwiseProposer):
    """CatCMA with margin: an evolution strategy for numbers, levels and categories.

    Proposals are drawn from a normal distribution over the numbers and levels, and from
    probabilities of the categories. Both move to the better half of each generation. Trials that
    have ended, in the order of their proposal, make up generations, so workers never wait for each
    other. In a generation, a trial that got further ranks before one that was stopped earlier, and
    failed trials rank last.

    Sources: the library cmaes; R. Hamano et al. (2025), "CatCMA with Margin: Stochastic
    Optimization for Continuous, Integer, and Categorical Variables", arXiv:2504.07884.

    Raises:
        SettingError: The library is not installed.
    """

    origin = Origin.EVOLUTION

    def __init__(self, space: Space, seed: int | None = None) -> None:
        try:
            from cmaes import CatCMAwM
        except ImportError as error:
            raise SettingError(
                "the strategy 'evolution' needs the library cmaes, which is not installed:"
                " pip install 'raytuner[evolution]'"
            ) from error
        super().__init__(space, seed)
        self._library = CatCMAwM
        self._x, self._z, self._c = list[int](), list[int](), list[int]()
        for j, column in enumerate(space.columns):
            n = column.n_levels or math.inf
            # The library takes what has two values only for categories.
            if column.kind == "categorical" or n == 2:
                self._c.append(j)
            else:
                (self._z if n <= _MOST_LEVELS else self._x).append(j)
        self._levels = {j: space.columns[j].domain.level_units() for j in self._z + self._c}
        self._snapshot: Snapshot | None = None
        self._optimiser: CatCMAwM | None = None

    def tell(self, snapshot: Snapshot) -> None:
        """Learn from the record. Fast: the generations are evolved in `ask`."""
        super().tell(snapshot)
        self._snapshot = snapshot
        self._optimiser = None

    def _draw(self) -> FloatArray:
        if self._optimiser is None:
            self._optimiser = self._evolved()
        seed = np.random.SeedSequence([self.seed, self._place])
        self._optimiser.reseed_rng(int(seed.generate_state(1)[0]))
        self._place += 1
        for _ in range(_TRIES):
            drawn = self._optimiser.ask()
            point = np.empty((1, self._space.dim))
            if self._x:
                point[0, self._x] = drawn.x
            if self._z:
                point[0, self._z] = drawn.z
            for row, j in enumerate(self._c):
                point[0, j] = self._levels[j][int(drawn.c[row].argmax())]
            point = self._space.snap(point)
            if self.excluded.new(point)[0]:
                self.excluded.add(point)
                return point
        return self.excluded.use_random(np.random.default_rng(seed))

    def _evolved(self) -> CatCMAwM:
        """The distribution after all generations that have ended."""
        optimiser = self._library(
            x_space=[[0.0, 1.0]] * len(self._x) or None,
            z_space=[self._levels[j].tolist() for j in self._z] or None,
            c_space=[len(self._levels[j]) for j in self._c] or None,
            sigma=_SIGMA,
            seed=self.seed,
        )
        if self._snapshot is None:
            return optimiser
        points, t, y = _ended(self._snapshot)
        size = optimiser.population_size
        for first in range(0, len(points) - size + 1, size):
            rows = slice(first, first + size)
            # Ranks instead of values, no two equal: the library scales its penalties by how far
            # values are apart. The earlier one of equals leads.
            ranks = np.argsort(np.lexsort((-y[rows], -t[rows]))).astype(float).tolist()
            solutions = map(self._solution, points[rows])
            optimiser.tell(list(zip(solutions, ranks, strict=True)))
        return optimiser

    def _solution(self, point: FloatArray) -> Any:
        """A configuration `(d,)` in the library's terms."""
        categories = None
        if self._c:
            categories = np.zeros((len(self._c), max(len(self._levels[j]) for j in self._c)))
            for row, j in enumerate(self._c):
                categories[row, np.abs(self._levels[j] - point[j]).argmin()] = 1.0
        x, z = point[self._x], point[self._z]
        return self._library.Solution(
            x if len(x) else None,
            z if len(z) else None,
            categories,
            np.concatenate([x, z]) if len(x) + len(z) else None,
        )


def _ended(snapshot: Snapshot) -> tuple[FloatArray, FloatArray, FloatArray]:
    """`(k, d)` configurations of trials that have ended, how far each got, `(k,)`, and its value.

    Infinity: to its end. Both are minus infinity for a failed trial.
    """
    rows, t, y = [], [], []
    for row, state in enumerate(snapshot.states):
        own = np.flatnonzero(snapshot.trial == row)
        if state.is_live or (state is TrialState.REMOVED and not len(own)):
            continue
        rows.append(row)
        if state is TrialState.FAILED or not (len(own) and np.isfinite(snapshot.y[own[-1]])):
            t.append(-math.inf)
            y.append(-math.inf)
        else:
            t.append(math.inf if state is TrialState.COMPLETED else float(snapshot.t[own[-1]]))
            y.append(float(snapshot.y[own[-1]]))
    return snapshot.points[rows], np.array(t), np.array(y)
