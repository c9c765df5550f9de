"""Loggers that people have already, through Ray's own callbacks."""

from __future__ import annotations

import errno
import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from integration_driver import MAX_T, SPACE, loss, train
from ray import tune
from ray.tune.logger import JsonLoggerCallback

import raytuner
from raytuner.history import TrialState
from raytuner.study.study import Study

ray.cloudpickle.register_pickle_by_value(sys.modules["integration_driver"])  # type: ignore[no-untyped-call]
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]

pytestmark = pytest.mark.usefixtures("ray_cluster")


def search(folder: Path, callbacks: list[Any], trainable: Any = train) -> Study:
    return raytuner.tune(
        trainable,
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


def strange(config: dict[str, Any]) -> None:
    """Reports metrics beside the objective that loggers cannot show or Ray cannot save."""
    for t in range(1, MAX_T + 1):
        tune.report(
            {
                "loss": loss(config, t),
                "n_params": 2**70,
                "beyond": 10**400,
                "complex": 1j,
                "confusion": {(0, 1): 3},
                "none": None,
                "after": 1.0,
            }
        )


class Broken(tune.Callback):
    """Raises whenever it is called."""

    def _fail(self, *args: Any, **info: Any) -> None:
        raise ValueError("the server is away")

    on_step_end = on_trial_start = on_trial_result = on_trial_complete = _fail
    on_experiment_end = get_state = _fail


class BrokenLogger(JsonLoggerCallback):
    """Cannot write: Ray reads its file after the end."""

    def log_trial_start(self, trial: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_other_metrics_and_broken_callbacks_do_not_end_a_study(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = search(tmp_path, [Broken()], strange)
    assert isinstance(study.path, Path)
    assert study.counts == {TrialState.COMPLETED: 3}
    assert not study.interrupted
    for trial in study.trials:
        (file,) = study.path.glob(f"*{trial.trial_id}*/events.out.tfevents.*")
        tags = {tag for tag, _, _ in scalars(file)}
        assert {"ray/tune/loss", "ray/tune/after"} <= tags
        (file,) = study.path.glob(f"*{trial.trial_id}*/result.json")
        reports = [json.loads(line) for line in file.read_text().splitlines()]
        assert [one["confusion"] for one in reports] == [{"(0, 1)": 3}] * MAX_T
    said = [record.getMessage() for record in caplog.records if "callback" in record.name]
    assert sum("Broken failed in on_trial_result" in line for line in said) == 1
    assert len(said) == len(set(said))


def test_a_logger_that_cannot_write_does_not_end_a_study(tmp_path: Path) -> None:
    study = search(tmp_path, [BrokenLogger()])  # type: ignore[no-untyped-call]
    assert study.counts == {TrialState.COMPLETED: 3}
    assert not study.interrupted
