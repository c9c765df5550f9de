"""Proposals for several objectives and under outcome constraints."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.objective import IdentityMCObjective
from botorch.models.model_list_gp_regression import ModelListGP
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.multi_objective.hypervolume import Hypervolume

from raytuner.bayes import BayesProposer, Proposer, SobolProposer
from raytuner.bayes.acquisition import Feasibility, LogExpectedImprovement
from raytuner.bayes.dataset import chebyshev, dataset, scale_slack
from raytuner.bayes.surrogate import fit, fit_outcomes, numerics
from raytuner.bayes.transfer import Task
from raytuner.history import Goal, History, Origin, TrialState, non_dominated
from raytuner.space import Categorical, Config, Float, Integer, Space, when

SPACE = Space(
    {
        "a": Float(0, 1),
        "b": Float(0, 1),
        "c": Integer(0, 4),
        "kind": Categorical(["x", "y", "z"]),
        "of_x": when(Float(0, 1), kind="x"),
    }
)
BOUNDED = Goal.of("loss", "min", outcome_constraints=["cost <= 1"])
TWO = Goal.of(["f", "g"], ["min", "max"])
TWO_BOUNDED = Goal.of(["f", "g"], ["min", "max"], outcome_constraints=["cost <= 1"])


def metrics(config: Config) -> dict[str, float]:
    """``f`` wants a = 0 and ``g`` a = 1; both want b = 0.5; cost <= 1 where a + b <= 1."""
    a, b = config["a"], config["b"]
    off = (b - 0.5) ** 2 + 0.1 * (config["kind"] != "x")
    return {
        "loss": (a - 0.9) ** 2 + (b - 0.9) ** 2 + 0.02 * config["c"],
        "f": a + off,
        "g": a**0.5 - off,
        "cost": a + b,
    }


def run(
    make: Callable[[Space, int], Proposer], goal: Goal, n: int, *, q: int = 3, seed: int = 0
) -> History:
    """A search of ``n`` trials with ``q`` at a time; a fifth of them fail or stop early."""
    history = History(SPACE, goal=goal, max_t=2)
    proposer, running = make(SPACE, seed), list[str]()
    for number in range(n + q):
        if number < n:
            proposer.tell(history.snapshot())
            (proposal,) = proposer.ask(1)
            history.add(str(number), proposal.config, proposal.origin)
            running.append(str(number))
        if number < q:
            continue
        trial_id = running.pop(0)
        found = metrics(history[trial_id].config)
        others = {name: found[name] for name in goal.metrics[1:]}
        stops = int(trial_id) % 5 == 4
        if int(trial_id) == 7:
            history.end(trial_id, TrialState.FAILED)
            continue
        history.report(trial_id, 1 if stops else 2, found[history.metric], others)
        history.end(trial_id, TrialState.STOPPED_EARLY if stops else TrialState.COMPLETED)
    return history


def bayes(space: Space, seed: int) -> BayesProposer:
    return BayesProposer(space, seed, n_initial=6)


@pytest.mark.parametrize("goal", [BOUNDED, TWO_BOUNDED], ids=["bound", "both"])
def test_a_search_goes_on_after_saving_as_if_it_had_not(goal: Goal) -> None:
    history = run(bayes, goal, 11)
    assert Origin.BAYES in {trial.origin for trial in history.trials}
    one = bayes(SPACE, 0)
    one.tell(history.snapshot())
    one.ask(1)
    state = json.loads(json.dumps(one.state_dict()))
    other = bayes(SPACE, 1)
    other.load_state_dict(state)
    for proposer in (one, other):
        proposer.tell(history.snapshot())
    batches = [proposer.ask(5) for proposer in (one, other)]
    assert batches[0] == batches[1]
    points = SPACE.encode([proposal.config for proposal in batches[0]])
    assert len(np.unique(points, axis=0)) == 5  # those beyond the first few are chosen
    assert {proposal.origin for proposal in batches[0]} == {Origin.BAYES}


def test_under_a_constraint_the_best_that_keeps_it_is_found() -> None:
    """The optimum, loss 0.32, lies on the bound."""
    found = {}
    for name, make in (("bayes", bayes), ("sobol", SobolProposer)):
        best = run(make, BOUNDED, 40).best
        assert best is not None
        assert best.value_of("cost") <= 1
        found[name] = best.value
    assert found["bayes"] < 0.37
    assert found["bayes"] < found["sobol"]


def test_the_hypervolume_grows_faster_than_by_chance() -> None:
    volumes = {}
    for name, make in (("bayes", bayes), ("sobol", SobolProposer)):
        volumes[name] = volume(run(make, TWO, 28))
    ideal = 1.2 * 1.2  # what no front can dominate more than
    assert volumes["sobol"] < volumes["bayes"] < ideal


def earlier(seed: int) -> Task:
    """A quasi-random search of two objectives that has ended."""
    history = run(SobolProposer, TWO, 30, seed=seed)
    return Task(history.snapshot(), np.ones(SPACE.dim, dtype=bool))


def volume(history: History) -> float:
    front = history.pareto
    Y = torch.tensor([[-trial.value, trial.value_of("g")] for trial in front])
    return Hypervolume(torch.tensor([-1.2, -0.2])).compute(Y)


def test_earlier_searches_save_a_part_of_the_way_to_the_front() -> None:
    tasks = [earlier(9), earlier(11)]
    with_them, alone = (
        np.mean([
            volume(run(partial(BayesProposer, tasks=known), TWO, 10, seed=seed))
            for seed in range(3)
        ])
        for known in (tasks, [])
    )  # fmt: skip
    assert with_them > alone + 0.03


def test_an_earlier_search_hands_over_points_all_along_its_front() -> None:
    task = earlier(9)
    best = task.best()
    assert len(np.unique(best, axis=0)) == len(best) == 6  # a quarter of those that ended
    snapshot = task.snapshot
    ended = snapshot.outcomes[snapshot.final]
    rows = [int(np.flatnonzero((snapshot.points == point).all(axis=1))[0]) for point in best]
    reached = [snapshot.outcomes[(snapshot.trial == row) & snapshot.final][0] for row in rows]
    front = ended[non_dominated(ended)]
    assert sum(bool((y == front).all(axis=1).any()) for y in reached) >= 3
    assert (np.ptp(reached, axis=0) > 0.5 * np.ptp(front, axis=0)).all()


def test_a_constraint_nothing_keeps_is_searched_for_what_breaks_it_least() -> None:
    goal = Goal.of("loss", "min", outcome_constraints=["cost <= 0.05"])
    best = run(bayes, goal, 24).best
    assert best is not None
    assert best.value_of("cost") < 0.2


@pytest.fixture(scope="module")
def history() -> History:
    return run(SobolProposer, BOUNDED, 16)


class TestFeasibility:
    """Against what the models' own posteriors say."""

    def test_the_chance_is_the_posterior_s(self, history: History) -> None:
        snapshot = history.snapshot()
        data = dataset(snapshot.of_outcome(0))
        models = fit_outcomes(snapshot, data, SPACE.columns, {})
        X = torch.rand(5, SPACE.dim, dtype=torch.double)
        Z = torch.cat([X, torch.ones(5, 1, dtype=torch.double)], dim=-1)
        slack = fit(dataset(snapshot.of_outcome(1), slack=True), SPACE.columns)
        with numerics(), torch.no_grad():
            posterior = slack.posterior(Z)
            expected = torch.special.log_ndtr(posterior.mean / posterior.variance.sqrt())
            found = Feasibility(models.constraints, 0)(Z)
            drawn = Feasibility(models.constraints, 0).draw(Z, 4096).double().mean(0)
        np.testing.assert_allclose(found, expected.squeeze(-1), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(drawn, expected.exp().squeeze(-1), atol=0.03)

    def test_a_bound_that_all_keep_changes_nothing(self, history: History) -> None:
        snapshot = history.snapshot()
        data = dataset(snapshot.of_outcome(0))
        models = fit_outcomes(snapshot, data, SPACE.columns, {})

        class Sure(Feasibility):
            def __init__(self) -> None:
                super().__init__([], 0)

        X = torch.rand(5, SPACE.dim, dtype=torch.double)
        plain, bounded = (
            LogExpectedImprovement(
                models.objective,
                evaluated=data.evaluated,
                pending=snapshot.pending,
                seed=0,
                feasibility=feasibility,
            )(X)
            for feasibility in (None, Sure())
        )
        torch.testing.assert_close(plain, bounded)


def test_with_one_objective_improvement_under_a_bound_is_botorch_s() -> None:
    """Of the same models, where nothing is pending: to the error of the samples."""
    history = History(SPACE, goal=BOUNDED)
    for i, config in enumerate(SPACE.sample(np.random.default_rng(0), 16)):
        found = metrics(config)
        history.add(str(i), config)
        history.report(str(i), 1, found["loss"], {"cost": found["cost"]})
        history.end(str(i), TrialState.COMPLETED)
    snapshot = history.snapshot()
    data = dataset(snapshot.of_outcome(0))
    models = fit_outcomes(snapshot, data, SPACE.columns, {})
    slack = dataset(snapshot.of_outcome(1), slack=True)
    X = torch.as_tensor(SPACE.snap(np.random.default_rng(1).random((24, SPACE.dim))))
    ours = LogExpectedImprovement(
        models.objective,
        evaluated=data.evaluated,
        pending=snapshot.pending,
        seed=0,
        feasibility=Feasibility(models.constraints, 0),
    )(X)
    theirs = qLogNoisyExpectedImprovement(
        ModelListGP(fit(data, SPACE.columns), fit(slack, SPACE.columns)),
        X_baseline=torch.as_tensor(data.evaluated),
        sampler=SobolQMCNormalSampler(torch.Size([1024]), seed=0),
        objective=_First(),
        constraints=[_slack_below_zero],
        prune_baseline=False,
    )(X.unsqueeze(-2))
    good = theirs > theirs.max() - 3
    assert int(good.sum()) >= 3
    torch.testing.assert_close(ours[good].detach(), theirs[good].detach(), atol=0.5, rtol=0.1)


class _First(IdentityMCObjective):
    def forward(self, samples: torch.Tensor, X: torch.Tensor | None = None) -> torch.Tensor:
        return samples[..., 0]


def _slack_below_zero(Y: torch.Tensor) -> torch.Tensor:
    return -Y[..., 1]


def test_slack_keeps_its_bound_and_an_outlier_its_place() -> None:
    slack = np.array([-1e9, -1.0, 0.0, 0.5, 2.0])
    scaled = scale_slack(slack)
    assert scaled[2] == 0.0
    assert (np.diff(scaled) > 0).all()
    assert abs(scaled[0]) < 10
    assert math.isclose(float(np.sqrt((scaled**2).mean())), 1.0)
    assert scale_slack(np.zeros(3)).tolist() == [0.0, 0.0, 0.0]


def test_weightings_have_their_optima_on_the_front() -> None:
    """Of the trials, whichever a weighting prefers is not dominated; the weights decide which."""
    history = run(SobolProposer, TWO, 30)
    snapshot = history.snapshot()
    front = {trial.trial_id for trial in history.pareto}
    preferred = set()
    for seed in range(40):
        one = chebyshev(snapshot, seed)
        assert one.is_plain
        row = int(np.where(one.final, one.y, -np.inf).argmax())
        preferred.add(snapshot.trial_ids[int(one.trial[row])])
    assert preferred <= front
    assert len(preferred) >= 3


def test_a_weighting_keeps_the_constraints_and_what_is_not_a_number() -> None:
    history = History(SPACE, goal=TWO_BOUNDED)
    for i, (f, cost) in enumerate([(1.0, 0.5), (math.nan, 2.0), (1.0, 0.5)]):
        history.add(str(i), SPACE.sample(np.random.default_rng(i), 1)[0])
        history.report(str(i), 1, f, {"g": 1.0, "cost": cost})
        history.end(str(i), TrialState.COMPLETED if i != 1 else TrialState.FAILED)
    one = chebyshev(history.snapshot(), 0)
    np.testing.assert_array_equal(one.outcomes[:, 1], [0.5, -1.0, 0.5])
    np.testing.assert_array_equal(np.isfinite(one.y), [True, False, True])
