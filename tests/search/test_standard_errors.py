"""Standard errors that trials report: from the report to the record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import tune
from searcher_conformance import PARAM_SPACE, Driver, objective

from raytuner import BoTorchSearch
from raytuner.errors import MetricError
from raytuner.history import Goal
from raytuner.search.active import setup_of
from raytuner.search.process import Mirror, Request
from raytuner.space import Float, Space

SPACE = Space({"x": Float(0, 1), "y": Float(0, 1)})
GOAL = Goal.of("loss", "min", standard_error="loss_se")


def searched(strategy: str) -> Driver:
    searcher = BoTorchSearch(
        PARAM_SPACE,
        "loss",
        "min",
        standard_error="loss_se",
        background=False,
        seed=0,
        n_initial=5,
        strategy=strategy,
    )
    return Noisy(searcher)


class Noisy(Driver):
    def result(self, trial_id: str, t: int, value: float) -> dict[str, Any]:
        return {**super().result(trial_id, t, value), "loss_se": 0.1 / t}


@pytest.mark.parametrize("strategy", ["bayes", "kg"])
def test_through_the_searcher_and_the_record(strategy: str, tmp_path: Path) -> None:
    driver = searched(strategy)
    driver.turns(8)
    history = driver.searcher.history
    trial = history["trial_000"]
    assert trial.value_of("loss_se") == pytest.approx(0.1 / 3)
    assert trial.value == pytest.approx(objective(trial.config))
    driver.searcher.save(str(tmp_path / "saved"))
    again = BoTorchSearch(background=False, strategy=strategy, n_initial=5)
    again.restore(str(tmp_path / "saved"))
    assert again.history.goal.standard_error == "loss_se"
    np.testing.assert_array_equal(
        again.history.snapshot().standard_error, history.snapshot().standard_error
    )
    assert again.suggest("next") == driver.searcher.suggest("next")
    # The process beside it is told too.
    mirror = Mirror(setup_of(driver.searcher._settings, history, history.space))
    mirror.answer(Request(history.changes(0), None, np.empty((0, history.space.dim)), n=1))
    assert mirror._record.goal == history.goal
    np.testing.assert_array_equal(
        mirror._record.snapshot().standard_error, history.snapshot().standard_error
    )


def test_what_cannot_be() -> None:
    space = {"x": tune.uniform(0, 1)}
    with pytest.raises(MetricError, match="works only with a single metric"):
        BoTorchSearch(space, ["loss", "ms"], ["min", "min"], standard_error="se")
