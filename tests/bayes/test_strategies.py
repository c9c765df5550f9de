"""The strategies that are not the default."""

from __future__ import annotations

import json
import math
import sys
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from botorch.acquisition import analytic
from botorch.models import SingleTaskGP
from problems import BRANIN, MIXED, regret, search
from proposer_conformance import Make, ProposerConformance

from raytuner import BoTorchSearch
from raytuner.bayes.acquisition import LogExpectedImprovement, PosteriorAcquisition
from raytuner.bayes.dataset import Dataset, dataset
from raytuner.bayes.evolution import EvolutionProposer
from raytuner.bayes.portfolio import (
    HedgeProposer,
    KnowledgeGradient,
    PosteriorMean,
    ProbabilityOfImprovement,
    UpperConfidenceBound,
)
from raytuner.bayes.proposer import PointwiseProposer
from raytuner.bayes.strategies import GRID_POINTS, STRATEGIES, Strategy, gridded, strategy
from raytuner.bayes.surrogate import Posterior, fit, numerics
from raytuner.errors import SettingError
from raytuner.history import History, Origin, TrialState
from raytuner.space import Categorical, Float, Integer, Normal, Ordinal, Space, when

# "bayes", "sobol" and "grid" (Sobol's points of a finite space) are in test_proposers.py.
OTHERS = sorted(STRATEGIES.keys() - {"bayes", "sobol", "grid"})
WITH_MODEL = sorted(name for name in STRATEGIES if STRATEGIES[name].has_model)


@pytest.mark.parametrize("kind", OTHERS)
class TestStrategies(ProposerConformance):
    """With a space that has all kinds of hyperparameters, and once with conditions and constraints.

    Other mixtures are tested with the default strategy and with a Sobol sequence, in all spaces.
    """

    @pytest.fixture
    def make(self, kind: str) -> Make:
        return lambda space, seed: strategy(kind).make(space, seed, 4)

    spaces = ("mixed",)
    spaces_once = ("constrained",)
    ends_in = "mixed"


# -- convergence ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def at_random() -> dict[int, np.ndarray]:
    """Regrets on Branin of 200 random searches of 36 trials, and on the mixed problem of 150."""
    found = {}
    for problem, n in ((BRANIN, 36), (MIXED, 150)):
        regrets = []
        for seed in range(200):
            configs = problem.space.sample(np.random.default_rng(seed), n)
            regrets.append(min(map(problem.loss, configs)) - problem.optimum)
        found[n] = np.array(regrets)
    return found


@pytest.mark.parametrize("kind", [name for name in WITH_MODEL if name != "bayes"])
def test_with_a_model_it_beats_four_in_five_random_searches(
    kind: str, at_random: dict[int, np.ndarray]
) -> None:
    def make() -> Any:
        return strategy(kind).make(BRANIN.space, 0, None)

    history = search(BRANIN, make, n=36, workers=4, reload_at=(12, 24))
    assert regret(BRANIN, history) < np.quantile(at_random[36], 0.2)
    assert len({str(trial.config) for trial in history.trials}) == 36


def test_evolution_beats_most_random_searches(at_random: dict[int, np.ndarray]) -> None:
    regrets = []
    for seed in range(5):
        make = partial(EvolutionProposer, MIXED.space, seed)
        history = search(MIXED, make, n=150, workers=4, order_seed=seed, reload_at=(50,))
        regrets.append(regret(MIXED, history))
    assert np.median(regrets) < np.quantile(at_random[150], 0.2)


# -- acquisition functions ------------------------------------------------------------------------


def _record() -> History:
    rng = np.random.default_rng(0)
    history = History(BRANIN.space, metric="loss", mode="min", max_t=9)
    for i, config in enumerate(BRANIN.space.sample(rng, 14)):
        history.add(str(i), config)
        history.report(str(i), 9, BRANIN.loss(config))
        history.end(str(i), TrialState.COMPLETED)
    return history


@pytest.fixture(scope="module")
def fitted() -> tuple[SingleTaskGP, Dataset]:
    data = dataset(_record().snapshot())
    with numerics():
        return fit(data, BRANIN.space.columns), data


def of(
    make: Any, fitted: tuple[SingleTaskGP, Dataset], pending: Any = (), seed: int = 0
) -> PosteriorAcquisition:
    model, data = fitted
    acquisition: PosteriorAcquisition = make(
        Posterior.of(model),
        evaluated=data.evaluated,
        pending=np.array(pending, dtype=np.float64).reshape(-1, 2),
        seed=seed,
    )
    return acquisition


X = torch.as_tensor(np.random.default_rng(1).random((40, 2)))
ALL = [
    LogExpectedImprovement,
    ProbabilityOfImprovement,
    UpperConfidenceBound,
    KnowledgeGradient,
    PosteriorMean,
]


def values(acquisition: PosteriorAcquisition, at: torch.Tensor = X) -> np.ndarray:
    with torch.no_grad():
        return acquisition(at).numpy()


def test_the_bound_is_botorchs(fitted: tuple[SingleTaskGP, Dataset]) -> None:
    theirs = analytic.UpperConfidenceBound(fitted[0], beta=0.2 * 2 * math.log(2 * 14))
    np.testing.assert_allclose(
        values(of(UpperConfidenceBound, fitted)), theirs(X[:, None]).detach(), rtol=1e-4
    )


def test_the_probability_of_improvement_is_botorchs(fitted: tuple[SingleTaskGP, Dataset]) -> None:
    """Up to the incumbent's true value, which is next to known here."""
    model, data = fitted
    best = model.posterior(torch.as_tensor(data.evaluated)).mean.max() + 0.01
    theirs = analytic.LogProbabilityOfImprovement(model, best_f=best)(X[:, None]).detach().numpy()

    class Precise(ProbabilityOfImprovement):
        _samples = 2048

    ours = values(of(Precise, fitted))
    assert (theirs > -5).sum() > 10
    np.testing.assert_allclose(np.exp(ours), np.exp(theirs), atol=0.02)


def test_the_mean_is_botorchs_and_is_climbed_from_the_best(
    fitted: tuple[SingleTaskGP, Dataset],
) -> None:
    ours = of(PosteriorMean, fitted)
    theirs = fitted[0].posterior(X).mean.squeeze(-1).detach()
    np.testing.assert_allclose(values(ours), theirs, rtol=1e-4, atol=1e-6)
    assert ours.is_local


@pytest.mark.parametrize("pending", [[], [[0.3, 0.7]]])
def test_the_knowledge_gradient_is_what_fantasies_give(
    fitted: tuple[SingleTaskGP, Dataset], pending: list[list[float]]
) -> None:
    """Against the model given each of many values that the trial may come to."""
    data = fitted[1]
    model: Any = fitted[0]
    ours = values(of(KnowledgeGradient, fitted, pending), X[:6])
    model.posterior(X)  # fills the caches that conditioning needs
    if pending:
        point = torch.tensor(pending, dtype=torch.double)
        model = model.condition_on_observations(point, model.posterior(point).mean.detach())
    known = torch.as_tensor(np.vstack([data.evaluated, *([pending] if pending else [])]))
    for value, x in zip(ours, X[:6], strict=True):
        A = torch.vstack([known, x])
        now = model.posterior(A).mean.detach()
        sd = model.posterior(x[None], observation_noise=True).variance.sqrt().item()
        after = []
        for node in torch.special.ndtri((torch.arange(64).double() + 0.5) / 64):
            y = model.posterior(x[None]).mean.detach() + sd * node
            after.append(model.condition_on_observations(x[None], y).posterior(A).mean.max().item())
        gain = float(np.mean(after)) - now.max().item()
        assert math.exp(value) == pytest.approx(gain, rel=0.1, abs=2e-3)


@pytest.mark.parametrize("make", ALL)
def test_what_is_pending_is_not_proposed_again(
    make: Any, fitted: tuple[SingleTaskGP, Dataset]
) -> None:
    """The best of some points loses its lead once it is pending."""
    alone, dense = of(make, fitted), torch.rand(400, 2, dtype=torch.double)
    before = values(alone, dense)
    best = before.argmax()
    alone.add_pending(dense[best].numpy())
    assert values(alone, dense)[best] < before[best]


@pytest.mark.parametrize("make", ALL)
def test_a_batch_chosen_among_candidates_begins_with_the_best(
    make: Any, fitted: tuple[SingleTaskGP, Dataset]
) -> None:
    acquisition = of(make, fitted)
    candidates = np.random.default_rng(2).random((100, 2))
    first = candidates[values(acquisition, torch.as_tensor(candidates)).argmax()]
    chosen = acquisition.choose(candidates, 12)
    assert len(np.unique(chosen, axis=0)) == 12
    assert np.array_equal(chosen[0], first)


# -- hedge ----------------------------------------------------------------------------------------


def test_hedge_follows_what_pays(fitted: tuple[SingleTaskGP, Dataset]) -> None:
    posterior, data = Posterior.of(fitted[0]), fitted[1]
    proposer = HedgeProposer(BRANIN.space, 0)
    k = 3
    assert proposer.probabilities(posterior).tolist() == [1 / k] * k
    best, worst = data.X[data.y.argmax()], data.X[data.y.argmin()]
    state = proposer.state_dict() | {"nominated": [[worst.tolist(), best.tolist(), worst.tolist()]]}
    proposer.load_state_dict(json.loads(json.dumps(state)))
    chances = proposer.probabilities(posterior)
    assert chances.sum() == pytest.approx(1.0)
    assert chances[1] > 2 * chances[0] == pytest.approx(2 * chances[2])


def test_hedge_spreads_a_batch_and_remembers_what_was_nominated() -> None:
    history = _record()
    proposer = HedgeProposer(BRANIN.space, 0, n_initial=4)
    proposer.tell(history.snapshot())
    proposals = proposer.ask(6)
    assert len({str(proposal.config) for proposal in proposals}) == 6
    (nominated,) = proposer.state_dict()["nominated"]
    points = BRANIN.space.encode([proposal.config for proposal in proposals])
    assert len(nominated) == 3
    assert sum(any(np.allclose(one, point) for point in points) for one in nominated) >= 1


# -- evolution, grid, names -----------------------------------------------------------------------


def test_evolution_ranks_by_how_far_a_trial_got() -> None:
    """Stopped trials with good values at t = 1 do not draw the next generations to them."""
    space = Space({"x": Float(0, 1), "n": Integer(1, 9), "act": Categorical(["a", "b", "c"])})
    history = History(space, metric="loss", mode="min", max_t=9)
    proposer = EvolutionProposer(space, 0)
    for i in range(40):
        proposer.tell(history.snapshot())
        config = proposer.ask(1)[0].config
        history.add(str(i), config)
        good = config["x"] > 0.5 and config["act"] == "b"
        history.report(str(i), 9 if good else 1, 5.0 if good else 0.0)
        history.end(str(i), TrialState.COMPLETED if good else TrialState.STOPPED_EARLY)
    proposer.tell(history.snapshot())
    configs = [proposal.config for proposal in proposer.ask(40)]
    assert np.mean([config["x"] for config in configs]) > 0.6
    assert np.mean([config["act"] == "b" for config in configs]) > 0.6


def test_without_its_library_evolution_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(SettingError, match=r"needs the library cmaes.*raytuner\[evolution\]"):
        EvolutionProposer(BRANIN.space)


def test_a_grid_has_the_ends_and_whatever_else_is_few() -> None:
    space = Space(
        {
            "lr": Float(1e-4, 1, log=True),
            "net": {"n": Integer(1, 100), "few": Integer(1, 3), "q": Float(0, 1, step=0.5)},
            "free": Normal(0, 1),
            "batch": Ordinal([1, 2, 4, 8, 16, 32, 64]),
            "act": Categorical(list("abcdefg")),
            "layers": Integer(1, 12),
            "drop": [Float(0, 0.5)],
            "second": when(Float(0, 1), layers=[11, 12]),
            "constant": 7,
        },
        ["lr < 0.5"],
    )
    grid = gridded(space)
    levels = {c.name: c.domain.from_units(c.domain.level_units()) for c in grid.columns}
    assert levels["lr"] == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1])
    assert levels["net/n"] == [1, 26, 51, 76, 100]
    assert levels["net/few"] == [1, 2, 3]
    assert levels["net/q"] == [0, 0.5, 1]
    assert levels["drop/0"] == [0, 0.125, 0.25, 0.375, 0.5]
    assert len(levels["free"]) == GRID_POINTS
    assert levels["free"][2] == pytest.approx(0, abs=1e-12)
    assert (len(levels["batch"]), len(levels["act"])) == (7, 7)
    assert levels["layers"] == list(range(1, 13))  # conditions name some of them
    assert [one.name for one in grid.constraints] == ["lr < 0.5"]
    assert gridded(grid) is grid
    for config in grid.sample(np.random.default_rng(0), 50):
        space.validate(config)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(SettingError, match="strategy is 'tpe'; it must be one of bayes, hedge, pi"):
        strategy("tpe")


def test_evolution_takes_numbers_levels_and_categories_for_what_they_are() -> None:
    space = Space(
        {
            "number": Float(0, 1),
            "levels": Integer(1, 9),
            "two": Integer(0, 1),
            "kind": Categorical(["a", "b", "c"]),
            "size": Ordinal([1, 10, 100]),
        }
    )
    evolution = EvolutionProposer(space, 0)
    names = [column.name for column in space.columns]
    found = [[names[j] for j in columns] for columns in (evolution._x, evolution._z, evolution._c)]
    assert found == [["number"], ["levels", "size"], ["two", "kind"]]


def test_a_strategy_from_outside_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Middle(PointwiseProposer):
        """The middle of the space, then random draws."""

        origin = Origin.RANDOM

        def _draw(self) -> np.ndarray:
            middle = np.full((1, self._space.dim), 0.5)
            if self.excluded.new(middle)[0]:
                self.excluded.add(middle)
                return middle
            return self.excluded.use_random(np.random.default_rng(self.seed))

    monkeypatch.setitem(STRATEGIES, "middle", Strategy(Middle, has_model=False))
    search = BoTorchSearch(BRANIN.space, "loss", "min", strategy="middle", seed=0)
    assert search.suggest("a") == {"x": 2.5, "y": 7.5}
    assert search.suggest("b") != {"x": 2.5, "y": 7.5}


def test_what_each_strategy_can_do() -> None:
    assert list(STRATEGIES) == [
        *("bayes", "hedge", "pi", "ucb", "kg", "thompson", "gradient"),
        *("evolution", "sobol", "random", "grid"),
    ]
    assert {name for name, s in STRATEGIES.items() if s.costs} == {"bayes", "pi", "kg", "thompson"}
    assert {name for name, s in STRATEGIES.items() if not s.goals} == {"evolution"}
    without = {"evolution", "sobol", "random", "grid"}
    assert {name for name, s in STRATEGIES.items() if not s.has_model} == without
