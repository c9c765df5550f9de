"""Other libraries' training loops in trials: reports, and checkpoints that promotion goes on from.

Each runs a study with ``ASHAScheduler(variant="promotion")``, which pauses every trial at its first
rung and resumes the best. A trial that began anew would report an epoch twice: see ``check``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle, tune

import raytuner
from raytuner.errors import TrainableError

pytestmark = pytest.mark.usefixtures("ray_cluster")

RATE = {"lr": tune.loguniform(1e-3, 1e-1)}
_EPOCHS = 4


@pytest.fixture(autouse=True, scope="module")
def _by_value() -> None:
    """Workers cannot import this module."""
    register: Any = cloudpickle.register_pickle_by_value
    register(sys.modules[__name__])


def search(
    train: Any, folder: Path, metric: str, mode: str = "min", space: Any = RATE, **settings: Any
) -> Any:
    """Three trials, of which one goes on after two epochs."""
    study = raytuner.tune(
        train,
        space,
        metric=metric,
        mode=mode,
        num_samples=3,
        scheduler=raytuner.ASHAScheduler(
            max_t=_EPOCHS, grace_period=2, reduction_factor=2, variant="promotion"
        ),
        max_concurrent_trials=1,
        storage_path=folder,
        progress=False,
        seed=0,
        **settings,
    )
    check(study)
    return study


def check(study: Any) -> None:
    """Trials were paused and resumed where they were, and the record has each epoch once."""
    assert not study.failures
    assert {trial.t for trial in study.trials} == {2.0, float(_EPOCHS)}
    for trial in study.trials:
        assert [t for t, _ in trial.values] == list(range(1, int(trial.t) + 1))


def rows(study: Any, trial: Any) -> list[dict[str, Any]]:
    """What a trial reported, as Ray's logger has it."""
    import json

    [file] = study.path.glob(f"*{trial.trial_id}*/result.json")
    return [json.loads(line) for line in file.read_text().splitlines()]


def train_lightning(config: dict[str, Any]) -> None:
    import lightning.pytorch as pl
    import torch
    from ray.tune.integration.pytorch_lightning import TuneReportCheckpointCallback
    from torch.utils.data import DataLoader, TensorDataset

    class Line(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch: Any, _: int) -> Any:
            x, y = batch
            return ((self.layer(x) - y) ** 2).mean()

        def validation_step(self, batch: Any, _: int) -> None:
            self.log("loss", self.training_step(batch, 0))
            self.log("epoch_seen", float(self.current_epoch))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=config["lr"])

    x = torch.linspace(-1, 1, 32)[:, None]
    data = DataLoader(TensorDataset(x, 2 * x), batch_size=8)
    trainer = pl.Trainer(
        max_epochs=_EPOCHS,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        callbacks=[TuneReportCheckpointCallback(["loss", "epoch_seen"], filename="last.ckpt")],
    )
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        trainer.fit(Line(), data, data)
    else:
        with checkpoint.as_directory() as folder:
            trainer.fit(Line(), data, data, ckpt_path=f"{folder}/last.ckpt", weights_only=False)


def test_lightning(tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="Lightning is not installed")
    study = search(train_lightning, tmp_path, "loss")
    whole = max(study.trials, key=lambda trial: trial.t)
    assert [row["epoch_seen"] for row in rows(study, whole)] == [0, 1, 2, 3]


def train_keras(config: dict[str, Any]) -> None:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    import numpy as np

    from raytuner.integrations.keras import ReportCheckpoint

    keras.utils.set_random_seed(0)
    x = np.linspace(-1, 1, 32)[:, None]
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(config["lr"], momentum=0.9), loss="mse")
    report = ReportCheckpoint()
    model.fit(
        x,
        2 * x,
        epochs=_EPOCHS,
        initial_epoch=report.initial_epoch(),
        shuffle=False,
        verbose=0,
        callbacks=[report],
    )


def test_keras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    study = search(train_keras, tmp_path, "loss")
    whole = max(study.trials, key=lambda trial: trial.t)

    # The same training in one piece: weights and momentum went through the checkpoint.
    import numpy as np

    keras.utils.set_random_seed(0)
    x = np.linspace(-1, 1, 32)[:, None]
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(whole.config["lr"], momentum=0.9), loss="mse")
    losses = model.fit(x, 2 * x, epochs=_EPOCHS, shuffle=False, verbose=0).history["loss"]
    assert [value for _, value in whole.values] == pytest.approx(losses, rel=1e-4)


def train_xgboost(config: dict[str, Any]) -> None:
    import numpy as np
    import xgboost
    from ray.tune.integration.xgboost import TuneReportCheckpointCallback

    x = np.linspace(-1, 1, 64)[:, None]
    data = xgboost.DMatrix(x, x[:, 0] ** 2)
    report = TuneReportCheckpointCallback({"rmse": "train-rmse"}, frequency=1)
    checkpoint = tune.get_checkpoint()
    before = None if checkpoint is None else report.get_model(checkpoint)
    left = _EPOCHS - (0 if before is None else before.num_boosted_rounds())
    xgboost.train(
        {"eta": config["lr"], "nthread": 1},
        data,
        left,
        evals=[(data, "train")],
        verbose_eval=False,
        xgb_model=before,
        callbacks=[report],
    )


def test_xgboost(tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost", reason="XGBoost is not installed")
    study = search(train_xgboost, tmp_path, "rmse")
    whole = max(study.trials, key=lambda trial: trial.t)
    import numpy as np

    x = np.linspace(-1, 1, 64)[:, None]
    data, losses = xgboost.DMatrix(x, x[:, 0] ** 2), {}  # type: ignore[var-annotated]
    xgboost.train(
        {"eta": whole.config["lr"], "nthread": 1},
        data,
        _EPOCHS,
        evals=[(data, "train")],
        verbose_eval=False,
        evals_result=losses,
    )
    assert [value for _, value in whole.values] == pytest.approx(losses["train"]["rmse"], rel=1e-4)


def train_lightgbm(config: dict[str, Any]) -> None:
    import lightgbm
    import numpy as np
    from ray.tune.integration.lightgbm import TuneReportCheckpointCallback

    x = np.linspace(-1, 1, 64)[:, None]
    data = lightgbm.Dataset(x, x[:, 0] ** 2, free_raw_data=False)
    report = TuneReportCheckpointCallback({"l2": "train-l2"}, frequency=1)
    checkpoint = tune.get_checkpoint()
    before = None if checkpoint is None else report.get_model(checkpoint)
    left = _EPOCHS - (0 if before is None else before.num_trees())
    lightgbm.train(
        {"learning_rate": config["lr"], "num_threads": 1, "verbose": -1, "metric": "l2"},
        data,
        left,
        valid_sets=[data],
        valid_names=["train"],
        init_model=before,
        callbacks=[report],
    )


def test_lightgbm(tmp_path: Path) -> None:
    pytest.importorskip("lightgbm", reason="LightGBM is not installed")
    study = search(train_lightgbm, tmp_path, "l2")
    whole = max(study.trials, key=lambda trial: trial.t)
    losses = [value for _, value in whole.values]
    assert losses == sorted(losses, reverse=True)
    assert len(set(losses)) == _EPOCHS


def make_trainer(folder: Path) -> Any:
    """A tiny model of random weights on made-up text; nothing is downloaded."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

    generator = torch.Generator().manual_seed(0)
    words = torch.randint(2, 30, (48, 6), generator=generator)
    data = [{"input_ids": row, "labels": int(row[0] > 15)} for row in words]
    size = {"vocab_size": 32, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(**size, intermediate_size=8, max_position_embeddings=8, num_labels=2)
    arguments = TrainingArguments(
        str(folder / "out"),
        num_train_epochs=2,
        per_device_train_batch_size=8,
        eval_strategy="epoch",
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    return Trainer(
        model_init=lambda: BertForSequenceClassification(config),
        args=arguments,
        train_dataset=data,
        eval_dataset=data,
    )


def test_hugging_faces_trainer_takes_our_searcher_and_scheduler(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    search_alg = raytuner.BoTorchSearch(seed=0)
    best = make_trainer(tmp_path).hyperparameter_search(
        hp_space=lambda _: {"learning_rate": tune.loguniform(1e-4, 1e-1)},
        backend="ray",
        direction="minimize",
        n_trials=3,
        search_alg=search_alg,
        scheduler=raytuner.ASHAScheduler(max_t=2),
        metric="objective",
        mode="min",
        storage_path=str(tmp_path),
        name="search",
        verbose=0,
    )
    study = raytuner.load(tmp_path / "search")
    assert len(study.trials) == 3
    assert not study.failures
    assert 1e-4 <= best.hyperparameters["learning_rate"] <= 1e-1
    assert max(trial.t for trial in study.trials) == 2


def train_on_each_worker(config: dict[str, Any]) -> None:
    import json
    import tempfile

    import ray.train
    import torch
    from ray.train import Checkpoint
    from ray.train.torch import prepare_model

    first, weights = 1, None
    if (checkpoint := ray.train.get_checkpoint()) is not None:
        with checkpoint.as_directory() as folder:
            first, weights = json.loads(Path(folder, "state.json").read_text())
    model: Any = torch.nn.Linear(1, 1)
    if weights is not None:
        model.weight.data = torch.tensor(weights)
    model = prepare_model(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"])
    x = torch.linspace(-1, 1, 32)[:, None]
    for epoch in range(first, _EPOCHS + 1):
        optimizer.zero_grad()
        loss = ((model(x) - config["slope"] * x) ** 2).mean()
        torch.autograd.backward(loss)
        optimizer.step()
        with tempfile.TemporaryDirectory() as folder:
            state = [epoch + 1, model.module.weight.tolist()]
            Path(folder, "state.json").write_text(json.dumps(state))
            size = ray.train.get_context().get_world_size()
            rank = ray.train.get_context().get_world_rank()
            ray.train.report(
                {"loss": loss.item(), "epoch": epoch, "workers": size},
                checkpoint=Checkpoint.from_directory(folder) if rank == 0 else None,
            )


def test_a_trainer_of_ray_train_is_a_trainable(tmp_path: Path) -> None:
    """It is stopped and continues with its own checkpoints, and needs no dashboard."""
    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer

    trainer = TorchTrainer(
        train_on_each_worker,
        train_loop_config={"slope": 2.0},
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0.5}),
    )
    study = search(trainer, tmp_path, "loss", time_attr="epoch")
    asked = study.history.get_meta("settings")["resources"]
    assert asked == {"cpu": 0.01, "trainer": {"workers": 2, "cpu": 0.5}}
    assert {row["workers"] for trial in study.trials for row in rows(study, trial)} == {2}
    losses = [value for _, value in study.best.values]
    assert losses == sorted(losses, reverse=True)
    assert (study.path / "trainers" / study.best.trial_id).is_dir()
    (confirmed,) = study.confirm(1, 2)  # one at a time, as the workers allow
    assert len(confirmed.values) == 2
    with pytest.raises(TrainableError, match="pass it as the argument trainable"):
        raytuner.load(study.path).extend(4)


def test_rllibs_algorithm(tmp_path: Path) -> None:
    """By its name, with its own configuration as the space, and its own checkpoints."""
    pytest.importorskip("gymnasium", reason="RLlib is not installed")
    from ray.rllib.algorithms import ppo

    make: Any = ppo.PPOConfig  # untyped
    settings = (
        make()
        .environment("CartPole-v1")
        .env_runners(num_env_runners=0)
        .training(lr=tune.loguniform(1e-5, 1e-2), train_batch_size_per_learner=400, num_epochs=2)
    )
    study = search("PPO", tmp_path, "env_runners/episode_return_mean", "max", space=settings)
    whole = max(study.trials, key=lambda trial: trial.t)
    # What an algorithm has learned from goes through its checkpoint.
    steps = [row["num_env_steps_sampled_lifetime"] for row in rows(study, whole)]
    assert steps == [400, 800, 1200, 1600]
    assert 1e-5 <= whole.config["lr"] <= 1e-2
