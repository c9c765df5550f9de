"""The micro-benchmark measures what it says."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.micro import memory
from benchmarks.micro.proposals import MAKE, Search, loss_of, ours, space_of


def test_a_case_is_measured_and_kept(tmp_path: Path) -> None:
    pytest.importorskip("pytest_benchmark")
    pytest.importorskip("optuna")
    from benchmarks.micro.__main__ import main

    out = tmp_path / "micro.json"
    arguments = ["--observations", "12", "--dimensions", "2", "--proposals", "2", "--out", str(out)]
    outcome = CliRunner().invoke(main, arguments)
    assert outcome.exit_code == 0, outcome.output
    rows = [line.split(" | ") for line in outcome.output.splitlines() if line.startswith("| 12 ")]
    assert [row[2] for row in rows] == list(MAKE)
    assert float(rows[0][3]) > 0
    assert rows[0][5] == "1.00"
    assert float(rows[1][5]) > 0
    assert all(float(row[4]) <= float(row[6]) for row in rows)


def test_a_search_learns_what_it_is_told() -> None:
    search = Search(ours, dimensions=2, observations=8, seed=0)
    for _ in range(2):
        search.suggest()
        search.tell()
    history = search._searcher.history
    assert len(history) == 10
    assert len(search.hooks_s) == 2


def test_memory_peaks_are_seen() -> None:
    before = memory.start_anew()
    if before is None:
        pytest.skip("this system does not say")
    block = np.ones(40 * 2**20 // 8)
    del block
    peak = memory.peak()
    assert peak is not None
    assert 35 < peak - before < 60
    again = memory.start_anew()
    assert again is not None
    assert memory.peak() < peak - 20  # type: ignore[operator]


def test_loss_is_in_the_units_of_the_space() -> None:
    assert len(space_of(5)) == 5
    inside = loss_of({"x0": 0.4, "x1": 10 ** (3 * (0.4 - 1))})
    assert inside < loss_of({"x0": 1.0, "x1": 1.0})
