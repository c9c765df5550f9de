"""Functions drawn from the model, and proposals for large fleets."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from problems import BRANIN, regret, search
from scipy.spatial.distance import pdist

from raytuner.bayes import BayesProposer
from raytuner.bayes.dataset import LOCAL_ROWS, MAX_ROWS, Dataset, dataset
from raytuner.bayes.kernel import ConfigurationKernel
from raytuner.bayes.maximise import maximise_each
from raytuner.bayes.paths import SamplePaths
from raytuner.bayes.proposer import ExclusionList
from raytuner.bayes.surrogate import Posterior, fit, numerics
from raytuner.history import Goal, History, Origin, TrialState
from raytuner.space import Categorical, Fidelity, Float, Integer, Space, when

PLAIN = Space({"x": Float(0, 1), "lr": Float(1e-4, 1, log=True)})
MIXED = Space(
    {
        "x": Float(0, 1),
        "n": Integer(1, 40),
        "act": Categorical(["relu", "tanh", "gelu"]),
        "depth": when(Integer(1, 9), act=["relu", "gelu"]),
        "kind": when(Categorical(["a", "b", "c", "d"]), act="tanh"),
    }
)
BY_FIDELITY = Space({"x": Float(0, 1), "data": Fidelity(Float(0.1, 1))})
CHOICES = Space({"act": Categorical(["relu", "tanh", "gelu"])})


def record(space: Space, n: int, *, stopped: bool = False, failed: int = 0) -> History:
    """A record of n trials, some of which were stopped early or failed."""
    history = History(space, metric="loss", mode="min", max_t=9)
    rng = np.random.default_rng(0)
    for i, config in enumerate(space.sample(rng, n)):
        history.add(str(i), config)
        point = history.points(i)[0]
        ends = 9 if i % 2 or not stopped else 3
        for t in range(1, ends + 1):
            history.report(str(i), t, float(np.square(point - 0.3).sum() + 1 / t))
        state = TrialState.COMPLETED if ends == 9 else TrialState.STOPPED_EARLY
        history.end(str(i), TrialState.FAILED if i < failed else state)
    return history


@pytest.mark.parametrize("curves", [False, True])
@pytest.mark.parametrize("space", [PLAIN, MIXED, BY_FIDELITY, CHOICES])
def test_the_features_average_to_the_covariances(space: Space, curves: bool) -> None:
    kernel = ConfigurationKernel(space.columns, has_fidelity=curves)
    rng = np.random.default_rng(0)
    inputs = space.encode(space.sample(rng, 12))
    if curves:
        inputs = np.column_stack([inputs, rng.random(12)])
    Z = torch.as_tensor(inputs)
    with torch.no_grad():
        features, sizes = kernel.features(40_000, rng)
        found = features(Z) * sizes
        np.testing.assert_allclose(found @ found.mT, kernel.forward(Z, Z), atol=0.04)


def drawn(history: History, n: int) -> tuple[Posterior, Dataset, SamplePaths]:
    data = dataset(history.snapshot())
    with numerics():
        posterior = Posterior.of(fit(data, history.space.columns))
        return posterior, data, SamplePaths(posterior, n, np.random.default_rng(1))


@pytest.mark.parametrize(
    "settings", [{}, {"stopped": True}, {"failed": 3}, {"stopped": True, "failed": 3}]
)
@pytest.mark.parametrize("space", [PLAIN, MIXED])
def test_the_functions_follow_the_posterior(space: Space, settings: dict[str, Any]) -> None:
    """On average over the features, which the functions of one draw share."""
    posterior, _, _ = drawn(record(space, 20, **settings), 1)
    X = torch.as_tensor(space.encode(space.sample(np.random.default_rng(2), 10)))
    rngs = map(np.random.default_rng, range(60))
    with torch.no_grad():
        found = torch.hstack([SamplePaths(posterior, 100, rng).everywhere(X) for rng in rngs])
        mean, covariance, _ = posterior.joint(posterior.at_full(X))
    sd = float(covariance.diagonal().max().sqrt())
    np.testing.assert_allclose(found.mean(1), mean, atol=0.1 * sd)
    np.testing.assert_allclose(torch.cov(found), covariance, atol=0.2 * sd**2)


@pytest.mark.parametrize("gains", [False, True])
def test_each_function_is_the_same_alone_and_among_others(gains: bool) -> None:
    posterior, data, paths = drawn(record(MIXED, 20, stopped=True), 6)
    if gains:
        rng = np.random.default_rng(1)
        over = data.X[:5, : MIXED.dim]
        paths = SamplePaths(posterior, 6, rng, extra=lambda X: X.sum(-1), over=over)
    X = torch.as_tensor(MIXED.encode(MIXED.sample(np.random.default_rng(2), 6 * 5)))
    with torch.no_grad():
        own = paths.own(X).reshape(6, 5)
        everywhere = paths.everywhere(X).reshape(6, 5, 6)
    np.testing.assert_allclose(own, torch.stack([everywhere[i, :, i] for i in range(6)]))


def test_a_gain_is_over_the_functions_own_best_and_per_unit_of_cost() -> None:
    posterior, data, paths = drawn(record(PLAIN, 20), 40)
    X = torch.as_tensor(np.random.default_rng(2).random((200, 2)))
    rng = np.random.default_rng(1)
    per_cost = SamplePaths(posterior, 40, rng, extra=lambda X: -X[..., 0], over=data.X)
    with torch.no_grad():
        found, values = per_cost.everywhere(X), paths.everywhere(X)
        best = paths.everywhere(torch.as_tensor(data.X)).amax(dim=0)
    gain = (values - best).numpy()
    assert (gain > 0.1).any()
    logs = found.numpy() + X.numpy()[:, :1]
    np.testing.assert_allclose(logs[gain > 0.01], np.log(gain[gain > 0.01]))
    assert (logs[gain < 0] < np.log(0.01)).all()
    worse = np.argsort(gain[:, 0])  # the logarithm rises with the gain, also below zero
    assert (np.diff(logs[worse, 0]) > 0).all()


def test_the_best_of_a_hundred_functions_are_a_hundred_places() -> None:
    """They are also higher than any of a thousand random places, each for its function."""
    history = record(PLAIN, 20)
    _, data, paths = drawn(history, 100)
    excluded = ExclusionList(PLAIN, history.snapshot().points)
    rng = np.random.default_rng(3)
    found = []
    for point in maximise_each(paths, PLAIN, data.X[:5], excluded, rng):
        excluded.add(point[None])
        found.append(point)
    assert len(found) == 100
    assert len(np.unique(np.round(found, 3), axis=0)) > 95
    with torch.no_grad():
        reached = paths.own(torch.as_tensor(np.array(found))).numpy()
        at_random = paths.everywhere(torch.as_tensor(rng.random((1000, 2)))).max(dim=0).values
    assert np.mean(reached >= at_random.numpy() - 1e-3) > 0.9


def proposed(space: Space, history: History, n: int, **settings: Any) -> list[Any]:
    proposer = BayesProposer(space, 0, n_initial=4, **settings)
    proposer.tell(history.snapshot())
    return proposer.ask(n)


def test_a_large_fleet_gets_configurations_that_lie_apart() -> None:
    """Though other trials are pending, which the functions do not know."""
    history = record(PLAIN, 30)
    for i, config in enumerate(PLAIN.sample(np.random.default_rng(5), 130)):
        history.add(f"pending {i}", config)
    found = proposed(PLAIN, history, 64)
    assert {one.origin for one in found} == {Origin.BAYES}
    points = PLAIN.encode([one.config for one in found])
    assert np.median(pdist(points)) > 0.01
    assert len(np.unique(points.round(4), axis=0)) == 64
    assert [one.config for one in proposed(PLAIN, history, 64)] == [one.config for one in found]
    drawn = proposed(PLAIN, history, 64, fleet=0)
    assert [one.config for one in drawn] == [one.config for one in found]
    few = proposed(PLAIN, record(PLAIN, 30), 3)
    assert [one.config for one in few] == [
        one.config for one in proposed(PLAIN, record(PLAIN, 30), 3, fleet=10**6)
    ]


def test_a_large_fleet_minds_costs() -> None:
    """Of two optima that are equally good, most proposals lie at the cheap one."""
    goals = [Goal.of("loss", "min", cost=cost) for cost in (None, "s")]
    shares = []
    for goal in goals:
        history = History(PLAIN, goal=goal)
        for i, config in enumerate(PLAIN.sample(np.random.default_rng(0), 40)):
            history.add(str(i), config)
            x, lr = history.points(i)[0]
            loss = min(abs(x - 0.2), abs(x - 0.8)) + (lr - 0.5) ** 2
            history.report(str(i), 1, float(loss), {"s": 1.0 if x < 0.5 else 20.0})
            history.end(str(i), TrialState.COMPLETED)
        found = proposed(PLAIN, history, 40, fleet=0)
        shares.append(np.mean([one.config["x"] < 0.5 for one in found]))
    assert 0.3 < shares[0] < 0.7
    assert shares[1] > 0.85


def test_a_fleet_uses_up_a_small_space_and_proposes_nothing_twice() -> None:
    space = Space({"n": Integer(1, 30), "act": Categorical(["relu", "tanh", "gelu"])})
    history = record(space, 10)
    found = proposed(space, history, 80, fleet=0)
    configs = [trial.config for trial in history.trials] + [one.config for one in found]
    assert len({str(config) for config in configs}) == len({str(c) for c in configs[:10]}) + 80


def test_a_fleet_keeps_constraints_and_conditions() -> None:
    space = Space(
        {"x": Float(0, 1), "y": Float(0, 1), "on": Categorical(["no", "yes", "maybe"])},
        ["x + y <= 0.7"],
    )
    found = proposed(space, record(space, 20), 70, fleet=0)
    assert len(found) == 70
    assert all(one.config["x"] + one.config["y"] <= 0.7 for one in found)
    for one in proposed(MIXED, record(MIXED, 20), 70, fleet=0):
        MIXED.validate(one.config)


def test_fidelities_are_chosen_for_a_fleet_too() -> None:
    found = proposed(BY_FIDELITY, record(BY_FIDELITY, 20), 20, fleet=0)
    assert len(found) == 20
    assert len({one.config["data"] for one in found}) > 1


def test_after_many_trials_half_of_the_proposals_are_of_a_local_model() -> None:
    """They lie among the nearest trials to the incumbent, and the others wherever they may."""
    history = record(PLAIN, MAX_ROWS + 100)
    best = history.best
    assert best is not None
    found = proposed(PLAIN, history, 40, fleet=0)
    points = PLAIN.encode([one.config for one in found])
    near = dataset(history.snapshot(), near=history.points(best.number)[0])
    assert len(near) == LOCAL_ROWS
    inside = ((points >= near.X.min(axis=0)) & (points <= near.X.max(axis=0))).all(axis=1)
    assert inside[20:].all()
    alone = proposed(PLAIN, history, 4)  # few slots: the others maximise expected improvement
    assert len({str(one.config) for one in alone}) == 4


def test_the_local_model_has_the_failed_trials_that_are_near_and_no_others() -> None:
    snapshot = record(PLAIN, MAX_ROWS + 100, failed=200).snapshot()
    top = np.array([0.3, 0.3])
    near = dataset(snapshot, near=top)
    distance = np.linalg.norm(near.X - top, axis=1)
    of_failed = np.linalg.norm(snapshot.infeasible - top, axis=1)
    n_near = (of_failed <= distance.max()).sum()
    assert 0 < n_near < 200
    assert len(near) == LOCAL_ROWS + n_near


def local_model(space: Space, history: History, top: np.ndarray[Any, Any]) -> tuple[Posterior, Any]:
    """The local model near a place, and the box that it searches."""
    proposer, snapshot = BayesProposer(space, 0), history.snapshot()
    proposer.tell(snapshot)
    fitted = proposer._fitted(snapshot)
    assert fitted is not None
    posterior, _, box = proposer._local(fitted, top)
    return posterior, box


def test_the_local_model_sees_a_small_box_as_the_model_sees_the_whole_space() -> None:
    """So it still finds its way where the optimum is known to a thousandth of a range."""
    space = Space({"x": Float(0, 1), "y": Float(0, 1)})
    rng = np.random.default_rng(0)
    corners = np.array([[0.0, 0.0], [1.0, 1.0]])
    points = np.vstack([corners, rng.random((LOCAL_ROWS - 2, 2))])
    small = 0.3 + points / 1000
    means = []
    for places in (points, small):
        history = History(space, metric="loss", mode="min")
        for i, (point, place) in enumerate(zip(points, places, strict=True)):
            history.add(str(i), {"x": place[0], "y": place[1]})
            history.report(str(i), 1, float(np.sin(6 * point).sum()))
            history.end(str(i), TrialState.COMPLETED)
        with numerics():
            posterior, (low, high) = local_model(space, history, places[0])
            means.append(posterior.means(torch.as_tensor(places))[0].detach())
        # The top is in a corner, on the lower border of both.
        width = np.ptp(places, axis=0)
        np.testing.assert_allclose(low, np.maximum(places.min(axis=0) - width / 2, 0))
        np.testing.assert_allclose(high, places.max(axis=0))
    np.testing.assert_allclose(means[0], means[1], atol=1e-2)
    assert float(means[0].std()) > 0.5


def test_the_local_model_leaves_the_box_of_the_near_trials_where_values_get_better() -> None:
    """Or the box would shrink to nothing around a best trial on its border."""
    space = Space({"x": Float(0, 1), "y": Float(0, 1)})
    history = History(space, metric="loss", mode="min")
    points = 0.3 + np.random.default_rng(0).random((MAX_ROWS + 1, 2)) / 1000
    for i, point in enumerate(points):
        history.add(str(i), {"x": point[0], "y": point[1]})
        history.report(str(i), 1, float(point @ [-1.0, 0.5]))
        history.end(str(i), TrialState.COMPLETED)
    proposer = BayesProposer(space, 0, fleet=0)
    proposer.tell(history.snapshot())
    fitted = proposer._fitted(history.snapshot())
    assert fitted is not None
    with numerics():
        found = proposer._by_paths(fitted, 8, 8, points[:0])
    assert (found[:, 0] > points[:, 0].max()).mean() > 0.5
    assert (found[:, 0] < points[:, 0].max() + 1e-3).all()
    assert (found[:, 1] < points[:, 1].min()).mean() > 0.5


def test_the_local_model_does_not_forget_a_choice_that_no_near_trial_has() -> None:
    """Of two categories, and of what exists beside one of them, it knows what the model knows."""
    space = Space(
        {
            "x": Float(0, 1),
            "kind": Categorical(["a", "b"]),
            "y": when(Float(0, 1), kind="b"),
        }
    )
    history = History(space, metric="loss", mode="min")
    for i, x in enumerate(np.random.default_rng(0).random(LOCAL_ROWS)):
        history.add(str(i), {"x": float(x), "kind": "a"})
        history.report(str(i), 1, float(np.square(x - 0.3)))
        history.end(str(i), TrialState.COMPLETED)
    others = [{"x": 0.3, "kind": "b", "y": y} for y in (0.1, 0.9)]
    with numerics():
        posterior, (low, high) = local_model(space, history, history.points(0)[0])
        whole = Posterior.of(fit(dataset(history.snapshot()), space.columns))
        here = torch.as_tensor(space.encode([{"x": 0.3, "kind": "a"}]))
        there = torch.as_tensor(space.encode(others))
        with torch.no_grad():
            found, expected = (one.kernel.forward(here, there) for one in (posterior, whole))
            np.testing.assert_allclose(found, expected, rtol=0.1)
            assert (found > 0.01).all()
    assert (high - low).tolist()[1:] == [1.0, 1.0]


def test_among_many_trials_the_best_that_keeps_a_constraint_is_not_lost() -> None:
    """Its objective is among the worst, so it may be in no row of the model."""
    goal = Goal.of("loss", "min", outcome_constraints=["size <= 1"])
    history = History(PLAIN, goal=goal)
    for i, config in enumerate(PLAIN.sample(np.random.default_rng(0), MAX_ROWS + 300)):
        history.add(str(i), config)
        history.report(str(i), 1, float(i), {"size": 0.5 if i == 777 else 9.0})
        history.end(str(i), TrialState.COMPLETED)
    snapshot, kept = history.snapshot(), history.points(777, 778)[0]
    assert not (kept == dataset(snapshot.of_outcome(0)).X).all(axis=1).any()
    proposer = BayesProposer(PLAIN, 0)
    proposer.tell(snapshot)
    fitted = proposer._fitted(snapshot)
    assert fitted is not None
    assert (proposer._best(fitted) == kept).all(axis=1).any()


def test_a_fleet_converges() -> None:
    """By sampled functions alone, each trial finished long after it was proposed."""
    found = []
    for seed in range(3):
        make = partial(BayesProposer, BRANIN.space, seed, fleet=0)
        history = search(BRANIN, make, n=96, workers=16)
        found.append(regret(BRANIN, history))
    assert np.median(found) < 0.05
