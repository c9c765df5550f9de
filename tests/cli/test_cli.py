"""The command line, without Ray: a fake study stands in for the search."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import raytuner
from raytuner.cli import BAD_INPUT, INTERRUPTED, NOTHING_USABLE, main
from raytuner.errors import SettingError
from raytuner.history import History, TrialState
from raytuner.space import Space
from raytuner.study.study import Study

SPACE = '[space]\nlr = { type = "float", low = 1e-4, high = 0.1, log = true }\n'

Fake = Callable[..., Study]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine_ok.py").write_text("def fit(config): ...\nrate = 3\n")
    (tmp_path / "mine_broken.py").write_text("import there_is_no_such_module\n")
    (tmp_path / "space.toml").write_text(SPACE)
    return tmp_path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replace `raytuner.tune` by one that notes what it was given and finds lr = 0.01."""
    made: list[dict[str, Any]] = []

    def tune(trainable: Any, param_space: Space, **given: Any) -> Study:
        made.append({"trainable": trainable, "space": param_space, **given})
        history = History(param_space, metric="loss", mode="min", max_t=9)
        history.add("a", {"lr": 0.01})
        history.report("a", t=9, value=0.25)
        history.end("a", TrialState.COMPLETED)
        history.add("b", {"lr": 0.05})
        history.end("b", TrialState.FAILED, "ValueError: too fast\n  at line 1")
        history.set_meta("settings", {"scheduler": "predictive-termination"})
        return Study(Path("results"), history)

    monkeypatch.setattr(raytuner, "tune", tune)
    return made


def invoke(*args: str) -> Result:
    return CliRunner().invoke(main, args)


def run(function: str = "mine_ok:fit", *more: str, space: str = "space.toml") -> Result:
    return invoke(
        "run",
        *(function, "--space", space, "--metric", "loss", "--mode", "min", "--num-samples", "4"),
        *more,
    )


@pytest.mark.usefixtures("folder")
def test_run_passes_on_what_was_asked(calls: list[dict[str, Any]]) -> None:
    result = run(
        *("mine_ok:fit", "--max-t", "9", "--gpus", "0.5", "--seed", "3", "--name", "n"),
        *("--stop-after-failures", "0", "--curves", "a", "--curves", "b"),
    )
    assert result.exit_code == 0, result.output
    (call,) = calls
    assert call["trainable"].__name__ == "fit"
    assert call["space"].dim == 1
    assert call["resources"] == {"cpu": 1, "gpu": 0.5}
    assert (call["metric"], call["mode"], call["num_samples"]) == ("loss", "min", 4)
    assert (call["max_t"], call["seed"], call["name"]) == (9, 3, "n")
    assert (call["stop_after_failures"], call["curves"]) == (0, ("a", "b"))


@pytest.mark.usefixtures("folder", "calls")
def test_run_prints_the_result() -> None:
    out = run().output
    assert "lr  0.01" in out
    assert "loss 0.25 in trial 0, after 9 steps" in out
    assert "2: 1 completed, 1 failed" in out
    assert "1 x ValueError: too fast" in out
    assert "by predictive-termination: ran 9 of 18 steps (50%)" in out
    assert "results" in out


@pytest.mark.usefixtures("folder")
def test_without_amounts_the_trainable_says_what_it_needs(calls: list[dict[str, Any]]) -> None:
    run()
    assert calls[0].get("resources") is None


@pytest.mark.usefixtures("folder", "calls")
@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("mine_ok", "write MODULE:FUNCTION"),
        (":fit", "write MODULE:FUNCTION"),
        ("mine_absent:fit", "cannot import 'mine_absent:fit'"),
        ("mine_broken:fit", "No module named 'there_is_no_such_module'"),
        ("mine_ok:train", "module 'mine_ok' has no attribute 'train'"),
        ("mine_ok:rate", "is 3 (int); it must be a function"),
    ],
)
def test_a_function_that_cannot_be_had_is_one_clear_line(function: str, says: str) -> None:
    result = run(function)
    assert result.exit_code == BAD_INPUT
    assert result.stderr.startswith("Error: ")
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.usefixtures("calls")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lr = [1,", "cannot be read as TOML"),
        ("space = 3", "bad.toml"),
        ('[space]\nlr = { type = "flaot", low = 0, high = 1 }', "flaot"),
    ],
)
def test_a_space_that_cannot_be_searched_is_one_clear_line(
    folder: Path, text: str, says: str
) -> None:
    (folder / "bad.toml").write_text(text)
    result = run(space="bad.toml")
    assert result.exit_code == BAD_INPUT
    assert result.stderr.startswith("Error: ")
    assert says in result.stderr


def test_a_space_may_be_the_whole_file(folder: Path, calls: list[dict[str, Any]]) -> None:
    (folder / "flat.toml").write_text(SPACE.replace("[space]\n", ""))
    assert run(space="flat.toml").exit_code == 0
    assert calls[0]["space"].to_spec() == {
        "lr": {"type": "float", "low": 1e-4, "high": 0.1, "log": True}
    }


def test_a_setting_among_the_hyperparameters_is_found(folder: Path) -> None:
    (folder / "study.toml").write_text(
        "trainable = 'mine_ok:fit'\nmode = 'min'\n[space]\nmetric = 'loss'\n"
        "lr = { type = 'float', low = 0, high = 1 }\n"
    )
    result = invoke("run", "study.toml", "--num-samples", "2")
    assert result.exit_code == BAD_INPUT
    assert "there is no metric" in result.stderr
    assert "in the study's file, above its first [table]" in result.stderr


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("raised", "code", "says"),
    [
        (SettingError("two\n  lines \x1b[2J"), BAD_INPUT, "Error: two\n  lines \\x1b[2J\n"),
        (KeyboardInterrupt(), INTERRUPTED, "Interrupted.\n"),
    ],
)
def test_what_the_search_raises_becomes_an_exit_code(
    raised: BaseException, code: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tune(*args: Any, **given: Any) -> Study:
        raise raised

    monkeypatch.setattr(raytuner, "tune", tune)
    result = run()
    assert (result.exit_code, result.stderr) == (code, says)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("ends", "code", "says"),
    [
        ({"a": TrialState.FAILED}, NOTHING_USABLE, "no trial reported a usable loss"),
        ({"a": TrialState.COMPLETED, "b": None}, INTERRUPTED, "`raytuner resume results`"),
    ],
)
def test_how_the_study_ended_is_the_exit_code(
    ends: dict[str, TrialState | None], code: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tune(trainable: Any, param_space: Space, **given: Any) -> Study:
        history = History(param_space, metric="loss", mode="min")
        for name, state in ends.items():
            history.add(name, {"lr": 0.01})
            if state is not None:
                history.report(name, t=1, value=1.0)
                history.end(name, state)
        return Study(Path("results"), history)

    monkeypatch.setattr(raytuner, "tune", tune)
    result = run()
    assert result.exit_code == code
    assert says in result.output


def test_version() -> None:
    assert invoke("--version").output == f"raytuner {raytuner.__version__}\n"


@pytest.mark.parametrize("args", [["--help"], ["run", "--help"]])
def test_help_imports_neither_ray_nor_torch(args: list[str]) -> None:
    code = (
        "import sys\nfrom raytuner.cli import main\n"
        f"try: main({args!r})\nexcept SystemExit: pass\n"
        "print(sorted({'ray', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_earlier_studies_are_handed_on(folder: Path, calls: list[dict[str, Any]]) -> None:
    (folder / "old").mkdir()
    (folder / "older").mkdir()
    assert run("mine_ok:fit", "--earlier", "old", "--earlier", "older").exit_code == 0
    assert calls[0]["earlier"] == (Path("old"), Path("older"))
    assert run("mine_ok:fit", "--earlier", "nowhere").exit_code == BAD_INPUT
