"""Mistakes in a param_space, and tune.grid_search beside a searcher."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
from naming import named
from optuna.distributions import FloatDistribution
from ray import tune
from ray.tune.search import ConcurrencyLimiter

import raytuner
from raytuner import BoTorchSearch
from raytuner.controller.tuner import param_space_of_tuner
from raytuner.errors import RaytunerWarning, SpaceError
from raytuner.space import Space

LR = {"lr": tune.uniform(0, 1)}


def train(config: dict[str, Any]) -> None:
    raise AssertionError("no trial is to start")


def tuner(tmp_path: Path, param_space: Any, search: Any = None, **more: Any) -> tune.Tuner:
    return tune.Tuner(
        train,
        param_space=param_space,
        tune_config=tune.TuneConfig(
            metric="loss", mode="min", search_alg=search or BoTorchSearch(), **more
        ),
        run_config=tune.RunConfig(storage_path=str(tmp_path)),
    )


# -- functions --------------------------------------------------------------------------------


COMPUTED: list[Any] = [
    {"w": tune.sample_from(lambda _: 2)},
    {"net": {"w": [1, tune.sample_from(lambda _: 2)]}, **LR},
    {"w": {"eval": "spec.config.lr * 2"}, **LR},
    {"w": raytuner.when(tune.sample_from(lambda _: 2), lr=1), **LR},
]


@pytest.mark.parametrize("param_space", COMPUTED, ids=named)
def test_what_ray_would_compute_is_refused_before_ray_starts(
    param_space: Any, tmp_path: Path
) -> None:
    said = (
        "(net/)?w(/1)?: received .*, which a model cannot learn from; .* in the training function"
    )
    with pytest.raises(SpaceError, match=said):
        tuner(tmp_path, param_space)  # no fit(), which starts Ray
    with pytest.raises(SpaceError, match=said):
        tuner(tmp_path, param_space, ConcurrencyLimiter(BoTorchSearch(), 2))
    with pytest.raises(SpaceError, match=said):
        raytuner.tune(train, param_space, metric="loss", mode="min", num_samples=1)
    with pytest.raises(SpaceError, match=said):
        BoTorchSearch(param_space, "loss", "min")


def test_a_tuner_is_made_as_ever_and_looked_into_only_then(tmp_path: Path) -> None:
    search = BoTorchSearch()
    tuner(tmp_path, {**LR, "data": object(), "eval": {"every": 3}, "act": dict}, search)
    tuner(tmp_path, {"constant": 3}, BoTorchSearch(LR, "loss", "min"))
    assert param_space_of_tuner() is None
    assert isinstance(pickle.loads(pickle.dumps(search)), BoTorchSearch)


# -- constants that look like hyperparameters -----------------------------------------------------


@pytest.mark.parametrize("value", [[16, 32, 64], FloatDistribution(0, 1)], ids=named)
def test_constants_that_look_like_hyperparameters_are_warned_of_once(
    value: Any, tmp_path: Path
) -> None:
    space = {**LR, "opt": tune.choice(["a", "b"]), "net": raytuner.when({"batch": value}, opt="a")}
    said = r"net/batch is .*; to search it, write tune\."
    with pytest.warns(RaytunerWarning, match=said):
        BoTorchSearch(space)
    ours = Space({"lr": raytuner.space.Float(0, 1), "net": {"batch": value}})
    with pytest.warns(RaytunerWarning, match=said):
        BoTorchSearch().set_search_properties("loss", "min", ours)
    search = BoTorchSearch()
    with pytest.warns(RaytunerWarning, match=said):
        tuner(tmp_path, space, search)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search.set_search_properties("loss", "min", dict(space))  # as the Tuner does next
    with pytest.warns(RaytunerWarning, match=said):
        BoTorchSearch().set_search_properties("loss", "min", dict(space))
    for only in ({"batch": value}, {"batch": value, "n": 3}):
        with pytest.raises(SpaceError, match=r"nothing varies in .*batch is .*; to search it"):
            tuner(tmp_path, only)
    with pytest.raises(SpaceError, match=r"nothing varies in .*batch is .*; to search it"):
        raytuner.tune(train, {"batch": value}, metric="loss", mode="min", num_samples=1)


def test_a_choice_of_one_is_a_constant_without_a_warning(tmp_path: Path) -> None:
    search = BoTorchSearch({**LR, "layers": tune.choice([[16, 32]])}, "loss", "min")
    config = search.suggest("a")
    assert isinstance(config, dict)
    assert config["layers"] == [16, 32]


# -- tune.grid_search -----------------------------------------------------------------------------


def run(search: BoTorchSearch, n: int, start: int = 0) -> list[dict[str, Any]]:
    configs = []
    for number in range(start, start + n):
        config = search.suggest(str(number))
        assert isinstance(config, dict)
        configs.append(config)
        # The first value of each grid is by far the best: a model would stay with it.
        loss = float(config["lr"] + 10 * config.get("a", config.get("net", {}).get("a", 0)))
        search.on_trial_complete(str(number), {"loss": loss, "training_iteration": 1})
    return configs


SEVEN = tune.grid_search([0, 1, 2, 3, 4, 5, 6])


def test_each_value_of_a_grid_is_tried() -> None:
    space = {**LR, "net": {"a": SEVEN}, "b": tune.grid_search(["x", "y", "z"])}
    search = BoTorchSearch(space, "loss", "min", background=False, seed=0)
    configs = run(search, 9)
    assert {config["net"]["a"] for config in configs[:7]} == {0, 1, 2, 3, 4, 5, 6}
    assert {config["b"] for config in configs[:7]} == {"x", "y", "z"}
    assert len({config["lr"] for config in configs}) > 5


def test_values_that_points_to_evaluate_tried_are_not_tried_again_for_that() -> None:
    search = BoTorchSearch(
        {**LR, "a": SEVEN}, "loss", "min", background=False, seed=0,
        points_to_evaluate=[{"lr": 0.5, "a": value} for value in (6, 5, 4)],
    )  # fmt: skip
    assert {config["a"] for config in run(search, 7)} == {0, 1, 2, 3, 4, 5, 6}


def test_a_restored_search_goes_on_with_the_values_that_are_left(tmp_path: Path) -> None:
    search = BoTorchSearch(metric="loss", mode="min", background=False, seed=0)
    search.set_search_properties("loss", "min", {**LR, "a": SEVEN})
    first = run(search, 3)
    search.save(str(tmp_path / "state"))
    again = BoTorchSearch(metric="loss", mode="min", background=False, seed=0)
    again.restore(str(tmp_path / "state"))
    assert {config["a"] for config in first + run(again, 4, 3)} == {0, 1, 2, 3, 4, 5, 6}


def test_a_grid_keeps_to_conditions_and_constraints() -> None:
    space = {
        **LR,
        "opt": tune.choice(["sgd", "adam"]),
        "m": raytuner.when(SEVEN, opt="sgd"),
        "a": SEVEN,
    }
    search = BoTorchSearch(
        space, "loss", "min", parameter_constraints=["a <= 3"], background=False, seed=0
    )
    configs = run(search, 16)
    assert {config["a"] for config in configs[:4]} == {0, 1, 2, 3}
    with_m = [config["m"] for config in configs if config["opt"] == "sgd"]
    assert len(set(with_m)) == min(len(with_m), 7)


@pytest.mark.parametrize(("num_samples", "warns"), [(6, True), (7, False), (-1, False)])
def test_fewer_trials_than_values_are_warned_of(num_samples: int, warns: bool) -> None:
    search = BoTorchSearch()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        search.set_search_properties("loss", "min", {**LR, "a": SEVEN}, num_samples=num_samples)
    said = [str(one.message) for one in caught if one.category is RaytunerWarning]
    assert len(said) == warns
    if warns:
        assert "a: tune.grid_search has 7 values, but num_samples is only 6" in said[0]
        with pytest.warns(RaytunerWarning, match="has 7 values"), pytest.raises(KeyError):
            raytuner.tune(
                "unregistered", {**LR, "a": SEVEN}, metric="loss", mode="min", num_samples=6,
                storage_path=NoFolder(),  # type: ignore[arg-type]
            )  # fmt: skip


class NoFolder:
    """Ends raytuner.tune before Ray starts."""

    def __fspath__(self) -> str:
        raise KeyError
