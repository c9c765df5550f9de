"""The tutorials: their Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import run_page

from raytuner.cli.loading import read_study

FOLDER = Path(__file__).parents[2] / "docs" / "tutorials"
PAGES = sorted(FOLDER.glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_its_python_runs(
    page: Path, ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where a page writes its own files
    run_page(page, tmp_path, monkeypatch)


def test_the_study_file_is_one(tmp_path: Path) -> None:
    text = (FOLDER / "cluster.md").read_text(encoding="utf-8")
    (toml,) = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "study.toml").write_text(toml)
    found = read_study(tmp_path / "study.toml")
    assert found["resources"] == {"cpu": 4, "gpu": 0.5}
    assert found["storage_path"].startswith("s3://")
