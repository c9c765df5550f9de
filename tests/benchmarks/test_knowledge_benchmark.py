"""The functions and the search loop of the benchmark of what is known."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from benchmarks.knowledge import Function, ackley, hartmann6, incumbents, levy, mixed, table
from raytuner.bayes import SobolProposer
from raytuner.space import Config

H6_BEST = [0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573]


def _names(values: Iterable[float]) -> Config:
    return {f"x{i}": float(value) for i, value in enumerate(values)}


def _hartmann6_minimum() -> Config:
    x = np.full(12, 0.5)
    x[np.random.default_rng(5).permutation(12)[:6]] = H6_BEST
    return _names(x)


MINIMA: list[tuple[Function, Config]] = [
    (ackley(12), _names(np.random.default_rng(12).uniform(-3, 3, 12))),
    (hartmann6(12), _hartmann6_minimum()),
    (levy(12), _names(np.ones(12))),
    (mixed(12), mixed(12).space.decode(np.random.default_rng(3).random((1, 12)))[0]),
]


@pytest.mark.parametrize(("problem", "minimum"), MINIMA)
def test_a_loss_is_0_at_the_minimum_alone(problem: Function, minimum: Config) -> None:
    assert problem.loss(minimum) == pytest.approx(0.0, abs=1e-4)
    for config in problem.space.sample(np.random.default_rng(1), 50):
        assert problem.loss(config) > 0.01


def test_the_incumbent_is_the_best_so_far_of_all_trials() -> None:
    problem = levy(3)
    losses = incumbents(problem, SobolProposer(problem.space, 0), 9, seed=0)
    assert len(losses) == 9
    assert (np.diff(losses) <= 0).all()


def test_the_table_has_means_and_standard_errors() -> None:
    runs = np.array([[3.0, 2.0, 1.0], [1.0, 1.0, 0.5]])
    assert table({"random": runs, "one run": runs[:1]}, (1, 3)).splitlines() == [
        "| | 1 | 3 |",
        "|---|---|---|",
        "| random | 2.000 ± 1.000 | 0.750 ± 0.250 |",
        "| one run | 3.000 | 1.000 |",
    ]
