"""Trainers of Ray Train as trainables: what they need, and which cannot run."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("ray.train.v2.api.config", reason="Ray Train is not installed")

from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer

import raytuner
from raytuner.errors import SettingError, TrainableError
from raytuner.placement.request import ResourceRequest
from raytuner.space import Float, Space
from raytuner.study.settings import StudySettings
from raytuner.study.trainer import is_trainer, resources_of

SPACE = Space({"x": Float(0, 1)})
search: Any = raytuner.tune  # with wrong arguments too


def loop(config: dict[str, Any]) -> None:
    """Never run here."""


def trainer(**scaling: Any) -> Any:
    return TorchTrainer(loop, scaling_config=ScalingConfig(**scaling))


@pytest.mark.parametrize(
    ("scaling", "given", "expected"),
    [
        ({}, None, "0.01 CPU; its trainer for 1 x (1 CPU)"),
        ({"num_workers": 3}, {"cpu": 2}, "2 CPU; its trainer for 3 x (1 CPU)"),
        (
            {"num_workers": 2, "resources_per_worker": {"CPU": 4, "x": 0.5}},
            {"memory": "1KiB"},
            "1 KiB memory; its trainer for 2 x (4 CPU, 0.5 x)",
        ),
        ({"num_workers": (1, 4)}, None, "0.01 CPU; its trainer for 4 x (1 CPU)"),
        ({"num_workers": 2, "use_gpu": True}, None, "0.01 CPU; its trainer for 2 x (1 GPU)"),
    ],
)
def test_its_scaling_config_says_what_its_workers_need(
    scaling: Any, given: Any, expected: str
) -> None:
    assert str(ResourceRequest.of(resources_of(trainer(**scaling), given))) == expected


@pytest.mark.parametrize(
    "given", [{"cpu": 1, "trainer": {"workers": 2}}, {"bundles": [{"cpu": 1}]}, lambda config: {}]
)
def test_its_workers_are_said_once(given: Any) -> None:
    with pytest.raises(SettingError, match="the trainer's scaling_config says"):
        search(trainer(), SPACE, metric="loss", mode="min", num_samples=1, resources=given)


def test_a_trainer_that_trials_cannot_run_is_an_error() -> None:
    with pytest.raises(TrainableError, match="takes no argument"):
        StudySettings(TorchTrainer(lambda: None), SPACE, mode="min", num_samples=1)
    with pytest.raises(SettingError, match="num_workers=0"):
        StudySettings(trainer(num_workers=0), SPACE, mode="min", num_samples=1)
    first = type("DataParallelTrainer", (), {"__module__": "ray.train.data_parallel_trainer"})()
    with pytest.raises(SettingError, match="remove RAY_TRAIN_V2_ENABLED=0"):
        StudySettings(first, SPACE, mode="min", num_samples=1)
    with pytest.raises(SettingError, match="'fit'"):
        search(trainer(), SPACE, metric="loss", mode="min", num_samples=1, resources={"gpu": "fit"})


def test_other_trainables_are_none() -> None:
    assert not any(map(is_trainer, [loop, "name", TorchTrainer, object()]))
