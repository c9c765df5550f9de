"""The page on how to search: its Python runs, and it names every strategy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import run_page

from raytuner.bayes.strategies import STRATEGIES

PAGE = Path(__file__).parents[2] / "docs" / "search.md"


def test_every_strategy_is_on_the_page() -> None:
    rows = re.findall(r"^\| `(\w+)`", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == list(STRATEGIES)


def test_its_python_runs(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace = run_page(PAGE, tmp_path, monkeypatch, examples=4)
    assert len(namespace["results"]) == 8
    assert namespace["results"].num_errors == 0
