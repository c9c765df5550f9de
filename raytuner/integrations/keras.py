"""Keras 3 inside a trial, with any backend."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
from ray import tune

_FILE = "model.keras"


class ReportCheckpoint(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types here
    """A Keras callback that reports each epoch's metrics and saves a checkpoint.

    Ray's own callback for Keras needs TensorFlow. This one works with any backend. If a trial was
    paused or its process died, it continues with the epoch, weights and optimizer of its last
    checkpoint.

    Args:
        checkpoint: Whether to save a checkpoint after each epoch. Schedulers that only stop trials
            need no checkpoints.

    Examples:
        ```python
        def train(config):
            model = build(config)  # compiled
            report = ReportCheckpoint()
            model.fit(x, y, epochs=27, initial_epoch=report.initial_epoch(), callbacks=[report])
        ```
    """

    def __init__(self, *, checkpoint: bool = True) -> None:
        super().__init__()
        self._checkpoint = checkpoint

    def initial_epoch(self) -> int:
        """Return the first epoch for `fit`: 0, or the one after the checkpoint."""
        checkpoint = tune.get_checkpoint()
        return 0 if checkpoint is None else int(checkpoint.get_metadata()["epoch"])

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Load the trial's checkpoint, if there is one."""
        checkpoint = tune.get_checkpoint()
        if checkpoint is None:
            return
        with checkpoint.as_directory() as folder:
            saved = keras.models.load_model(Path(folder) / _FILE)
        self.model.build(saved.input_shape)
        self.model.set_weights(saved.get_weights())
        self.model.optimizer.build(self.model.trainable_variables)
        pairs = zip(self.model.optimizer.variables, saved.optimizer.variables, strict=True)
        for variable, value in pairs:
            variable.assign(value)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Report the metrics of the epoch."""
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        if not self._checkpoint:
            tune.report(metrics)
            return
        with tempfile.TemporaryDirectory() as folder:
            self.model.save(Path(folder) / _FILE)
            checkpoint = tune.Checkpoint.from_directory(folder)
            checkpoint.set_metadata({"epoch": epoch + 1})
            tune.report(metrics, checkpoint=checkpoint)
