"""The reference of study files: it names every key, and its examples can be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import DOCS, toml_on

import raytuner
from raytuner.cli.loading import _KEYS, load_space, read_study
from raytuner.study.settings import SETTINGS, Use

PAGE = DOCS / "reference" / "study_file.md"


def test_every_key_is_on_the_page() -> None:
    keys = PAGE.read_text().partition("\n## Keys")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|.*\|([^|]*)\|[^|]*\|$", keys, re.MULTILINE)
    assert {key for key, _ in rows} == {*_KEYS} - {"callbacks"}  # objects
    for key, option in rows:
        if key != "space":
            use = SETTINGS[_KEYS[key]].metadata["use"]
            assert (option.strip() == "yes") == (Use.OPTION in use), key


@pytest.mark.parametrize("number", range(len(toml_on(PAGE))))
def test_its_examples_can_be_read(number: int, tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(toml_on(PAGE)[number])
    assert read_study(file)
    if "[space]" in file.read_text() and number:
        assert load_space(file).dim == 6


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_toml_on_other_pages_is_a_part_of_a_study_file(page: Path, tmp_path: Path) -> None:
    for text in toml_on(page):
        (tmp_path / "study.toml").write_text(text)
        read_study(tmp_path / "study.toml")


def test_the_priors_of_the_guide(tmp_path: Path) -> None:
    (text,) = toml_on(DOCS / "guides" / "knowledge.md")
    (tmp_path / "study.toml").write_text(text)
    found = read_study(tmp_path / "study.toml")
    assert found["priors"] == {"lr": raytuner.near(0.01), "optimizer": {"adam": 3, "sgd": 1}}


def test_the_study_file_of_the_cluster_tutorial(tmp_path: Path) -> None:
    (text,) = toml_on(DOCS / "tutorials" / "cluster.md")
    (tmp_path / "study.toml").write_text(text)
    found = read_study(tmp_path / "study.toml")
    assert found["resources"] == {"cpu": 4, "gpu": 0.5}
    assert found["storage_path"].startswith("s3://")
