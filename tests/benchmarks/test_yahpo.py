"""The surrogates against what is known of them; needs the data of YAHPO."""

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from ray import tune

from benchmarks.optimum import draw
from benchmarks.problem import references
from benchmarks.yahpo import LCBENCH, SCENARIOS, Scenario, Surrogate, YahpoProblems, load
from raytuner.search.tune_space import space_from_tune


def surrogate(scenario: Scenario) -> Surrogate:
    data = os.environ.get("RAYTUNER_YAHPO_DATA")
    if not data:
        pytest.skip("RAYTUNER_YAHPO_DATA does not name the folder of YAHPO's data")
    pytest.importorskip("onnxruntime")
    try:
        return load(data, scenario.name)
    except FileNotFoundError as error:
        pytest.skip(str(error))


def metric_of(report: Any, scenario: Scenario) -> float:
    assert isinstance(report, Mapping)
    return float(report[scenario.metric])


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda scenario: scenario.name)
class TestEveryScenario:
    def test_problems_are_apart_from_those_of_development(self, scenario: Scenario) -> None:
        assert not set(scenario.test) & set(scenario.development)

    def test_every_problem_has_a_reference(self, scenario: Scenario) -> None:
        names = {f"{scenario.name}/{i}" for i in (*scenario.development, *scenario.test)}
        assert names <= set(references())

    def test_its_data_sets_and_hyperparameters_are_the_surrogates(self, scenario: Scenario) -> None:
        bench = surrogate(scenario)
        assert {*scenario.development, *scenario.test} <= set(bench.instances)
        assert space_from_tune(bench.space).dim >= len(scenario.searched)

    def test_a_curve_is_its_predictions_and_time_goes_on(self, scenario: Scenario) -> None:
        bench, instance = surrogate(scenario), scenario.development[0]
        config = {name: column[0] for name, column in draw(bench.space, 1, seed=0).items()}
        curve = bench.curve(instance, config)
        assert curve.length == scenario.max_t
        seconds = [curve.duration(t) for t in range(1, scenario.max_t + 1)]
        assert min(seconds) >= 0
        for t in (1, scenario.max_t):
            values, elapsed = bench.predict(instance, t, config)
            assert metric_of(curve.report(t), scenario) == pytest.approx(values[0], rel=1e-5)
        assert sum(seconds) == pytest.approx(elapsed[0], rel=0.01)

    def test_no_random_configuration_is_better_than_the_reference(self, scenario: Scenario) -> None:
        bench, instance = surrogate(scenario), scenario.test[0]
        problem = bench.problem(instance)
        values, _ = bench.predict(instance, scenario.max_t, draw(bench.space, 5_000, seed=1))
        regrets = np.array([problem.regret(value) for value in values.tolist()])
        assert regrets.min() >= 0
        assert np.median(regrets) == pytest.approx(1.0, abs=0.05)


def test_the_upper_ends_of_whole_numbers_are_left_out_as_in_ray() -> None:
    space = surrogate(LCBENCH).space
    batch_size, units = space["batch_size"], space["max_units"]
    assert isinstance(batch_size, tune.search.sample.Integer)
    assert (batch_size.lower, batch_size.upper) == (16, 513)
    assert (units.lower, units.upper) == (64, 1025)
    assert space_from_tune(space).cardinality == math.inf


def test_groups_of_data_sets() -> None:
    surrogate(LCBENCH)
    problems = YahpoProblems(os.environ["RAYTUNER_YAHPO_DATA"])
    assert problems.chosen(["quick", "167104"]) == ("3945", "126029", "167104")
    assert problems.chosen(["full"]) == problems.chosen(["test"]) == LCBENCH.test
    with pytest.raises(KeyError, match="lcbench has no instance '1'"):
        problems.chosen(["1"])


def test_a_folder_without_data_is_named(tmp_path: object) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(FileNotFoundError, match=r"lcbench.model\.onnx"):
        Surrogate(str(tmp_path))
