"""Where the user believes the optimum to be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import BRANIN, HARTMANN6, MIXED, Problem, regret, search
from proposer_conformance import Make, ProposerConformance
from scipy import stats

from raytuner.bayes import BayesProposer, SobolProposer
from raytuner.bayes.acquisition import LogExpectedImprovement
from raytuner.bayes.belief import Belief, Beliefs
from raytuner.bayes.dataset import dataset
from raytuner.bayes.surrogate import Posterior, fit, numerics
from raytuner.errors import SettingError
from raytuner.history import History
from raytuner.search.priors import PRIORS, beliefs_of, near, read_priors
from raytuner.space import (
    Categorical,
    Column,
    Config,
    Float,
    Integer,
    Normal,
    Ordinal,
    Space,
    when,
)


def _middle(column: Column) -> object:
    """A belief for any column: the first choice, or the middle of a range."""
    if column.kind == "categorical":
        return {column.domain.from_unit(0.0): 1.0}
    return near(column.domain.from_unit(0.5))


class TestWithBeliefs(ProposerConformance):
    """In spaces of three kinds; the proposer itself is tested in all."""

    spaces = ("conditional", "constrained", "fidelities")

    @pytest.fixture
    def make(self) -> Make:
        def begin(space: Space, seed: int) -> BayesProposer:
            priors = {column.name: _middle(column) for column in space.columns}
            return BayesProposer(space, seed, n_initial=4, beliefs=read_priors(priors, space))

        return begin

    def test_another_seed_proposes_otherwise(self, make: Make) -> None:
        """After the likeliest of all, which is the same for each."""
        space = BRANIN.space
        assert make(space, 1).ask(1) == make(space, 2).ask(1)
        assert make(space, 1).ask(3) != make(space, 2).ask(3)


def _regrets(problem: Problem, centre: Config, n: int) -> list[float]:
    """Of five searches with a belief around a configuration; with none if it is empty."""
    beliefs = read_priors({name: near(value) for name, value in centre.items()}, problem.space)
    found = []
    for seed in range(5):
        history = search(
            problem,
            lambda seed=seed: BayesProposer(problem.space, seed, beliefs=beliefs),  # type: ignore[misc]
            n=n,
            workers=4,
            order_seed=seed,
        )
        found.append(regret(problem, history))
    return found


H6_BEST = {"x0": 0.2, "x1": 0.15, "x2": 0.48, "x3": 0.28, "x4": 0.31, "x5": 0.66}


def test_a_good_belief_saves_most_of_the_way() -> None:
    centre = {name: x + 0.07 for name, x in H6_BEST.items()}
    assert np.median(_regrets(HARTMANN6, centre, 15)) < 0.5
    assert np.median(_regrets(HARTMANN6, {}, 15)) > 1.0


def test_a_wrong_one_only_delays() -> None:
    """Sure of the corner that is farthest from the optima."""
    wrong = {"x": 9.5, "y": 14.5}
    assert np.median(_regrets(BRANIN, wrong, 8)) > np.median(_regrets(BRANIN, {}, 8))
    assert np.median(_regrets(BRANIN, wrong, 40)) < 0.1


def _only(domain: object, prior: object) -> tuple[Space, Beliefs, Belief]:
    space = Space({"a": domain, "b": Float(0, 1)})
    (belief,) = read_priors({"a": prior}, space)
    return space, Beliefs(space, [belief]), belief


@pytest.mark.parametrize(
    ("domain", "prior", "value"),
    [
        (Float(0, 1), near(0.7, spread=0.05), 0.7),
        (Float(1e-5, 1, log=True), near(1e-3), 1e-3),
        (Float(1e-5, 1, log=True), stats.lognorm(0.5, scale=1e-3), 1e-3),
        (Float(0, 1, step=0.1), near(0.3, spread=0.05), 0.3),
        (Float(0, 1), stats.beta(8, 2), 0.875),
        (Integer(1, 9), near(7), 7),
        (Integer(1, 9), stats.poisson(4.5), 4),
        (Integer(1, 9), stats.norm(3, 0.5), 3),
        (Integer(1, 100_000, log=True), near(300, spread=0.05), 300),
        (Normal(0, 2), near(1.5, spread=0.05), 1.5),
        (Normal(0, 2, step=0.5), stats.norm(1.5, 0.1), 1.5),
        (Ordinal([16, 32, 64, 128]), near(64), 64),
        (Ordinal([16, 32, 64, 128]), stats.norm(60, 5), 64),
        (Ordinal([128, 64, 32, 16]), stats.norm(60, 5), 64),
        (Categorical(["a", "b", "c"]), {"b": 3, "c": 1}, "b"),
        (Categorical([True, False]), {False: 1}, False),
        (Ordinal([16, 32, 64]), {32: 1.0}, 32),
    ],
)  # fmt: skip
def test_it_is_where_it_was_said_to_be(domain: object, prior: object, value: object) -> None:
    space, beliefs, belief = _only(domain, prior)
    column = space.columns[0].domain
    assert sum(belief.widths) == pytest.approx(1.0)
    assert sum(belief.mass) == pytest.approx(1.0)
    at = column.to_unit(value)
    assert belief.mode == pytest.approx(at, abs=0.06)
    rng = np.random.default_rng(0)
    drawn = space.snap(beliefs.draw(rng.random((2000, 2))))
    anyhow = space.snap(rng.random((2000, 2)))
    away = [float(np.abs(points[:, 0] - at).mean()) for points in (drawn, anyhow)]
    assert away[0] < 0.7 * away[1]
    # Neither density nor draws know anything of the other column.
    assert abs(drawn[:, 1].mean() - 0.5) < 0.05
    log = beliefs.log_density(torch.as_tensor(anyhow)).numpy()
    near_it = np.abs(anyhow[:, 0] - at) < 0.02
    if near_it.any() and not near_it.all():
        assert log[near_it].min() > np.median(log[~near_it])


def test_draws_follow_the_density() -> None:
    law = stats.norm(0.3, 0.1)
    _, beliefs, _ = _only(Float(0, 1), law)
    drawn = beliefs.draw(np.random.default_rng(1).random((4000, 2)))[:, 0]
    assert stats.kstest(drawn, law.cdf).pvalue > 1e-3
    grid = torch.linspace(0.01, 0.99, 500, dtype=torch.double)
    log = beliefs.log_density(torch.stack([grid, grid], dim=-1))
    expected = np.log(0.95 * law.pdf(grid.numpy()) + 0.05)
    assert np.allclose(log.numpy(), expected, atol=0.02)


def test_the_domains_own_law_says_nothing() -> None:
    for domain, law in (
        (Float(1e-4, 1, log=True), stats.loguniform(1e-4, 1)),
        (Categorical(["a", "b", "c"]), {"a": 1, "b": 1, "c": 1}),
    ):
        _, beliefs, _ = _only(domain, law)
        X = torch.rand(50, 2, dtype=torch.double)
        assert torch.allclose(
            beliefs.log_density(X), torch.zeros(50, dtype=torch.double), atol=1e-6
        )


def test_a_climb_can_follow_it() -> None:
    _, beliefs, _ = _only(Float(0, 1), near(0.7))
    X = torch.full((1, 2), 0.4, dtype=torch.double, requires_grad=True)
    (gradient,) = torch.autograd.grad(beliefs.log_density(X).sum(), X)
    assert gradient[0, 0] > 1.0
    assert gradient[0, 1] == 0.0


def test_what_does_not_exist_is_not_believed_to_be_anywhere() -> None:
    space = Space({"opt": Categorical(["sgd", "adam"]), "m": when(Float(0, 1), opt="sgd")})
    beliefs = Beliefs(space, read_priors({"m": near(0.9, spread=0.03)}, space))
    X = space.encode([{"opt": "adam"}, {"opt": "sgd", "m": 0.9}, {"opt": "sgd", "m": 0.5}])
    log = beliefs.log_density(torch.as_tensor(X)).tolist()
    assert log[0] == 0.0
    assert log[1] > 1.0
    assert log[2] < -1.0


def test_the_first_configuration_is_the_likeliest() -> None:
    priors = {"lr": near(1e-3), "layers": near(9), "act": {"elu": 2, "relu": 1}}
    proposer = BayesProposer(MIXED.space, 0, beliefs=read_priors(priors, MIXED.space))
    first = proposer.ask(8)
    assert first[0].config == {"lr": pytest.approx(1e-3, rel=0.03), "layers": 9, "act": "elu"}
    plain = [p.config for p in BayesProposer(MIXED.space, 0).ask(8)]
    assert [p.config for p in first][1::2] == plain[1::2]  # half of them are as without


BOWL = Problem(
    Space({f"x{i}": Float(0, 1) for i in range(6)}),
    lambda config: sum((x - 0.3) ** 2 for x in config.values()),
    optimum=0.0,
)


def _beliefs(centre: float) -> Beliefs:
    return Beliefs(BOWL.space, read_priors(dict.fromkeys(H6_BEST, near(centre)), BOWL.space))


def _weight(centre: float, n: int) -> float:
    """The power of a belief beside n quasi-random values; larger values are better."""
    data = dataset(search(BOWL, lambda: SobolProposer(BOWL.space, 1), n=n, workers=1).snapshot())
    beliefs = _beliefs(centre)
    with numerics():
        bonus = beliefs.bonus(Posterior.of(fit(data, BOWL.space.columns)), data, seed=0)
    likeliest = torch.as_tensor(beliefs.at_mode(np.zeros((1, 6))))
    return 0.0 if bonus is None else float(bonus(likeliest) / beliefs.log_density(likeliest))


def test_it_fades_and_at_once_if_the_values_contradict_it() -> None:
    assert _weight(0.3, 8) > 0.02
    assert _weight(0.3, 24) < _weight(0.3, 8) / 2
    assert _weight(0.9, 8) == 0.0


def test_proposals_lean_towards_it() -> None:
    """Also those of a batch that are chosen among candidates."""
    data = dataset(search(BOWL, lambda: SobolProposer(BOWL.space, 1), n=12, workers=1).snapshot())
    log_density = _beliefs(0.4).log_density
    none, candidates = np.empty((0, 6)), np.random.default_rng(0).random((64, 6))
    X = torch.as_tensor(candidates)
    with numerics():
        posterior = Posterior.of(fit(data, BOWL.space.columns))
    with numerics(), torch.no_grad():
        plain, leaning = (
            LogExpectedImprovement(posterior, data.evaluated, none, seed=0, bonus=bonus)
            for bonus in (None, log_density)
        )
        assert torch.allclose(leaning(X), plain(X) + log_density(X))
        first, *_ = leaning.choose(candidates, 6)
        assert (first == candidates[int(leaning(X).argmax())]).all()
        believed = [log_density(torch.as_tensor(a.choose(candidates, 6))) for a in (leaning, plain)]
        assert float(believed[0].mean()) > float(believed[1].mean()) + 1.0


ERRORS = Space({"lr": Float(1e-4, 1, log=True), "net": {"act": Categorical(["relu", "tanh"])}})


@pytest.mark.parametrize(
    ("priors", "says"),
    [
        (3, "priors is 3; it must be a dict by hyperparameter"),
        ({"lrs": near(0.1)}, "priors['lrs']: no hyperparameter of this name varies; known names:"),
        ({"lr": near(5)}, "priors['lr']: received near(5), expected a number from 0.0001 to 1"),
        ({"lr": stats.norm(50, 1)}, "of this distribution (median 50) lies in the"),
        ({"lr": 0.1}, "priors['lr'] is 0.1; it must be raytuner.near(value)"),
        ({"lr": {0.1: 1}}, "weights work only for a choice or a few levels"),
        ({"net/act": near("relu")}, "a choice has no order; give weights by value"),
        ({"net/act": {"gelu": 1}}, "received 'gelu', expected one of 'relu', 'tanh'"),
        ({"net/act": {"relu": -1}}, "the weight of 'relu' is -1; it must be >= 0"),
        ({"net/act": {"relu": 0}}, "no value has a weight above 0"),
        ({"net/act": {}}, "no value has a weight above 0"),
        ({"net/act": stats.norm(0, 1)}, "a distribution works only for numbers"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(priors: object, says: str) -> None:
    with pytest.raises(SettingError) as raised:
        read_priors(priors, ERRORS)  # type: ignore[arg-type]
    assert says in str(raised.value)


@pytest.mark.parametrize("spread", [0, float("nan"), "wide"])
def test_a_spread_is_above_0(spread: object) -> None:
    with pytest.raises(SettingError, match="the spread is a share of the range"):
        near(0.1, spread=spread)  # type: ignore[arg-type]


def test_the_record_keeps_it_and_another_space_takes_what_is_as_it_was() -> None:
    priors = {"lr": near(1e-3, spread=0.05), "net/act": {"tanh": 3, "relu": 1}}
    beliefs = read_priors(priors, ERRORS)
    history = History(ERRORS, metric="loss", mode="min")
    names = [ERRORS.columns[belief.column].name for belief in beliefs]
    history.set_meta(PRIORS, {name: b.mass for name, b in zip(names, beliefs, strict=True)})
    assert beliefs_of(history, ERRORS) == beliefs
    narrower = Space({"lr": Float(1e-4, 1e-2, log=True), "net": {"act": "relu"}})
    assert beliefs_of(history, narrower) == ()
    assert beliefs_of(history, Space({"net": {"act": ERRORS.columns[1].domain}})) == (
        replace(beliefs[1], column=0),
    )
    assert beliefs_of(history, Space({"lr": 1e-3, "x": Float(0, 1)})) == ()


def test_quantiles_are_those_of_the_steps() -> None:
    belief = Belief(0, units=(0.1, 0.5, 0.9), widths=(0.2, 0.6, 0.2), mass=(0.5, 0.0, 0.5))
    # Half of the belief lies in the first fifth, half in the last.
    np.testing.assert_allclose(
        belief.quantile(np.array([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])),
        [0.0, 0.04, 0.1, 0.8, 0.9, 1.0],
    )
    level = Belief(0, units=(0.25, 0.75), widths=(0.5, 0.5), mass=(0.5, 0.5))
    u = np.linspace(0, 1, 11)
    np.testing.assert_allclose(level.quantile(u), u)
    np.testing.assert_allclose(level.log_density, [0.0, 0.0], atol=1e-12)
