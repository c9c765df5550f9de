"""The surrogate against what its data say of themselves; needs the data."""

import math
import os

import numpy as np
import pytest
from ray import tune

from benchmarks.lcbench import (
    DEVELOPMENT,
    HYPERPARAMETERS,
    MAX_T,
    METRIC,
    LCBench,
    load,
    test_instances,
)
from raytuner.search.tune_space import space_from_tune

draw_of_instances = test_instances
del test_instances  # pytest takes it for a test

CONFIG = {
    "batch_size": 91,
    "learning_rate": 3e-3,
    "momentum": 0.5,
    "weight_decay": 0.05,
    "num_layers": 3,
    "max_units": 256,
    "max_dropout": 0.5,
}


@pytest.fixture(scope="module")
def bench() -> LCBench:
    data = os.environ.get("RAYTUNER_YAHPO_DATA")
    if not data:
        pytest.skip("RAYTUNER_YAHPO_DATA does not name the folder of YAHPO's data")
    pytest.importorskip("onnxruntime")
    return load(data)


def test_draw_of_test_instances_is_fixed_and_apart_from_development() -> None:
    everything = (*DEVELOPMENT, *map(str, range(20)))
    drawn = draw_of_instances(everything)
    assert len(set(drawn)) == 6
    assert not set(drawn) & set(DEVELOPMENT)
    assert draw_of_instances(tuple(reversed(everything))) == drawn


def test_race_runs_on_these_instances(bench: LCBench) -> None:
    assert len(bench.instances) == 34
    assert set(DEVELOPMENT) < set(bench.instances)
    drawn = draw_of_instances(bench.instances)
    assert drawn == ("167104", "167190", "168335", "189866", "189906", "189909")


def test_space_is_the_surrogates(bench: LCBench) -> None:
    assert tuple(bench.space) == HYPERPARAMETERS
    assert space_from_tune(bench.space).cardinality == math.inf
    batch_size, units = bench.space["batch_size"], bench.space["max_units"]
    assert isinstance(batch_size, tune.search.sample.Integer)
    assert (batch_size.lower, batch_size.upper) == (16, 513)  # the upper bound is left out
    assert (units.lower, units.upper) == (64, 1025)


def test_curves_are_whole_and_time_goes_on(bench: LCBench) -> None:
    curve = bench.curve(DEVELOPMENT[0], CONFIG)
    assert curve.length == MAX_T
    seconds = [curve.duration(t) for t in range(1, MAX_T + 1)]
    assert min(seconds) >= 0
    assert sum(seconds) > 0
    values = [
        report[METRIC] for t in range(1, MAX_T + 1) if isinstance(report := curve.report(t), dict)
    ]
    assert len(values) == MAX_T
    assert all(0 <= value <= 100 for value in values)


@pytest.mark.parametrize("instance", DEVELOPMENT[:2])
def test_values_lie_within_the_known_statistics(bench: LCBench, instance: str) -> None:
    rng = np.random.RandomState(0)
    columns = [bench.space[name].sample(size=2000, random_state=rng) for name in HYPERPARAMETERS]
    epochs = rng.randint(1, MAX_T + 1, size=2000)
    accuracy, elapsed = bench.predict(instance, epochs, np.column_stack(columns))
    for target, values in ((METRIC, accuracy), ("time", elapsed)):
        low = bench.statistic(instance, target, "min")
        high = bench.statistic(instance, target, "max")
        slack = 0.05 * (high - low)  # theirs are half a million other points
        assert low - slack <= values.min()
        assert values.max() <= high + slack


def test_a_curve_is_its_predictions(bench: LCBench) -> None:
    instance = DEVELOPMENT[0]
    point = [[CONFIG[name] for name in HYPERPARAMETERS]]
    accuracy, elapsed = bench.predict(instance, [MAX_T], point)
    curve = bench.curve(instance, CONFIG)
    last = curve.report(MAX_T)
    assert isinstance(last, dict)
    assert last[METRIC] == pytest.approx(accuracy[0], rel=1e-5)
    total = sum(curve.duration(t) for t in range(1, MAX_T + 1))
    assert total == pytest.approx(elapsed[0], rel=0.01)


def test_trained_epochs_are_a_part_of_the_curve(bench: LCBench) -> None:
    instance = DEVELOPMENT[0]
    whole, part = (bench.curve(instance, CONFIG, epochs) for epochs in ((1, 52), (2, 51)))
    assert part.length == 50
    assert [part.report(t) for t in (1, 50)] == [whole.report(t) for t in (2, 51)]
    assert part.duration(1) == pytest.approx(whole.duration(1) + whole.duration(2))
    assert bench.problem(instance, (2, 51)).max_t == 50


def test_regret_is_0_at_the_best_and_1_at_the_median(bench: LCBench) -> None:
    problem = bench.problem(DEVELOPMENT[0])
    assert problem.regret(problem.best) == 0
    assert problem.regret(problem.median) == 1
    assert math.isclose(problem.best, bench.statistic(DEVELOPMENT[0], METRIC, "max"))


def test_a_folder_without_data_is_named(tmp_path: object) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(FileNotFoundError, match=r"lcbench.model\.onnx"):
        LCBench(str(tmp_path))
