"""The page of the forecasts, from forecasts that are made up."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import tiny_problem

from benchmarks.forecasts import RUNGS, Asking, Ended, Said, draw, page, search
from raytuner import BoTorchSearch
from raytuner.history import TrialState

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


def test_forecasts_are_asked_for_in_a_search() -> None:
    problem = tiny_problem()
    searcher = BoTorchSearch(background=False, seed=0)
    scheduler = Asking(searcher, seed=0)
    search(problem, 0, 12, searcher, scheduler)
    assert searcher.history.counts.total() == 12
    assert any(trial.state is TrialState.STOPPED_EARLY for trial in searcher.history.trials)
    assert len(scheduler.forecasts) >= 5
    for trial_id, t, chance, rival in scheduler.forecasts:
        assert trial_id != rival
        assert t in RUNGS
        assert 0 <= chance <= 1


def test_rungs_double() -> None:
    assert RUNGS == (1, 2, 4, 8, 16, 32)


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw(SAID, tmp_path / "plot.svg")
    assert "chance that was forecast" in (tmp_path / "plot.svg").read_text()
