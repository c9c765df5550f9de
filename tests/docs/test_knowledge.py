"""The page about what is known already: all of it runs."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

import raytuner
from raytuner import BoTorchSearch
from raytuner.cli.loading import read_study
from raytuner.history import Origin
from raytuner.search.transfer import EARLIER

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def page(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page's code leaves behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AIR_NEW_OUTPUT", "0")
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("page")))
        # One process for many trials, and none for proposals: most of the time goes there.
        patch.setattr(raytuner, "tune", partial(raytuner.tune, reuse_actors=True))
        defaults: Any = BoTorchSearch.__init__.__kwdefaults__
        patch.setitem(defaults, "background", False)
        sybil = Sybil([PythonCodeBlockParser(), SkipParser()], pattern="*.md", path=str(DOCS))
        document = sybil.parse(DOCS / "knowledge.md")
        for example in document.examples():
            example.evaluate()
    found: dict[str, Any] = document.namespace
    return found


def test_earlier_studies(page: dict[str, Any]) -> None:
    new = page["new"]
    assert not new.failures
    assert [trial.origin for trial in new.trials[:2]] == [Origin.EARLIER] * 2
    newer = raytuner.load(f"{page['results']}/newer")
    used = newer.history.get_meta(EARLIER)
    assert [len(study["trials"]) for study in used][2] == 2  # 0.3 lies outside
    assert len(newer.trials) == 4


def test_where_the_best_is_expected(page: dict[str, Any]) -> None:
    first = page["study"].trials[0].config
    assert first["lr"] == pytest.approx(0.01, rel=0.03)
    assert first["optimizer"] == "adam"
    config = page["search"].suggest("first")
    assert 0.003 < config["lr"] < 0.03
    page["search"].close()


def test_the_study_file_is_one(tmp_path: Path) -> None:
    text = (DOCS / "knowledge.md").read_text()
    (toml,) = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "study.toml").write_text(toml)
    found = read_study(tmp_path / "study.toml")
    assert found["priors"] == {"lr": raytuner.near(0.01), "optimizer": {"adam": 3, "sgd": 1}}


def test_many_hyperparameters(page: dict[str, Any]) -> None:
    many = page["many"]
    assert many.history.space.dim == 61
    assert len(many.trials) == 4
    assert not many.failures
