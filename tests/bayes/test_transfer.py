"""Earlier searches as the prior mean of this one's model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from problems import BRANIN, Problem, random_trials, regret, search, watch_acquisitions
from proposer_conformance import Make, ProposerConformance

from raytuner.bayes import BayesProposer, SobolProposer
from raytuner.bayes.acquisition import LogExpectedImprovement, PureExploration
from raytuner.bayes.dataset import dataset
from raytuner.bayes.surrogate import Posterior, WarmFit, fit, leave_one_out, numerics
from raytuner.bayes.transfer import Task, TaskModel, Transfer, _greedy
from raytuner.history import History, Origin, TrialState
from raytuner.space import Space


def task(problem: Problem, seed: int, n: int = 40, *, sign: float = 1.0) -> Task:
    """Random trials of a problem."""
    snapshot = random_trials(problem, n, seed, sign=sign).snapshot()
    return Task(snapshot, np.ones(problem.space.dim, dtype=bool))


def _of(space: Space) -> Task:
    """Six random trials of any space, two of them stopped early."""
    history = History(space, metric="loss", mode="min", max_t=9)
    for i, config in enumerate(space.sample(np.random.default_rng(5), 6)):
        history.add(str(i), config)
        for t in (1, 3, 9) if i < 4 else (1, 3):
            history.report(str(i), t, float(space.encode([config]).sum()) + 1 / t)
        history.end(str(i), TrialState.COMPLETED if i < 4 else TrialState.STOPPED_EARLY)
    return Task(history.snapshot(), np.ones(space.dim, dtype=bool))


class TestWithTransfer(ProposerConformance):
    """In spaces of three kinds; the proposer itself is tested in all."""

    spaces = ("conditional", "constrained", "fidelities")

    @pytest.fixture
    def make(self) -> Make:
        return lambda space, seed: BayesProposer(space, seed, tasks=[_of(space)])

    def test_another_seed_proposes_otherwise(self, make: Make) -> None:
        """After what is tried first, which is the same for all."""
        space = BRANIN.space
        first = len(_of(space).best())
        assert make(space, 1).ask(first) == make(space, 2).ask(first)
        assert make(space, 1).ask(first + 1) != make(space, 2).ask(first + 1)


# The same valley, a little to the side.
SHIFTED = Problem(
    BRANIN.space,
    lambda c: 3 * BRANIN.loss({"x": c["x"] - 0.4, "y": c["y"] + 0.3}) - 50,
    optimum=float("nan"),
)


def _regrets(earlier: list[Task], n: int, seeds: range) -> list[float]:
    return [
        regret(
            BRANIN,
            search(
                BRANIN,
                lambda seed=seed: BayesProposer(BRANIN.space, seed, tasks=earlier),  # type: ignore[misc]
                n=n,
                workers=2,
                order_seed=seed,
                reload_at=(5, 8),
            ),
        )
        for seed in seeds
    ]


def test_a_search_alike_saves_most_of_the_way() -> None:
    with_it, alone = (_regrets(e, 7, range(5)) for e in ([task(SHIFTED, 0)], []))
    assert np.median(with_it) < 1.5
    assert np.median(alone) > 3.0


def test_a_wrong_one_only_delays() -> None:
    wrong = task(BRANIN, 0, sign=-1.0)
    assert np.median(_regrets([wrong], 36, range(3))) < 0.1


def test_nothing_explores_while_earlier_searches_say_where_to_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = watch_acquisitions(monkeypatch)
    for earlier, explored in ([task(SHIFTED, 0)], 0), ([], 1):
        made.clear()
        proposer = BayesProposer(BRANIN.space, 0, tasks=earlier)
        search(BRANIN, lambda proposer=proposer: proposer, n=12, workers=1)  # type: ignore[misc]
        assert made.count((PureExploration, 1)) == explored
        assert made.count((LogExpectedImprovement, 1)) > 5


def _rows(task: Task, points: np.ndarray) -> list[int]:
    """The ranks of some of its configurations, by their values."""
    ranked = task.snapshot.points[np.argsort(-task.snapshot.y)]
    return [int(np.flatnonzero((ranked == point).all(axis=1))[0]) for point in points]


def test_the_best_of_one_search_come_first() -> None:
    known = task(BRANIN, 1)
    first = Transfer([known], BRANIN.space.columns).first()
    assert _rows(known, first) == list(range(8))
    proposals = BayesProposer(BRANIN.space, 0, tasks=[known]).ask(9)
    assert [p.origin for p in proposals] == [Origin.EARLIER] * 8 + [Origin.SOBOL]
    assert np.allclose(BRANIN.space.encode([p.config for p in proposals[:8]]), first)


def test_a_portfolio_serves_each_kind_of_search_before_it_repeats_one() -> None:
    """Three searches agree; what serves the one that is the opposite comes second."""
    same = [task(BRANIN, seed) for seed in range(3)]
    other = task(BRANIN, 5, sign=-1.0)
    first = Transfer([*same, other], BRANIN.space.columns).first()
    own = [(other.snapshot.points == point).all(axis=1).any() for point in first]
    assert own[:2] == [False, True]
    assert len(first) == 32
    assert len(np.unique(first, axis=0)) == 32


def test_greedy_choice_reduces_the_mean_regret_while_it_can() -> None:
    regret = np.array([[0.0, 9.0, 1.0, 0.5], [9.0, 0.0, 1.0, 8.0], [0.2, 9.0, 1.0, 0.0]])
    assert _greedy(regret) == [2, 0, 1, 3]
    assert _greedy(np.array([[0.0, 1.0], [0.0, 1.0]])) == [0]
    assert _greedy(np.array([[3.0, 3.0]])) == [0]  # one at least


def test_rows_and_parts_are_limited_with_many_searches() -> None:
    tasks = [task(BRANIN, seed, n=60) for seed in range(12)]
    transfer = Transfer(tasks * 2, BRANIN.space.columns)
    transfer.first()
    assert {len(model._posterior.X) for model in transfer._models} == {50}
    data = dataset(_record(6).snapshot())
    with numerics():
        posterior = Posterior.of(fit(data, BRANIN.space.columns))
        weights = transfer.weights(posterior, data, seed=0)[:-1]
        rest, trend = transfer.explain(posterior, data, 0, WarmFit())
    assert (weights >= 0.01).sum() > 8
    assert trend is not None
    assert rest is not posterior


def test_what_an_earlier_search_does_not_say_is_quasi_random() -> None:
    first = np.array([[0.25, np.nan], [0.75, np.nan]])
    points, origins = SobolProposer(BRANIN.space, 0, first=lambda: first).draw(3)
    assert origins == [Origin.EARLIER, Origin.EARLIER, Origin.SOBOL]
    assert points[:2, 0].tolist() == [0.25, 0.75]
    assert points[0, 1] != points[1, 1]
    assert np.isfinite(points).all()


def _record(n: int, *, stopped: bool = False) -> History:
    history = History(BRANIN.space, metric="loss", mode="min", max_t=9)
    for i, config in enumerate(BRANIN.space.sample(np.random.default_rng(9), n)):
        history.add(str(i), config)
        ends_early = stopped and i % 2 == 0
        for t in (1, 3) if ends_early else (1, 3, 9):
            history.report(str(i), t, BRANIN.loss(config) + 30 / t)
        history.end(str(i), TrialState.STOPPED_EARLY if ends_early else TrialState.COMPLETED)
    return history


@pytest.mark.parametrize("stopped", [False, True])
def test_who_ranks_well_has_the_weight(stopped: bool) -> None:
    data = dataset(_record(8, stopped=stopped).snapshot())
    assert data.has_fidelity is stopped
    tasks = [task(SHIFTED, 0), task(BRANIN, 1, sign=-1.0), _of(BRANIN.space)]
    with numerics():
        posterior = Posterior.of(fit(data, BRANIN.space.columns))
        weights = Transfer(tasks, BRANIN.space.columns).weights(posterior, data, seed=0)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[0] > 0.4
    assert weights[1] == 0.0


def test_many_rows_of_its_own_say_more_than_any_other_search() -> None:
    data = dataset(_record(60).snapshot())
    with numerics():
        posterior = Posterior.of(fit(data, BRANIN.space.columns))
        transfer = Transfer([task(BRANIN, 1, sign=-1.0)], BRANIN.space.columns)
        assert transfer.weights(posterior, data, seed=0).tolist() == [0.0, 1.0]
        assert transfer.explain(posterior, data, 0, WarmFit()) == (posterior, None)


@pytest.mark.parametrize("stopped", [False, True])
def test_leaving_one_out_is_what_a_model_without_that_trial_says(stopped: bool) -> None:
    data = dataset(_record(9, stopped=stopped).snapshot())
    trials = data.X[:, :2]
    with numerics():
        model = fit(data, BRANIN.space.columns)
    gp: Any = model  # GPyTorch's attributes are untyped
    with torch.no_grad():
        mean, sd = leave_one_out(Posterior.of(model), trials)
        noise = gp.likelihood.noise
        for row in range(len(data)):
            others = np.flatnonzero((trials != trials[row]).any(axis=1))
            gp.set_train_data(
                torch.as_tensor(data.X[others]), torch.as_tensor(data.y[others]), strict=False
            )
            at, covariance, _ = Posterior.of(model).joint(torch.as_tensor(data.X[[row]]))
            assert float(mean[row]) == pytest.approx(float(at), abs=1e-4)
            assert float(sd[row] ** 2) == pytest.approx(float(covariance + noise), rel=1e-3)


def test_a_hyperparameter_that_it_lacked_plays_no_part() -> None:
    whole = task(BRANIN, 0)
    points = whole.snapshot.points.copy()
    points[:, 1] = 0.5
    lacking = replace(
        whole, snapshot=replace(whole.snapshot, points=points), shared=np.array([True, False])
    )
    Z = torch.tensor([[0.3, 0.1], [0.3, 0.9]], dtype=torch.double)
    with numerics():
        means = TaskModel(lacking, BRANIN.space.columns).mean(Z).tolist()
        assert means[0] == pytest.approx(means[1])
        means = TaskModel(whole, BRANIN.space.columns).mean(Z).tolist()
        assert abs(means[0] - means[1]) > 0.1


def test_a_climb_can_follow_what_it_says() -> None:
    """Its means are smooth functions of the inputs, in batches of any shape."""
    with numerics():
        model = TaskModel(_of(BRANIN.space), BRANIN.space.columns)  # with fidelity
        Z = torch.rand(3, 4, 2, dtype=torch.double, requires_grad=True)
        mean = model.mean(Z)
        assert mean.shape == (3, 4)
        (gradient,) = torch.autograd.grad(mean.sum(), Z)
        assert (gradient != 0).any()
        full = torch.cat([Z, torch.ones(3, 4, 1)], dim=-1)
        assert torch.equal(model.mean(full), mean)


def test_the_improvement_is_that_of_model_and_trend_together() -> None:
    """A trend of the rows' own: taken off and added again, it changes nothing but the fit."""
    data = dataset(_record(12).snapshot())
    space, none = BRANIN.space, np.empty((0, 2))
    rng = np.random.default_rng(3)
    candidates = space.snap(rng.random((50, 2)))
    X = torch.as_tensor(candidates)
    with numerics():
        model = Posterior.of(fit(data, space.columns))
    with numerics(), torch.no_grad():
        plain = LogExpectedImprovement(model, data.evaluated, none, seed=0)
        shifted = LogExpectedImprovement(
            model,
            data.evaluated,
            none,
            seed=0,
            trend=lambda Z: torch.full(Z.shape[:-1], 7.0),
        )
        # The same everywhere: nobody is better off.
        assert torch.allclose(plain(X), shifted(X))
        assert (plain.choose(candidates, 6) == shifted.choose(candidates, 6)).all()
        rising = LogExpectedImprovement(
            model, data.evaluated, none, seed=0, trend=lambda Z: 5 * Z[..., 0]
        )
        gain = rising(X) - plain(X)
        assert float(gain[X[:, 0] > 0.9].mean()) > float(gain[X[:, 0] < 0.1].mean())
        first = rising.choose(candidates, 6)
        assert float(rising(torch.as_tensor(first[:1]))) == pytest.approx(float(rising(X).max()))
