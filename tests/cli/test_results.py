"""Commands that look at studies: what they print, and to where."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

import raytuner
from raytuner.cli import BAD_INPUT, NOTHING_USABLE, main
from raytuner.folders import RemoteFolder
from raytuner.history import History, TrialState
from raytuner.search.restore import RECORD_FILE
from raytuner.space import Categorical, Float, Normal, Space
from raytuner.study.summary import Standing, is_running

SPACE = Space(
    {
        "lr": Float(1e-4, 0.1, log=True),
        "net": {"kind": Categorical(["mlp", None, "cnn"]), "depth": 3},
        "shift": Normal(0, 1),
    }
)


def invoke(*args: object) -> Result:
    # 80 columns, as where nobody has asked for more.
    return CliRunner(env={"COLUMNS": "80"}).invoke(main, [str(arg) for arg in args])


def make(folder: Path, *, trials: int = 12, done: bool = True) -> Path:
    """A study's folder: every third trial is stopped, the last two failed."""
    folder.mkdir(parents=True)
    history = History(SPACE, metric="loss", mode="min", max_t=9, path=folder / RECORD_FILE)
    for i, config in enumerate(SPACE.sample(np.random.default_rng(0), trials)):
        name = f"t{i}"
        history.add(name, config)
        if i >= trials - 2:
            history.end(name, TrialState.FAILED, f"ValueError: bad batch {i}")
            continue
        for t in (1, 3) if i % 3 == 2 else (1, 3, 9):
            history.report(name, t, i + 1 / t)
        stopped = i % 3 == 2
        reason = "rank 3 of 3 at rung 3: only the best continues" if stopped else ""
        state = TrialState.STOPPED_EARLY if stopped else TrialState.COMPLETED
        history.end(name, state, reason)
    history.set_meta("finished", done)
    history.close()
    return folder


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return make(tmp_path / "results" / "first")


def test_list_names_the_studies_and_how_they_stand(study: Path) -> None:
    make(study.parent / "second", trials=4, done=False)
    (study.parent / "else").mkdir()
    result = invoke("list", study.parent)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert [line.split()[0] for line in lines] == ["study", "first", "second"]
    assert lines[1].split()[1:6] == ["12", "2", "loss", "0.11111", "done"]
    assert lines[2].split()[5] == "interrupted"  # nobody runs it, though its record has just grown
    assert max(map(len, lines)) <= 80
    empty = invoke("list", study)
    assert empty.exit_code == NOTHING_USABLE
    assert "There is no study in" in empty.stderr


def test_a_study_is_running_while_a_process_holds_its_record(tmp_path: Path) -> None:
    """It is interrupted as soon as that process ends or is killed."""
    folder = make(tmp_path / "first", trials=4, done=False)
    holds = (
        "import sys; from pathlib import Path; from raytuner.history import Writer\n"
        "held = Writer(Path(sys.argv[1])); print('holds', flush=True); sys.stdin.read()"
    )
    args = [sys.executable, "-c", holds, str(folder / RECORD_FILE)]
    with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"holds\n"
        assert invoke("list", tmp_path).output.splitlines()[1].split()[5] == "running"
        study = raytuner.load(folder)
        assert (study.running, study.interrupted) == (True, False)
        shown = invoke("show", folder).output
        assert "The study is running. Best so far:" in shown
        assert "was interrupted" not in shown
        resumed = invoke("resume", folder, "--trainable", "json:dumps")
        assert resumed.exit_code == BAD_INPUT
        assert f"process {process.pid}" in resumed.stderr
        process.kill()
    assert invoke("list", tmp_path).output.splitlines()[1].split()[5] == "interrupted"
    assert (study.running, study.interrupted) == (False, True)  # it need not be loaded again
    assert "raytuner resume" in invoke("show", folder).output


@pytest.mark.parametrize(("silent_s", "runs"), [(10, True), (400, False)])
def test_behind_a_uri_it_is_running_while_its_record_grows(
    silent_s: float, runs: bool, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock there outlives a killed process of another machine."""
    history = raytuner.load(study).history
    now = history.last_event_at + silent_s
    monkeypatch.setattr("raytuner.study.summary.time.time", lambda: now)
    monkeypatch.setattr("raytuner.study.summary.who_writes", lambda record: "node 7 writes")
    assert is_running(RemoteFolder("s3://bucket/first"), history) is runs
    assert is_running(study, history)


def test_show_reads_well_in_80_columns(study: Path) -> None:
    result = invoke("show", study)
    assert result.exit_code == 0
    assert "loss 0.11111 in trial 0" in result.output
    assert "2: 2 x" not in result.output
    rows = [line.split() for line in result.output.splitlines() if line.strip()]
    ranked = [
        row[:2]
        for row in rows[rows.index(next(r for r in rows if r[0] == "trial")) + 1 :]
        if row[0].isdigit()
    ]
    # COMPLETED ones first, each kind by value; failed ones not at all.
    assert ranked[:3] == [["0", "0.11111"], ["1", "1.1111"], ["3", "3.1111"]]
    assert max(map(len, result.output.splitlines())) <= 80


def test_a_trial_has_one_number_everywhere(tmp_path: Path) -> None:
    """In Python, commands, progress, the report and exports, as in Optuna."""
    folder = tmp_path / "first"
    folder.mkdir()
    history = History(SPACE, metric="loss", mode="min", path=folder / RECORD_FILE)
    for i, config in enumerate(SPACE.sample(np.random.default_rng(0), 4)):
        history.add(f"t{i}", config)
        history.report(f"t{i}", 1, (3, 2, 0, 1)[i])
        history.end(f"t{i}", TrialState.COMPLETED)
    history.close()
    study = raytuner.load(folder)
    best = study.best
    assert (best.trial_id, best.number) == ("t2", 2)
    assert study.trials[2] == best
    assert study.results.query("trial_id == 't2'").number.to_dict() == {2: 2}

    shown = invoke("show", folder).output
    assert "loss 0 in trial 2," in shown
    first = next(line for line in shown.splitlines() if line.split()[:1] == ["trial"])
    assert shown.split(first)[1].split()[0] == "2"
    standing = Standing(study.counts, 4, 1.0, metric="loss", best=best)
    assert "(trial 2 at 1)" in standing.lines()["best"]
    assert standing.figures()["best"]["trial"] == 2

    page = study.report(tmp_path / "page.html").read_text()
    assert 'data-trial="2"' in page
    assert "the lowest loss is 0: trial 2 at" in page.lower()
    assert "proposed as trial 2." in page
    _, ends, *_ = study.figures.curves().data
    assert dict(zip(ends.customdata, ends.y, strict=True))[2] == 0

    optuna = pytest.importorskip("optuna")
    invoke("export", folder, tmp_path / "study.db")
    exported = optuna.load_study(study_name="first", storage=f"sqlite:///{tmp_path}/study.db")
    assert exported.best_trial.number == 2


def test_best_as_json_and_toml_has_constants_and_nests(study: Path) -> None:
    as_json = json.loads(invoke("best", study).stdout)
    assert as_json["net"]["depth"] == 3
    as_toml = tomllib.loads(invoke("best", study, "--format", "toml").stdout)
    assert as_toml["lr"] == as_json["lr"]
    assert as_toml["net"].get("kind") == as_json["net"]["kind"]


def test_best_pipes_on_in_a_shell(study: Path) -> None:
    """Standard output has the configuration and nothing else."""
    scripts = sysconfig.get_path("scripts")
    script = (
        'raytuner best "$1" | '
        f"'{sys.executable}' -c 'import json, sys; print(json.load(sys.stdin)[\"net\"][\"depth\"])'"
    )
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script, "bash", str(study)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}"},
    )
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


def test_best_of_nothing_is_an_exit_code(tmp_path: Path) -> None:
    folder = make(tmp_path / "failed", trials=2)
    result = invoke("best", folder)
    assert (result.exit_code, result.stdout) == (NOTHING_USABLE, "")
    assert "reported a usable loss" in result.stderr


@pytest.mark.parametrize("command", ["show", "extend"])
def test_a_folder_without_a_study_is_one_clear_line(command: str, tmp_path: Path) -> None:
    more = ["--num-samples", "1"] if command == "extend" else []
    result = invoke(command, tmp_path, *more)
    assert result.exit_code == BAD_INPUT
    assert "is not a study" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_report_writes_one_file(study: Path, tmp_path: Path) -> None:
    result = invoke("report", study)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{study / 'report.html'}\n"
    assert (study / "report.html").read_text().startswith("<!DOCTYPE html>")
    result = invoke("report", study, "-o", tmp_path / "nowhere" / "page.html")
    assert result.exit_code == BAD_INPUT
    assert "cannot write the report" in result.stderr


def test_export_to_csv_and_parquet_gives_the_same_rows(study: Path, tmp_path: Path) -> None:
    for name, read in (("t.csv", pd.read_csv), ("t.parquet", pd.read_parquet)):
        result = invoke("export", study, tmp_path / name)
        assert result.exit_code == 0, result.output
        frame = read(tmp_path / name)
        assert len(frame) == 12
        assert frame["loss"].iloc[0] == pytest.approx(1 / 9)
        assert list(frame["state"].iloc[[0, 2, 11]]) == ["COMPLETED", "STOPPED_EARLY", "FAILED"]
        assert {"config/lr", "config/net/kind", "config/net/depth"} <= set(frame.columns)


def test_export_to_optuna_keeps_curves_and_states(study: Path, tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    file = tmp_path / "study.db"
    file.write_text("something old")
    result = invoke("export", study, file)
    assert result.exit_code == 0, result.output
    loaded = optuna.load_study(study_name="first", storage=f"sqlite:///{file}")
    assert loaded.direction == optuna.study.StudyDirection.MINIMIZE
    states = optuna.trial.TrialState
    assert [t.state for t in loaded.trials][:3] == [states.COMPLETE, states.COMPLETE, states.PRUNED]
    assert loaded.trials[-1].state == states.FAIL
    assert loaded.trials[-1].user_attrs["reason"] == "ValueError: bad batch 11"
    assert loaded.trials[0].intermediate_values == {1: 1.0, 3: 1 / 3, 9: 1 / 9}
    best = json.loads(invoke("best", study).stdout)
    assert loaded.best_params["lr"] == best["lr"]
    assert loaded.best_params["net/kind"] == best["net"]["kind"]


@pytest.mark.parametrize(
    ("name", "says"),
    [("t.xls", "must end in .csv, .parquet or .db"), ("no/t.csv", "does not exist")],
)
def test_an_export_that_cannot_be_is_one_clear_line(
    name: str, says: str, study: Path, tmp_path: Path
) -> None:
    result = invoke("export", study, tmp_path / name)
    assert result.exit_code == BAD_INPUT
    assert says in result.stderr


def test_extend_and_resume_say_which_of_them_is_meant(study: Path) -> None:
    assert "give a budget" in invoke("extend", study).stderr
    result = invoke("resume", study)
    assert result.exit_code == BAD_INPUT
    assert "raytuner extend" in result.stderr


@pytest.mark.parametrize("command", main.commands)
def test_help_fits_80_columns(command: str) -> None:
    result = CliRunner().invoke(main, [command, "--help"], terminal_width=80)
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80
