"""Bayesian proposals: a Gaussian process, an acquisition function, and its maximisation."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from botorch.utils.sampling import manual_seed
from torch import Tensor

from raytuner.bayes.acquisition import (
    Acquisition,
    Feasibility,
    LogExpectedImprovement,
    PosteriorAcquisition,
    PureExploration,
)
from raytuner.bayes.belief import Belief, Beliefs
from raytuner.bayes.dataset import Dataset, chebyshev, dataset, least_trials
from raytuner.bayes.fidelity import FidelityChooser
from raytuner.bayes.maximise import maximise, unused_candidates
from raytuner.bayes.proposer import Proposal, SobolProposer, proposals
from raytuner.bayes.scale import Scale
from raytuner.bayes.surrogate import (
    FIT_ERRORS,
    Models,
    WarmFit,
    fit_log_cost,
    fit_outcomes,
    numerics,
)
from raytuner.bayes.transfer import Task, Transfer
from raytuner.errors import RaytunerWarning, SettingError
from raytuner.history import Origin, Snapshot
from raytuner.history.snapshot import FloatArray
from raytuner.space import Space

_BEST = 5  # candidates lie around this many of the best configurations
# This many of a batch are maximised. The others are the best of some hundred candidates, in a
# hundredth of the time: batches are large where slots fall free faster than a climb takes.
_CLIMBED = 4
# Configurations before the first model, beside earlier searches; eight were worse on LCBench.
_AFTER_TRANSFER = 3
# One proposal in this many explores: the regret after 100 trials fell from 0.079 to 0.044 (30 runs
# on eight development instances of LCBench; standard error of the difference 0.016).
_EXPLORES = 8

MakeAcquisition = Callable[..., PosteriorAcquisition]


@dataclass(frozen=True)
class Fitted:
    """The fitted models behind a proposal."""

    snapshot: Snapshot  # the record, with one objective
    data: Dataset  # its rows
    models: Models
    trend: Acquisition | None  # of earlier searches; the objective's model is of the rest
    log_prior: Acquisition | None  # the user's beliefs
    log_cost: Acquisition | None

    def bonus(self, X: Tensor) -> Tensor:
        """Return what is added to an acquisition function: the log prior minus the log cost."""
        total = X.new_zeros(X.shape[:-1])
        if self.log_prior is not None:
            total = total + self.log_prior(X)
        return total if self.log_cost is None else total - self.log_cost(X)


class BayesProposer:
    """Proposes where a Gaussian process expects the largest improvement at full resource.

    The first `n_initial` configurations are quasi-random. After that each proposal maximises the
    log expected improvement jointly with everything pending (sequential greedy for a batch), and
    every eighth explores instead (`PureExploration`), unless fewer than eight trials are left or
    earlier searches say where to look. The process learns the objective's values, or only their
    ranks where these forecast trials better (`Scale`).

    - Outcome constraints: the improvement is over the best feasible value, times the probability of
      feasibility.
    - Several objectives: each proposal weights them anew (`chebyshev`).
    - Costs in the record: the improvement per unit of cost (J. Snoek, H. Larochelle and R. P. Adams
      (2012), "Practical Bayesian Optimization of Machine Learning Algorithms", section 3.2).
    - Hyperparameters that are fidelities: `FidelityChooser` then decides how cheaply to try this
      configuration, or one of the best so far.

    Args:
        space: The search space, d columns.
        seed: Seed of everything random; None draws one.
        n_initial: Quasi-random configurations before the first model; None: `d + 1`, at least 5 and
            at most 20.
        acquisition: What a proposal maximises: a class of `PosteriorAcquisition`.
        tasks: Earlier searches. Some of their best configurations (`Transfer.first`) are tried
            before any quasi-random one, and by default `n_initial` is three.
        beliefs: Where the optimum is believed to be.

    Raises:
        SettingError: `n_initial` is below 1.
    """

    def __init__(
        self,
        space: Space,
        seed: int | None = None,
        *,
        n_initial: int | None = None,
        acquisition: MakeAcquisition = LogExpectedImprovement,
        tasks: Sequence[Task] = (),
        beliefs: Sequence[Belief] = (),
    ) -> None:
        if n_initial is not None and n_initial < 1:
            raise SettingError(f"n_initial is {n_initial}; it must be at least 1")
        first = _AFTER_TRANSFER if tasks else 0
        alone = least_trials(space) + first  # if earlier searches predict nothing
        self.n_initial = (first or alone) if n_initial is None else n_initial
        self._n_alone = alone if n_initial is None else n_initial
        self._space = space
        self._acquisition = acquisition
        self._beliefs = Beliefs(space, beliefs) if beliefs else None
        self._transfer = Transfer(tasks, space.columns) if tasks else None
        tried = None if self._transfer is None else self._transfer.first
        self._design = SobolProposer(space, seed, first=tried, beliefs=self._beliefs)
        self._snapshot: Snapshot | None = None
        self._asked = np.empty((0, space.dim))  # since the last `tell`
        self._fits: defaultdict[str, WarmFit] = defaultdict(WarmFit)  # of each outcome, and others
        self._scale = Scale()  # of the objective

    def tell(self, snapshot: Snapshot) -> None:
        """Learn from the record. Fast: the model is fitted in `ask`."""
        self._snapshot = snapshot
        self._asked = np.empty((0, self._space.dim))
        self._design.tell(snapshot)

    def ask(self, n: int) -> list[Proposal]:
        """Propose `n` configurations: quasi-random ones, with a warning, if a fit fails."""
        if self._snapshot is None or self._snapshot.n_objectives == 1:
            return self._ask(n, self._snapshot)
        found = []
        # A batch has a few weightings of the objectives, each for an equal share.
        for share in np.array_split(np.arange(n), min(n, _CLIMBED)):
            weighted = chebyshev(self._snapshot, self._seed(self._place))
            found += self._ask(len(share), weighted)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return the seed, the objective's scale and what the next fits start from."""
        fits = {name: asdict(fit) for name, fit in self._fits.items()}
        return {"sobol": self._design.state_dict(), "fits": fits, "scale": asdict(self._scale)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self._design.load_state_dict(state["sobol"])
        fits = {name: WarmFit(**fit) for name, fit in state["fits"].items()}
        self._fits = defaultdict(WarmFit, fits)
        self._scale = Scale(**state.get("scale", {}))  # older states have none

    def _ask(self, n: int, view: Snapshot | None) -> list[Proposal]:
        """Propose `n` configurations by a record of one objective."""
        chosen = np.empty((0, self._space.dim))
        with_first = True  # whether to try the best of earlier searches
        if view is not None and self._place >= self.n_initial:
            try:
                # BoTorch draws from torch's global generator here and there.
                with numerics(), manual_seed(self._seed(self._place)):
                    fitted = self._fitted(view)
                    if fitted is not None:
                        with_first = self._transfer is None or fitted.trend is not None
                        if with_first or self._place >= self._n_alone:
                            chosen = self._choose(fitted, n)
            except FIT_ERRORS as error:
                warnings.warn(
                    f"the Gaussian process could not be fitted ({type(error).__name__}: {error});"
                    " quasi-random configurations instead",
                    RaytunerWarning,
                    stacklevel=2,
                )
        origins = [Origin.BAYES] * len(chosen)
        if len(chosen) < n:
            points, more = self._design.draw(n - len(chosen), with_first=with_first)
            chosen, origins = np.vstack([chosen, points]), origins + more
        self._asked = np.vstack([self._asked, chosen])
        return proposals(self._space, chosen, origins)

    def _fitted(self, view: Snapshot) -> Fitted | None:
        """Fit the models of a record of one objective; None if too little is known."""
        data = dataset(view.of_outcome(0))
        if self._space.fidelities:  # configurations are compared at full fidelity
            in_full = np.unique(self._space.in_full(data.evaluated), axis=0)
            data = replace(data, evaluated=in_full)
        if len(data.evaluated) < 2:  # a slope needs two
            return None
        if self._snapshot is not view:
            self._fits["0"] = WarmFit()  # with other weights, the objective is not the last one
        elif self._transfer is None:  # models of earlier searches are of values
            data = self._scale(data, self._space.columns, self._fits["0"])
        models = fit_outcomes(view, data, self._space.columns, self._fits)
        own, seed = models.objective, self._seed(self._place)
        trend, log_prior, log_cost = None, None, None
        if self._transfer is not None:
            rest, trend = self._transfer.explain(own, data, seed, self._fits["transfer"])
            models = replace(models, objective=rest)
        if self._beliefs is not None:
            log_prior = self._beliefs.bonus(own, data, seed)
        if view.cost is not None:
            log_cost = fit_log_cost(view, self._space.columns, self._fits["cost"])
        return Fitted(view, data, models, trend, log_prior, log_cost)

    def _choose(self, fitted: Fitted, n: int) -> FloatArray:
        """Return up to `n` configurations to propose, `(n, d)`."""
        left = fitted.snapshot.left
        share = 0  # how many of a batch explore: the last ones
        if (
            self._acquisition is LogExpectedImprovement
            and fitted.trend is None
            and (left is None or left >= _EXPLORES)
        ):
            share = (self._place + n) // _EXPLORES - self._place // _EXPLORES
        chosen = self._asked[:0]
        if share < n:
            chosen = self._best_of(self._acquisition, fitted, n - share, self._asked)
        if share:
            asked = np.vstack([self._asked, chosen])
            chosen = np.vstack([chosen, self._best_of(PureExploration, fitted, share, asked)])
        return chosen

    def _best_of(
        self, make: MakeAcquisition, fitted: Fitted, n: int, asked: FloatArray
    ) -> FloatArray:
        """Return up to `n` configurations at which an acquisition function is highest, `(n, d)`."""
        space, view, data, models = self._space, fitted.snapshot, fitted.data, fitted.models
        place = len(view.points) + len(asked)
        seed = self._seed(place)
        feasibility = Feasibility(models.constraints, seed) if models.constraints else None
        has_bonus = fitted.log_prior is not None or fitted.log_cost is not None
        acquisition = make(
            models.objective,
            evaluated=data.evaluated,
            pending=space.in_full(np.vstack([view.pending, asked])),
            seed=seed,
            feasibility=feasibility,
            trend=fitted.trend,
            bonus=fitted.bonus if has_bonus else None,
        )
        if view.is_plain and not space.fidelities:
            best = data.X[np.argsort(-data.y, kind="stable")[:_BEST], : space.dim]
        else:
            best = data.evaluated[models.order(data.evaluated)[:_BEST]]
        if self._beliefs is not None and fitted.log_prior is not None:
            best = np.vstack([best, self._beliefs.at_mode(best[:1])])
        chooser = None
        if space.fidelities:
            chooser = FidelityChooser(
                space, models, feasibility, fitted.log_cost, data.evaluated, view
            )
        excluded = self._design.excluded.with_added(asked)
        chosen = np.empty((0, space.dim))
        for i in range(n):
            rng = np.random.default_rng(self._seed(place + len(chosen)))
            if i == _CLIMBED:  # the rest of a large batch
                candidates = unused_candidates(space, best, excluded, rng)
                n_left = min(n - i, len(candidates))
                points = acquisition.choose(candidates, n_left) if n_left else candidates
            else:
                points = maximise(
                    acquisition, space, best, excluded, rng, local=acquisition.is_local
                )
            for point in points:
                if chooser is not None:
                    point = chooser.choose(point, np.vstack([asked, chosen]), excluded)
                excluded.add(point[None])
                chosen = np.vstack([chosen, point])
            if i == _CLIMBED or not len(points):
                break
            if i + 1 < n:
                acquisition.add_pending(space.in_full(chosen[-1:])[0])
        return chosen

    @property
    def _place(self) -> int:
        """The number of configurations before the next."""
        return len(self._asked) + (0 if self._snapshot is None else len(self._snapshot.points))

    def _seed(self, place: int) -> int:
        """The seed of the proposal at a place: restoring the record restores the randomness."""
        return int(np.random.SeedSequence([self._design.seed, place]).generate_state(1)[0] // 2)
