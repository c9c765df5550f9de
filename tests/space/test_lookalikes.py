"""Constants that look as if they were meant to be searched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from naming import named
from optuna.distributions import FloatDistribution

from raytuner.errors import RaytunerWarning, SpaceError
from raytuner.space import Fidelity, Float, Space, when
from raytuner.space.lookalikes import lookalikes, warn_of_lookalikes


class Dimension:
    """Has what scikit-optimize's dimensions have."""

    def rvs(self) -> float:
        return 0.0


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ([16, 32, 64], "tune.choice([16, 32, 64])"),
        ((16, 32, 64), "tune.choice([16, 32, 64])"),
        ([0.1, 0.01], "tune.choice([0.1, 0.01])"),
        ((0.0, 0.5), "tune.uniform(0.0, 0.5)"),
        ([1, 8], "tune.randint(1, 9)"),
        ((1e-4, 0.1, "log-uniform"), "tune.loguniform(0.0001, 0.1)"),
        ((1, 8, "uniform"), "tune.uniform(1, 8)"),
        (["sgd", "adam"], "tune.choice(['sgd', 'adam'])"),
        (FloatDistribution(0, 1), "raytuner.integrations"),
        (Dimension(), "tune.uniform"),
    ],
    ids=named,
)
def test_what_looks_like_a_hyperparameter_is_found_wherever_it_is(value: Any, advice: str) -> None:
    for path, template in {
        "x": {"x": value},
        "a/b/1": {"a": {"b": [Float(0, 1), value]}},
        "when": {"when": when(value, lr=1)},
    }.items():
        assert f": {path} is {value!r}; to search it, write " in lookalikes(template)
        assert advice in lookalikes(template)
    with pytest.raises(SpaceError, match=r"nothing varies in .* look like hyperparameters"):
        Space({"x": value})


@pytest.mark.parametrize(
    "value",
    [
        3,
        "relu",
        [64, 64],
        [3],
        ("relu", "tanh"),
        {"min_delta": 0.1, "max_epochs": 3},
        {"low": 0, "high": Float(0, 1)},
        {"grid_search": [1, 2]},
        list(range(1000)),
        np.arange(1000),
        np.zeros((3, 3)),
        dict,
        print,
        object(),
        Float(0, 1),
        Fidelity(Float(0, 1)),
        "normal (the default)",
    ],
    ids=named,
)
def test_other_constants_are_left_alone(value: Any) -> None:
    assert lookalikes({"x": value}) == ""


def test_a_space_in_which_nothing_varies_says_only_that() -> None:
    with pytest.raises(SpaceError, match=r"two or more values$"):
        Space({"x": 3})


def test_a_librarys_configuration_is_no_space_that_somebody_wrote() -> None:
    with pytest.warns(RaytunerWarning, match="batch is"):
        assert warn_of_lookalikes({"batch": [16, 32], "lr": Float(0, 1)})
    settings = {f"setting_{i}": i for i in range(200)}
    assert not warn_of_lookalikes({**settings, "columns": ["obs", "new_obs"], "lr": Float(0, 1)})
