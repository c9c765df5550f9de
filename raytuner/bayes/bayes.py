"""Bayesian proposals: a Gaussian process, log expected improvement, a mixed maximiser."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from botorch.utils.sampling import manual_seed

from raytuner.bayes.acquisition import Acquisition, LogExpectedImprovement, PosteriorAcquisition
from raytuner.bayes.belief import Belief, Beliefs
from raytuner.bayes.cost import Cost, CostModel, LogAcquisition, PerCost
from raytuner.bayes.dataset import Dataset, dataset, least_trials
from raytuner.bayes.design import Design
from raytuner.bayes.earlier import Earlier, Task, Trend, best_in_turn
from raytuner.bayes.feasibility import Feasibility
from raytuner.bayes.fidelity import Frugal
from raytuner.bayes.maximise import maximise, unused_candidates
from raytuner.bayes.models import Fits, Models
from raytuner.bayes.proposer import Proposal
from raytuner.bayes.scalarise import chebyshev
from raytuner.bayes.seen import Seen
from raytuner.bayes.surrogate import FIT_ERRORS, numerics
from raytuner.errors import RaytunerWarning, SettingError
from raytuner.history import Origin, Snapshot
from raytuner.space import Space

# Nearby candidates are made around so many of the best configurations.
_BEST = 5
# So many of a batch are the best there is; the others are the best of some hundred candidates, for
# a hundredth of the time: a batch is large where slots fall free faster than that can be done.
_CLIMBED = 4
# After so many of the best of earlier searches there is a model, if these are few.
_LEAST_EARLIER = 3


@dataclass(frozen=True)
class Learned:
    """What the data say, beside what is known otherwise.

    Attributes:
        models: The surrogates.
        trend: What earlier searches say; the model is of what is left of the objective.
        favour: What configurations gain by the user's beliefs.
    """

    models: Models
    trend: Trend | None
    favour: Acquisition | None


class BayesProposer:
    """Proposes where a Gaussian process expects the largest improvement at full resource.

    The first ``n_initial`` configurations are quasi-random. After that each proposal maximises the
    log expected improvement jointly with everything pending (sequential greedy for a batch; of a
    large one, all but the first few are chosen among a finite number of candidates). Where there
    are outcome constraints, the improvement is over the best that keeps them and counts by the
    chance to keep them. Several objectives are made one, by other weights for each proposal
    (:func:`raytuner.bayes.scalarise.chebyshev`). Where the record has costs, it is the improvement
    per unit of cost. Where hyperparameters are fidelities, such a configuration and the best so far
    are then tried as cheaply as tells most per cost (:class:`raytuner.bayes.fidelity.Frugal`).

    Args:
        space: The search space, d columns.
        seed: Seed of everything random; None draws one.
        n_initial: Quasi-random configurations before the first model; None: ``d + 1``,
            at least 5 and at most 20.
        acquisition: What a proposal maximises.
        earlier: Earlier searches (:class:`Earlier`). The best of their configurations, in turn, are
            tried before any quasi-random one, and ``n_initial`` is by default one for each, and
            three or more.
        beliefs: Where the optimum is believed to be (:class:`Beliefs`).

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
        earlier: Sequence[Task] = (),
        beliefs: Sequence[Belief] = (),
    ) -> None:
        if n_initial is not None and n_initial < 1:
            raise SettingError(f"n_initial is {n_initial}; it must be at least 1")
        first = max(_LEAST_EARLIER, len(earlier)) if earlier else 0
        alone = least_trials(space) + first  # without the help of earlier searches
        self.n_initial = (first or alone) if n_initial is None else n_initial
        self._n_alone = alone if n_initial is None else n_initial
        self._space = space
        self._acquisition = acquisition
        self._beliefs = Beliefs(space, beliefs) if beliefs else None
        self._design = Design(space, seed, best_in_turn(earlier), self._beliefs)
        self._earlier = Earlier(earlier, space.columns) if earlier else None
        self._snapshot: Snapshot | None = None
        self._view: Snapshot | None = None  # of it, with one objective
        self._asked = np.empty((0, space.dim))
        self._fits = Fits()
        self._costs = CostModel()

    def tell(self, snapshot: Snapshot) -> None:
        """Learn from the record. Cheap: the model is fitted when it is asked."""
        self._snapshot = snapshot
        self._asked = np.empty((0, self._space.dim))
        self._design.tell(snapshot)

    def ask(self, n: int) -> list[Proposal]:
        """Propose ``n`` configurations; see :meth:`Proposer.ask`.

        A fit that fails gives quasi-random points and a :class:`RaytunerWarning` that says why.
        """
        if self._snapshot is None or self._snapshot.n_objectives == 1:
            return self._ask(n, self._snapshot)
        # A batch has a few weightings of the objectives, and of each the same number.
        shares = [len(part) for part in np.array_split(np.arange(n), min(n, _CLIMBED))]
        return [
            proposal
            for share in shares
            for proposal in self._ask(share, chebyshev(self._snapshot, self._seed_of(self._place)))
        ]

    def _ask(self, n: int, view: Snapshot | None) -> list[Proposal]:
        """Propose ``n`` configurations by a record of one objective."""
        self._view = view
        data = self._training_rows()
        chosen = np.empty((0, self._space.dim))
        is_dismissed = False  # whether the earlier searches have nothing to say
        if data is not None:
            try:
                # BoTorch draws from torch's global generator here and there.
                with numerics(), manual_seed(self._seed_of(self._place)):
                    learned = self._learned(data)
                    is_dismissed = self._earlier is not None and learned.trend is None
                    if not is_dismissed or self._place >= self._n_alone:
                        chosen = self._maximisers(learned, data, n)
            except FIT_ERRORS as error:
                warnings.warn(
                    f"the Gaussian process could not be fitted to {len(data)} rows"
                    f" ({type(error).__name__}: {error}); quasi-random configurations instead",
                    RaytunerWarning,
                    stacklevel=2,
                )
        origins = [Origin.BAYES] * len(chosen)
        if len(chosen) < n:
            points, more = self._design.draw(n - len(chosen), with_first=not is_dismissed)
            chosen, origins = np.vstack([chosen, points]), origins + more
        self._asked = np.vstack([self._asked, chosen])
        configs = self._space.decode(chosen)
        return [Proposal(c, origin) for c, origin in zip(configs, origins, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """The seed, and the hyperparameters that the next fit starts from."""
        state = {
            "sobol": self._design.state_dict(),
            "fits": self._fits.state_dict(),
            "costs": self._costs.state_dict(),
        }
        return state if self._earlier is None else {**state, "earlier": self._earlier.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self._design.load_state_dict(state["sobol"])
        self._fits.load_state_dict(state.get("fits", ()))  # those of an earlier release start anew
        if "costs" in state:
            self._costs.load_state_dict(state["costs"])
        if self._earlier is not None and "earlier" in state:
            self._earlier.load_state_dict(state["earlier"])

    def _training_rows(self) -> Dataset | None:
        """The rows to fit, or None while the initial design is under way."""
        if self._view is None or self._place < self.n_initial:
            return None
        data = dataset(self._view.of_outcome(0))
        if self._space.fidelities:
            # Wherever they were tried, they are compared at full fidelity.
            in_full = np.unique(self._space.in_full(data.evaluated), axis=0)
            data = replace(data, evaluated=in_full)
        # Two distinct evaluated configurations are the least that says anything about a slope.
        return data if len(data.evaluated) >= 2 else None

    def _learned(self, data: Dataset) -> Learned:
        seed = self._seed_of(self._place)
        assert self._snapshot is not None
        assert self._view is not None
        if self._snapshot.n_objectives > 1:
            self._fits.forget_objective()  # this one is another than the last
        models = self._fits(self._view, data, self._space.columns)
        own = models.objective
        trend, favour = None, None
        if self._earlier is not None:
            rest, trend = self._earlier.explain(own, data, seed)
            models = replace(models, objective=rest)
        if self._beliefs is not None:
            favour = self._beliefs.favour(own, data, seed)
        return Learned(models, trend, favour)

    def _maximisers(self, learned: Learned, data: Dataset, n: int) -> np.ndarray:
        return self._best_of(self._acquisition, learned, data, n)

    def _best_of(
        self, make: Callable[..., PosteriorAcquisition], learned: Learned, data: Dataset, n: int
    ) -> np.ndarray:
        """Up to ``n`` configurations at which an acquisition function is highest, ``(n, d)``."""
        assert self._view is not None
        acquisition = self._made(make, learned, data)
        cost = self._costs(self._view, self._space.columns)
        if cost is not None:
            acquisition = PerCost(acquisition, cost)
        seen = Seen(self._space, np.vstack([self._view.points, self._asked]))
        if self._view.is_plain and not self._space.fidelities:
            best = data.X[np.argsort(-data.y, kind="stable")[:_BEST], : self._space.dim]
        else:
            order = learned.models.order(data.evaluated, has_fidelity=data.has_fidelity)
            best = data.evaluated[order[:_BEST]]
        if self._beliefs is not None and learned.favour is not None:
            # Candidates where it is believed to be, too.
            best = np.vstack([best, self._beliefs.at_mode(best[:1])])
        frugal = self._frugal(learned, data, cost) if self._space.fidelities else None
        chosen = np.empty((0, self._space.dim))
        for i in range(min(n, _CLIMBED)):
            rng = np.random.default_rng(self._seed_of(self._place + i))
            point = maximise(acquisition, self._space, best, seen, rng, local=acquisition.is_local)
            if point is None:
                return chosen
            if frugal is not None:
                point = frugal.choose(point, np.vstack([self._asked, chosen]), seen)
            chosen = np.vstack([chosen, point])
            seen.add(point[None])
            if i + 1 < n:
                acquisition.add_pending(self._space.in_full(point[None])[0])
        if n > len(chosen):
            rng = np.random.default_rng(self._seed_of(self._place + len(chosen)))
            candidates = unused_candidates(self._space, best, seen, rng)
            more = acquisition.choose(candidates, min(n - len(chosen), len(candidates)))
            for point in more:
                if frugal is not None:
                    point = frugal.choose(point, np.vstack([self._asked, chosen]), seen)
                    seen.add(point[None])
                chosen = np.vstack([chosen, point])
        return chosen

    def _frugal(self, learned: Learned, data: Dataset, cost: Cost | None) -> Frugal:
        """What chooses the fidelity."""
        assert self._view is not None
        return Frugal(
            self._space,
            learned.models,
            has_fidelity=data.has_fidelity,
            evaluated=data.evaluated,
            snapshot=self._view,
            cost=cost,
            seed=self._seed_of(self._place),
        )

    def _made(
        self, make: Callable[..., PosteriorAcquisition], learned: Learned, data: Dataset
    ) -> LogAcquisition:
        """The acquisition function of what is known."""
        assert self._view is not None
        models, seed = learned.models, self._seed_of(self._place)
        return make(
            models.objective,
            evaluated=data.evaluated,
            pending=self._space.in_full(np.vstack([self._view.pending, self._asked])),
            has_fidelity=data.has_fidelity,
            seed=seed,
            feasibility=Feasibility(models.constraints, seed) if models.constraints else None,
            trend=learned.trend,
            favour=learned.favour,
        )

    @property
    def _place(self) -> int:
        """How many configurations came before the next.

        Everything random about a proposal is seeded by its place: restoring the record restores
        the randomness.
        """
        return len(self._asked) + (0 if self._snapshot is None else len(self._snapshot.points))

    def _seed_of(self, place: int) -> int:
        return int(np.random.SeedSequence([self._design.seed, place]).generate_state(1)[0] // 2)
