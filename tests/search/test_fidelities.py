"""Fidelities through the searcher, schedulers, the background process and the simulator."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import TOLD, Counting, Polled
from ray import tune
from searcher_conformance import PARAM_SPACE, BareConformance, Driver, Make, inner

import raytuner
from raytuner import ASHAScheduler, BoTorchSearch, PredictiveTerminationScheduler
from raytuner.errors import SettingError
from raytuner.halving import reports_in_order
from raytuner.history import Goal, History, TrialState
from raytuner.search.process import Mirror, Request, Setup
from raytuner.simulate import Cluster, Curve, Simulation, simulate
from raytuner.space import Float, Space

MARKED = {**PARAM_SPACE, "width": raytuner.fidelity(tune.choice([8, 16, 32, 64]))}

SPACE: dict[str, Any] = {
    "lr": tune.loguniform(1e-4, 1),
    "width": raytuner.fidelity(tune.randint(16, 257)),
    "data": raytuner.fidelity(tune.uniform(0.1, 1.0)),
}


class TestConformance(BareConformance):
    @pytest.fixture
    def make(self) -> Make:
        return lambda seed=0: BoTorchSearch(seed=seed, n_initial=5, background=False)

    @pytest.fixture
    def start(self, fresh: Make) -> Callable[..., Driver]:
        def begin(space: dict[str, Any] = MARKED, seed: int = 0) -> Driver:
            searcher = fresh(seed)
            assert searcher.set_search_properties("loss", "min", dict(space), stop={})
            return Driver(searcher)

        return begin


def objective(config: dict[str, Any]) -> Curve:
    """Best at a rate of 0.01; small networks on little data are a little wrong about it."""
    width, data = config["width"] / 256, config["data"]
    loss = 0.1 * (math.log10(config["lr"]) + 2 + 0.2 * (1 - width)) ** 2 + 0.2 * (2 - width - data)
    return Curve([{"loss": loss + 0.1 / t} for t in range(1, 10)], seconds=0.1 + 9 * width * data)


def run(searcher: BoTorchSearch, scheduler: Any = None, **more: Any) -> Simulation:
    return simulate(
        objective,
        dict(SPACE),
        searcher=searcher,
        scheduler=scheduler,
        metric="loss",
        mode="min",
        cluster=Cluster(workers=2),
        seed=0,
        **{"num_samples": 24, **more},
    )


def is_full(config: Any) -> bool:
    return bool(config["width"] == 256 and config["data"] == 1.0)


def test_the_answer_is_at_full_fidelity_and_most_trials_are_not() -> None:
    searcher = BoTorchSearch(background=False, seed=0)
    simulation = run(searcher)
    best = searcher.history.best
    assert best is not None
    assert is_full(best.config)
    assert abs(math.log10(best.config["lr"]) + 2) < 0.4
    assert best.value > min(t.value for t in simulation.trials if t.value is not None) - 1e-9
    full = [is_full(trial.config) for trial in simulation.trials]
    assert 1 <= sum(full) <= len(full) // 2
    assert full[-1]  # what looks best at the end, if not what promises most
    assert searcher.history.goal.cost == "time_total_s"
    # The simulator's own record says the same.
    assert simulation.best is not None
    assert simulation.best.trial_id == best.trial_id
    assert [trial.is_full for trial in simulation.trials] == full


def test_a_cost_of_ones_own_is_kept() -> None:
    searcher = BoTorchSearch(SPACE, "loss", "min", cost="joules", background=False)
    assert searcher.history.goal.cost == "joules"


@pytest.mark.parametrize("kind", ["stopping", "promotion"])
def test_cheap_trials_run_to_their_end_and_full_ones_are_judged_among_each_other(kind: str) -> None:
    searcher = BoTorchSearch(background=False, seed=0)
    scheduler = ASHAScheduler(max_t=9, variant=kind, seed=0)
    run(searcher, scheduler, num_samples=40)
    states = {True: set[TrialState](), False: set[TrialState]()}
    for trial in searcher.history.trials:
        states[is_full(trial.config)].add(trial.state)
    assert states[False] == {TrialState.COMPLETED}
    assert states[True] == {TrialState.COMPLETED, TrialState.STOPPED_EARLY}
    judged = {i for rungs in scheduler.rule._rungs for rung in rungs for i in rung.values}
    assert all(is_full(searcher.history[trial_id].config) for trial_id in judged)
    # So it is after a restore, by the record.
    assert {trial_id for trial_id, _ in reports_in_order(searcher.history)} == {
        trial.trial_id for trial in searcher.history.trials if is_full(trial.config)
    }


def test_beside_forecasts() -> None:
    searcher = BoTorchSearch(background=False, seed=0)
    run(searcher, PredictiveTerminationScheduler(max_t=9))
    best = searcher.history.best
    assert best is not None
    assert is_full(best.config)


def test_other_strategies_with_costs_choose_fidelities_too() -> None:
    searcher = BoTorchSearch(background=False, seed=0, strategy="kg", n_initial=4)
    simulation = run(searcher, num_samples=12)
    assert any(trial.is_full for trial in simulation.trials)
    assert not all(trial.is_full for trial in simulation.trials)


def test_in_a_process_of_its_own() -> None:
    searcher = BoTorchSearch(seed=0)
    searcher.compute_in(Polled)
    run(searcher)
    assert searcher.proposal_counts["fresh"] > 12
    best = searcher.history.best
    assert best is not None
    assert is_full(best.config)


def test_the_process_knows_how_many_trials_are_left() -> None:
    TOLD.clear()
    space = Space({"x": Float(0, 1)})
    mirror = Mirror(Setup(space, Goal.of("loss", "min"), Counting, 0))
    mirror.answer(Request((), None, np.array([[0.25], [0.75]]), n=1, left=5))
    assert TOLD[-1].left == 3
    mirror.answer(Request((), None, np.empty((0, 1)), n=1))
    assert TOLD[-1].left is None


def test_it_goes_on_after_a_save(tmp_path: Path) -> None:
    first = BoTorchSearch(background=False, seed=0)
    run(first, ASHAScheduler(max_t=9), num_samples=12)
    gc.collect()  # the controller, which would say that no trial is left
    first.save(str(tmp_path / "saved"))
    again = BoTorchSearch(background=False)
    again.restore(str(tmp_path / "saved"))
    assert again.history.space.fidelities == (1, 2)
    assert again.history.goal.cost == "time_total_s"
    assert again.suggest("next") == first.suggest("next")
    read = History.read(tmp_path / "saved")
    best = read.best
    assert best is None or is_full(best.config)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"metric": ["loss", "ms"], "mode": ["min", "min"]},
            "width, data is a raytuner.fidelity, and there are several objectives",
        ),
        (
            {"strategy": "random"},
            "strategy 'random' cannot choose it; use one of bayes, pi, kg",
        ),
        ({"priors": {"width": raytuner.near(64)}}, "a fidelity cannot have a prior"),
    ],
)
def test_what_cannot_be_is_said_before_the_first_trial(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        BoTorchSearch(**{"space": SPACE, "metric": "loss", "mode": "min", **settings})


def test_earlier_studies_are_refused() -> None:
    import pandas

    table = pandas.DataFrame({"lr": [0.1, 0.2], "width": [64, 64], "loss": [1.0, 2.0]})
    with pytest.raises(SettingError, match="earlier studies cannot be combined with it"):
        BoTorchSearch(SPACE, "loss", "min", earlier=[table])


def test_weights_make_one_objective_of_several() -> None:
    searcher = BoTorchSearch(
        SPACE, ["loss", "ms"], ["min", "min"], weights=[1, 1], background=False
    )
    assert searcher.history.goal.cost == "time_total_s"


def test_a_wrapped_searcher_is_asked_too() -> None:
    from ray.tune.search import ConcurrencyLimiter

    searcher = BoTorchSearch(background=False, seed=0)
    limited = ConcurrencyLimiter(searcher, max_concurrent=2)
    scheduler = ASHAScheduler(max_t=9, seed=0)
    simulate(
        objective,
        dict(SPACE),
        searcher=limited,
        scheduler=scheduler,
        metric="loss",
        mode="min",
        num_samples=15,
        seed=0,
    )
    history = inner(limited).history
    assert all(
        trial.state is TrialState.COMPLETED for trial in history.trials if not is_full(trial.config)
    )
    assert np.isfinite(history.snapshot().cost).all()
