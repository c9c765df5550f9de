"""The pages' Python runs, and the guides name every strategy and scheduler."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import DOCS, run_page

import raytuner
from raytuner.bayes.strategies import STRATEGIES
from raytuner.schedulers.named import SCHEDULERS

GUIDES = DOCS / "guides"
# These have tests of their own: one needs a damaged study, the others compare two libraries.
ELSEWHERE = {GUIDES / "trust.md", *(DOCS / "moving").glob("*.md")}
PAGES = sorted(page for page in DOCS.rglob("*.md") if "```python" in page.read_text("utf-8"))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page not in ELSEWHERE], ids=lambda page: page.stem
)
def test_its_python_runs(
    page: Path, ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where a page writes its own files
    run_page(page, tmp_path, monkeypatch)


def test_every_strategy_is_on_the_page() -> None:
    rows = re.findall(r"^\| `(\w+)`", (GUIDES / "strategies.md").read_text(), re.MULTILINE)
    assert rows == list(STRATEGIES)


def test_every_scheduler_is_on_the_page() -> None:
    page = (GUIDES / "schedulers.md").read_text()
    named = set(re.findall(r"^\| `[\w-]+` \| `(\w+)\(", page, re.MULTILINE))
    assert named == {name for name in raytuner.__all__ if name.endswith("Scheduler")}
    assert set(re.findall(r"^\| `([\w-]+)` \| `\w+\(", page, re.MULTILINE)) == set(SCHEDULERS)
