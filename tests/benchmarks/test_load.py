"""The load benchmark: what is measured of a small search, and the page of it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.load.page import as_markdown
from benchmarks.load.virtual import run


@pytest.mark.parametrize("search", ["raytuner, random", "Ray's random search + ASHA"])
def test_a_search_is_measured_in_stretches(search: str) -> None:
    stretches = run(search, 60, 20)
    assert [one.trials for one in stretches] == [20, 40, 60]
    for one in stretches:
        assert one.decisions >= 20
        assert 0 < one.decision_us < 1e6 * one.wall_s
        assert one.memory_mib > 10


def test_the_page_says_how_memory_grows(tmp_path: Path) -> None:
    run_of = {"where": "virtual", "search": "a search", "stretches": []}
    first, last = (
        {
            "trials": trials,
            "decisions": 10,
            "decision_us": us,
            "trial_ms": 1.25,
            "memory_mib": memory,
            "wall_s": trials / 50,
        }
        for trials, us, memory in ((100, 80.0, 300.0), (1100, 90.0, 310.0))
    )
    page = as_markdown([{**run_of, "stretches": [first, last]}])
    row = "| virtual | a search | 1,100 | 80 to 90 | 1.2 to 1.2 | 300 to 310 | 10.2 | 50.0 |  |"
    assert row in page
    assert set(asdict(run("raytuner, random", 20, 20)[0])) == set(first)
