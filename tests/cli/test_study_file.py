"""A study in one TOML file."""

from pathlib import Path

import pytest

from raytuner.cli.loading import load_space, read_study
from raytuner.errors import RaytunerError, SettingError, SpaceError
from raytuner.search.priors import near

WHOLE = """
trainable = "train:fit"
metric = "loss"
mode = "min"
max_t = 27
name = "first"
storage_path = "results"
seed = 3
max_concurrent_trials = 4
reuse_actors = true
stop_after_failures = 0
curves = ["train_loss"]
parameter_constraints = ["lr <= 0.7"]
strategy = "grid"
num_samples = 20
time_budget_s = "1h 30min"
scheduler = "freeze-thaw"
grace_period = 2
reduction_factor = 4

[budget]
usd = 200
gpu_hours = 0.5

[prices]
head = 0.1
spot = 1.25

[resources]
cpu = 2
gpu = 0.5
tpu = 1

[[points_to_evaluate]]
lr = 0.5

[space]
lr = { type = "float", low = 0, high = 1 }
"""


def read(folder: Path, text: str) -> dict[str, object]:
    (folder / "study.toml").write_text(text)
    return read_study(folder / "study.toml")


def test_everything_a_study_takes_can_be_said(tmp_path: Path) -> None:
    found = read(tmp_path, WHOLE)
    space = found.pop("param_space")
    assert [column.name for column in space.columns] == ["lr"]  # type: ignore[attr-defined]
    assert found == {
        "trainable": "train:fit",
        "metric": "loss",
        "mode": "min",
        "max_t": 27,
        "name": "first",
        "storage_path": "results",
        "seed": 3,
        "max_concurrent_trials": 4,
        "reuse_actors": True,
        "stop_after_failures": 0,
        "curves": ["train_loss"],
        "num_samples": 20,
        "time_budget_s": 5400,
        "budget": {"usd": 200, "gpu_hours": 0.5},
        "prices": {"head": 0.1, "spot": 1.25},
        "resources": {"cpu": 2, "gpu": 0.5, "tpu": 1},
        "scheduler": "freeze-thaw",
        "grace_period": 2,
        "reduction_factor": 4,
        "points_to_evaluate": [{"lr": 0.5}],
        "parameter_constraints": ["lr <= 0.7"],
        "strategy": "grid",
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("metric = [", "cannot be read as TOML"),
        ("metrik = 'loss'", "; did you mean 'metric'?"),
        ("seed = 1.5", "seed is 1.5; it must be a whole number"),
        ("seed = true", "seed is True; it must be a whole number"),
        ("earlier = 3", "earlier is 3; it must be a list or text"),
        ("max_t = 'long'", "max_t is 'long'; it must be a number"),
        ("num_samples = '5'", "num_samples is '5'; it must be a whole number"),
        ("storage = 'a'", "; did you mean 'storage_path'?"),
        ("max_concurrent = 3", "; did you mean 'max_concurrent_trials'?"),
        ("[scheduler]\ntype = 'asha'", "scheduler is {'type': 'asha'}; it must be text"),
        (
            "qqq = 5",
            "unknown key qqq; known keys above the first [table]: trainable, space",
        ),
        (
            "[resources]\ncpu = 2\nmax_concurrent_trials = 4",
            "move max_concurrent_trials above [resources]",
        ),
        (
            "time_budget_s = 'long'",
            "time_budget_s: 'long' is not a duration; write a number of seconds",
        ),
        ("time_budget_s = '5 parsecs'", "time_budget_s: '5 parsecs' is not a duration"),
        ("[resources]\ngpu = 'one'", "resources['gpu'] is 'one'; it must be a number"),
        ("[priors]\nlr = 0.1", "priors: lr is 0.1; write { near = 0.1"),
        (
            "[priors]\nlr = { near = 0.1, wide = 1 }",
            "priors: lr is {'near': 0.1, 'wide': 1}",
        ),
        ("[space]\nlr = { type = 'flaot' }", "flaot"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(RaytunerError) as raised:
        read(tmp_path, text)
    assert says in str(raised.value)
    assert "study.toml" in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot be read: No such file"):
        read_study(tmp_path / "study.toml")


def test_the_file_of_a_space_may_hold_constraints(tmp_path: Path) -> None:
    file = tmp_path / "space.toml"
    file.write_text(
        "parameter_constraints = ['lr <= 0.7']\n[space]\nlr = { type='float', low=0, high=1 }"
    )
    assert [one.name for one in load_space(file).constraints] == ["lr <= 0.7"]
    file.write_text("parameter_constraints = ['lr']\n[space]\nlr = { type='float', low=0, high=1 }")
    with pytest.raises(SpaceError, match=r"space.toml: the constraint .*lr.* is not a comparison"):
        load_space(file)


def test_priors(tmp_path: Path) -> None:
    text = "[priors]\nlr = { near = 0.01, spread = 0.2 }\nopt = { adam = 3, sgd = 1 }\n"
    assert read(tmp_path, text) == {
        "priors": {"lr": near(0.01, spread=0.2), "opt": {"adam": 3, "sgd": 1}}
    }
