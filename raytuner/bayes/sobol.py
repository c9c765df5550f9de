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


class SobolProposer:
    """Points of a scrambled Sobol sequence: random search that leaves no holes.

    The unit cube's coordinates are the cumulative distributions of the hyperparameters, so a
    Sobol point follows the same law as a random draw from the space.

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
        self._engine: qmc.Sobol | None = None

    def tell(self, snapshot: Snapshot) -> None:
        """Note which configurations are used up."""
        self._seen = Seen(self._space, snapshot.points)
        self._next = len(snapshot.trial_ids)

    def ask(self, n: int) -> list[Proposal]:
        """The next ``n`` points of the sequence that are not used up."""
        return [Proposal(c, Origin.SOBOL) for c in self._space.decode(self.points(n))]

    def points(self, n: int) -> np.ndarray:
        """The next ``n`` points as an ``(n, d)`` array in the unit cube."""
        chosen: list[np.ndarray] = []
        misses = 0
        while len(chosen) < n:
            point = self._space.snap(self._sequence(self._next))
            self._next += 1
            if not self._seen.new(point)[0]:
                misses += 1
                # A finite space that is nearly used up: go straight to what is left of it.
                if misses > 32 and not self._seen.exhausted:
                    rng = np.random.default_rng([self.seed, self._next])
                    point = self._seen.unused(rng, 1)
                elif not self._seen.exhausted:
                    continue
            if len(point):
                self._seen.add(point)
                chosen.append(point[0])
        return np.array(chosen).reshape(n, self._space.dim)

    def state_dict(self) -> dict[str, Any]:
        """The seed: the place in the sequence follows from the record."""
        return {"seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.seed = int(state["seed"])
        self._engine = None

    def _sequence(self, index: int) -> np.ndarray:
        """The point ``(1, d)`` at a place in the sequence; one after another they come quickly."""
        engine = self._engine
        if engine is None or engine.num_generated > index:
            rng = np.random.default_rng(self.seed)
            engine = self._engine = qmc.Sobol(self._space.dim, scramble=True, rng=rng)
        if index > engine.num_generated:
            engine.fast_forward(index - engine.num_generated)
        with warnings.catch_warnings():
            # One point at a time is no power of two; balance holds over the whole sequence.
            warnings.simplefilter("ignore", UserWarning)
            return np.asarray(engine.random(1))
