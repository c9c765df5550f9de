"""Bayesian proposals: a Gaussian process, log expected improvement, a mixed maximiser."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from botorch.utils.sampling import manual_seed

from raytuner.bayes.acquisition import LogExpectedImprovement, PosteriorAcquisition
from raytuner.bayes.cost import CostModel, LogAcquisition
from raytuner.bayes.dataset import Dataset, dataset, least_trials
from raytuner.bayes.feasibility import Feasibility
from raytuner.bayes.maximise import maximise, unused_candidates
from raytuner.bayes.models import Fits, Models
from raytuner.bayes.proposer import Proposal
from raytuner.bayes.seen import Seen
from raytuner.bayes.several import LogHypervolumeImprovement
from raytuner.bayes.sobol import SobolProposer
from raytuner.bayes.surrogate import FIT_ERRORS, numerics
from raytuner.errors import RaytunerWarning, SettingError
from raytuner.history import Origin, Snapshot
from raytuner.space import Space

# Nearby candidates are made around so many of the best configurations.
_BEST = 5
# So many of a batch are the best there is; the others are the best of some hundred candidates, for
# a hundredth of the time: a batch is large where slots fall free faster than that can be done.
_CLIMBED = 4


class BayesProposer:
    """Proposes where a Gaussian process expects the largest improvement at full resource.

    The first ``n_initial`` configurations are quasi-random. After that each proposal maximises the
    log expected improvement jointly with everything pending (sequential greedy for a batch; of a
    large one, all but the first few are chosen among a finite number of candidates). Where there
    are outcome constraints, the improvement is over the best that keeps them and counts by the
    chance to keep them; of several objectives, it is that of the hypervolume. Where the record has
    costs, it is the improvement per unit of cost.

    Args:
        space: The search space, d columns.
        seed: Seed of everything random; None draws one.
        n_initial: Quasi-random configurations before the first model; None: ``max(5, d + 1)``.
        acquisition: What a proposal maximises, where there is one objective.

    Raises:
        SettingError: ``n_initial`` below 1.
    """

    def __init__(
        self,
        space: Space,
        seed: int | None = None,
        *,
        n_initial: int | None = None,
        acquisition: Callable[..., PosteriorAcquisition] = LogExpectedImprovement,
    ) -> None:
        if n_initial is not None and n_initial < 1:
            raise SettingError(f"n_initial is {n_initial}; it must be at least 1")
        self.n_initial = least_trials(space) if n_initial is None else n_initial
        self._space = space
        self._acquisition = acquisition
        self._sobol = SobolProposer(space, seed)
        self._snapshot: Snapshot | None = None
        self._asked = np.empty((0, space.dim))
        self._fits = Fits()
        self._costs = CostModel()

    def tell(self, snapshot: Snapshot) -> None:
        """Learn from the record. Cheap: the model is fitted when it is asked."""
        self._snapshot = snapshot
        self._asked = np.empty((0, self._space.dim))
        self._sobol.tell(snapshot)

    def ask(self, n: int) -> list[Proposal]:
        """Propose ``n`` configurations; see :meth:`Proposer.ask`.

        A fit that fails gives quasi-random points and a :class:`RaytunerWarning` that says why.
        """
        data = self._training_rows()
        chosen = np.empty((0, self._space.dim))
        if data is not None:
            try:
                # BoTorch draws from torch's global generator here and there.
                with numerics(), manual_seed(self._seed_of(self._place)):
                    chosen = self._maximisers(data, n)
            except FIT_ERRORS as error:
                warnings.warn(
                    f"the Gaussian process could not be fitted to {len(data)} rows"
                    f" ({type(error).__name__}: {error}); quasi-random configurations instead",
                    RaytunerWarning,
                    stacklevel=2,
                )
        origins = [Origin.BAYES] * len(chosen) + [Origin.SOBOL] * (n - len(chosen))
        if len(chosen) < n:
            chosen = np.vstack([chosen, self._sobol.points(n - len(chosen))])
        self._asked = np.vstack([self._asked, chosen])
        configs = self._space.decode(chosen)
        return [Proposal(c, origin) for c, origin in zip(configs, origins, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """The seed, and the hyperparameters that the next fit starts from."""
        return {
            "sobol": self._sobol.state_dict(),
            "fits": self._fits.state_dict(),
            "costs": self._costs.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self._sobol.load_state_dict(state["sobol"])
        self._fits.load_state_dict(state.get("fits", ()))  # those of an earlier release start anew
        if "costs" in state:
            self._costs.load_state_dict(state["costs"])

    def _training_rows(self) -> Dataset | None:
        """The rows to fit, or None while the initial design is under way."""
        if self._snapshot is None or self._place < self.n_initial:
            return None
        data = dataset(self._snapshot.of_outcome(0))
        # Two distinct evaluated configurations are the least that says anything about a slope.
        return data if len(data.evaluated) >= 2 else None

    def _maximisers(self, data: Dataset, n: int) -> np.ndarray:
        assert self._snapshot is not None
        models = self._fits(self._snapshot, data, self._space.columns)
        return self._best_of(self._acquisition, models, data, n)

    def _best_of(
        self, make: Callable[..., PosteriorAcquisition], models: Models, data: Dataset, n: int
    ) -> np.ndarray:
        """Up to ``n`` configurations at which an acquisition function is highest, ``(n, d)``."""
        assert self._snapshot is not None
        acquisition = self._costs.per_cost(
            self._made(make, models, data), self._snapshot, self._space.columns
        )
        seen = Seen(self._space, np.vstack([self._snapshot.points, self._asked]))
        if self._snapshot.is_plain:
            best = data.X[np.argsort(-data.y, kind="stable")[:_BEST], : self._space.dim]
        else:
            best = models.leaders(data, _BEST)
        chosen = np.empty((0, self._space.dim))
        for i in range(min(n, _CLIMBED)):
            rng = np.random.default_rng(self._seed_of(self._place + i))
            point = maximise(acquisition, self._space, best, seen, rng, local=acquisition.is_local)
            if point is None:
                return chosen
            chosen = np.vstack([chosen, point])
            seen.add(point[None])
            if i + 1 < n:
                acquisition.add_pending(point)
        if n > len(chosen):
            rng = np.random.default_rng(self._seed_of(self._place + len(chosen)))
            candidates = unused_candidates(self._space, best, seen, rng)
            more = acquisition.choose(candidates, min(n - len(chosen), len(candidates)))
            chosen = np.vstack([chosen, more])
        return chosen

    def _made(
        self, make: Callable[..., PosteriorAcquisition], models: Models, data: Dataset
    ) -> LogAcquisition:
        """The acquisition function of what is known."""
        assert self._snapshot is not None
        pending = np.vstack([self._snapshot.pending, self._asked])
        seed = self._seed_of(self._place)
        if len(models.objectives) > 1:
            return LogHypervolumeImprovement(
                models.objectives,
                models.constraints,
                evaluated=data.evaluated,
                pending=pending,
                has_fidelity=data.has_fidelity,
                seed=seed,
            )
        return make(
            models.objectives[0],
            evaluated=data.evaluated,
            pending=pending,
            has_fidelity=data.has_fidelity,
            seed=seed,
            feasibility=Feasibility(models.constraints, seed) if models.constraints else None,
        )

    @property
    def _place(self) -> int:
        """How many configurations came before the next.

        Everything random about a proposal is seeded by its place: restoring the record restores
        the randomness.
        """
        return len(self._asked) + (0 if self._snapshot is None else len(self._snapshot.points))

    def _seed_of(self, place: int) -> int:
        return int(np.random.SeedSequence([self._sobol.seed, place]).generate_state(1)[0] // 2)
