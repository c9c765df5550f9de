"""The README's Python runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import run_page

README = Path(__file__).parents[2] / "README.md"


def test_its_python_runs(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where it writes its report
    found = run_page(README, tmp_path, monkeypatch)
    assert len(found["results"]) == 20
    assert found["results"].num_errors == 0
    assert len(found["study"].results) == 20
    assert (tmp_path / "report.html").exists()
    assert found["search"].best_score_ > 0.8
