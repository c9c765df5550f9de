"""The page on objectives: its Python runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import run_page

PAGE = Path(__file__).parents[2] / "docs" / "objectives.md"


def test_its_python_runs(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace = run_page(PAGE, tmp_path, monkeypatch, examples=7)
    assert [len(one.values) for one in namespace["checked"]] == [2, 2]
    assert namespace["validated"].best.t == 5
