"""Folders that an attacker wrote: reading one runs no code, and shows its text as text.

docs/guides/trust.md says how far to trust a folder.
"""

from __future__ import annotations

import ast
import csv
import html
import json
import os
import pickle
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from records import put_rows

import raytuner
from raytuner.cli import BAD_INPUT, main
from raytuner.errors import RaytunerError, SettingError
from raytuner.folders import folder_of
from raytuner.history import History, TrialState
from raytuner.search.restore import RECORD_FILE
from raytuner.space import Categorical, Float, Space
from raytuner.study.export import write_table
from raytuner.study.tuning import folder_for

PACKAGE = Path(raytuner.__file__).parent
TAG = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
ESCAPE = "\x1b]0;owned\x07\x1b[2J"
MARKUP = "[red]x[/red][/nothing][link=http://evil.example]y[/link]"
FORMULA = "=cmd|'/C calc'!A0"
SHELL = "$(touch marker); `touch marker` && touch marker"
NASTY = [TAG, ESCAPE, MARKUP, FORMULA, SHELL, "a\nb\r\n# c = 1", "../../etc/passwd", "\u202egnp"]


_RUNS = re.compile(r"(pickle\.loads?|torch\.load|^eval|^exec|yaml\.load|__import__|runpy\..*)$")


class Marker:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "marker"
    yield path
    assert not path.exists()


@pytest.fixture
def folder(tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil_module.py").write_text(f"import os\nos.mkdir({str(marker)!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "results" / MARKUP.replace("/", "|")
    folder.mkdir(parents=True)
    space = Space({TAG: Float(0.0, 1.0), "x": {MARKUP: Categorical(NASTY), ESCAPE: None}})
    history = History(space, metric=f"{FORMULA}{ESCAPE}", mode="min", max_t=3)
    history.set_meta("trainable", "evil_module:train")
    history.set_meta("live", "../../../etc/passwd")
    run = {"what": TAG, "at": 1e9, "program": SHELL, "folder": TAG, "changes": [TAG]}
    history.set_meta("runs", [{**run, "versions": {TAG: TAG}}])
    history.set_meta("settings", {TAG: SHELL, "resources": {TAG: TAG}, "scheduler": None})
    history.set_meta("search_space", {TAG: TAG})
    for i, nasty in enumerate(NASTY * 2):
        config = {TAG: i / 16, "x": {MARKUP: nasty, ESCAPE: None}}
        trial = f"{i}{nasty}"
        history.add(trial, config)
        for t in range(1, 3 + i % 2):
            history.report(trial, t, i + 1 / t)
        state = [TrialState.COMPLETED, TrialState.STOPPED_EARLY, TrialState.FAILED][i % 3]
        history.end(trial, state, f"{nasty}: {SHELL}")
    history.copy_to(folder / RECORD_FILE)
    pickled = pickle.dumps(Marker(marker))
    text = json.dumps({"_type": "CLOUDPICKLE_FALLBACK", "value": pickled.hex()})
    place = folder / "train_1"
    (place / "checkpoint_000000").mkdir(parents=True)
    for file in (
        *(folder / name for name in ("tuner.pkl", "trainable.pkl", "searcher-state-1.pkl")),
        *(folder / name for name in ("search_gen_state-1.json", "scheduler-state-1.pkl")),
        *(place / name for name in ("params.pkl", "error.pkl", "checkpoint_000000/data.pkl")),
    ):
        file.write_bytes(pickled)
    (folder / "experiment_state-1.json").write_text(
        json.dumps({"trial_data": [[text, text]], "runner_data": json.loads(text)})
    )
    return folder


def invoke(*args: object) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, [str(arg) for arg in args])


def plain(said: str) -> None:
    """A terminal shows it as it is."""
    assert not re.findall(
        r"[^\x20-\x7e\n\u00a0-\u02ff\u2000-\u200a\u2010-\u2027\u2500-\u25ff]", said
    )


@pytest.mark.usefixtures("marker")
def test_looking_runs_nothing_and_shows_it_as_it_is(folder: Path, tmp_path: Path) -> None:
    before = {*tmp_path.rglob("*")}
    for args in (("list", folder.parent), ("show", folder), ("best", folder)):
        result = invoke(*args)
        assert result.exit_code == 0, (args, result.output, result.exception)
        plain(result.output)
    assert MARKUP in invoke("show", folder).output
    assert json.loads(invoke("best", folder).stdout)["x"][MARKUP] in NASTY
    toml = invoke("best", folder, "--format", "toml").stdout
    plain(toml)
    assert tomllib.loads(toml)["x"][MARKUP] in NASTY
    assert "evil_module" not in sys.modules
    assert {*tmp_path.rglob("*")} == before


@pytest.mark.usefixtures("marker")
def test_the_report_shows_markup_as_text(folder: Path, tmp_path: Path) -> None:
    result = invoke("report", folder, "-o", tmp_path / "page.html")
    assert result.exit_code == 0, result.exception
    page = (tmp_path / "page.html").read_text()
    assert html.escape(TAG) in page
    assert TAG not in page
    assert "<img src=x" not in page
    body = page[page.index("<main") :]
    assert body.count("</script>") == body.count("<script")
    assert "evil_module" not in sys.modules


@pytest.mark.usefixtures("marker")
@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.db"])
def test_an_export_holds_no_formula(folder: Path, tmp_path: Path, name: str) -> None:
    result = invoke("export", folder, tmp_path / name)
    assert result.exit_code == 0, result.exception
    if name == "t.csv":
        with (tmp_path / name).open(newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert f"'{FORMULA}" in cells
        assert not [c for c in cells if c.startswith(("=", "+", "@", "\t")) or c[:2] == "-c"]


@pytest.mark.parametrize(
    ("before", "sign"),
    [
        *(("", sign) for sign in ["=", "+", "-", "@", "\u2212", "\uff1d", "﹫"]),
        *((before, "=") for before in [" ", "\t", "\n", "\r"]),
    ],
)
def test_a_formula_after_what_a_spreadsheet_skips_is_quoted(
    before: str, sign: str, tmp_path: Path
) -> None:
    text = f"{before}{sign}cmd|' /C calc'!A1"
    frame = pd.DataFrame({text: [text, "plain"], "n": [-1.5, 2.0], "mixed": [text, 1]})
    write_table(cast(Any, SimpleNamespace(results=frame)), tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        [f"'{text}", "n", "mixed"],
        [f"'{text}", "-1.5", f"'{text}"],
        ["plain", "2.0", "1"],
    ]


@pytest.mark.parametrize("text", ["a=b", "", " ", "3 - 4", "'=1", "x\n=1", "x\r=1", "½"])
def test_other_text_is_not_quoted(text: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [text, "y"]})
    write_table(cast(Any, SimpleNamespace(results=frame)), tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as file:
        assert list(csv.reader(file))[1] == [text]


@pytest.mark.usefixtures("marker")
def test_recovering_unpickles_nothing(folder: Path) -> None:
    record = folder / RECORD_FILE
    record.write_bytes(record.read_bytes()[:-4096])
    result = invoke("recover", folder)
    assert result.exit_code in (0, BAD_INPUT), result.exception
    plain(result.output)
    record.write_bytes(b"no record")
    result = invoke("recover", folder)
    assert result.exit_code == BAD_INPUT
    plain(result.output)


@pytest.mark.usefixtures("marker")
def test_pickles_in_the_place_of_the_record_are_not_opened(folder: Path) -> None:
    (folder / RECORD_FILE).unlink()
    for args in (("show", folder), ("list", folder.parent), ("recover", folder)):
        result = invoke(*args)
        assert result.exit_code in (1, BAD_INPUT), result.exception
        plain(result.output)


NAMES = {
    "parent": "..",
    "itself": ".",
    "none": "",
    "up": "../up",
    "ends with a slash": "a/",
    "newline": "a\nb",
    "half a character": "\udc80",
    "turned around": "\u202egnp",
    "long": "n" * 201,
    "long in bytes": "\u00e9" * 150,
}


def _tune(name: str, storage: str | Path) -> None:
    raytuner.tune(
        lambda config: None,
        {"x": Float(0.0, 1.0)},
        metric="loss",
        mode="min",
        num_samples=1,
        storage_path=storage,
        name=name,
    )


@pytest.fixture
def no_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that nothing is written to, and Ray is not started."""
    monkeypatch.setattr("raytuner.study.tuning.run", lambda *args, **settings: pytest.fail("runs"))
    storage = tmp_path / "inner" / "results"
    storage.mkdir(parents=True)
    yield storage
    assert {*tmp_path.rglob("*")} <= {storage.parent, storage, tmp_path / "study.toml"}


@pytest.mark.parametrize(
    ("name", "uri"),
    [*((name, "") for name in NAMES.values()), ("..", "file://"), ("..", "fsspec+file://")],
    ids=[*NAMES, "parent in a URI", "parent behind a URI"],
)
def test_a_name_stays_in_its_folder(name: str, uri: str, no_ray: Path) -> None:
    with pytest.raises(SettingError, match=r"name is .* a plain folder name") as caught:
        _tune(name, f"{uri}{no_ray}")
    plain(str(caught.value))


@pytest.mark.parametrize("name", ["a?endpoint_override=evil", "a%2fb", "é"])
def test_a_name_behind_a_uri_means_itself(name: str, no_ray: Path) -> None:
    """An escaped slash is a slash there, and a mark begins the query."""
    with pytest.raises(SettingError, match="at a URI it may have only letters"):
        _tune(name, f"fsspec+file://{no_ray}")


def test_a_name_of_the_command_line_stays_in_its_folder(no_ray: Path) -> None:
    name = "../up"
    study = no_ray.parents[1] / "study.toml"
    study.write_text(
        f"name = {json.dumps(name)}\nstorage_path = {json.dumps(str(no_ray))}\nmetric = 'loss'\n"
        "mode = 'min'\ntrainable = 'os:getenv'\nnum_samples = 1\n"
        "[space]\nx = { type = 'float', low = 0, high = 1 }\n"
    )
    for more, given in (((), name), (("--name", "../other"), "../other")):
        result = invoke("run", study, *more)
        assert result.exit_code == BAD_INPUT, result.exception
        assert f"name is {given!r}; it must be a plain folder name" in result.stderr
    study.write_text(study.read_text().replace(f"name = {json.dumps(name)}", "", 1))
    assert f"name is {name!r}; it must" in invoke("run", study, "--name", name).stderr


@pytest.mark.parametrize("uri", ["", "fsspec+file://"])
@pytest.mark.parametrize("function", ["../up", "größe?x#y%2f", "n" * 300, ""])
def test_the_name_of_a_function_makes_a_plain_folder(
    function: str, uri: str, tmp_path: Path
) -> None:
    """Of a registered one, say, or of what a decorator has made."""
    place = folder_for(function, f"{uri}{tmp_path}", None)
    assert place.parent == folder_of(f"{uri}{tmp_path}")
    assert re.fullmatch(r"[\w.-]{1,200}", place.name)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("space", {"lr": {"type": "float", "low": 1, "high": 0}}),
        ("space", {"lr": {"type": "choice", "values": 3}}),
    ],
)
def test_what_no_study_keeps_is_one_clear_line(key: str, value: object, tmp_path: Path) -> None:
    record = tmp_path / RECORD_FILE
    history = History(Space({"lr": Float(0.0, 1.0)}), metric="loss", mode="min", path=record)
    history.add("a", {"lr": 0.5})
    history.close()
    put_rows(record, ("meta", (key, json.dumps(value))))
    with pytest.raises(RaytunerError):
        raytuner.load(tmp_path)
    result = invoke("show", tmp_path)
    assert result.exit_code == BAD_INPUT, result.exception
    assert len(result.stderr.splitlines()) == 1


def test_what_the_package_unpickles_and_listens_at() -> None:
    """docs/guides/trust.md names these places, with what each of them reads."""
    runs, listens = set(), set()
    for path in PACKAGE.rglob("*.py"):
        file = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and _RUNS.search(ast.unparse(node.func)):
                runs.add(file)
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None), *(alias.name for alias in node.names)]
                if {"socket", "socketserver", "http.server", "asyncio"} & {*names}:
                    listens.add(file)
    assert runs == {"integrations/sklearn/trials.py"}
    # The second only connects, to see whether a cluster answers.
    assert listens == {"report/live.py", "controller/cluster_state.py"}
