"""Choices of any kind of object, most of them without a usable `==`."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from ray import tune
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from raytuner import BoTorchSearch
from raytuner.errors import ConfigError, SpaceError
from raytuner.report import text
from raytuner.report.figures import Figures
from raytuner.report.page import render
from raytuner.search.tune_space import space_from_tune
from raytuner.space import Categorical, Float, Space
from raytuner.space.choices import same
from raytuner.study.export import write_table
from raytuner.study.study import Study


class Raises:
    """An object that cannot be compared."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = None  # type: ignore[assignment]


class Unshown:
    """An object that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


class Expression:
    """An object whose `==` makes an expression, which is always true."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __eq__(self, other: object) -> Any:
        return ["expression"]

    __hash__ = None  # type: ignore[assignment]


OBJECTS: list[Any] = [
    *(torch.nn.ReLU(), torch.nn.Tanh(), torch.float32, torch.relu),
    *(np.zeros(2), np.zeros(2, dtype=int), np.array([np.nan, 1]), np.array(["a"])),
    *(pd.DataFrame({"a": [1, np.nan]}), pd.DataFrame({"b": [1]}), pd.Series([1, 2]), pd.NA),
    *(LogisticRegression(), LogisticRegression(C=2), make_pipeline(StandardScaler())),
    *(make_pipeline(StandardScaler(), LogisticRegression()), sparse.eye(2).tocsr()),
    *(Raises(1), Raises(2), Expression(1), Expression(2)),
    *({"a": np.zeros(2)}, [Raises(1), 2], float("nan"), None, True, 1, 1.0),
]


def configuration(index: int) -> dict[str, Any]:
    return {"x": OBJECTS[index], "lr": 0.5}


@pytest.fixture(scope="module")
def space() -> Space:
    return space_from_tune({"x": tune.choice(OBJECTS), "lr": tune.uniform(0, 1)})


@pytest.mark.parametrize("index", range(len(OBJECTS)))
def test_each_is_found_and_so_is_its_copy(space: Space, index: int) -> None:
    assert space.load(space.dump(configuration(index)))["x"] is OBJECTS[index]
    config = pickle.loads(pickle.dumps(configuration(index)))
    space.validate(config)
    X = space.encode([config])
    assert space.decode(X)[0]["x"] is OBJECTS[index]
    dumped = json.loads(json.dumps(space.dump(config)))
    assert space.load(dumped)["x"] is OBJECTS[index]


def test_others_are_not_found(space: Space) -> None:
    others: list[Any] = [
        np.full(2, 5.0),
        np.zeros((2, 1)),
        torch.nn.Sigmoid(),
        LogisticRegression(C=3),
    ]
    others += [pd.DataFrame(), object()]
    for other in others:
        with pytest.raises(ConfigError, match=r"^x: received "):
            space.validate({"x": other, "lr": 0.5})


def test_an_object_that_equals_all_others_hides_none() -> None:
    domain = Categorical([mock.ANY, *(choices := [np.zeros(2), Raises(1), LogisticRegression()])])
    for choice in choices:
        assert domain.cast(choice) is choice
        assert domain.cast(pickle.loads(pickle.dumps(choice))) is choice


def test_as_constants_they_stay_what_they_are() -> None:
    for value in OBJECTS:
        space = Space({"x": value, "lr": Float(0, 1)})
        (config,) = space.decode(np.array([[0.5]]))
        assert same(config["x"], value)
        assert space.to_spec()["lr"]["type"] == "float"
    leaf = torch.ones(1, requires_grad=True) * 2  # which torch refuses to copy
    with pytest.raises(SpaceError, match=r"x: .*cannot be copied"):
        Space({"x": leaf, "lr": Float(0, 1)})


def test_twice_the_same_is_refused() -> None:
    for pair in ([np.ones(1), np.ones(1)], [LogisticRegression(), LogisticRegression()]):
        with pytest.raises(SpaceError, match="listed twice"):
            Categorical(pair)
    assert (Categorical(OBJECTS) == Categorical([1, 2])) is False


def test_a_space_of_them_equals_its_copy() -> None:
    assert Categorical(OBJECTS) == pickle.loads(pickle.dumps(Categorical(OBJECTS)))
    assert Categorical(OBJECTS) != Categorical(OBJECTS[::-1])


def test_a_search_among_them_is_recorded_restored_and_reported(tmp_path: Path) -> None:
    def searcher() -> BoTorchSearch:
        return BoTorchSearch(
            {"x": tune.choice(OBJECTS), "lr": tune.uniform(0, 1)},
            metric="loss",
            mode="min",
            background=False,
            seed=0,
            n_initial=3,
            points_to_evaluate=pickle.loads(pickle.dumps([configuration(0), configuration(24)])),
            record=str(tmp_path / "record"),
        )

    search, configs = searcher(), []
    for number in range(9):
        if number == 5:
            search.save(str(tmp_path / "saved"))
            search.close()
            search = searcher()
            search.restore(str(tmp_path / "saved"))
        config = search.suggest(str(number))
        assert isinstance(config, dict)
        configs.append(config)
        search.on_trial_complete(str(number), {"loss": config["lr"], "training_iteration": 1})
    assert configs[0]["x"] is OBJECTS[0]
    assert configs[1]["x"] is OBJECTS[24]
    history = search.history
    for trial, config in zip(history.trials, configs, strict=True):
        assert same(trial.config["x"], config["x"])
    assert "lr" in render(Figures(history), tmp_path)
    write_table(Study(tmp_path, history), tmp_path / "table.csv")
    assert len(pd.read_csv(tmp_path / "table.csv")) == 9
    raising = {"x": Unshown(), "lr": 0.5}
    assert text.one_line(raising) == "x=<Unshown object> lr=0.5"
    assert "<Unshown object>" in text.configuration_as_json(raising)
    assert "<Unshown object>" in text.configuration_as_toml(raising)
