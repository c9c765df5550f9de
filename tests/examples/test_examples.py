"""The examples can be imported, their spaces read, and one training run without Ray."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from raytuner.cli.loading import load_function, load_space
from raytuner.cli.study_file import read_study

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["drop_in", "one_call"])
def test_a_script_reports_its_metric_at_each_step(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[dict[str, Any]] = []
    module = load(name)
    monkeypatch.setattr(module.tune, "report", reports.append)
    module.train({"lr": 0.01, "momentum": 0.5})
    assert len(reports) == 27
    assert reports[-1]["loss"] < reports[0]["loss"]


def test_the_command_lines_function_trains_on_its_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    fit = load_function("train:fit")
    space = load_space(EXAMPLES / "space.toml")
    config = space.decode(np.full((1, space.dim), 0.9))[0]
    assert config["steps"] == 27
    reports: list[dict[str, Any]] = []
    monkeypatch.setattr("ray.tune.report", reports.append)
    fit(config)
    assert len(reports) == 27
    assert reports[-1]["loss"] < reports[0]["loss"]


def test_the_studys_file_says_the_same_as_the_flags() -> None:
    study = read_study(EXAMPLES / "study.toml")
    assert study["trainable"] == "train:fit"
    assert study["param_space"].to_spec() == load_space(EXAMPLES / "space.toml").to_spec()
    assert study["max_t"] == study["param_space"].to_spec()["steps"]
