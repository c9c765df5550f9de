"""Cross-validation as a trial, with folds as its resource."""

from __future__ import annotations

import functools
import json
import math
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import tune

from raytuner.controller.report import read_number
from raytuner.errors import SettingError, TrainableError

Evaluate = Callable[[dict[str, Any], int], Mapping[str, Any]]


def cross_validate(folds: int) -> Callable[[Evaluate], Callable[[dict[str, Any]], None]]:
    """Turn a function that trains and scores on one fold into a training function.

    A trial trains on one fold after another. After each fold it reports the mean of every metric so
    far and its standard error (`loss` and `loss_se`; the latter is None after the first fold). With
    `max_t=folds`, early stopping ends bad trials after a few folds. With
    `standard_error="loss_se"`, the model takes the noise of the means into account. A trial that is
    paused or dies continues with the next fold.

    Args:
        folds: Number of folds, at least 2.

    Returns:
        A decorator. The decorated function takes a configuration and the number of a fold, from 0.
        It returns the metrics on that fold by name.

    Raises:
        SettingError: `folds` is not a whole number of at least 2.
        TrainableError: In the trial: the function returned no metrics, or other metrics than on the
            previous fold.

    Examples:
        ```python
        @raytuner.cross_validate(folds=5)
        def train(config, fold):
            fitting, validating = splits[fold]
            ...
            return {"loss": loss}

        raytuner.tune(train, space, metric="loss", mode="min", standard_error="loss_se",
                      num_samples=50, max_t=5)
        ```
    """
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
        raise SettingError(f"folds is {folds!r}; it must be a whole number of at least 2")

    def decorate(evaluate: Evaluate) -> Callable[[dict[str, Any]], None]:
        def train(config: dict[str, Any]) -> None:
            scores: list[dict[str, float]] = json.loads(checkpoint_state() or b"[]")
            for fold in range(len(scores), folds):
                given = evaluate(config, fold)
                names = scores[0].keys() if scores else None
                if not isinstance(given, Mapping) or not given or names not in (None, given.keys()):
                    raise TrainableError(
                        f"on fold {fold} the function returned {given!r}; it must return a dict"
                        f" with the same metrics on each fold: {sorted(names or ['loss'])}"
                    )
                scores.append({name: read_number(given, name, role="metric") for name in given})
                report_with_state(means(scores), json.dumps(scores).encode())

        # Copies the name, so that a study can import it again, but not the signature.
        functools.update_wrapper(train, evaluate)
        del train.__wrapped__  # type: ignore[attr-defined]
        return train

    return decorate


def report_with_state(metrics: Mapping[str, Any], state: bytes) -> None:
    """Report from inside a trial, with a checkpoint that holds this state."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "state").write_bytes(state)
        tune.report(dict(metrics), checkpoint=tune.Checkpoint.from_directory(folder))


def checkpoint_state() -> bytes | None:
    """Return the state in the checkpoint that this trial continues from; None if it starts."""
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        return Path(folder, "state").read_bytes()


def means(scores: list[dict[str, float]]) -> dict[str, float | None]:
    """Return the mean of each metric over the folds, and its standard error as `NAME_se`.

    The standard error is None if it is unknown.

    Examples:
        >>> means([{"loss": 1.0}, {"loss": 3.0}])
        {'loss': 2.0, 'loss_se': 1.0}
    """
    report: dict[str, float | None] = {}
    for name in scores[0]:
        values = [score[name] for score in scores]
        report[name] = sum(values) / len(values)  # keeps NaN and infinities
        report[f"{name}_se"] = None
        if len(values) > 1 and all(map(math.isfinite, values)):
            report[f"{name}_se"] = statistics.stdev(values) / math.sqrt(len(values))
    return report
