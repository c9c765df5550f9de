"""The settings of a study: one definition for Python, TOML, options and the record."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ray.tune.schedulers import FIFOScheduler

import raytuner
from raytuner.cli import main
from raytuner.cli.loading import read_study
from raytuner.errors import SettingError
from raytuner.history import History
from raytuner.search.botorch_search import BoTorchSearch
from raytuner.space import Float, Space
from raytuner.study.parsing import kinds
from raytuner.study.run import scheduler_of, with_scheduler
from raytuner.study.settings import SETTINGS, TEXTS, StudySettings, Use, names

SPACE = Space({"x": Float(0, 1)})
untyped_tune: Any = raytuner.tune  # mypy knows the arguments


def train(config: dict[str, Any]) -> None:
    """Never run here."""


def settings(**given: Any) -> StudySettings:
    return StudySettings(train, SPACE, mode="min", num_samples=4, **given)


def test_tune_takes_and_explains_every_setting() -> None:
    assert list(inspect.signature(raytuner.tune).parameters) == list(SETTINGS)
    for name in SETTINGS:
        assert f"\n    {name}: " in str(raytuner.tune.__doc__)


def test_the_defaults_are_those_of_the_searcher() -> None:
    theirs = inspect.signature(BoTorchSearch).parameters
    for name in names(Use.SEARCH):
        assert theirs[name].default == SETTINGS[name].default


@pytest.mark.parametrize("name", names(Use.OPTION))
def test_a_setting_with_an_option_has_a_text_and_a_key(name: str, tmp_path: Path) -> None:
    assert TEXTS[name].endswith(".")
    options = {option for one in main.commands["run"].params for option in one.opts}
    assert f"--{name.replace('_', '-')}" in options
    annotation = str(SETTINGS[name].type)
    value = {int: 3, float: 3.5, str: "text", list: ["a"], dict: {"usd": 1.5}}
    given = value[kinds(annotation)[0]]
    text = "{ usd = 1.5 }" if isinstance(given, dict) else json.dumps(given)
    (tmp_path / "study.toml").write_text(f"{name} = {text}\n")
    assert read_study(tmp_path / "study.toml") == {name: given}


def test_the_next_run_has_the_settings_of_the_record() -> None:
    history = History(SPACE, metric="loss", mode="min")
    first = settings(max_t=9, scheduler="promotion", time_budget_s=60, seed=3, on_silence="fail")
    first.keep(history, searcher=None)
    after = StudySettings.kept(history, train, 7, grace_period=3, reduction_factor=None)
    assert (after.max_t, after.scheduler, after.seed, after.on_silence) == (
        9,
        "promotion",
        3,
        "fail",
    )
    assert (after.num_samples, after.time_budget_s, after.grace_period) == (7, None, 3)
    assert after.reduction_factor is None


@pytest.mark.parametrize(
    ("recorded", "changes", "scheduler"),
    [
        ({"max_t": 9, "scheduler": "predictive-termination"}, {}, "predictive-termination"),
        ({"max_t": 9, "scheduler": None}, {}, "asha"),  # the default when it was not recorded
        ({"max_t": 9, "scheduler": None}, {"max_t": 27}, "asha"),
        ({"max_t": 9, "scheduler": None}, {"scheduler": "hyperband"}, "hyperband"),
        ({"max_t": None, "scheduler": None}, {"max_t": 9}, None),
    ],
)
def test_the_next_run_has_the_scheduler_that_the_study_had(
    recorded: dict[str, Any], changes: dict[str, Any], scheduler: str | None
) -> None:
    history = record()
    history.set_meta("settings", {**history.get_meta("settings"), **recorded})
    assert StudySettings.kept(history, train, 7, **changes).scheduler == scheduler


def test_the_record_names_the_scheduler_that_was_chosen() -> None:
    history = History(SPACE, metric="loss", mode="min")
    with_scheduler(settings(max_t=9), history.goal).keep(history)
    assert history.get_meta("settings")["scheduler"] == "predictive-termination"
    with_scheduler(settings(max_t=9, scheduler=FIFOScheduler()), history.goal).keep(history)  # type: ignore[no-untyped-call]
    assert history.get_meta("settings")["scheduler"] == "FIFOScheduler"
    with_scheduler(settings(), history.goal).keep(history)
    assert history.get_meta("settings")["scheduler"] is None


def test_a_factor_is_not_ignored() -> None:
    chosen = settings(max_t=9, scheduler="predictive-termination", reduction_factor=2)
    with pytest.raises(SettingError, match=r"reduction_factor is 2, but scheduler='predictive-"):
        scheduler_of(chosen, reduction_factor=2)
    # One from the record, of the scheduler that the study had before, is.
    assert scheduler_of(chosen, reduction_factor=None).max_t == 9


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: untyped_tune(train, SPACE, mode="min", max_concurrent=3),
            "max_concurrent_trials",
        ),
        (
            lambda: StudySettings.kept(record(), train, 3, storage="a"),
            "takes no argument 'storage'",
        ),
        (lambda: StudySettings.kept(record(), train, 3, seed=4), "takes no argument 'seed'"),
    ],
)
def test_another_name_is_answered_with_the_right_one(call: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        call()


def record() -> History:
    history = History(SPACE, metric="loss", mode="min")
    settings().keep(history)
    return history


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"max_concurrent_trials": 0}, "max_concurrent_trials is 0; it must be at least 1"),
        ({"max_silence_s": 0}, "max_silence_s is 0"),
        ({"on_silence": "shout"}, "on_silence is 'shout'"),
        ({"searcher": BoTorchSearch(), "cost": "time_total_s"}, "cost was given together with"),
    ],
)
def test_bad_values_are_errors(given: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        settings(**given)


def test_an_old_option_is_answered_with_the_right_one() -> None:
    result = CliRunner().invoke(main, ["run", "study.toml", "--max-concurrent", "3"])
    assert result.exit_code == 2
    assert "--max-concurrent-trials" in result.stderr
