"""Metrics beside the objective: the record keeps them, and every view of trials shows them."""

from __future__ import annotations

import json
import math
import pickle
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from ray import tune

from raytuner.cli import main
from raytuner.controller.report import read_further
from raytuner.errors import SettingError
from raytuner.history import History, TrialState, salvaged
from raytuner.report.figures import Figures
from raytuner.report.page import render
from raytuner.search.botorch_search import BoTorchSearch
from raytuner.search.restore import RECORD_FILE
from raytuner.space import Float, Space
from raytuner.study.export import write_table
from raytuner.study.study import Study

SPACE = {"x": tune.uniform(0, 1)}


class Fails:
    """A number whose reading fails."""

    ndim = 0

    def item(self) -> float:
        raise RuntimeError("its device is gone")


def report(t: int, loss: float | None = None, **further: Any) -> dict[str, Any]:
    """A report as Ray hands it on, with some of the keys that Ray adds."""
    own = {"training_iteration": t, "pid": 7, "time_total_s": 2.0 * t, "config/x": 0.5}
    return {**({} if loss is None else {"loss": loss}), **further, **own}


def search(**settings: Any) -> BoTorchSearch:
    return BoTorchSearch(SPACE, "loss", "min", background=False, seed=0, **settings)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Three trials: the first reports more than the second, the third nothing else."""
    found = search(record=tmp_path / RECORD_FILE)
    further = [{"acc": 0.5, "state": 3}, {"acc": 0.25, "val/auc": 0.75}, {}]
    for number, more in enumerate(further):
        name = f"t{number}"
        found.suggest(name)
        found.on_trial_result(name, report(1, 9.0 + number, **more))
        found.on_trial_result(name, report(2, 1.0 + number, **{k: v * 2 for k, v in more.items()}))
        found.on_trial_complete(name, report(2, 1.0 + number))
    found.history.close()
    return Study(tmp_path, History.read(tmp_path / RECORD_FILE))


def test_numbers_of_the_users_are_read_and_nothing_else() -> None:
    tensor = torch.tensor(0.25)
    result = report(3, 0.5, acc=np.float32(0.5), auc=tensor, n=2**70, huge=10**400, bad=math.nan)
    odd = {"text": "a", "flag": True, "none": None, "list": [1], "array": np.ones(2)}
    named: dict[Any, Any] = {7: 1.0, "a\nb": 1.0, "\ud800": 1.0, "x" * 201: 1.0, "fails": Fails()}
    found = read_further({**result, **odd, **named}, but=["loss", "epoch"])
    assert math.isnan(found.pop("bad"))
    assert found == {"acc": 0.5, "auc": 0.25, "n": float(2**70), "huge": math.inf}
    assert len(read_further({f"m{i}": i for i in range(1000)}, but=[])) == 100


def test_the_last_value_of_each_is_kept(study: Study) -> None:
    assert study.trials[0].metrics == {"loss": 1.0, "acc": 1.0, "state": 6.0}
    assert study.trials[1].metrics == {"loss": 2.0, "acc": 0.5, "val/auc": 1.5}
    assert study.trials[2].metrics == {"loss": 3.0}
    assert study.best.metrics["acc"] == study.best.value_of("acc") == 1.0
    assert study.best.others == {}
    assert pickle.loads(pickle.dumps(study.history))["t0"].metrics == study.trials[0].metrics


def test_a_report_without_the_objective_counts_too() -> None:
    found = search()
    found.suggest("a")
    found.on_trial_result("a", report(1, 3.0, train=5.0))
    found.on_trial_result("a", report(2, train=4.0))  # validated every other epoch
    found.on_trial_complete("a", report(2, train=4.0))
    assert found.history["a"].metrics == {"loss": 3.0, "train": 4.0}


def test_curves_are_kept_on_request(tmp_path: Path) -> None:
    found = search(curves=["train", "loss"])
    found.suggest("a")
    for t in (1, 2, 3):
        found.on_trial_result("a", report(t, 1.0 / t, train=float(t), acc=t / 4))
    found.save(str(tmp_path / "saved"))
    again = search()
    again.restore(str(tmp_path / "saved"))
    again.on_trial_result("a", report(4, 0.25, train=4.0, acc=1.0))
    trial = again.history["a"]
    assert trial.others == {"train": ((1.0, 1.0), (2.0, 2.0), (3.0, 3.0), (4.0, 4.0))}
    assert trial.metrics == {"loss": 0.25, "train": 4.0, "acc": 1.0}
    assert again.history.snapshot().outcomes.shape == (4, 1)
    copy = History(again.history.space, metric="loss", mode="min")
    copy.apply(again.history.changes(0))
    assert copy.snapshot().y.tolist() == again.history.snapshot().y.tolist()


@pytest.mark.parametrize("curves", [[7], [""], 7, {"train": 1}])
def test_curves_are_names(curves: Any) -> None:
    with pytest.raises(SettingError, match=r"curves is .* list of names"):
        search(curves=curves)


def test_the_same_values_are_not_written_again(tmp_path: Path) -> None:
    history = History(Space({"x": Float(0, 1)}), metric="loss", mode="min", path=tmp_path / "r")
    history.add("a", {"x": 0.5})
    history.keep("a", 1, {"acc": 0.5})
    with closing(sqlite3.connect(tmp_path / "r")) as file:
        version = "PRAGMA data_version"
        before = file.execute(version).fetchone()
        history.keep("a", 2, {"acc": 0.5})
        history.keep("a", 3, {})
        assert file.execute(version).fetchone() == before
        history.keep("a", 4, {"acc": 0.75})
        assert file.execute(version).fetchone() != before


def test_they_are_in_the_table_and_its_files(study: Study, tmp_path: Path) -> None:
    frame = study.results
    assert list(frame.columns[:9]) == [
        *(
            "trial_id",
            "number",
            "state",
            "loss",
            "acc",
            "metrics/state",
            "val/auc",
            "t",
            "config/x",
        ),
    ]
    assert frame["acc"].tolist()[:2] == [1.0, 0.5]
    assert math.isnan(frame["acc"][2])
    assert frame["metrics/state"][0] == 6.0
    write_table(study, tmp_path / "trials.csv")
    header = (tmp_path / "trials.csv").read_text().splitlines()[0]
    assert {"acc", "metrics/state", "val/auc"} <= set(header.split(","))


def test_they_are_in_an_optuna_storage(study: Study, tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    from raytuner.study.export import write_storage

    write_storage(study, tmp_path / "study.db")
    (name,) = optuna.get_all_study_names(f"sqlite:///{tmp_path}/study.db")
    loaded = optuna.load_study(study_name=name, storage=f"sqlite:///{tmp_path}/study.db")
    assert loaded.trials[0].user_attrs["acc"] == 1.0


def test_they_are_on_the_page_and_in_the_terminal(study: Study, tmp_path: Path) -> None:
    page = render(Figures(study.history), tmp_path)
    start = page.index('{"figures"')
    data, _ = json.JSONDecoder().raw_decode(page[start:].replace("\\u003c", "<"))
    assert data["trials"]["columns"][3:6] == [
        *(["acc", [1.0, 0.5, None]], ["state", [6.0, None, None]]),
        ["val/auc", [None, 1.5, None]],
    ]
    shown = CliRunner().invoke(main, ["show", str(tmp_path)])
    assert "acc=1 state=6" in shown.output


def test_they_are_recovered(study: Study, tmp_path: Path) -> None:
    found, _, _ = salvaged(tmp_path / RECORD_FILE)
    assert [t.metrics for t in found.trials] == [t.metrics for t in study.trials]


def test_a_trial_that_failed_shows_them_too() -> None:
    found = search()
    found.suggest("a")
    found.on_trial_result("a", report(1, 3.0, acc=0.5))
    found.on_trial_complete("a", error=True)
    assert found.history["a"].state is TrialState.FAILED
    assert found.history["a"].metrics["acc"] == 0.5
