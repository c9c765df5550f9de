"""Loggers that people have already, through Ray's own callbacks."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from integration_driver import MAX_T, SPACE, loss, train

import raytuner
from raytuner.study import Study

ray.cloudpickle.register_pickle_by_value(sys.modules["integration_driver"])  # type: ignore[no-untyped-call]

pytestmark = pytest.mark.usefixtures("ray_cluster")


def search(folder: Path, callbacks: list[Any]) -> Study:
    return raytuner.tune(
        train,
        SPACE,
        metric="loss",
        mode="min",
        num_samples=3,
        storage_path=folder,
        name="study",
        callbacks=callbacks,
        progress=False,
        reuse_actors=True,
    )


def scalars(file: Path) -> Iterator[tuple[str, int, float]]:
    """Tag, step and value of what an event file holds: records between their lengths and sums."""
    from tensorboardX.proto.event_pb2 import Event

    data, at = file.read_bytes(), 0
    while at < len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        event = Event.FromString(data[at + 12 : at + 12 + size])
        at += 12 + size + 4
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                yield value.tag, event.step, value.simple_value


def test_tensorboard_and_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    # Without what the migrations of an SQLite file take on a slow disk.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    logger = MLflowLoggerCallback(tracking_uri=uri, experiment_name="mine")
    study = search(tmp_path, [logger])
    assert isinstance(study.path, Path)

    # TensorBoard's files need no callback: Ray writes them for every trial.
    for trial in study.trials:
        (file,) = study.path.glob(f"*{trial.trial_id}*/events.out.tfevents.*")
        curve = {t: value for tag, t, value in scalars(file) if tag == "ray/tune/loss"}
        assert curve == pytest.approx(
            {t: loss(trial.config, t) for t in range(1, MAX_T + 1)}, rel=1e-6
        )

    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert len(runs) == 3
    assert {float(run.data.params["x"]) for run in runs} == {t.config["x"] for t in study.trials}
    assert {run.data.metrics["loss"] for run in runs} == {t.value for t in study.trials}
    assert {run.info.status for run in runs} == {"FINISHED"}
