"""Several objectives and outcome constraints through the searcher, schedulers and simulator."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from raytuner import ASHAScheduler, BoTorchSearch, PredictiveTerminationScheduler
from raytuner.errors import MetricError, SettingError
from raytuner.history import Goal, History, TrialState
from raytuner.schedulers import RuleScheduler
from raytuner.simulate import Cluster, Curve, simulate

SPACE = {"width": tune.randint(1, 65), "lr": tune.loguniform(1e-4, 1e-1)}
TWO: dict[str, Any] = {"metric": ["loss", "ms"], "mode": ["min", "min"]}
BOUND = {"outcome_constraints": ["mib <= 40"]}


def report(loss: float, ms: float, mib: float, t: int = 1) -> dict[str, Any]:
    return {"loss": loss, "ms": ms, "mib": mib, "training_iteration": t}


def objective(config: dict[str, Any]) -> Curve:
    """Wider is better and slower, and takes more memory."""
    best = 1 / config["width"] + 0.1 * (math.log10(config["lr"]) + 2.5) ** 2
    return Curve(
        [report(best + 1 / t, config["width"] / 4, config["width"]) for t in range(1, 10)],
        seconds=1.0,
    )


def search(**more: Any) -> BoTorchSearch:
    return BoTorchSearch(background=False, seed=0, n_initial=5, **{**TWO, **BOUND, **more})


def test_every_metric_is_recorded() -> None:
    searcher = search(space=SPACE)
    searcher.suggest("a")
    searcher.on_trial_result("a", report(1.0, 2.0, 3.0))
    searcher.on_trial_complete("a", report(0.5, 2.5, 3.5, 2))
    trial = searcher.history["a"]
    assert trial.metrics == {"loss": 0.5, "ms": 2.5, "mib": 3.5}


def test_a_bound_that_is_not_a_number_at_the_end_is_a_failure() -> None:
    searcher = search(space=SPACE)
    searcher.suggest("a")
    searcher.on_trial_complete("a", report(0.5, 2.5, math.nan))
    assert searcher.history["a"].state is TrialState.FAILED
    assert searcher.history["a"].reason == "mib is nan at its end"


def test_the_goal_is_restored(tmp_path: Path) -> None:
    searcher = search(space=SPACE)
    for i in range(7):
        searcher.suggest(str(i))
        searcher.on_trial_complete(str(i), report(1 / (1 + i), i, 10 * i))
    searcher.save(str(tmp_path / "saved"))
    again = BoTorchSearch(background=False)
    again.restore(str(tmp_path / "saved"))
    assert again.history.goal == searcher.history.goal
    assert again.suggest("next") == searcher.suggest("next")


def test_points_from_elsewhere_have_all_metrics() -> None:
    searcher = search(space=SPACE)
    point = {"width": 8, "lr": 0.01}
    with pytest.raises(MetricError, match="loss, ms, mib"):
        searcher.add_evaluated_point(point, 0.5)
    searcher.add_evaluated_point(point, {"loss": 0.5, "ms": 2.0, "mib": 8.0})
    assert searcher.history.best is not None
    with pytest.raises(MetricError, match="and no intermediate_values"):
        searcher.add_evaluated_point(point, {"loss": 0.5}, intermediate_values=[1.0])


@pytest.mark.parametrize("kind", ["stopping", "promotion"])
def test_trials_stop_early_by_all_objectives(kind: str) -> None:
    """The scheduler takes the goal from the searcher, and the best of a front go on."""
    searcher = search()
    scheduler = ASHAScheduler(max_t=9, grace_period=1, variant=kind)
    simulation = simulate(
        objective,
        SPACE,
        searcher=searcher,
        scheduler=scheduler,
        num_samples=16,
        cluster=Cluster(workers=4),
        seed=0,
    )
    history: History = searcher.history
    assert not history.live()
    assert history.counts[TrialState.STOPPED_EARLY] > 3
    front = history.pareto
    assert len(front) >= 2
    assert all(trial.value_of("mib") <= 40 for trial in front)
    # What breaks the bound goes on only while nothing else is there.
    beyond = [t for t in history.trials if t.t > 1 and t.value_of("mib") > 40]
    assert len(beyond) <= 2
    assert simulation.metric == "loss"


def test_a_scheduler_of_its_own_metric_keeps_it() -> None:
    searcher = search()
    scheduler: RuleScheduler = ASHAScheduler(metric="loss", mode="min", max_t=9)
    simulate(objective, SPACE, searcher=searcher, scheduler=scheduler, num_samples=4, seed=0)
    assert scheduler.rule.goal == Goal.of("loss", "min")


def test_a_weighted_sum_is_one_objective() -> None:
    searcher = search(weights=[1.0, 0.02], outcome_constraints=())
    simulate(
        objective,
        SPACE,
        searcher=searcher,
        scheduler=PredictiveTerminationScheduler(max_t=9),
        num_samples=24,
        cluster=Cluster(workers=4),
        seed=0,
    )
    best = searcher.history.best
    assert best is not None
    # 1 / w + w / 200 is least at w = 14.
    assert 6 <= best.config["width"] <= 32


def test_a_strategy_of_one_objective_alone_says_so() -> None:
    with pytest.raises(SettingError, match=r"'evolution' takes one objective.*loss, ms, mib <= 40"):
        search(space=SPACE, strategy="evolution")


@pytest.mark.parametrize("strategy", ["pi", "kg", "thompson", "gradient"])
def test_every_strategy_with_a_model_keeps_a_bound(strategy: str) -> None:
    """The loss is least at x = 1, and the bound is at 0.5. Others value a bound as the default."""
    searcher = BoTorchSearch(
        {"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)},
        "loss",
        "min",
        outcome_constraints=["cost <= 0.5"],
        strategy=strategy,
        background=False,
        seed=0,
        n_initial=8,
    )
    for i in range(20):
        config = searcher.suggest(str(i))
        assert isinstance(config, dict)
        found = {"loss": (config["x"] - 1) ** 2 + 0.1 * config["y"], "cost": config["x"]}
        searcher.on_trial_complete(str(i), {**found, "training_iteration": 1})
    proposed = [t.config["x"] for t in searcher.history.trials[8:]]
    assert sum(x > 0.6 for x in proposed) <= 4
    best = searcher.history.best
    assert best is not None
    assert best.config["x"] <= 0.5
    assert best.value < 0.42
