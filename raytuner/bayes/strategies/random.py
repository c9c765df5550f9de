"""Random search."""

from __future__ import annotations

import numpy as np

from raytuner.bayes.proposer import PointwiseProposer
from raytuner.history import Origin
from raytuner.history.snapshot import FloatArray


class RandomProposer(PointwiseProposer):
    """Independent draws from the space's distribution, none of them twice."""

    origin = Origin.RANDOM

    def _draw(self) -> FloatArray:
        rng = np.random.default_rng([self.seed, self._place])
        self._place += 1
        return self.excluded.use_random(rng)
