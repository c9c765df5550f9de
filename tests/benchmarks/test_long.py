"""The search for tens of thousands of trials."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks import long


@pytest.mark.parametrize("way", long.WAYS)
def test_it_searches_and_reads_the_best_at_the_marks(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long, "MARKS", (16, 32))
    monkeypatch.setattr(long, "_RUNNING", 20)
    monkeypatch.setattr(long, "_TOGETHER", 8)
    run = long.search(way, "Ackley, 10", 32, 0)
    assert len(run.best) == len(run.ms) == 2
    assert 0 < run.best[1] <= run.best[0] < 25
    other = dataclasses.replace(run, seed=1, best=(1.0, 0.5))
    (row,) = long.table([dataclasses.replace(run, best=(3.0, 1.5)), other])[2:]
    assert row.startswith(f"| Ackley, 10 | {way} | 2 | 2 | 1 |")


def test_the_minima_are_where_they_should_be() -> None:
    function = long.rosenbrock(3)
    assert function.loss({"x0": 1.0, "x1": 1.0, "x2": 1.0}) == 0
    assert function.loss({"x0": 0.0, "x1": 1.0, "x2": 1.0}) == 101
