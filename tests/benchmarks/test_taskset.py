"""Recorded trainings: the nearest one answers, and what diverges ends."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.problem import references
from benchmarks.taskset import DEVELOPMENT, MAX_T, METRIC, RANGES, TEST, TaskSetProblems, curve

TASK = "a_task"


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Three trainings in the middle of all ranges but the learning rate's; the last diverges."""
    names = [name.removeprefix("one_minus_") for name in RANGES]
    middle = [float(np.sqrt(low * high)) for low, high in RANGES.values()]
    rows = np.array([[rate, *middle[1:]] for rate in (1e-7, 1e-3, 1.0)])
    for rate in ("beta1", "beta2"):
        rows[:, names.index(rate)] = 1 - rows[:, names.index(rate)]
    losses = np.array([np.linspace(1.0, end, MAX_T) for end in (0.9, 0.5, 0.7)])
    losses[2, 10:] = np.nan
    np.savez(tmp_path / f"{TASK}.npz", names=names, hyperparameters=rows, valid_loss=losses)
    return str(tmp_path)


def config(learning_rate: float) -> dict[str, float]:
    middle = {name: float(np.sqrt(low * high)) for name, (low, high) in RANGES.items()}
    return {**middle, "learning_rate": learning_rate}


def losses(data: str, learning_rate: float) -> list[float]:
    trained = curve(data, TASK, config(learning_rate))
    assert trained.length is not None
    found: list[Any] = [trained.report(t) for t in range(1, trained.length + 1)]
    return [report[METRIC] for report in found if isinstance(report, Mapping)]


def test_a_configuration_has_the_curve_of_the_nearest(data: str) -> None:
    assert losses(data, 2e-7)[-1] == pytest.approx(0.9)
    assert losses(data, 3e-3)[-1] == pytest.approx(0.5)
    assert len(losses(data, 3e-3)) == MAX_T


def test_a_training_ends_with_its_first_nan(data: str) -> None:
    diverged = losses(data, 5.0)
    assert len(diverged) == 11
    assert np.isnan(diverged[-1])
    assert not np.isnan(diverged[:-1]).any()


def test_the_regret_refers_to_the_table(data: str) -> None:
    measured = TaskSetProblems(data).measured(TASK)
    assert measured.best == pytest.approx(0.5)
    assert measured.median == pytest.approx(0.9)  # what diverged is worse than any loss
    assert measured.training_s == MAX_T


def test_tasks_are_named_and_have_references(data: str) -> None:
    problems = TaskSetProblems(data)
    assert problems.chosen([TASK]) == (TASK,)
    assert not set(DEVELOPMENT) & set(TEST)
    assert {problems.name_of(task) for task in (*DEVELOPMENT, *TEST)} <= set(references())
    with pytest.raises(KeyError, match=r"has no patch32_GRU128_bs128\.npz"):
        problems.chosen(["development"])
