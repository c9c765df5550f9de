"""Proposals by an evolution strategy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from raytuner.bayes.proposer import Proposal
from raytuner.bayes.seen import Seen
from raytuner.errors import SettingError
from raytuner.history import Origin, Snapshot, TrialState
from raytuner.history.snapshot import FloatArray
from raytuner.space import Space

if TYPE_CHECKING:
    from cmaes import CatCMAwM

# Of an ordered hyperparameter with more levels, the levels are too fine to matter.
_MOST_LEVELS = 200
# The first generation's standard deviation is half of the way from the middle to an end.
_SIGMA = 3.0  # in units of the library's own, a sixth of it
_TRIES = 50  # draws for one proposal that may be tried


class EvolutionProposer:
    """CatCMA with margin: an evolution strategy for numbers, levels and categories.

    Each generation is drawn from a normal distribution over the numbers and the levels and from
    probabilities of the categories, which move to where the better half of the generations before
    lies. The distribution follows from the record: trials that have ended, in the order of their
    proposal, make up generations. So workers never wait for one another. Within a generation a
    trial that got further in its training ranks before one that was stopped earlier, and failed
    ones rank last.

    Sources: the library cmaes; R. Hamano et al. (2025), "CatCMA with Margin: Stochastic
    Optimization for Continuous, Integer, and Categorical Variables", arXiv:2504.07884.

    Args:
        space: The search space.
        seed: Seed of the draws; None draws one.

    Raises:
        SettingError: The library is not installed.
    """

    def __init__(self, space: Space, seed: int | None = None) -> None:
        try:
            import cmaes  # noqa: F401
        except ImportError as error:
            raise SettingError(
                "the strategy 'evolution' needs the library cmaes, which is not installed:"
                " pip install 'raytuner[evolution]'"
            ) from error
        self._space = space
        self._seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        kinds = [_kind(column.kind, column.n_levels) for column in space.columns]
        self._x, self._z, self._c = (
            np.array([j for j, kind in enumerate(kinds) if kind == of], dtype=np.int64)
            for of in ("number", "levels", "category")
        )
        self._levels = {
            j: space.columns[j].domain.level_units() for j in (*self._z.tolist(), *self._c.tolist())
        }
        self._seen = Seen(space, np.empty((0, space.dim)))
        self._snapshot: Snapshot | None = None
        self._place = 0
        self._optimiser: CatCMAwM | None = None

    def tell(self, snapshot: Snapshot) -> None:
        """Learn from the record. Cheap: it is gone through when it is asked."""
        self._snapshot = snapshot
        self._seen.become(snapshot.points)
        self._place = len(snapshot.points)
        self._optimiser = None

    def ask(self, n: int) -> list[Proposal]:
        """``n`` draws from the distribution of the generation that is under way."""
        points = np.vstack([self._draw() for _ in range(n)])
        return [Proposal(config, Origin.EVOLUTION) for config in self._space.decode(points)]

    def state_dict(self) -> dict[str, Any]:
        """The seed: all else follows from the record."""
        return {"seed": self._seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self._seed = int(state["seed"])

    def _draw(self) -> FloatArray:
        if self._optimiser is None:
            self._optimiser = self._evolved()
        optimiser = self._optimiser
        seed = np.random.SeedSequence([self._seed, self._place])
        optimiser.reseed_rng(int(seed.generate_state(1)[0]))
        self._place += 1
        for _ in range(_TRIES):
            point = self._space.snap(self._point(optimiser.ask()))
            if self._seen.new(point)[0]:
                self._seen.add(point)
                return point
        return self._seen.use_random(np.random.default_rng(seed))

    def _evolved(self) -> CatCMAwM:
        """The distribution after all generations that have ended."""
        from cmaes import CatCMAwM

        optimiser = CatCMAwM(
            x_space=[[0.0, 1.0]] * len(self._x) or None,
            z_space=[self._levels[j].tolist() for j in self._z] or None,
            c_space=[len(self._levels[j]) for j in self._c] or None,
            sigma=_SIGMA,
            seed=self._seed,
        )
        if self._snapshot is None:
            return optimiser
        points, order = _ended(self._snapshot)
        size = optimiser.population_size
        for first in range(0, len(points) - size + 1, size):
            rows = slice(first, first + size)
            ranks = _ranks(order[rows])
            optimiser.tell(
                [(self._solution(p), float(r)) for p, r in zip(points[rows], ranks, strict=True)]
            )
        return optimiser

    def _solution(self, point: FloatArray) -> Any:
        """A configuration ``(d,)`` in the library's terms."""
        from cmaes import CatCMAwM

        categories = None
        if len(self._c):
            categories = np.zeros((len(self._c), max(len(self._levels[j]) for j in self._c)))
            for row, j in enumerate(self._c):
                categories[row, np.abs(self._levels[j] - point[j]).argmin()] = 1.0
        x, z = point[self._x], point[self._z]
        return CatCMAwM.Solution(
            x if len(x) else None,
            z if len(z) else None,
            categories,
            np.concatenate([x, z]) if len(x) + len(z) else None,
        )

    def _point(self, solution: Any) -> FloatArray:
        """A solution of the library's as a configuration, ``(1, d)``."""
        point = np.empty((1, self._space.dim))
        if len(self._x):
            point[0, self._x] = solution.x
        if len(self._z):
            point[0, self._z] = solution.z
        for row, j in enumerate(self._c):
            point[0, j] = self._levels[j][int(solution.c[row].argmax())]
        return point


def _kind(kind: str, n_levels: int | None) -> str:
    # The library takes what has two values only for categories.
    if n_levels is not None and (kind == "categorical" or n_levels == 2):
        return "category"
    return "levels" if n_levels is not None and n_levels <= _MOST_LEVELS else "number"


def _ended(snapshot: Snapshot) -> tuple[FloatArray, list[tuple[float, float]]]:
    """The configurations of trials that have ended, ``(k, d)``, and how good each is.

    A pair ``(t, y)``, to be compared: how far it got (infinitely, if to its end) and its last
    value; of what failed, the least there is.
    """
    rows, order = [], []
    for row, state in enumerate(snapshot.states):
        mine = snapshot.trial == row
        if state.is_live or (state is TrialState.REMOVED and not mine.any()):
            continue
        t, y = -math.inf, -math.inf
        if state is not TrialState.FAILED and mine.any() and np.isfinite(snapshot.y[mine][-1]):
            t = math.inf if state is TrialState.COMPLETED else float(snapshot.t[mine][-1])
            y = float(snapshot.y[mine][-1])
        rows.append(row)
        order.append((t, y))
    return snapshot.points[rows], order


def _ranks(order: list[tuple[float, float]]) -> list[int]:
    """The place of each from the best on; of equals, the one that was proposed first leads.

    No two are the same: the library scales its penalties by how far values are apart.
    """
    places = sorted(range(len(order)), key=lambda i: order[i], reverse=True)
    return [places.index(i) for i in range(len(order))]
