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
    """Make a training function out of one that trains and scores on a single fold.

    A trial trains on fold after fold. After each it reports the mean of every metric so far and the
    standard error of that mean (`loss`, `loss_se`; None after the first). With `max_t=folds`, a
    hopeless configuration is stopped after a fold; with `standard_error="loss_se"`, the model knows
    how sure a mean is. A trial that is paused, or dies, continues with the next fold.

    Args:
        folds: Number of folds, at least 2.

    Returns:
        A decorator for a function of a configuration and the number of a fold, from 0, which
        returns the metrics on that fold by name.

    Raises:
        SettingError: `folds` is not a whole number of at least 2.
        TrainableError: In the trial: the function returned no metrics, or others than on the fold
            before.

    Example:
        .. code-block:: python

            @raytuner.cross_validate(folds=5)
            def train(config, fold):
                fitting, validating = splits[fold]
                ...
                return {"loss": loss}

            raytuner.tune(train, space, metric="loss", mode="min", standard_error="loss_se",
                          num_samples=50, max_t=5)
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
                        f"on fold {fold} the function returned {given!r}; it must return the same"
                        f" metrics by name on each fold: {sorted(names or ['loss'])}"
                    )
                scores.append({name: read_number(given, name, role="metric") for name in given})
                report_with_state(means(scores), json.dumps(scores).encode())

        # Its name, by which a study imports it again; not its signature, which differs.
        functools.update_wrapper(train, evaluate)
        del train.__wrapped__  # type: ignore[attr-defined]
        return train

    return decorate


def report_with_state(metrics: Mapping[str, Any], state: bytes) -> None:
    """Report from inside a trial, with a checkpoint of this state."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "state").write_bytes(state)
        tune.report(dict(metrics), checkpoint=tune.Checkpoint.from_directory(folder))


def checkpoint_state() -> bytes | None:
    """Return the state of the checkpoint that this trial continues from; None at its start."""
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        return Path(folder, "state").read_bytes()


def means(scores: list[dict[str, float]]) -> dict[str, float | None]:
    """Return the mean of each metric over the folds, and as `..._se` the mean's standard error.

    None stands for a standard error that is not known.

    Example:
        >>> means([{"loss": 1.0}, {"loss": 3.0}])
        {'loss': 2.0, 'loss_se': 1.0}
    """
    report: dict[str, float | None] = {}
    for name in scores[0]:
        values = [score[name] for score in scores]
        report[name] = sum(values) / len(values)  # NaN and the infinities as such
        report[f"{name}_se"] = None
        if len(values) > 1 and all(map(math.isfinite, values)):
            report[f"{name}_se"] = statistics.stdev(values) / math.sqrt(len(values))
    return report
