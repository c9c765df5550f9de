"""The examples run, with small numbers."""

import importlib.util
from itertools import count
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.utils import Bunch

from raytuner.cli.loading import load_function, load_space, read_study
from raytuner.search.tune_space import space_from_tune

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


def test_ridge_is_searched_and_predicts() -> None:
    assert load("ridge").main(["--candidates", "4"]) > 0.2


@pytest.mark.parametrize("data", ["iris", "digits"])
def test_the_classifier_has_all_scores(data: str) -> None:
    found = load("classifier").main(["--data", data, "--candidates", "3", "--epochs", "5"])
    assert list(found) == ["accuracy", "precision", "recall", "f1", "auc"]
    assert all(0 < score <= 1 for score in found.values())


def enlarged(*_: Any, **__: Any) -> Any:
    """As OpenML sends MNIST: of 28 x 28 pixels, here scikit-learn's digits three times as large."""
    digits = load_digits()
    images = np.pad(np.kron(digits.images * 15, np.ones((1, 3, 3))), ((0, 0), (2, 2), (2, 2)))
    return Bunch(data=images.reshape(len(images), -1), target=digits.target.astype(str))


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("dense", "digits"),
        ("dense", "mnist"),
        ("convolution", "digits"),
        ("convolution", "mnist"),
        ("transformer", "digits"),
    ],
)
def test_the_networks_learn(kind: str, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("networks")
    monkeypatch.setattr(module, "fetch_openml", enlarged)
    space = space_from_tune(module.SPACES[kind])
    config = space.decode(np.full((1, space.dim), 0.7))[0] | {"lr": 0.01}
    reports: list[dict[str, Any]] = []
    monkeypatch.setattr(module.tune, "report", reports.append)
    module.train({**config, "kind": kind, "data": data, "epochs": 6})
    assert len(reports) == 6
    chance = 1 / 8 if kind == "transformer" else 1 / 10
    assert reports[-1]["accuracy"] > 2 * chance
    for corner in (0.0, 1.0):  # all that the space has can be built
        corner_config = space.decode(np.full((1, space.dim), corner))[0]
        module.build({**corner_config, "kind": kind, "data": data})


def test_mnist_that_openml_does_not_send_is_said_before_any_trial(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = load("networks")

    def fails(*_: Any, **__: Any) -> None:
        raise URLError("no network")

    monkeypatch.setattr(module, "fetch_openml", fails)
    with pytest.raises(SystemExit):
        module.main(["dense", "--data", "mnist"])
    assert "OpenML did not send MNIST (<urlopen error no network>)" in capsys.readouterr().err


def test_the_latency_is_the_median_in_microseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("tradeoff")
    now, calls = [0.0], count()

    def network(digit: Any) -> None:
        now[0] += 1.0 if next(calls) % 3 == 0 else 3e-6  # something else runs at times

    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    assert module.latency_us(network, None) == pytest.approx(3.0, rel=1e-3)


def test_q_learning_gets_better(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("reinforcement")
    reports: list[dict[str, Any]] = []
    monkeypatch.setattr(module.tune, "report", reports.append)
    module.train({"rate": 0.5, "discount": 1.0, "exploration": 0.05, "rounds": 9})
    assert len(reports) == 9
    assert reports[-1]["reward"] > reports[0]["reward"] + 20


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("networks", ["dense", "--trials", "2", "--epochs", "2"]),
        ("reinforcement", ["--trials", "2", "--rounds", "2"]),
        ("tradeoff", ["--trials", "3", "--epochs", "1"]),
    ],
)
def test_a_search_on_ray(
    name: str, arguments: list[str], ray_cluster: None, tmp_path: Path
) -> None:
    study = load(name).main([*arguments, "--storage-path", str(tmp_path)])
    assert study.best is not None
    assert study.pareto
    assert not study.failures


def test_the_transformers_answer_was_trained_in_full(ray_cluster: None, tmp_path: Path) -> None:
    arguments = ["--trials", "8", "--sequences", "60", "--storage-path", str(tmp_path)]
    study = load("transformer_fidelity").main(arguments)
    assert study.best is not None
    assert study.best.config["width"] == 64
    assert study.best.config["data"] == 1.0
    assert not study.failures
    assert not all(map(study.history.is_full, study.trials))


def test_the_boosted_tree_on_ray(ray_cluster: None) -> None:
    found = load("boosted_tree").main(["--candidates", "2", "--trees", "4", "--steps", "2"])
    assert found.best_score_ > 0.8


def test_every_example_is_described() -> None:
    text = (EXAMPLES / "README.md").read_text()
    files = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".toml")}
    assert {name for name in files if name not in text} <= {"space.toml"}
