"""Strategies, as a searcher and beside a scheduler."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from processes import Polled
from ray import tune
from searcher_conformance import BareConformance, Driver, Make, key, record_of

import raytuner
from raytuner import ASHAScheduler, BoTorchSearch
from raytuner.bayes import SobolProposer
from raytuner.bayes.strategies import STRATEGIES
from raytuner.errors import SettingError
from raytuner.history import Origin, TrialState
from raytuner.simulate import Cluster, Curve, Simulation, simulate


# Two proposers of their own, and a part of the space. The default and "sobol" are tested in
# test_botorch_search.py, and each strategy by itself in tests/bayes.
@pytest.mark.parametrize("kind", ["evolution", "grid", "hedge"])
class TestStrategies(BareConformance):
    @pytest.fixture
    def make(self, kind: str) -> Make:
        return lambda seed=0: BoTorchSearch(seed=seed, n_initial=5, background=False, strategy=kind)


SPACE: dict[str, Any] = {
    "lr": tune.loguniform(1e-4, 1),
    "kind": tune.choice(["a", "b", "c"]),
    "depth": raytuner.when(tune.randint(1, 9), kind=["a", "b"]),
}
RULES: list[Any] = ["lr * depth <= 2", lambda config: config["kind"] != "c" or config["lr"] < 0.5]


def objective(config: dict[str, Any]) -> Curve:
    assert ("depth" in config) == (config["kind"] != "c")
    level = config["lr"] + {"a": 0.0, "b": 0.3, "c": 0.6}[config["kind"]]
    return Curve([{"loss": level + 1 / t} for t in range(1, 10)], seconds=1.0 + level)


def run(searcher: BoTorchSearch, n: int = 18) -> Simulation:
    return simulate(
        objective,
        dict(SPACE),
        searcher=searcher,
        scheduler=ASHAScheduler(max_t=9, seed=0),
        metric="loss",
        mode="min",
        num_samples=n,
        cluster=Cluster(workers=4),
        seed=0,
    )


@pytest.mark.parametrize("kind", ["bayes", "evolution", "grid", "hedge", "random"])
def test_with_early_stopping_conditions_and_constraints(kind: str) -> None:
    searcher = BoTorchSearch(
        strategy=kind, parameter_constraints=RULES, seed=0, n_initial=4, background=True
    )
    simulation = run(searcher)
    assert len(simulation.trials) == 18
    assert simulation.counts[TrialState.STOPPED_EARLY] > 3
    trials = searcher.history.trials
    assert len({key(trial.config) for trial in trials}) == 18
    for trial in trials:
        searcher.history.space.validate(trial.config)
    origins = {trial.origin for trial in trials}
    if STRATEGIES[kind].has_model:
        assert Origin.BAYES in origins
    else:
        expected = {"random": Origin.RANDOM, "evolution": Origin.EVOLUTION}
        assert origins == {expected.get(kind, Origin.SOBOL)}


def test_a_grid_is_used_up_and_ends_the_search() -> None:
    space = {"lr": tune.loguniform(1e-4, 1), "act": tune.choice(["x", "y"])}
    searcher = BoTorchSearch(space, "loss", "min", strategy="grid", seed=0)
    assert not searcher.background  # it takes no time
    driver = Driver(searcher, slots=1)
    driver.use_up(10)
    assert driver.finished
    found = sorted({round(config["lr"], 10) for config in driver.configs})
    assert found == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1])
    assert len({key(config) for config in driver.configs}) == 10


def test_points_beside_the_grid_come_first_and_leave_it_whole() -> None:
    space = {"x": tune.uniform(0, 1)}
    searcher = BoTorchSearch(
        space, "loss", "min", strategy="grid", seed=0, points_to_evaluate=[{"x": 0.33}, {"x": 0.5}]
    )
    driver = Driver(searcher, slots=1)
    driver.use_up(6)
    assert driver.finished
    assert [config["x"] for config in driver.configs[:2]] == [0.33, 0.5]
    assert sorted(config["x"] for config in driver.configs) == [0, 0.25, 0.33, 0.5, 0.75, 1]


def test_hedge_goes_on_from_what_was_saved_by_its_process(tmp_path: Path) -> None:
    searcher = BoTorchSearch(strategy="hedge", seed=0, n_initial=4)
    searcher.compute_in(Polled)
    made = pickle.dumps(searcher)
    space = {
        "lr": tune.loguniform(1e-4, 1e-1),
        "net": {"layers": tune.randint(1, 5), "act": "relu"},
    }
    searcher.set_search_properties("loss", "min", dict(space))
    driver = Driver(searcher)
    driver.turns(9)
    searcher.save(str(tmp_path / "saved"))
    state = searcher.history.get_meta("proposer")
    assert len(state["nominated"]) >= 1
    restored = pickle.loads(made)
    restored.compute_in(Polled)
    restored.restore(str(tmp_path / "saved"))
    assert record_of(restored).get_meta("proposer") == state
    driver.searcher = restored
    driver.turns(3)
    assert len(record_of(restored).get_meta("proposer")["nominated"]) >= 1


def test_what_cannot_be_is_said_at_once() -> None:
    with pytest.raises(SettingError, match="strategy is 'gird'; it must be one of bayes, hedge"):
        BoTorchSearch(strategy="gird")
    with pytest.raises(SettingError, match="a proposer and strategy='grid' were given"):
        BoTorchSearch(strategy="grid", proposer=SobolProposer)
