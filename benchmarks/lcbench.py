"""Networks that need not be trained: LCBench through YAHPO Gym's surrogate.

LCBench holds the learning curves of 2,000 configurations of a tabular network on each of 35 data
sets (Zimmer, Lindauer, Hutter: "Auto-PyTorch", TPAMI 2021). YAHPO Gym (Pfisterer et al., AutoML
2022) fitted one network to all of them: it answers for any configuration, data set and epoch in
about a millisecond a curve, without noise.

The data are not in this project. Clone YAHPO's public data repository, and name its folder, the one
that holds ``lcbench/``, by ``--data`` or by the environment variable ``RAYTUNER_YAHPO_DATA``.
"""

from __future__ import annotations

import csv
import json
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ray import tune

from benchmarks.problem import Problem
from raytuner.simulate import Curve

DATA_VARIABLE = "RAYTUNER_YAHPO_DATA"

METRIC = "val_accuracy"
MAX_T = 52

ALL_EPOCHS = (1, MAX_T)
# What YAHPO advises: LCBench's first epoch is the network before any training, and its last one
# mostly repeats the one before.
TRAINED_EPOCHS = (2, 51)

# The model's continuous inputs after the epoch, in its order.
HYPERPARAMETERS = (
    "batch_size",
    "learning_rate",
    "momentum",
    "weight_decay",
    "num_layers",
    "max_units",
    "max_dropout",
)
_SECONDS, _ACCURACY = 0, 1  # columns of the model's output

# What raytuner is developed on. Nothing is ever tuned on the other instances.
DEVELOPMENT = ("3945", "34539", "126029", "146212", "167149", "168908", "189354", "189865")
# Of these: whoever is at work on raytuner runs the quick race often.
QUICK = ("3945", "126029")

_TEST_SEED = 2026
_TEST_COUNT = 6

_SAMPLE = 10_000  # random configurations that say what an instance's regret of 1 is
_SAMPLE_SEED = 52


class LCBench:
    """The surrogate of all instances.

    Args:
        data: The folder that holds ``lcbench/``.

    Raises:
        FileNotFoundError: It does not.
    """

    def __init__(self, data: str | Path) -> None:
        import onnxruntime

        folder = Path(data) / "lcbench"
        if not (folder / "model.onnx").is_file():
            raise FileNotFoundError(
                f"there is no {folder / 'model.onnx'}; the data folder must be a clone of YAHPO"
                " Gym's data repository, which holds lcbench/model.onnx"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._model = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
        self._codes: dict[str, int] = json.loads((folder / "encoding.json").read_text())[
            "OpenML_task_id"
        ]
        domains = json.loads((folder / "config_space.json").read_text())["hyperparameters"]
        self._domains = {domain["name"]: domain for domain in domains}
        with (folder / "target_statistics.csv").open(newline="") as file:
            self._statistics = {
                (row["instance"], row["metric"], row["statistic"]): float(row["value"])
                for row in csv.DictReader(file)
            }

    @property
    def instances(self) -> tuple[str, ...]:
        """The OpenML task ids of all data sets."""
        return tuple(self._domains["OpenML_task_id"]["choices"])

    @property
    def space(self) -> dict[str, Any]:
        """The search space as a ``param_space`` of Ray Tune, in the model's order."""
        return {name: _as_ray_domain(self._domains[name]) for name in HYPERPARAMETERS}

    def statistic(self, instance: str, target: str, statistic: str) -> float:
        """The "min" or "max" of a target over half a million random points."""
        return self._statistics[instance, target, statistic]

    def predict(
        self, instance: str, epochs: npt.ArrayLike, configurations: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Ask the model.

        Args:
            instance: The data set.
            epochs: ``n``-dim.
            configurations: ``n x 7``-dim, the `HYPERPARAMETERS` in their own units.

        Returns:
            Validation accuracy (%) and seconds since the start of training, each ``n``-dim.
        """
        inputs = np.column_stack([epochs, np.asarray(configurations)]).astype(np.float32)
        code = np.full((len(inputs), 1), self._codes[instance], dtype=np.int32)
        (outputs,) = self._model.run(None, {"x_cat": code, "x_cont": inputs})
        outputs = np.asarray(outputs, dtype=np.float64)
        return outputs[:, _ACCURACY], outputs[:, _SECONDS]

    def curve(
        self, instance: str, config: Mapping[str, Any], epochs: tuple[int, int] = ALL_EPOCHS
    ) -> Curve:
        """The learning curve of a configuration: validation accuracy (%) and seconds an epoch.

        Args:
            instance: The data set.
            config: The configuration.
            epochs: The first epoch that reports, as t = 1, and the last. What the epochs before
                take is part of the first report's seconds.
        """
        first, last = epochs
        point = [float(config[name]) for name in HYPERPARAMETERS]
        count = last - first + 1
        accuracy, elapsed = self.predict(
            instance, np.arange(first, last + 1), np.tile(point, (count, 1))
        )
        elapsed = np.maximum.accumulate(np.maximum(elapsed, 0.0))  # a surrogate's clock may go back
        return Curve(
            [{METRIC: value} for value in accuracy.tolist()],
            seconds=np.diff(elapsed, prepend=0.0).tolist(),
        )

    def problem(self, instance: str, epochs: tuple[int, int] = ALL_EPOCHS) -> Problem:
        """The search on one data set, with reports after these epochs."""
        first, last = epochs
        accuracy, elapsed = self.predict(instance, np.full(_SAMPLE, last), self._sample())
        return Problem(
            name=LCBenchProblems("", epochs).name_of(instance),
            space=self.space,
            objective=lambda config: self.curve(instance, config, epochs),
            metric=METRIC,
            mode="max",
            max_t=last - first + 1,
            training_s=float(elapsed.mean()),
            best=self.statistic(instance, METRIC, "max"),
            median=float(np.median(accuracy)),
        )

    def _sample(self) -> npt.NDArray[np.float64]:
        rng = np.random.RandomState(_SAMPLE_SEED)
        space = self.space
        columns = [space[name].sample(size=_SAMPLE, random_state=rng) for name in HYPERPARAMETERS]
        return np.column_stack(columns)


def problem(instance: str) -> Problem:
    """For ``raytuner simulate benchmarks.lcbench:problem:3945 --workers 64``.

    The folder of the data is that which the environment names.
    """
    return LCBenchProblems(os.environ.get(DATA_VARIABLE, "yahpo_data")).problem(instance)


@lru_cache(maxsize=2)
def load(data: str | Path) -> LCBench:
    """The surrogate in a folder, read once a process."""
    return LCBench(data)


@dataclass(frozen=True)
class LCBenchProblems:
    """LCBench as a `benchmarks.problem.Benchmark`.

    Attributes:
        data: The folder that holds ``lcbench/``.
        epochs: The first and last epoch that reports.
    """

    data: str
    epochs: tuple[int, int] = ALL_EPOCHS

    def chosen(self, names: Sequence[str]) -> tuple[str, ...]:
        """OpenML task ids; "development", "test", "quick" and "full" stand for several."""
        known = load(self.data).instances
        test = test_instances(known)
        groups = {"development": DEVELOPMENT, "test": test, "quick": QUICK, "full": test}
        ids = tuple(i for name in names for i in groups.get(name, (name,)))
        if unknown := [i for i in ids if i not in known]:
            raise KeyError(f"LCBench has no instance {unknown[0]!r}; it has {', '.join(known)}")
        return ids

    def name_of(self, instance: str) -> str:
        """The name of an instance's problem."""
        trained = "" if self.epochs == ALL_EPOCHS else "-epochs-{}-{}".format(*self.epochs)
        return f"lcbench{trained}/{instance}"

    def problem(self, instance: str) -> Problem:
        """The search on a data set."""
        return load(self.data).problem(instance, self.epochs)


def test_instances(instances: tuple[str, ...]) -> tuple[str, ...]:
    """The data sets of the race: a fixed draw of six from those that are not `DEVELOPMENT`."""
    others = sorted(set(instances) - set(DEVELOPMENT), key=int)
    return tuple(sorted(random.Random(_TEST_SEED).sample(others, _TEST_COUNT), key=int))


def _as_ray_domain(domain: Mapping[str, Any]) -> Any:
    lower, upper, log = domain["lower"], domain["upper"], domain["log"]
    if domain["type"] == "uniform_int":  # Ray leaves the upper bound out
        return tune.lograndint(lower, upper + 1) if log else tune.randint(lower, upper + 1)
    return tune.loguniform(lower, upper) if log else tune.uniform(lower, upper)
