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
from raytuner.bayes.dataset import MAX_ROWS, Dataset, chebyshev, dataset, least_trials
from raytuner.bayes.fidelity import Batch, FidelityChooser
from raytuner.bayes.maximise import WHOLE, Box, maximise, maximise_each, unused_candidates
from raytuner.bayes.paths import SamplePaths
from raytuner.bayes.proposer import Proposal, SobolProposer, proposals
from raytuner.bayes.scale import Scale
from raytuner.bayes.surrogate import (
    FIT_ERRORS,
    Models,
    Posterior,
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
# This many of a batch are maximised. The others are the best of some hundred candidates, which
# takes a hundredth of the time. Batches are large if slots become free faster than that.
_CLIMBED = 4
# Configurations before the first model, with earlier searches; eight were worse on LCBench.
_AFTER_TRANSFER = 3
# One proposal in this many explores: the regret after 100 trials fell from 0.079 to 0.044 (30 runs
# on eight development instances of LCBench; standard error of the difference 0.016).
_EXPLORES = 8
# From this many pending trials on, proposals are the best of functions drawn from the model. With
# 64 workers, averaging over the outcomes of pending trials found values that were not worse
# (benchmarks.pending). With 1,000 it takes half a second.
_FLEET = 128
# With more trials than the model has rows, one in this many proposals is from a local model.
_LOCAL = 2
_LEAST_WIDTH = 1e-6  # of the box of the local model, as a share of a column's range
# On a side where the best trial is within a twentieth of this box's width of the border, the box is
# wider by half its width. Otherwise it shrinks around that trial: in `benchmarks.long`,
# Rosenbrock's function stayed at 7.45 from 5,000 trials on.
_BORDER, _MARGIN = 0.05, 0.5

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

    def feasibility(self, seed: int) -> Feasibility | None:
        """Return the probability that the outcome constraints are satisfied; None without any.

        `seed` is the seed of its samples.
        """
        constraints = self.models.constraints
        return Feasibility(constraints, seed) if constraints else None

    def bonus(self, X: Tensor) -> Tensor:
        """Return the term to add to an acquisition function: the log prior minus the log cost."""
        total = X.new_zeros(X.shape[:-1])
        if self.log_prior is not None:
            total = total + self.log_prior(X)
        return total if self.log_cost is None else total - self.log_cost(X)


class BayesProposer:
    """Proposes configurations by Bayesian optimisation with a Gaussian process.

    The first `n_initial` configurations are quasi-random. After that, each proposal maximises the
    log expected improvement at full resource, jointly with all pending trials (sequential greedy
    for a batch). Every eighth proposal explores instead (`PureExploration`), unless fewer than
    eight trials are left or there are earlier searches. The model learns the objective's values, or
    only their ranks if these forecast trials better (`Scale`).

    - Outcome constraints: the improvement over the best feasible value, times the probability of
      feasibility.
    - Several objectives: each proposal uses new random weights (`chebyshev`).
    - Costs in the record: the improvement per unit of cost (J. Snoek, H. Larochelle and R. P. Adams
      (2012), "Practical Bayesian Optimization of Machine Learning Algorithms", section 3.2).
    - Fidelities: `FidelityChooser` decides at which fidelity to try this configuration or one of
      the best so far.
    - `fleet` or more pending trials: each proposal is the maximum of a function drawn from the
      model (`SamplePaths`). In a batch this takes a few milliseconds each, for any number of
      pending trials.
    - More than `MAX_ROWS` ended trials: every second proposal is the maximum of a function drawn
      from a local model. It uses the trials nearest to the best one, inside their bounding box. If
      the best one is on the border of the box, the box is wider on that side (after D. Eriksson et
      al. (2019), "Scalable Global Optimization via Local Bayesian Optimization",
      arXiv:1910.01739, section 3).

    The last two do not apply with another `acquisition`. With costs, they maximise the gain of a
    drawn function per unit of cost.

    Args:
        space: The search space, d columns.
        seed: Seed of all random numbers; None draws one.
        n_initial: Number of quasi-random configurations before the first model. None: `d + 1`, at
            least 5 and at most 20.
        acquisition: The acquisition function: a class of `PosteriorAcquisition`.
        fleet: Number of pending trials from which on functions are drawn.
        tasks: Earlier searches. Some of their best configurations (`Transfer.first`) are tried
            before the quasi-random ones, and the default of `n_initial` is three.
        beliefs: Priors of the optimum.

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
        fleet: int = _FLEET,
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
        self._fleet = fleet
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
        """Propose `n` configurations; quasi-random ones, with a warning, if a fit fails."""
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
        """Propose `n` configurations from a record with one objective."""
        chosen = np.empty((0, self._space.dim))
        with_first = True  # whether to try the best of earlier searches
        # The last trial is at full fidelity. The model chooses it once two trials have values.
        left = None if view is None or not self._space.fidelities else view.left
        is_last = left is not None and left - len(self._asked) <= n
        if view is not None and (self._place >= self.n_initial or is_last):
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
                    " proposing quasi-random configurations instead",
                    RaytunerWarning,
                    stacklevel=2,
                )
        origins = [Origin.BAYES] * len(chosen)
        if len(chosen) < n:
            points, more = self._design.draw(n - len(chosen), with_first=with_first)
            full = self._space.in_full(points[-1:])
            if is_last and self._space.allowed(full).all():
                points[-1:] = full
            chosen, origins = np.vstack([chosen, points]), origins + more
        self._asked = np.vstack([self._asked, chosen])
        return proposals(self._space, chosen, origins)

    def _fitted(self, view: Snapshot) -> Fitted | None:
        """Fit the models to a record with one objective; None if there are too few values."""
        data = dataset(view.of_outcome(0))
        if self._space.fidelities:  # configurations are compared at full fidelity
            in_full = np.unique(self._space.in_full(data.evaluated), axis=0)
            data = replace(data, evaluated=in_full)
        if len(data.evaluated) < 2:  # a slope needs two
            return None
        if len(data) < data.known and view.is_plain and not self._space.fidelities:
            # The best are among the rows, unless constraints or fidelities say what is best.
            rows = np.unique(data.X[:, : self._space.dim], axis=0)
            data = replace(data, evaluated=rows)
        if self._snapshot is not view:
            # With other weights, the objective is not the last one.
            self._fits["0"], self._fits["local"] = WarmFit(), WarmFit()
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
        """Return up to `n` configurations to propose, `n x d`-dim."""
        left = fitted.snapshot.left
        by_default = self._acquisition is LogExpectedImprovement
        n_pending = len(fitted.snapshot.pending)
        # How many of a batch are of the local model, and how many explore: the last ones.
        local, explores = 0, 0
        n_ended = len(fitted.snapshot.trial_ids) - n_pending
        if by_default and fitted.trend is None and n_ended > MAX_ROWS:
            local = self._share(n, _LOCAL)
        elif by_default and fitted.trend is None and (left is None or left >= _EXPLORES):
            explores = self._share(n, _EXPLORES)
        if by_default and n_pending + len(self._asked) >= self._fleet:
            return self._by_paths(fitted, n, local, self._asked)
        chosen = self._asked[:0]
        if n > local + explores:
            rest = n - local - explores
            chosen = self._best_of(self._acquisition, fitted, rest, self._asked)
        asked = np.vstack([self._asked, chosen])
        if explores:
            chosen = np.vstack([chosen, self._best_of(PureExploration, fitted, explores, asked)])
        if local:
            chosen = np.vstack([chosen, self._by_paths(fitted, local, local, asked)])
        return chosen

    def _best_of(
        self, make: MakeAcquisition, fitted: Fitted, n: int, asked: FloatArray
    ) -> FloatArray:
        """Return up to `n` configurations that maximise an acquisition function, `n x d`-dim."""
        space, view = self._space, fitted.snapshot
        place = len(view.points) + len(asked)
        seed = self._seed(place)
        feasibility = fitted.feasibility(seed)
        has_bonus = fitted.log_prior is not None or fitted.log_cost is not None
        acquisition = make(
            fitted.models.objective,
            evaluated=fitted.data.evaluated,
            pending=space.in_full(np.vstack([view.pending, asked])),
            seed=seed,
            feasibility=feasibility,
            trend=fitted.trend,
            bonus=fitted.bonus if has_bonus else None,
        )
        best = self._best(fitted)
        chosen = self._batch(fitted, asked, feasibility)
        for i in range(n):
            rng = np.random.default_rng(self._seed(place + i))
            if i == _CLIMBED:  # the rest of a large batch
                candidates = unused_candidates(space, best, chosen.excluded, rng)
                n_left = min(n - i, len(candidates))
                for point in acquisition.choose(candidates, n_left) if n_left else candidates:
                    chosen.add(point)
                break
            points = maximise(
                acquisition, space, best, chosen.excluded, rng, local=acquisition.is_local
            )
            if not len(points):
                break
            point = chosen.add(points[0])
            if i + 1 < n:
                acquisition.add_pending(space.in_full(point[None])[0])
        return chosen.points

    def _by_paths(self, fitted: Fitted, n: int, local: int, asked: FloatArray) -> FloatArray:
        """Return up to `n` configurations, `n x d`-dim, each the maximum of a drawn function.

        The last `local` functions come from the local model.
        """
        seed = self._seed(len(fitted.snapshot.points) + len(asked))
        rng = np.random.default_rng(seed)
        feasibility, at_full = fitted.feasibility(seed), fitted.models.objective.at_full

        def extra(X: Tensor) -> Tensor:
            total = fitted.bonus(X)
            return total if feasibility is None else total + feasibility(at_full(X))

        best = self._best(fitted)
        parts: list[tuple[int, Posterior, FloatArray, Box]] = []
        if n > local:
            parts.append((n - local, fitted.models.objective, best, WHOLE))
        if local:
            parts.append((local, *self._local(fitted, best[0])))
        chosen = self._batch(fitted, asked, feasibility)
        for share, model, good, box in parts:
            over = None if fitted.log_cost is None else good[:_BEST]
            paths = SamplePaths(model, share, rng, trend=fitted.trend, extra=extra, over=over)
            for point in maximise_each(paths, self._space, good, chosen.excluded, rng, box):
                chosen.add(point)
        return chosen.points

    def _local(self, fitted: Fitted, top: FloatArray) -> tuple[Posterior, FloatArray, Box]:
        """Return the model of the trials near a configuration, the best of them, and their box."""
        near = dataset(fitted.snapshot.of_outcome(0), near=top)
        rows = near.X[np.argsort(-near.y, kind="stable"), : self._space.dim]
        # Categories have no order, and a hyperparameter may exist in none of these trials.
        whole = [c.kind == "categorical" or bool(c.requires) for c in self._space.columns]
        low = np.where(whole, 0.0, rows.min(axis=0))
        high = np.where(whole, 1.0, rows.max(axis=0))
        widths = high - low
        in_box = replace(near, widths=np.maximum(widths, _LEAST_WIDTH))
        model = self._fits["local"](in_box, self._space.columns)
        margin, on_border = _MARGIN * widths, _BORDER * widths
        low = np.where(top - low < on_border, np.maximum(low - margin, 0.0), low)
        high = np.where(high - top < on_border, np.minimum(high + margin, 1.0), high)
        return model, rows[:_BEST], (low, high)

    def _best(self, fitted: Fitted) -> FloatArray:
        """Return a few of the best configurations, as centres of candidates, `e x d`-dim."""
        space, data = self._space, fitted.data
        if fitted.snapshot.is_plain and not space.fidelities:
            best = data.X[np.argsort(-data.y, kind="stable")[:_BEST], : space.dim]
        else:
            best = data.evaluated[fitted.models.order(data.evaluated)[:_BEST]]
        if self._beliefs is not None and fitted.log_prior is not None:
            best = np.vstack([best, self._beliefs.at_mode(best[:1])])
        return best

    def _batch(self, fitted: Fitted, asked: FloatArray, feasibility: Feasibility | None) -> Batch:
        """Return an empty batch that takes proposals since the last `tell` into account."""
        chooser = None
        if self._space.fidelities:
            evaluated = fitted.data.evaluated
            chooser = FidelityChooser(
                self._space, fitted.models, feasibility, fitted.log_cost, evaluated, fitted.snapshot
            )
        return Batch(self._design.excluded, asked, chooser)

    def _share(self, n: int, every: int) -> int:
        """Return how many of the next `n` proposals are the last of a group of `every`."""
        return (self._place + n) // every - self._place // every

    @property
    def _place(self) -> int:
        """The number of configurations before the next one."""
        return len(self._asked) + (0 if self._snapshot is None else len(self._snapshot.points))

    def _seed(self, place: int) -> int:
        """The seed of the proposal at a place. So a restored record gives the same proposals."""
        return int(np.random.SeedSequence([self._design.seed, place]).generate_state(1)[0] // 2)
