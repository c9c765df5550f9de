"""The guides: their Python runs, and they name every strategy and scheduler."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import DOCS, run_page

import raytuner
from raytuner.bayes.strategies import STRATEGIES
from raytuner.schedulers.named import SCHEDULERS

GUIDES = DOCS / "guides"
# test_trust_page.py runs the page on trust, which needs a damaged study.
WITH_CODE = sorted(
    page.stem
    for page in GUIDES.glob("*.md")
    if "```python" in page.read_text() and page.stem != "trust"
)


@pytest.mark.parametrize("name", WITH_CODE)
def test_its_python_runs(
    name: str, ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(GUIDES / f"{name}.md", tmp_path, monkeypatch)


def test_every_strategy_is_on_the_page() -> None:
    rows = re.findall(r"^\| `(\w+)`", (GUIDES / "strategies.md").read_text(), re.MULTILINE)
    assert rows == list(STRATEGIES)


def test_every_scheduler_is_on_the_page() -> None:
    page = (GUIDES / "schedulers.md").read_text()
    named = set(re.findall(r"^\| `[\w-]+` \| `(\w+)\(", page, re.MULTILINE))
    assert named == {name for name in raytuner.__all__ if name.endswith("Scheduler")}
    assert set(re.findall(r"^\| `([\w-]+)` \| `\w+\(", page, re.MULTILINE)) == set(SCHEDULERS)
