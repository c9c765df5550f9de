"""The page on trust: its Python runs, and it names the places where something is unpickled."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import run_page

from raytuner.history import History
from raytuner.search.restore import RECORD_FILE
from raytuner.space import Float, Space

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "trust.md"


def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "results" / "first"
    folder.mkdir(parents=True)
    space = Space({"lr": Float(0.0, 1.0)})
    history = History(space, metric="loss", mode="min", path=folder / RECORD_FILE)
    history.add("a", {"lr": 0.5})
    history.report("a", 1, 2.0)
    history.close()
    monkeypatch.chdir(tmp_path)
    found = run_page(PAGE, tmp_path, monkeypatch)["found"]
    assert (found.trials, found.values, found.lost) == (1, 1, ())


def test_it_names_what_is_unpickled() -> None:
    """The same places as tests/study/test_hostile_folder.py finds in the code."""
    text = PAGE.read_text(encoding="utf-8")
    assert "`integrations/sklearn/trials.py`" in text
