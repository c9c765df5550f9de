"""Runs a page's Python: its studies land in a folder, and trials share a process."""

from __future__ import annotations

import re
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

import raytuner
from raytuner import BoTorchSearch

DOCS = Path(__file__).parents[2] / "docs"
# Blocks of Python, those that a reader does not see, and marks to skip one.
_EXAMPLE = re.compile(r"^```python$|invisible-code-block: python|skip: next", re.MULTILINE)


def toml_on(page: Path) -> list[str]:
    """Return the TOML blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run_page(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run all examples of a page and return what they defined."""
    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "0")
    # One process for many trials, and none for proposals: most of the time goes into starting them.
    quick = partialmethod(tune.TuneConfig.__init__, reuse_actors=True)
    monkeypatch.setattr(tune.TuneConfig, "__init__", quick)
    defaults: Any = BoTorchSearch.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "background", False)
    settings: dict[str, Any] = {"storage_path": folder, "progress": False, "reuse_actors": True}
    original = raytuner.tune
    monkeypatch.setattr(raytuner, "tune", lambda *a, **given: original(*a, **settings | given))
    parsers = [PythonCodeBlockParser(), SkipParser()]
    document = Sybil(parsers, pattern="*.md", path=str(page.parent)).parse(page)
    found = list(document.examples())
    written = _EXAMPLE.findall(page.read_text(encoding="utf-8"))
    assert found, f"{page.name} has no example"
    assert len(found) == len(written), f"{page.name} has examples that would not run"
    for example in found:
        example.evaluate()
    namespace: dict[str, Any] = document.namespace
    return namespace
