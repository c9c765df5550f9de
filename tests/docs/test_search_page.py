"""The page on how to search: its Python runs, and it names every strategy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import run_page

import raytuner
from raytuner.bayes.strategies import STRATEGIES
from raytuner.history import TrialState

PAGE = Path(__file__).parents[2] / "docs" / "search.md"


def test_every_strategy_is_on_the_page() -> None:
    rows = re.findall(r"^\| `(\w+)`", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == list(STRATEGIES)


def test_its_python_runs(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace = run_page(PAGE, tmp_path, monkeypatch, examples=5)
    assert len(namespace["results"]) == 8
    assert namespace["results"].num_errors == 0
    study = namespace["study"]  # of the last example, with FreezeThawScheduler
    assert study.history.counts.total() == 8
    assert study.best.state is TrialState.COMPLETED


def test_every_scheduler_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8").partition("\n## Schedulers")[2]
    named = set(re.findall(r"^\| `(\w+)\(", page, re.MULTILINE))
    assert named == {name for name in raytuner.__all__ if name.endswith("Scheduler")}
