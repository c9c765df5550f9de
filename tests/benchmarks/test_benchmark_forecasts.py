"""The page of the forecasts, from forecasts that are made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.forecasts import RUNGS, Ended, Said, draw, page

SAID = [
    *(Said("3945", 0, 1, 0.02, False) for _ in range(9)),
    Said("3945", 0, 1, 0.02, True),
    *(Said("126029", 0, 8, 0.7, i % 4 != 0) for i in range(8)),
    Said("126029", 0, 32, 1.0, True),
]


ENDED = [
    Ended("FreezeThawScheduler", "3945", 0, 100, 20, 30.25, 40, 1, 40, 2),
    Ended("FreezeThawScheduler", "126029", 0, 100, 30, 40.5, 30, 0, 40, 1),
    Ended("PredictiveTerminationScheduler", "3945", 0, 100, 50, 60.0, 50, 3, 0, 0),
]


def test_the_tables_count_every_forecast_once() -> None:
    lines = page(SAID, ENDED, 100).splitlines()
    assert "| 0.01 to 0.05 | 10 | 0.020 | 0.100 |" in lines
    assert "| 0.6 to 0.8 | 8 | 0.700 | 0.750 |" in lines
    assert "| 0.8 to 1 | 1 | 1.000 | 1.000 |" in lines
    assert "| 1 | 10 | 10 | 1 | 0.100 | 0 | 0 |  |" in lines
    assert "| 8 | 8 | 0 | 0 |  | 0 | 0 |  |" in lines
    assert "| all | 19 | 10 | 1 | 0.100 | 0 | 0 |  |" in lines
    assert "| `FreezeThawScheduler` | 2 | 200 | 71 | 50 | 70 | 1 | 80 | 3 |" in lines
    assert "| `PredictiveTerminationScheduler` | 1 | 100 | 60 | 50 | 50 | 3 | 0 | 0 |" in lines


def test_rungs_double() -> None:
    assert RUNGS == (1, 2, 4, 8, 16, 32)


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw(SAID, tmp_path / "plot.svg")
    assert "chance that was forecast" in (tmp_path / "plot.svg").read_text()
