"""``points_to_evaluate``: partial ones, duplicates, and those that were evaluated already."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import pytest
from processes import Polled
from ray import tune

import raytuner
from raytuner import BoTorchSearch
from raytuner.bayes import SobolProposer
from raytuner.errors import ConfigError
from raytuner.history import Origin, TrialState
from raytuner.study.resources import first_config

SPACE: dict[str, Any] = {
    "lr": tune.loguniform(1e-4, 1e-1),
    "net": {"layers": tune.randint(1, 5), "act": tune.choice(["relu", "tanh"])},
    "sizes": [tune.randint(1, 9), 3],
    "opt": tune.choice(["sgd", "adam"]),
    "momentum": raytuner.when(tune.uniform(0, 1), opt="sgd"),
    "epochs": 3,
}


def search(points: Any, space: Any = SPACE, **settings: Any) -> BoTorchSearch:
    """A searcher that has all it needs. Sobol: these tests are not about models."""
    settings = {"seed": 0, "proposer": SobolProposer, "background": False, **settings}
    return BoTorchSearch(space, "loss", "min", points_to_evaluate=points, **settings)


def holds(config: Any, point: Any) -> bool:
    """Whether a configuration has all that a point says."""
    if isinstance(point, dict):
        return all(holds(config[key], value) for key, value in point.items())
    if isinstance(point, list):
        return all(holds(*pair) for pair in zip(config, point, strict=True))
    return bool(config == point)


PARTIAL: list[dict[str, Any]] = [
    {"lr": 0.01},
    {},
    {"net": {"act": "tanh"}},
    {"momentum": 0.25},  # so the optimizer is sgd
    {"opt": "adam", "sizes": [4, 3]},
    {"lr": 0.01, "epochs": 3},
    {"lr": 0.01},
]


@pytest.mark.parametrize("background", [False, True])
def test_what_a_point_leaves_out_is_proposed(background: bool) -> None:
    searcher = search(PARTIAL, background=background, proposer=None)
    if background:
        searcher.compute_in(Polled)
    configs: list[Any] = [searcher.suggest(str(i)) for i in range(len(PARTIAL) + 1)]
    for config, point in zip(configs[:-1], PARTIAL, strict=True):
        assert holds(config, point)
        searcher.history.space.validate(config)
    assert len({config["lr"] for config in configs}) == len(PARTIAL) - 1
    assert len({(config["net"]["layers"], config["sizes"][0]) for config in configs}) > 4
    origins = [trial.origin for trial in searcher.history.trials]
    assert origins[:-1] == [Origin.INITIAL] * len(PARTIAL)
    assert origins[-1] is not Origin.INITIAL


def test_points_are_not_forgotten_nor_tried_again_after_a_restore(tmp_path: Path) -> None:
    points = [{"lr": 0.01}, {"lr": 0.01}, {"opt": "adam"}, {"lr": 0.02}]
    searcher = search(points, record=tmp_path / "record")
    first = [searcher.suggest(str(i)) for i in range(2)]
    assert first[0] != first[1]
    searcher.on_trial_complete("0", {"loss": 1.0, "training_iteration": 1})
    again = search(points)
    searcher.save(str(tmp_path / "saved"))
    lost = searcher.suggest("2")  # Ray dies before it saves this one
    again.restore(str(tmp_path / "saved"))
    assert again.history["2"].state is TrialState.REMOVED
    later: list[Any] = [again.suggest(str(i)) for i in range(3, 6)]
    assert later[0]["opt"] == "adam"
    assert isinstance(lost, dict)
    assert later[1]["lr"] == 0.02
    assert [again.history[str(i)].origin is Origin.INITIAL for i in range(3, 6)] == [1, 1, 0]


def test_a_point_that_is_listed_twice_is_tried_twice() -> None:
    """As by Ray's searchers."""
    one = {"x": 0.5, "y": "a"}
    space = {"x": tune.uniform(0, 1), "y": tune.choice(["a", "b"])}
    searcher = search([one, {"x": 0.25, "y": "a"}, one, {"x": 0.5}], space)
    searcher.add_evaluated_point({"x": 0.25, "y": "a"}, 0.5)  # this is known, and not tried
    configs: list[Any] = [searcher.suggest(str(i)) for i in range(4)]
    assert configs[:2] == [one, one]
    assert configs[2]["x"] == 0.5
    assert configs[3]["x"] != 0.5
    for i in range(4):
        searcher.on_trial_complete(str(i), {"loss": 1.0, "training_iteration": 1})
    assert searcher.history.counts == {TrialState.COMPLETED: 5}


def test_constraints_hold_for_what_is_filled_in() -> None:
    space = {"a": tune.uniform(0, 1), "b": tune.uniform(0, 1), "c": tune.uniform(0, 1)}
    rules = ["a + b <= 0.5", "c <= b"]
    searcher = search([{"c": 0.2}, {"a": 0.3}, {"b": 0.4}], space, parameter_constraints=rules)
    for i, fixed in enumerate([("c", 0.2), ("a", 0.3), ("b", 0.4)]):
        config: Any = searcher.suggest(str(i))
        assert config[fixed[0]] == fixed[1]
        searcher.history.space.validate(config)
    with pytest.raises(ConfigError, match=r"points_to_evaluate\[0\]: .*tried 1000 values"):
        search([{"c": 0.9}], space, parameter_constraints=rules)


def test_a_fidelity_that_is_left_out_is_the_full_one() -> None:
    space = {"x": tune.uniform(0, 1), "width": raytuner.fidelity(tune.choice([8, 16, 32]))}
    searcher = search([{"x": 0.5}, {"x": 0.5, "width": 8}], space)
    assert searcher.suggest("a") == {"x": 0.5, "width": 32}
    assert searcher.suggest("b") == {"x": 0.5, "width": 8}


def test_a_part_of_an_option() -> None:
    space = {
        "m": tune.choice([{"name": "a", "x": tune.uniform(0, 1), "n": tune.randint(0, 9)}, "b"]),
        "lr": tune.uniform(0, 1),
    }
    searcher = search([{"m": {"name": "a", "x": 0.25}}, {"m": "b"}, {"lr": 0.5}], space)
    configs: list[Any] = [searcher.suggest(str(i)) for i in range(3)]
    assert (configs[0]["m"]["name"], configs[0]["m"]["x"]) == ("a", 0.25)
    assert 0 <= configs[0]["m"]["n"] < 9
    assert configs[1]["m"] == "b"
    assert configs[2]["lr"] == 0.5
    for config in configs:
        searcher.history.space.validate(config)


@pytest.mark.parametrize("early", [False, True])
def test_points_that_were_evaluated_are_learned_and_not_tried(early: bool, tmp_path: Path) -> None:
    points = [{"x": 0.25}, {"x": 0.5}, {"x": 0.75}]
    rewards = [1.0, 0.5, math.nan]
    space = {"x": tune.uniform(0, 1)}
    settings: dict[str, Any] = {"points_to_evaluate": points, "evaluated_rewards": rewards}
    settings |= {"seed": 0, "background": False, "n_initial": 2}
    if early:
        searcher = BoTorchSearch(space, "loss", "min", **settings)
    else:
        searcher = BoTorchSearch(**settings)
        made = pickle.dumps(searcher)  # as Ray does when the Tuner is made
        searcher.set_search_properties("loss", "min", dict(space))
    trials = searcher.history.trials
    assert [trial.origin for trial in trials] == [Origin.EVALUATED] * 3
    assert [trial.config for trial in trials] == points
    assert [trial.value for trial in trials[:2]] == rewards[:2]
    assert trials[2].state is TrialState.FAILED
    best = searcher.history.best
    assert best is not None
    assert best.config == {"x": 0.5}
    assert searcher.suggest("a") not in points
    if not early:
        searcher.save(str(tmp_path / "saved"))
        again = pickle.loads(made)
        again.restore(str(tmp_path / "saved"))
        assert again.suggest("b") not in points
        assert len(again.history) == 5


def test_rewards_of_several_metrics_by_name() -> None:
    searcher = BoTorchSearch(
        {"x": tune.uniform(0, 1)},
        ["loss", "ms"],
        ["min", "min"],
        points_to_evaluate=[{"x": 0.25}, {"x": 0.5}],
        evaluated_rewards=[{"loss": 1.0, "ms": 2.0}, {"loss": 0.5, "ms": 3.0}],
        background=False,
    )
    assert [trial.config["x"] for trial in searcher.history.pareto] == [0.25, 0.5]


def test_the_run_that_measures_a_trials_memory_takes_a_partial_point() -> None:
    searcher = search([{"lr": 0.01}])
    config = first_config(searcher.history.space, [{"lr": 0.01}], seed=0)
    assert config["lr"] == 0.01
    searcher.history.space.validate(config)
