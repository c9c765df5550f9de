"""The model behind the report: in the metric's units, honest about what it does not know."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_up import MAX_T, SPACE, loss, study

from raytuner.errors import ConfigError
from raytuner.history import History, TrialState
from raytuner.report.model import Surrogate, fitted, importance
from raytuner.space import Float, Space

UNIT = Space({"a": Float(0, 1), "b": Float(0, 1), "c": Float(0, 1)})


def record(f: object, n: int, *, mode: str = "min", seed: int = 0) -> History:
    """Trials of a function of the unit cube."""
    history = History(UNIT, metric="y", mode=mode)
    for i, config in enumerate(UNIT.sample(np.random.default_rng(seed), n)):
        history.add(f"t{i}", config)
        history.report(f"t{i}", 1, f(**config))  # type: ignore[operator]
        history.end(f"t{i}", TrialState.COMPLETED)
    return history


def model_of(history: History) -> Surrogate:
    model = fitted(history.space, history.snapshot(), history.mode == "min")
    assert model is not None
    return model


@pytest.mark.parametrize(("mode", "scale"), [("min", 1.0), ("max", 1e5)])
def test_it_predicts_in_the_metrics_own_units(mode: str, scale: float) -> None:
    def f(a: float, b: float, c: float) -> float:
        return scale * (3 + (a - 0.3) ** 2 + 0.5 * b)

    sign = 1 if mode == "min" else -1
    history = record(lambda **x: sign * f(**x), 60, mode=mode)
    model = model_of(history)
    means, _ = model.predict(history.snapshot().points)
    assert means == pytest.approx([t.value for t in history.trials], abs=0.05 * scale)
    for config in UNIT.sample(np.random.default_rng(7), 5):
        mean, sd = model.predict_config(config)
        assert abs(mean - sign * f(**config)) < 3 * sd
        assert 0 < sd < 0.2 * scale


def test_stopped_trials_are_not_taken_for_final_ones() -> None:
    model = model_of(study(120))
    best = study(120).best
    assert best is not None
    config = {**best.config, "dropout": 0.2}
    assert model.predict_config(config).mean == pytest.approx(loss(config, MAX_T), abs=0.06)


def test_awful_values_do_not_spoil_the_scale() -> None:
    def f(a: float, b: float, c: float) -> float:
        return 1e9 if a > 0.8 else 1 + a

    model = model_of(record(f, 50))
    mean, sd = model.predict_config({"a": 0.1, "b": 0.5, "c": 0.5})
    assert mean == pytest.approx(1.1, abs=0.1)
    assert sd < 0.3


def test_it_is_less_sure_where_it_saw_nothing() -> None:
    history = History(UNIT, metric="y", mode="min")
    for i, config in enumerate(UNIT.sample(np.random.default_rng(0), 30)):
        config["a"] /= 3
        history.add(f"t{i}", config)
        history.report(f"t{i}", 1, math.sin(6 * config["a"]) + config["b"])
        history.end(f"t{i}", TrialState.COMPLETED)
    model = model_of(history)
    near, far = (model.predict_config({"a": a, "b": 0.5, "c": 0.5}).sd for a in (0.15, 0.95))
    assert far > 3 * near


@pytest.mark.parametrize("n", [0, 1])
def test_too_little_gives_no_model(n: int) -> None:
    history = record(lambda a, b, c: a, n)
    assert fitted(UNIT, history.snapshot(), minimise=True) is None


def test_equal_values_give_a_model_that_says_so() -> None:
    mean, _ = model_of(record(lambda a, b, c: 2.5, 8)).predict_config(
        {"a": 0.5, "b": 0.5, "c": 0.5}
    )
    assert mean == pytest.approx(2.5)


def test_a_configuration_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ConfigError, match="a: received 7"):
        model_of(record(lambda a, b, c: a, 5)).predict_config({"a": 7, "b": 0, "c": 0})


def test_importance_finds_shares_and_interactions() -> None:
    """Of f = 2a + b: 4/5 and 1/5 alone. Of f = (a - 1/2)(b - 1/2): nothing alone, all together."""
    found = importance(model_of(record(lambda a, b, c: 2 * a + b, 60)))
    assert list(found.index) == ["a", "b", "c"]
    # The model sees the worse half by its ranks: near, not exact.
    assert found.loc["a", "main"] == pytest.approx(0.8, abs=0.08)
    assert found.loc["b", "main"] == pytest.approx(0.2, abs=0.08)
    assert found.loc["c", "total_high"] < 0.05
    for name, share in (("a", 0.8), ("b", 0.2)):
        assert found.loc[name, "main_low"] - 0.05 < share < found.loc[name, "main_high"] + 0.05
    found = importance(model_of(record(lambda a, b, c: (a - 0.5) * (b - 0.5), 80)))
    assert set(found.index[:2]) == {"a", "b"}
    for name in "ab":
        assert found.loc[name, "main"] < 0.2
        assert found.loc[name, "total"] > 0.7


def test_of_what_does_not_matter_it_is_unsure_after_few_trials_and_sure_after_many() -> None:
    def at_most(n: int) -> float:
        found = importance(model_of(record(lambda a, b, c: math.sin(9 * a) + b, n)))
        return float(found.loc["c", "total_high"])

    assert at_most(80) < 0.02 < 0.1 < at_most(8)


def test_it_takes_mixed_and_nested_spaces() -> None:
    found = importance(model_of(study(80)))
    assert set(found.index) == {column.name for column in SPACE.columns}
    assert found.index[0] == "lr"
