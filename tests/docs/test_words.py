"""The phrases that CONTRIBUTING.md says to avoid are in no text that a person reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import raytuner

ROOT = Path(__file__).parents[2]
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
TABLE = re.compile(r"^\| `(.+)` \| .+ \|$", re.MULTILINE)


def phrases() -> list[str]:
    section = CONTRIBUTING.read_text("utf-8").partition("## Plain English")[2].partition("\n## ")[0]
    return [phrase.replace("\\|", "|") for phrase in TABLE.findall(section)]


def texts() -> dict[str, str]:
    files = [path for kind in ("*.md", "*.yaml") for path in ROOT.glob(kind)]
    package = Path(raytuner.__file__).parent
    for room in (ROOT / "docs", ROOT / "examples", ROOT / "benchmarks", package):
        for kind in ("*.py", "*.md", "*.html", "*.js", "*.toml"):
            files += room.rglob(kind)
    found = {str(path): path.read_text("utf-8") for path in files}
    found[str(CONTRIBUTING)] = TABLE.sub("", found[str(CONTRIBUTING)])
    return found


def test_there_are_phrases_and_texts() -> None:
    assert len(phrases()) > 15
    assert len(texts()) > 200


@pytest.mark.parametrize("phrase", phrases())
def test_nobody_writes(phrase: str) -> None:
    pattern = re.compile(rf"\b(?:{phrase})\b", re.IGNORECASE)
    assert not [
        f"{name}: {found[0]}" for name, text in texts().items() for found in pattern.finditer(text)
    ]
