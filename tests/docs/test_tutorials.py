"""The tutorials: their Python runs as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import run_page

PAGES = sorted((Path(__file__).parents[2] / "docs" / "tutorials").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_its_python_runs(
    page: Path, ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where a page writes its own files
    run_page(page, tmp_path, monkeypatch)
