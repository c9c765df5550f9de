"""Recovering a study whose record is damaged or missing, from the files that Ray keeps."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from records import put_rows

import raytuner
from raytuner.cli import BAD_INPUT, main
from raytuner.errors import HistoryError, RaytunerError, SettingError
from raytuner.history import History, Origin, TrialState
from raytuner.search.restore import RECORD_FILE
from raytuner.space import Categorical, Float, Space

SPACE = Space({"lr": Float(0.0, 1.0), "net": {"act": Categorical(["relu", None]), "depth": 3}})
COPY = "searcher-state-2026-11-25_10-00-00.pkl"


def make(folder: Path, trials: int = 6) -> History:
    """A study as Ray leaves it: the record, Ray's copy from halfway, and the trials' folders."""
    folder.mkdir(parents=True)
    history = History(SPACE, metric="loss", mode="min", max_t=3, path=folder / RECORD_FILE)
    history.set_meta("search_id", "mine")
    for i in range(trials):
        config = {"lr": i / 8, "net": {"act": [None, "relu"][i % 2], "depth": 3}}
        history.add(f"t{i}", config, Origin.BAYES)
        place = folder / f"train_t{i}_{i}_lr={i / 8}"
        place.mkdir()
        (place / "params.json").write_text(json.dumps(config))
        rows = []
        for t in range(1, 4 if i % 2 else 2):
            history.report(f"t{i}", t, i + 1 / t)
            rows.append(
                {"loss": i + 1 / t, "training_iteration": t, "trial_id": f"t{i}", "done": t == 3}
                | {"timestamp": 1000 + 10 * i + t, "config": config}
            )
        (place / "result.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
        head, lines = list(rows[0]), [list(map(str, row.values())) for row in rows]
        table = [",".join(head[:-1]), *(",".join(line[:5]) for line in lines)]
        (place / "progress.csv").write_text("\n".join(table) + "\n")
        history.end(f"t{i}", TrialState.COMPLETED if i % 2 else TrialState.STOPPED_EARLY, "why")
        if i == trials // 2:
            history.copy_to(folder / COPY)
    history.close()
    return history


def values(history: History) -> dict[str, object]:
    return {trial.trial_id: (trial.config, trial.values) for trial in history.trials}


def test_a_whole_record_stays_as_it_is(tmp_path: Path) -> None:
    written = make(tmp_path / "study")
    before = (tmp_path / "study" / RECORD_FILE).read_bytes()
    found = raytuner.recover(tmp_path / "study")
    assert (found.trials, found.values, found.lost, found.kept) == (6, 12, (), None)
    assert (tmp_path / "study" / RECORD_FILE).read_bytes() == before
    elsewhere = raytuner.recover(tmp_path / "study", tmp_path / "new")
    assert elsewhere.path == tmp_path / "new" / RECORD_FILE
    assert repr(raytuner.load(tmp_path / "new").trials) == repr(written.trials)
    with pytest.raises(SettingError, match="has something in it"):
        raytuner.recover(tmp_path / "study", tmp_path / "new")


def test_a_damaged_record_is_completed_and_kept(tmp_path: Path) -> None:
    written = make(tmp_path / "study")
    record = tmp_path / "study" / RECORD_FILE
    torn = record.read_bytes()[:4096]  # the tables' names and no row
    record.write_bytes(torn)
    with pytest.raises(HistoryError, match=r"`raytuner recover \S*test_\S+` saves"):
        raytuner.load(tmp_path / "study")
    result = CliRunner().invoke(main, ["recover", str(tmp_path / "study")])
    assert result.exit_code == 0, result.output
    assert "6 trials and 12 values" in result.stdout
    assert "a copy in Ray's saved state" in result.stdout
    assert f"kept as {record}.damaged" in result.stdout
    assert record.with_name(f"{RECORD_FILE}.damaged").read_bytes() == torn
    found = raytuner.load(tmp_path / "study").history
    assert values(found) == values(written)
    # The copy was made before the last trials began: Ray's files know how far they got.
    assert [t.origin for t in found.trials] == [Origin.BAYES] * 4 + [Origin.RECOVERED] * 2
    assert [t.state for t in found.trials][4:] == [TrialState.STOPPED_EARLY, TrialState.COMPLETED]
    assert raytuner.recover(tmp_path / "study").kept is None


@pytest.mark.parametrize("file", ["result.json", "progress.csv"])
def test_with_no_record_at_all_rays_files_and_the_space_will_do(file: str, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    written = make(folder)
    for name in (RECORD_FILE, COPY):
        (folder / name).unlink()
    with pytest.raises(HistoryError, match="holds no study"):
        raytuner.recover(folder)
    with pytest.raises(HistoryError, match="metric and mode was; give it"):
        raytuner.recover(folder, param_space=SPACE)
    for place in folder.glob("train_*"):
        for other in {"result.json", "progress.csv"} - {file}:
            (place / other).unlink()
    broken = folder / "train_t1_1_lr=0.125"
    (broken / "error.txt").write_text("Failure # 1 (occurred today)\nValueError: too deep\n")
    with (folder / "train_t2_2_lr=0.25" / file).open("a") as torn:
        torn.write('{"loss": 3.0, "trai')
    (folder / "train_t5_5_lr=0.625" / "params.json").write_text('{"lr": 7}')
    found = raytuner.recover(folder, param_space=SPACE, metric="loss", mode="min")
    assert (found.trials, found.values) == (5, 9)
    assert found.lost[0].startswith("train_t5_5_lr=0.625: lr: received 7")
    history = raytuner.load(folder).history
    del (expected := values(written))["t5"]
    assert values(history) == expected
    assert (history["t1"].state, history["t1"].reason) == (
        TrialState.FAILED,
        "ValueError: too deep",
    )


def test_a_copy_of_another_search_is_not_mixed_in(tmp_path: Path) -> None:
    make(tmp_path / "study", trials=2)
    other = History(SPACE, metric="loss", mode="min")
    other.set_meta("search_id", "another")
    other.add("foreign", {"lr": 0.5, "net": {"act": None}})
    other.copy_to(tmp_path / "study" / COPY)
    assert raytuner.recover(tmp_path / "study").trials == 2


def test_nothing_to_recover_from_is_one_clear_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["recover", str(tmp_path)])
    assert result.exit_code == BAD_INPUT
    assert len(result.stderr.splitlines()) == 1
    assert "holds no study" in result.stderr
    make(tmp_path / "study", trials=1)
    shutil.copy(tmp_path / "study" / RECORD_FILE, tmp_path / "file")
    with pytest.raises(SettingError, match="name a new folder"):
        raytuner.recover(tmp_path / "study", tmp_path / "file")


ODD: dict[str, Any] = {
    "runs": "many",
    "settings": [1],
    "finished": "yes",
    "max_t": "nine",
    "curves": "loss",
    "trainable": 3,
    "priors": {"lr": {"units": [1], "mass": [], "widths": []}},
    "earlier": [{"name": 3}],
    "confirmed": [],
    "goal": {"objectives": []},
    "time_attr": 5,
    "space": {"lr": {"type": "none"}},
}


IN_COPY = ("max_t",)
ESSENTIAL = {"time_attr": "time_attr", "goal": "metric and mode", "space": "space"}


# With a copy, the other keys go the way of `runs`: the copy does not have them.
@pytest.mark.parametrize(
    ("key", "has_copy"),
    [*((key, False) for key in ODD), *((key, True) for key in (*IN_COPY, *ESSENTIAL, "runs"))],
)
def test_metadata_that_is_none_is_left_out_and_the_rest_recovered(
    key: str, has_copy: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    written = make(folder)
    if not has_copy:
        (folder / COPY).unlink()
    with closing(History.open(folder / RECORD_FILE)) as record:
        record.set_meta(key, ODD[key])
    with pytest.raises(RaytunerError):
        raytuner.load(folder)
    essential = key in ESSENTIAL
    if essential and not has_copy:
        with pytest.raises(HistoryError, match=f"{ESSENTIAL[key]} was; give it"):
            raytuner.recover(folder)
    found = raytuner.recover(
        folder, param_space=SPACE, metric="loss", mode="min", time_attr="training_iteration"
    )
    from_copy = has_copy and key in IN_COPY
    assert [key in line for line in found.lost] == ([] if essential or from_copy else [True])
    history = raytuner.load(folder).history
    assert values(history) == values(written)
    assert history.get_meta(key, None) != ODD[key]


@pytest.mark.parametrize("when", [-1.0, 1e300])
def test_a_trial_at_no_time_is_left_out_and_the_rest_recovered(when: float, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    make(folder)
    row = ("t9", 6, '{"lr": 0.5, "net": {"act": null}}', "COMPLETED", "", "bayes", when, None, None)
    put_rows(folder / RECORD_FILE, ("trial", row))
    with pytest.raises(HistoryError, match="a time of trial 't9' is"):
        raytuner.load(folder)
    found = raytuner.recover(folder)
    assert found.trials == 6
    assert found.lost[0].startswith("trial 't9': ")
    assert len(raytuner.load(folder).trials) == 6
