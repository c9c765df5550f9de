"""Earlier studies, from wherever they are, in this search's space."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from processes import Polled
from ray import tune
from searcher_conformance import PARAM_SPACE, Driver, FiniteConformance, Make, objective

from raytuner.bayes import SobolProposer
from raytuner.bayes.transfer import Task
from raytuner.errors import ConfigError, HistoryError, MetricError, RaytunerError, SettingError
from raytuner.history import Goal, History, Origin, TrialState
from raytuner.search.botorch_search import BoTorchSearch
from raytuner.search.priors import near
from raytuner.search.restore import RECORD_FILE
from raytuner.search.transfer import EARLIER, read_source, tasks_of, within
from raytuner.space import ABSENT, Categorical, Float, Integer, Space, when
from raytuner.study.study import Study


def record(path: Path | None = None, n: int = 12) -> History:
    """Random trials in the suite's space; the last but one was stopped, the last one failed."""
    space = BoTorchSearch(PARAM_SPACE, "loss", "min", background=False).history.space
    history = History(space, metric="loss", mode="min", max_t=3, path=path)
    for i, config in enumerate(space.sample(np.random.default_rng(0), n)):
        history.add(str(i), config)
        for t in (1, 2, 3) if i < n - 2 else (1,):
            history.report(str(i), t, objective(config) + 1 / t)
        ends = {n - 2: TrialState.STOPPED_EARLY, n - 1: TrialState.FAILED}
        history.end(str(i), ends.get(i, TrialState.COMPLETED))
    return history


def study(folder: Path) -> Study:
    folder.mkdir(exist_ok=True)
    record(folder / RECORD_FILE).close()
    return Study(folder, History.read(folder / RECORD_FILE))


def search(earlier: Any, space: Any = PARAM_SPACE, **settings: Any) -> BoTorchSearch:
    settings = {"seed": 0, "background": False, **settings}
    return BoTorchSearch(space, "loss", "min", earlier=earlier, **settings)


def table(n: int = 12) -> pd.DataFrame:
    """Trials of a study that had the hyperparameters of both of the suite's spaces."""
    frame = Study(Path("."), record(n=n)).results
    return frame.assign(**{"config/a": ["x", "y"] * (n // 2), "config/b": [0, 1, 2] * (n // 3)})


class TestWithEarlier(FiniteConformance):
    @pytest.fixture
    def make(self) -> Make:
        return lambda seed=0: BoTorchSearch(seed=seed, background=False, earlier=[table()])


@pytest.mark.parametrize("form", ["folder", "text", "study", "results", "table", "record"])
def test_from_wherever_they_are(tmp_path: Path, form: str) -> None:
    known = study(tmp_path / "old")
    results = known.results
    plain = results[results.state == "COMPLETED"].filter(regex="^(config/|loss)")
    plain.columns = plain.columns.str.removeprefix("config/")
    forms = {
        "folder": known.path, "text": str(known.path), "study": known, "results": results,
        "table": plain, "record": known.history,
    }  # fmt: skip
    searcher = search([forms[form]])
    (used,) = searcher.history.get_meta(EARLIER)
    assert len(used["trials"]) == (10 if form == "table" else 12)
    by_loss = sorted(known.ranked, key=lambda trial: trial.value)
    best = next(t for t in by_loss if t.state is TrialState.COMPLETED)
    config = searcher.suggest("a")
    assert isinstance(config, dict)
    assert config["lr"] == pytest.approx(best.config["lr"])
    assert config["net"] == best.config["net"]
    assert searcher.history["a"].origin is Origin.EARLIER


def test_a_table_of_results_keeps_what_was_stopped_apart() -> None:
    read = read_source(Study(Path("."), record()).results, ["loss"], "earlier")
    assert [trial.state for trial in read.trials[-2:]] == [
        TrialState.STOPPED_EARLY,
        TrialState.FAILED,
    ]
    assert read.trials[-2].curve[0][0] == 1.0
    assert read.trials[0].curve[0][0] == 3.0


def test_it_says_what_it_used(caplog: pytest.LogCaptureFixture) -> None:
    narrower = PARAM_SPACE | {
        "lr": tune.loguniform(1e-3, 1e-1),
        "decay": tune.uniform(0, 1),
        "epochs": 5,
        "net": {"layers": tune.randint(1, 5), "act": "relu"},
    }
    with caplog.at_level(logging.INFO, logger="raytuner"):
        search([record()], narrower)
    (line,) = [r.getMessage() for r in caplog.records if r.name == "raytuner.search.transfer"]
    assert "earlier[0]: 4 of 12 trials used" in line
    assert "left out because net/act is 'tanh', here always 'relu'" in line
    assert "left out because lr is not a number from 0.001 to 0.1" in line
    assert "it has no values of decay" in line


def _task(earlier: Any, space: Space) -> Task:
    read = read_source(earlier, ["loss"], "earlier")
    goal = Goal.of("loss", "min")
    history = History(space, goal=goal)
    history.set_meta(EARLIER, [within(read, space, goal)])
    (task,) = tasks_of(history, space)
    return task


def test_a_space_that_has_grown_and_shrunk() -> None:
    old = History(
        Space({"x": Float(0, 1), "gone": Float(0, 1), "n": 3, "kind": Categorical(["a", "b"])}),
        metric="loss",
        mode="min",
    )
    for i in range(6):
        old.add(str(i), {"x": i / 5, "gone": 0.1 * i, "n": 3, "kind": "ab"[i % 2]})
        old.report(str(i), 1, float(i))
        old.end(str(i), TrialState.COMPLETED)
    now = Space(
        {
            "x": Float(0, 0.7),  # less
            "n": Integer(1, 5),  # was a constant
            "kind": Categorical(["c", "b", "a"]),  # more
            "new": Float(0, 1),
        }
    )
    task = _task(old, now)
    assert task.shared.tolist() == [True, True, True, False]
    assert now.decode(task.snapshot.points) == [
        {"x": pytest.approx(i / 5), "n": 3, "kind": "ab"[i % 2], "new": 0.5} for i in range(4)
    ]


CONDITIONAL = Space(
    {
        "opt": Categorical(["sgd", "adam"]),
        "lr": Float(0, 1),
        "momentum": when(Float(0, 1), opt="sgd"),
    }
)


def test_what_exists_only_under_conditions() -> None:
    table = pd.DataFrame(
        {
            "opt": ["sgd", "adam", "sgd", "adam"],
            "lr": [0.1, 0.2, 0.3, 0.4],
            "momentum": [0.9, None, None, 0.7],
            "loss": [1.0, 2.0, 3.0, 4.0],
        }
    )
    task = _task(table, CONDITIONAL)
    # The third lacks one that it must have; the fourth has one that plays no part.
    assert CONDITIONAL.decode(task.snapshot.points) == [
        {"opt": "sgd", "lr": pytest.approx(0.1), "momentum": pytest.approx(0.9)},
        {"opt": "adam", "lr": pytest.approx(0.2)},
        {"opt": "adam", "lr": pytest.approx(0.4)},
    ]
    # It is not known which of them had sgd.
    unknown = _task(table.drop(columns="opt"), CONDITIONAL)
    assert unknown.shared.tolist() == [False, True, False]
    assert (unknown.snapshot.points[:, 2] == ABSENT).all()


TABLE = pd.DataFrame({"lr": [0.1, 0.2, 0.3], "loss": [1.0, 2.0, 3.0]})


@pytest.mark.parametrize(
    ("earlier", "error", "says"),
    [
        (3, SettingError, "earlier is int; it must be a folder, or a list"),
        ("nowhere", HistoryError, "is not a study"),
        ([3], SettingError, "earlier[0] is 3 (int); it must be the folder of a study"),
        (["nowhere"], HistoryError, "is not a study"),
        ([TABLE.rename(columns={"loss": "Loss"})], MetricError, "is it 'Loss'? Rename it"),
        ([TABLE.assign(loss="low")], MetricError, "has 'low' in column 'loss'; it must hold num"),
        ([TABLE.rename(columns={"lr": "rate"})], ConfigError, "share no hyperparameter. If"),
        ([TABLE.assign(lr=5.0)], ConfigError, "3 left out: lr is not a number from 0.0"),
        ([TABLE[:1]], ConfigError, "of 1 trials, fewer than two lie in this search space"),
        ([TABLE.assign(loss=np.nan)], ConfigError, "fewer than two"),
        ([record()], ConfigError, "earlier[0] has values of"),
    ],
)
def test_what_is_wrong_is_said_before_any_trial(
    earlier: Any, error: type[RaytunerError], says: str
) -> None:
    space = {"lr": tune.uniform(1e-4, 1)}
    if isinstance(earlier, list) and isinstance(earlier[0], History):
        space = {"other": tune.uniform(0, 1)}
    with pytest.raises(error) as raised:
        BoTorchSearch(space, "loss", "min", earlier=earlier)
    assert says in str(raised.value)


def others(folder: Path) -> None:
    """Studies that are of no use to the suite's search: each for another reason."""
    for name, space, metric in (
        ("accuracy", {"lr": Float(1e-4, 1)}, "accuracy"),
        ("alien", {"rate": Float(0, 1)}, "loss"),
    ):
        (folder / name).mkdir(parents=True)
        history = History(Space(space), metric=metric, mode="min", path=folder / name / RECORD_FILE)
        for i, config in enumerate(history.space.sample(np.random.default_rng(0), 3)):
            history.add(str(i), config)
            history.report(str(i), 1, float(i))
            history.end(str(i), TrialState.COMPLETED)
        history.close()
    (folder / "few").mkdir()
    record(folder / "few" / RECORD_FILE, n=2).close()
    (folder / "broken").mkdir()
    (folder / "broken" / RECORD_FILE).write_bytes(b"no database")
    (folder / "empty").mkdir()


@pytest.mark.parametrize("form", ["folder", "text", "list", "remote"])
def test_a_folder_stands_for_the_studies_in_it_that_are_of_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    study(tmp_path / "b")
    (tmp_path / "a" / "project").mkdir(parents=True)
    study(tmp_path / "a" / "project" / "deep")
    study(tmp_path / "b" / "inside")  # of a study, which is a whole
    (tmp_path / "latest").symlink_to(tmp_path / "b")
    others(tmp_path)
    given: dict[str, Any] = {
        "folder": tmp_path,
        "text": str(tmp_path),
        "list": [str(tmp_path)],
        "remote": f"fsspec+file://{tmp_path}",
    }
    if form == "remote":
        (tmp_path / "latest").unlink()
    with caplog.at_level(logging.INFO, logger="raytuner"):
        searcher = search(given[form])
    names = [used["name"] for used in searcher.history.get_meta(EARLIER)]
    assert [name.removesuffix("/").rpartition("/")[2] for name in names] == ["deep", "b"]
    left_out = [r.getMessage() for r in caplog.records if r.getMessage().startswith("Left out")]
    assert len(left_out) == 4
    for name, why in (
        ("accuracy", "optimised 'accuracy'"),
        ("alien", "share no hyperparameter"),
        ("broken", "is damaged"),
        ("few", "of 2 trials, fewer than two"),
    ):
        assert [why in line for line in left_out if f"/{name}" in line] == [True]
    assert searcher.suggest("a") is not None
    assert searcher.history["a"].origin is Origin.EARLIER


def test_a_folder_without_a_study_of_use_says_why(tmp_path: Path) -> None:
    others(tmp_path)
    with pytest.raises(SettingError) as raised:
        search(tmp_path)
    said = str(raised.value)
    assert f"this search can use none of the studies in earlier[0] ({tmp_path}): 2 share" in said
    assert "; 1 optimised other metrics" in said
    assert "; 1 cannot be read" in said
    with pytest.raises(MetricError, match="optimised 'accuracy'"):  # named, it has to be of use
        search([tmp_path / "accuracy"])


def test_a_search_is_no_earlier_study_of_its_own(tmp_path: Path) -> None:
    study(tmp_path / "old")
    study(tmp_path / "own")
    searcher = search(tmp_path, record=str(tmp_path / "own" / RECORD_FILE))
    (used,) = searcher.history.get_meta(EARLIER)
    assert used["name"] == str(tmp_path / "old")
    (tmp_path / "old" / RECORD_FILE).unlink()
    with pytest.raises(SettingError, match="the only one is its own"):
        search(tmp_path, record=str(tmp_path / "own" / RECORD_FILE))


def test_the_record_keeps_what_a_model_would_use() -> None:
    space = Space({"x": Float(0, 1)})
    history = History(space, metric="loss", mode="min", max_t=64)
    rng = np.random.default_rng(0)
    for i in range(300):
        history.add(str(i), {"x": float(rng.random())})
        for t in range(1, 65 if i % 2 else 33):
            history.report(str(i), t, float(i) + 1 / t)
        history.end(str(i), TrialState.COMPLETED if i % 2 else TrialState.STOPPED_EARLY)
    kept = within(read_source(history, ["loss"], "old"), space, history.goal)["trials"]
    assert len(kept) == 200
    assert [trial["curve"][-1][1] for trial in kept[:66]] == pytest.approx(
        [i + 1 / (64 if i % 2 else 32) for i in range(66)]  # the best
    )
    assert [t for t, _ in kept[1]["curve"]] == [1, 2, 4, 8, 16, 32, 64]
    assert len(str(kept)) < 70_000


@pytest.mark.parametrize(("metric", "mode"), [("loss", "max"), ("accuracy", "min")])
def test_another_metric_or_mode(metric: str, mode: str) -> None:
    searcher = BoTorchSearch(earlier=[record()])
    with pytest.raises(MetricError) as raised:
        searcher.set_search_properties(metric, mode, dict(PARAM_SPACE))
    assert "earlier[0] optimised 'loss' with mode 'min'" in str(raised.value)
    assert f"{metric!r} with mode {mode!r}" in str(raised.value)


def test_a_proposer_of_ones_own_learns_from_none() -> None:
    with pytest.raises(SettingError, match="given with a proposer, but only the strategy 'bayes'"):
        BoTorchSearch(earlier=[record()], proposer=SobolProposer)


def test_in_the_background_the_best_come_first_too() -> None:
    searcher = BoTorchSearch(PARAM_SPACE, "loss", "min", seed=0, earlier=[record()])
    searcher.compute_in(Polled)
    driver = Driver(searcher)
    driver.turns(9)
    origins = [trial.origin for trial in searcher.history.trials]
    assert origins[:3] == [Origin.EARLIER] * 3
    assert Origin.BAYES in origins or Origin.STALE in origins


def test_a_restored_search_knows_them_still(tmp_path: Path) -> None:
    """Also one that was constructed without them, as `Study.extend` does."""
    searcher = search([record()])
    driver = Driver(searcher)
    driver.turns(5)
    searcher.save(str(tmp_path / "saved.pkl"))
    restored = BoTorchSearch(background=False)
    restored.restore(str(tmp_path / "saved.pkl"))
    restored = pickle.loads(pickle.dumps(restored))
    assert restored.suggest("next") == searcher.suggest("next")
    bare = BoTorchSearch(PARAM_SPACE, "loss", "min", seed=0, background=False)
    driver = Driver(bare)
    driver.turns(5)
    assert bare.suggest("next") != searcher.history["next"].config


def test_a_narrowed_search_takes_what_lies_in_it() -> None:
    searcher = search([record()])
    within = Space(
        {"lr": Float(1e-4, 1e-1, log=True), "net": {"layers": 2, "act": "relu"}, "epochs": 3}
    )
    searcher.continue_from(searcher.history, within=within)
    for i in range(5):
        assert searcher.suggest(str(i))["net"] == {"layers": 2, "act": "relu"}  # type: ignore


def test_priors_are_kept_in_the_record_and_restored(tmp_path: Path) -> None:
    priors = {"lr": near(3e-3), "net/act": {"tanh": 3, "relu": 1}}
    searcher = search([], priors=priors)
    first = searcher.suggest("first")
    assert isinstance(first, dict)
    assert first["lr"] == pytest.approx(3e-3, rel=0.02)
    assert first["net"]["act"] == "tanh"
    driver = Driver(searcher)
    driver.turns(7)
    searcher.save(str(tmp_path / "saved.pkl"))
    restored = BoTorchSearch(background=False)
    restored.restore(str(tmp_path / "saved.pkl"))
    assert restored.suggest("next") == searcher.suggest("next")
    with pytest.raises(
        SettingError, match=r"priors\['lt'\]: no hyperparameter of this name varies"
    ):
        search([], priors={"lt": near(0.1)})
    with pytest.raises(SettingError, match="priors was given with a proposer"):
        BoTorchSearch(priors=priors, proposer=SobolProposer)


TWO = Goal.of(["loss", "size"], ["min", "max"])


def several(n: int = 12) -> History:
    """Random trials with two objectives, of which one lacks the second."""
    space = BoTorchSearch(PARAM_SPACE, "loss", "min", background=False).history.space
    history = History(space, goal=TWO, max_t=1)
    for i, config in enumerate(space.sample(np.random.default_rng(0), n)):
        history.add(str(i), config)
        size = float(config["net"]["layers"]) if i else float("nan")
        history.report(str(i), 1, objective(config), {"size": size})
        history.end(str(i), TrialState.COMPLETED)
    return history


def two(earlier: list[Any], **settings: Any) -> BoTorchSearch:
    settings = {"seed": 0, "background": False, **settings}
    return BoTorchSearch(PARAM_SPACE, ["loss", "size"], ["min", "max"], earlier=earlier, **settings)


@pytest.mark.parametrize("form", ["record", "table"])
def test_several_objectives_come_along_and_outlive_a_restore(tmp_path: Path, form: str) -> None:
    known = several()
    item = known if form == "record" else Study(Path("."), known).results
    searcher = two([item])
    config = searcher.suggest("a")
    assert isinstance(config, dict)
    assert searcher.history["a"].origin is Origin.EARLIER
    searcher.save(str(tmp_path / "state"))
    other = BoTorchSearch(background=False)
    other.restore(str(tmp_path / "state"))
    configs = [searcher.suggest("b"), other.suggest("b")]
    assert configs[0] == configs[1]
    (used,) = other.history.get_meta(EARLIER)
    assert used["trials"][0]["curve"] == [[1.0, known["0"].value, None]]
    assert [trial["curve"][0][1:] for trial in used["trials"][1:]] == [
        [trial.value, trial.value_of("size")] for trial in known.trials[1:]
    ]


def test_weights_make_one_objective_of_earlier_values_too() -> None:
    searcher = two([several()], weights=[2.0, 0.5])
    space = searcher.history.space
    (task,) = tasks_of(searcher.history, space)
    assert task.snapshot.n_objectives == 1
    trials = several().trials
    expected = [-2.0 * t.value + 0.5 * t.value_of("size") for t in trials]
    assert task.snapshot.y[1:] == pytest.approx(expected[1:])
    best = task.best()[0]
    order = int(np.nanargmax(expected))
    assert best == pytest.approx(space.encode([trials[order].config])[0])


def test_an_earlier_study_that_lacks_an_objective_is_named() -> None:
    with pytest.raises(MetricError, match=r"earlier\[0\] optimised 'loss'.*'size' with mode 'max'"):
        two([record()])
    with pytest.raises(MetricError, match=r"no column 'size'"):
        two([Study(Path("."), record()).results])
    wrong_way = BoTorchSearch(PARAM_SPACE, ["loss", "size"], ["min", "min"], background=False)
    read = read_source(several(), ["loss", "size"], "earlier")
    with pytest.raises(MetricError, match="'size' with mode 'min'"):
        within(read, wrong_way.history.space, wrong_way.history.goal)
