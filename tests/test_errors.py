"""Errors about bad values are ValueErrors too, and our own handlers of those let them pass."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from ray import tune
from sklearn.tree import DecisionTreeClassifier

import raytuner
from raytuner import BoTorchSearch, errors
from raytuner.errors import RaytunerError, SettingError
from raytuner.history import Goal
from raytuner.integrations.sklearn import RayTunerSearchCV
from raytuner.placement import ResourceRequest
from raytuner.search.process import Setup
from raytuner.simulate import simulate
from raytuner.space import Float, Space
from raytuner.study.tuning import folder_for

SPACE = {"x": tune.uniform(0, 1)}
SPACE_ = Space({"x": Float(0, 1)})


def train(config: dict[str, Any]) -> None:
    tune.report({"loss": config["x"]})


@pytest.mark.parametrize(
    ("name", "is_value"),
    [
        ("SpaceError", True),
        ("ConfigError", True),
        ("MetricError", True),
        ("SettingError", True),
        ("PlacementError", False),  # what the cluster has
        ("HistoryError", False),  # what a file holds
        ("TrainableError", False),  # what the user's code does
        ("NoResultError", False),  # what trials came to
    ],
)
def test_each_class(name: str, is_value: bool) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, RaytunerError)
    assert issubclass(kind, ValueError) is is_value
    again = pickle.loads(pickle.dumps(kind("why")))
    assert (type(again), str(again)) == (kind, "why")


CALLS: dict[str, Callable[[], Any]] = {
    "a space for the searcher": lambda: BoTorchSearch({"x": "uniform"}),
    "a strategy": lambda: BoTorchSearch(SPACE, "loss", "min", strategy="best"),
    "a point": lambda: BoTorchSearch(SPACE, "loss", "min", points_to_evaluate=[{"x": 2}]),
    "a study's num_samples": lambda: raytuner.tune(
        train, SPACE, metric="loss", mode="min", num_samples=0
    ),
    "a study's metric": lambda: raytuner.tune(train, SPACE, metric="", mode="min", num_samples=1),
    "resources": lambda: ResourceRequest.of({"gpu": 1.5}),
    "a simulation": lambda: simulate(lambda config: [0.5], SPACE, num_samples=0),
    "a search": lambda: RayTunerSearchCV(
        DecisionTreeClassifier(), {"max_depth": tune.randint(1, 5)}, n_iter=-1
    ).fit([[0], [1]] * 5, [0, 1] * 5),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_bad_values_are_value_errors(call: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        call()


def test_a_bad_place_says_what_is_wrong_once(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="is a Path made from a URI") as caught:
        folder_for(train, Path("s3:/bucket/runs"), None)
    assert "cannot be used as a folder" not in str(caught.value)


def test_a_proposers_own_error_stays_as_it_is() -> None:
    class Proposer:
        def load_state_dict(self, state: dict[str, Any]) -> None:
            raise SettingError("the state is of strategy 'grid'")

    setup = Setup(SPACE_, Goal.of("loss", "min"), lambda space, seed: cast(Any, Proposer()), 0)
    with pytest.raises(SettingError, match="'grid'"):
        setup.proposer({})
