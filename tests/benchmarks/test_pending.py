"""The comparison of ways to take trials that still run into account."""

from __future__ import annotations

import dataclasses

import pytest
from tiny import tiny_problem

from benchmarks.pending import WAYS, page, search


@pytest.mark.parametrize("way", WAYS)
def test_every_way_searches_and_equal_seeds_give_equal_runs(way: str) -> None:
    runs = [search(way, tiny_problem(), 4, 6.0, 0) for _ in range(2)]
    assert runs[0].trials == 4 * 6 + 4  # the last four are not awaited
    assert runs[0].regrets == runs[1].regrets
    assert list(runs[0].regrets) == sorted(runs[0].regrets, reverse=True)
    assert 0 <= runs[0].regrets[-1] < 0.5


def test_many_workers_are_replaced_together_and_all_are_busy() -> None:
    run = search("random", tiny_problem(), 80, 3.0, 0)
    assert run.trials == 80 * 3 + 80


def test_the_page_compares_pairs_of_one_problem_and_seed() -> None:
    run = search("functions", tiny_problem(), 4, 3.0, 0)
    better = dataclasses.replace(run, regrets=(1.0, 0.5, 0.5, 0.3, 0.1))
    worse = dataclasses.replace(better, way="ignored", regrets=(1.0, 0.5, 0.5, 0.3, 0.3))
    runs = [dataclasses.replace(r, seed=seed) for r in (better, worse) for seed in (0, 1)]
    text = page([*runs, dataclasses.replace(worse, seed=2)])
    assert "## 4 workers" in text
    row = next(line for line in text.splitlines() if line.startswith("| expected improvement"))
    assert "| 3 | 1.000 | 0.500 | 0.500 | 0.300 | 0.300 | +0.200 (0.000) |" in row
