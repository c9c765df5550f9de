"""Choices between parts that hold hyperparameters of their own."""

from __future__ import annotations

import copy
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from ray import tune
from ray.tune.impl.placeholder import create_resolvers_map, inject_placeholders
from ray.tune.search.variant_generator import generate_variants

from raytuner.bayes.strategies import gridded
from raytuner.errors import ConfigError, SpaceError
from raytuner.search.botorch_search import BoTorchSearch
from raytuner.search.tune_space import space_from_tune, when
from raytuner.space import Categorical, Float, Options, Space


class Plain:
    """An object that equals no copy of itself."""


DATA = Plain()

SPACES: dict[str, dict[str, Any]] = {
    "a dict for each": {
        "opt": tune.choice(
            [
                {"name": "sgd", "momentum": tune.uniform(0, 1)},
                {"name": "adam", "beta": tune.uniform(0.8, 1), "eps": tune.loguniform(1e-8, 1)},
                {"name": "lion"},
            ]
        )
    },
    "off or a range": {"dropout": tune.choice([0, tune.uniform(0.1, 0.5)])},
    "nested": {
        "net": {
            "head": tune.choice(
                [
                    {"a": {"b": tune.uniform(0, 1)}},
                    {"a": {"b": tune.choice([{"c": tune.randint(0, 3)}, 7])}},
                    tune.choice([tune.uniform(2, 3), "none"]),
                ]
            )
        }
    },
    "lists": {
        "layers": tune.choice([[tune.randint(1, 5)], [tune.randint(1, 5), tune.randint(5, 9)]])
    },
    "in a list": {"l": [tune.choice([tune.uniform(0, 1), 5]), 2]},
    "grid search": {"g": tune.grid_search([{"x": tune.uniform(0, 1)}, 3])},
    "one only": {"g": tune.choice([{"x": tune.uniform(0, 1)}])},
    "objects": {
        "m": tune.choice([{"data": DATA, "x": tune.uniform(0, 1)}, {"f": print, "y": tune.randn()}])
    },
    "of no use": {"m": tune.choice([{}, {"y": tune.randint(0, 2)}])},
}


def rays_own(param_space: dict[str, Any], n: int) -> list[Any]:
    """Configurations as Ray draws them without a searcher."""
    return [
        spec["config"]
        for _ in range(n)
        for _, spec in generate_variants({"config": copy.copy(param_space)}, random_state=None)
    ]


@pytest.mark.parametrize("case", SPACES)
def test_what_ray_draws_has_a_place_and_comes_back(case: str) -> None:
    space = space_from_tune(SPACES[case])
    for config in rays_own(SPACES[case], 20):
        space.validate(config)
        assert shape(space.load(json.loads(json.dumps(space.dump(config))))) == shape(config)
        (again,) = space.decode(space.encode([config]))
        np.testing.assert_allclose(space.encode([again]), space.encode([config]))
        assert shape(again) == shape(config)


@pytest.mark.parametrize("case", SPACES)
def test_what_is_decoded_has_a_shape_that_ray_gives(case: str) -> None:
    space = space_from_tune(SPACES[case])
    X = space.snap(np.random.default_rng(0).random((60, space.dim)))
    configs = space.decode(X)
    assert {shape(c) for c in configs} == {shape(c) for c in rays_own(SPACES[case], 200)}
    for config, x in zip(configs, X, strict=True):
        space.validate(config)
        np.testing.assert_allclose(space.encode([config])[0], x, atol=1e-12)


def shape(config: Any) -> str:
    """A configuration without the values that are drawn from a range."""
    if isinstance(config, dict):
        return str({key: shape(value) for key, value in config.items()})
    if isinstance(config, list):
        return str([shape(item) for item in config])
    return repr(type(config)) if isinstance(config, int | float | Plain) else repr(config)


def test_options_are_equally_likely_as_with_ray() -> None:
    space = space_from_tune(SPACES["a dict for each"])
    drawn = space.sample(np.random.default_rng(0), 3000)
    counts = Counter(config["opt"]["name"] for config in drawn)
    assert all(900 < count < 1100 for count in counts.values())


@pytest.mark.parametrize("case", [case for case in SPACES if case != "objects"])
def test_as_data_and_back(case: str) -> None:
    space = space_from_tune(SPACES[case])
    again = Space.from_spec(json.loads(json.dumps(space.to_spec())))
    assert again.to_spec() == space.to_spec()
    assert [column.name for column in again.columns] == [column.name for column in space.columns]
    X = np.random.default_rng(0).random((9, space.dim))
    assert again.decode(X) == space.decode(X)


def test_names_conditions_and_constraints() -> None:
    space = space_from_tune(
        {
            "opt": tune.choice(
                [
                    {
                        "name": tune.choice(["sgd", "nesterov"]),
                        "momentum": when(tune.uniform(0, 1), name="nesterov"),
                    },
                    tune.uniform(0, 1),
                ]
            ),
            "lr": tune.uniform(0, 1),
        }
    ).constrained(["opt/1 <= lr", lambda config: config["lr"] <= 0.9])
    names = ["opt/option", "opt/0/name", "opt/0/momentum", "opt/1", "lr"]
    assert [column.name for column in space.columns] == names
    seen = set()
    for config in space.sample(np.random.default_rng(0), 100):
        space.validate(config)
        opt = config["opt"]
        seen.add(tuple(opt) if isinstance(opt, dict) else "number")
        assert config["lr"] <= 0.9
        assert isinstance(opt, dict) or opt <= config["lr"]
    assert seen == {("name",), ("name", "momentum"), "number"}
    with pytest.raises(ConfigError, match="opt/1 <= lr"):
        space.validate({"opt": 0.5, "lr": 0.25})
    with pytest.raises(ConfigError, match=r"momentum: received 0\.5, but this key exists only"):
        space.validate({"opt": {"name": "sgd", "momentum": 0.5}, "lr": 0.25})


def test_what_is_none_of_the_options() -> None:
    space = Space({"net": {"opt": Options.of([{"a": Float(0, 1)}, Float(2, 3), None])}})
    for wrong in (0.5, "x", {"a": 2.0}, {"b": 0.5}, {"a": 0.5, "b": 1}, [0.5]):
        with pytest.raises(ConfigError, match=r"net/opt: received .*, expected a dict of 'a' or "):
            space.validate({"net": {"opt": wrong}})
    with pytest.raises(ConfigError, match="net/opt/0/a: missing, expected a number"):
        space.validate({"net": {"opt": {}}})
    with pytest.raises(SpaceError, match=r"a: field 'of' is missing"):
        Space.from_spec({"a": {"type": "options"}})
    with pytest.raises(SpaceError, match="of must be a list"):
        Space.from_spec({"a": {"type": "options", "of": {"x": 1}}})


def test_a_grid_has_points_of_each_option() -> None:
    space = Space({"opt": Options.of([{"a": Float(0, 1)}, Float(2, 3), None]), "b": Float(0, 1)})
    grid = gridded(space, 3)
    configs = grid.decode(grid.listed())
    kinds = Counter(type(config["opt"]) for config in configs)
    assert kinds == {dict: 9, float: 9, type(None): 3}


def test_an_options_columns_may_be_finite() -> None:
    space = Space({"opt": Options.of([{"a": Categorical(["x", "y"])}, "z"])})
    assert space.cardinality == 3
    assert [c["opt"] for c in space.decode(space.listed())] == [{"a": "x"}, {"a": "y"}, "z"]


@pytest.mark.parametrize("strategy", ["bayes", "evolution"])
def test_a_search_finds_the_best_option(strategy: str) -> None:
    """Through Ray's placeholders, as in a Tuner."""
    seen: Any = inject_placeholders(copy.deepcopy(SPACES["objects"]), create_resolvers_map())  # type: ignore[no-untyped-call]
    searcher = BoTorchSearch(seed=0, background=False, n_initial=6, strategy=strategy)
    assert searcher.set_search_properties("loss", "min", seen)
    for number in range(14):
        config: Any = searcher.suggest(str(number))
        m = config["m"]
        assert set(m) in ({"data", "x"}, {"f", "y"})
        loss = (m["x"] - 0.25) ** 2 if "x" in m else 1 + m["y"] ** 2
        searcher.on_trial_complete(str(number), {"loss": loss, "training_iteration": 1})
    best = searcher.history.best
    assert best is not None
    assert abs(best.config["m"]["x"] - 0.25) < 0.2
    assert sum("x" in trial.config["m"] for trial in searcher.history.trials[8:]) >= 4
