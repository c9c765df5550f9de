"""The micro-benchmark measures what it says."""

import pytest

from benchmarks.micro.proposals import loss_of, measure, optuna_gp, ours, space_of


def test_ours_is_measured() -> None:
    timing = measure(ours, dimensions=2, observations=8, proposals=2, seed=0)
    assert 0 < timing.median <= timing.worst


def test_optuna_is_measured() -> None:
    pytest.importorskip("optuna")
    timing = measure(optuna_gp, dimensions=2, observations=12, proposals=2, seed=0)
    assert 0 < timing.median <= timing.worst


def test_loss_is_in_the_units_of_the_space() -> None:
    assert len(space_of(5)) == 5
    inside = loss_of({"x0": 0.4, "x1": 10 ** (3 * (0.4 - 1))})
    assert inside < loss_of({"x0": 1.0, "x1": 1.0})
