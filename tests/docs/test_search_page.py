"""The page on how to search: its Python runs, and it names every strategy."""

from __future__ import annotations

import re
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

import raytuner
from raytuner.bayes.strategies import STRATEGIES

PAGE = Path(__file__).parents[2] / "docs" / "search.md"


def test_every_strategy_is_on_the_page() -> None:
    rows = re.findall(r"^\| `(\w+)`", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == list(STRATEGIES)


def test_its_python_runs(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "0")
    # One process for many trials: most of the time goes into starting them.
    quick = partialmethod(tune.TuneConfig.__init__, reuse_actors=True)
    monkeypatch.setattr(tune.TuneConfig, "__init__", quick)
    study_settings: dict[str, Any] = {
        "storage_path": tmp_path,
        "progress": False,
        "reuse_actors": True,
    }
    original = raytuner.tune
    monkeypatch.setattr(
        raytuner, "tune", lambda *a, **given: original(*a, **study_settings | given)
    )
    sybil = Sybil([PythonCodeBlockParser()], pattern="*.md", path=str(PAGE.parent))
    document = sybil.parse(PAGE)
    examples = list(document.examples())
    assert len(examples) == 3
    for example in examples:
        example.evaluate()
    assert len(document.namespace["results"]) == 8
    assert document.namespace["results"].num_errors == 0
