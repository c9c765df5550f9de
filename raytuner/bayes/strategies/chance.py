"""Random search."""

from __future__ import annotations

from typing import Any

import numpy as np

from raytuner.bayes.proposer import Proposal
from raytuner.bayes.seen import Seen
from raytuner.history import Origin, Snapshot
from raytuner.space import Space


class RandomProposer:
    """Independent draws by the law of the space, none of them twice.

    Args:
        space: The search space.
        seed: Seed of the draws; None draws one.
    """

    def __init__(self, space: Space, seed: int | None = None) -> None:
        self._space = space
        self._seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        self._seen = Seen(space, np.empty((0, space.dim)))
        self._place = 0

    def tell(self, snapshot: Snapshot) -> None:
        """Note which configurations are used up."""
        self._seen.become(snapshot.points)
        self._place = len(snapshot.points)

    def ask(self, n: int) -> list[Proposal]:
        """The next ``n`` draws."""
        points = np.vstack([self._draw() for _ in range(n)])
        return [Proposal(config, Origin.RANDOM) for config in self._space.decode(points)]

    def state_dict(self) -> dict[str, Any]:
        """The seed: how many draws came before follows from the record."""
        return {"seed": self._seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self._seed = int(state["seed"])

    def _draw(self) -> np.ndarray:
        rng = np.random.default_rng([self._seed, self._place])
        self._place += 1
        return self._seen.use_random(rng)
