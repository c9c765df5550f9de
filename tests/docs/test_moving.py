"""The pages for those who move over: what stands under "After" runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from raytuner import BoTorchSearch

PAGES = Path(__file__).parents[2] / "docs" / "moving"
NAMES = sorted(path.stem for path in PAGES.glob("*.md") if path.stem != "README")
# What a page's "After" needs besides raytuner and Ray.
NEEDS = {"hyperopt": "hyperopt", "keras-tuner": "keras", "optuna": "optuna"}

REUSE = {"reuse_actors": True}
HERE = {"background": False}


class call_with:  # noqa: N801  # stands for a method
    """A method that is given more arguments."""

    def __init__(self, method: Any, more: dict[str, Any]) -> None:
        self._method, self._more = method, more

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        return lambda *args, **given: self._method(owner, *args, **given | self._more)


def test_the_index_names_every_page() -> None:
    index = (PAGES / "README.md").read_text()
    assert sorted(re.findall(r"\((.+)\.md\)", index)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_both_sides(name: str) -> None:
    text = (PAGES / f"{name}.md").read_text()
    before, after = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    ast.parse(before)
    assert "raytuner" in after
    assert "raytuner" not in before


@pytest.mark.parametrize("name", NAMES)
def test_what_comes_after_runs(
    name: str, ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]} is not installed")
    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "0")
    # One process for many trials: most of the time goes into starting them.
    # And none for proposals.
    for kind, more in ((tune.TuneConfig, REUSE), (BoTorchSearch, HERE)):
        monkeypatch.setattr(kind, "__init__", call_with(kind.__init__, more))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    sybil = Sybil([PythonCodeBlockParser(), SkipParser()], pattern="*.md", path=str(PAGES))
    document = sybil.parse(PAGES / f"{name}.md")
    for example in document.examples():
        example.evaluate()
    found: dict[str, Any] = document.namespace
    if "results" in found:
        assert len(found["results"]) == 8
        assert found["results"].num_errors == 0
    elif "study" in found:
        assert found["study"].best is not None
        assert not found["study"].failures
    else:
        assert found["search"].best_score_ > 0.9
