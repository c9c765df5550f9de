"""Trainings that need not be done: surrogates of YAHPO Gym (Pfisterer et al., AutoML 2022).

A surrogate is one network for all data sets of a scenario. It answers for any configuration, data
set and fidelity in microseconds, without noise. Three scenarios are used here:

- LCBench: 2,000 configurations of a tabular network on each of 34 data sets (Zimmer, Lindauer,
  Hutter: "Auto-PyTorch", TPAMI 2021). The resource is epochs.
- `rbv2_rpart`: decision trees on 117 data sets (Binder, Pfisterer, Bischl: "Collecting empirical
  data about hyperparameters for data driven AutoML", 2020). The space is mixed. The resource is
  the share of the data.
- `iaml_glmnet`: elastic nets on four data sets. The resource is the share of the data.

The data are not in this project. Clone YAHPO's public data repository, and name its folder by
`--data` or by the environment variable `RAYTUNER_YAHPO_DATA`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ray import tune

from benchmarks.optimum import best_found, draw
from benchmarks.problem import Problem, Reference, reference
from raytuner.simulate import Curve

DATA_VARIABLE = "RAYTUNER_YAHPO_DATA"

_SAMPLE = 10_000  # random configurations whose median is a regret of 1
_SAMPLE_SEED = 52

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scenario:
    """A family of problems, one for each data set.

    Attributes:
        name: Its name, and that of its folder.
        data_set: The model's input that names the data set.
        categories: The model's other categorical inputs, in its order.
        numbers: The model's numeric inputs, in its order.
        fidelity: The one of `numbers` that grows as a training goes on.
        top: Its value at the end of a training.
        max_t: Reports of a full training, at equal steps of the fidelity.
        metric: The name of the metric.
        mode: "min" or "max".
        metric_column: The column of the model's output that holds the metric.
        seconds_column: The column that holds the seconds.
        seconds_add_up: Whether these are the seconds up to a fidelity. If not, each report takes
            an equal part of the seconds at the end.
        development: Data sets that raytuner is developed on.
        test: Data sets of the race. Nothing is ever tuned on them.
        fixed: Inputs that are not searched, and their values.
    """

    name: str
    data_set: str
    categories: tuple[str, ...]
    numbers: tuple[str, ...]
    fidelity: str
    top: float
    max_t: int
    metric: str
    mode: str
    metric_column: int
    seconds_column: int
    seconds_add_up: bool
    development: tuple[str, ...]
    test: tuple[str, ...]
    fixed: Mapping[str, float] = field(default_factory=dict)

    @property
    def searched(self) -> tuple[str, ...]:
        """The hyperparameters."""
        left_out = {self.fidelity, *self.fixed}
        return (*(n for n in self.numbers if n not in left_out), *self.categories)


LCBENCH = Scenario(
    name="lcbench",
    data_set="OpenML_task_id",
    categories=(),
    numbers=(
        "epoch",
        "batch_size",
        "learning_rate",
        "momentum",
        "weight_decay",
        "num_layers",
        "max_units",
        "max_dropout",
    ),
    fidelity="epoch",
    top=52,
    max_t=52,
    metric="val_accuracy",
    mode="max",
    metric_column=1,
    seconds_column=0,
    seconds_add_up=True,
    development=(
        "3945", "34539", "126029", "146212", "167149", "168908", "189354", "189865",
    ),
    # Drawn by a fixed seed from the others.
    test=("167104", "167190", "168335", "189866", "189906", "189909"),
)  # fmt: skip
RPART = Scenario(
    name="rbv2_rpart",
    data_set="task_id",
    categories=("num.impute.selected.cpo",),
    numbers=("cp", "maxdepth", "minbucket", "minsplit", "trainsize", "repl"),
    fidelity="trainsize",
    top=1.0,
    max_t=27,
    metric="auc",
    mode="max",
    metric_column=2,
    seconds_column=6,
    seconds_add_up=False,
    development=("14", "1067", "1485"),
    test=("1053", "1501", "40499"),
    fixed={"repl": 10},
)
GLMNET = Scenario(
    name="iaml_glmnet",
    data_set="task_id",
    categories=(),
    numbers=("alpha", "s", "trainsize"),
    fidelity="trainsize",
    top=1.0,
    max_t=27,
    metric="logloss",
    mode="min",
    metric_column=3,
    seconds_column=7,
    seconds_add_up=False,
    development=("1067", "41146"),
    test=("1489", "40981"),
)
SCENARIOS = {scenario.name: scenario for scenario in (LCBENCH, RPART, GLMNET)}


class Surrogate:
    """The surrogate of a scenario.

    Args:
        data: The folder that holds the scenarios' folders.
        scenario: The scenario.

    Raises:
        FileNotFoundError: It does not hold this scenario.
    """

    def __init__(self, data: str | Path, scenario: Scenario = LCBENCH) -> None:
        import onnxruntime

        folder = Path(data) / scenario.name
        if not (folder / "model.onnx").is_file():
            raise FileNotFoundError(
                f"there is no {folder / 'model.onnx'}; the data folder must be a clone of YAHPO"
                f" Gym's data repository, which holds {scenario.name}/model.onnx"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.scenario = scenario
        self._model = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
        self._codes: dict[str, dict[str, int]] = json.loads((folder / "encoding.json").read_text())
        domains = json.loads((folder / "config_space.json").read_text())["hyperparameters"]
        self._domains = {domain["name"]: domain for domain in domains}

    @property
    def instances(self) -> tuple[str, ...]:
        """The names of all data sets."""
        return tuple(self._domains[self.scenario.data_set]["choices"])

    @property
    def space(self) -> dict[str, Any]:
        """The search space as a `param_space` of Ray Tune, in the model's order."""
        return {name: _as_ray_domain(self._domains[name]) for name in self.scenario.searched}

    def predict(
        self, instance: str, t: npt.ArrayLike, config: Mapping[str, Any]
    ) -> tuple[Floats, Floats]:
        """Ask the model.

        Args:
            instance: The data set.
            t: How far the training got: a number, or `n` of them.
            config: For each hyperparameter a value, or `n` of them.

        Returns:
            The metric, and the seconds of a training that ends there, each `n`-dim.
        """
        scenario = self.scenario
        steps = np.atleast_1d(np.asarray(t, dtype=np.float64))
        known = {**config, **scenario.fixed, scenario.fidelity: steps / self.scenario.max_t}
        known[scenario.fidelity] *= scenario.top
        n = max(len(np.atleast_1d(column)) for column in known.values())
        numbers = [np.broadcast_to(known[name], n) for name in scenario.numbers]
        codes = [np.full(n, self._codes[scenario.data_set][instance])]
        for name in scenario.categories:
            coded = [self._codes[name][value] for value in np.atleast_1d(known[name]).tolist()]
            codes.append(np.broadcast_to(coded, n))
        inputs = {
            "x_cont": np.column_stack(numbers).astype(np.float32),
            "x_cat": np.column_stack(codes).astype(np.int32),
        }
        (outputs,) = self._model.run(None, inputs)
        outputs = np.asarray(outputs, dtype=np.float64)
        return outputs[:, scenario.metric_column], outputs[:, scenario.seconds_column]

    def curve(self, instance: str, config: Mapping[str, Any]) -> Curve:
        """The learning curve of a configuration."""
        scenario = self.scenario
        steps = np.arange(1, scenario.max_t + 1)
        values, elapsed = self.predict(instance, steps, config)
        if not scenario.seconds_add_up:
            elapsed = elapsed[-1] * steps / scenario.max_t
        elapsed = np.maximum.accumulate(np.maximum(elapsed, 0.0))  # a surrogate's clock may go back
        return Curve(
            [{scenario.metric: value} for value in values.tolist()],
            seconds=np.diff(elapsed, prepend=0.0).tolist(),
        )

    def problem(self, instance: str) -> Problem:
        """The search on one data set."""
        scenario = self.scenario
        name = f"{scenario.name}/{instance}"
        return Problem(
            name=name,
            space=self.space,
            objective=lambda config: self.curve(instance, config),
            metric=scenario.metric,
            mode=scenario.mode,
            max_t=scenario.max_t,
            **asdict(reference(name)),
        )

    def measured(self, instance: str) -> Reference:
        """Search for the best value on a data set, and draw random configurations."""
        scenario = self.scenario
        sample = draw(self.space, _SAMPLE, _SAMPLE_SEED)
        values, seconds = self.predict(instance, scenario.max_t, sample)
        best = best_found(
            self.space,
            lambda configs: self.predict(instance, scenario.max_t, configs)[0],
            scenario.mode,
        )
        return Reference(best, float(np.median(values)), float(seconds.mean()))


@lru_cache
def load(data: str | Path, scenario: str = "lcbench") -> Surrogate:
    """The surrogate in a folder, read once a process."""
    return Surrogate(data, SCENARIOS[scenario])


def problem(name: str) -> Problem:
    """For `raytuner simulate benchmarks.yahpo:problem:lcbench/3945 --workers 64`.

    The folder of the data is that which the environment names.
    """
    scenario, _, instance = name.rpartition("/")
    return YahpoProblems(os.environ.get(DATA_VARIABLE, "yahpo_data"), scenario).problem(instance)


@dataclass(frozen=True)
class YahpoProblems:
    """A scenario as a `benchmarks.problem.Benchmark`.

    Attributes:
        data: The folder that holds the scenarios' folders.
        scenario: The name of the scenario.
    """

    data: str
    scenario: str = "lcbench"

    def chosen(self, names: Sequence[str]) -> tuple[str, ...]:
        """Data sets; "development" and "test", "quick" and "full" stand for several."""
        scenario, known = SCENARIOS[self.scenario], load(self.data, self.scenario).instances
        groups = {
            "development": scenario.development,
            "test": scenario.test,
            "quick": scenario.development[::2][:2],
            "full": scenario.test,
        }
        ids = tuple(i for name in names for i in groups.get(name, (name,)))
        if unknown := [i for i in ids if i not in known]:
            raise KeyError(
                f"{self.scenario} has no instance {unknown[0]!r}; it has {', '.join(known)}"
            )
        return ids

    def name_of(self, instance: str) -> str:
        """The name of an instance's problem."""
        return f"{self.scenario}/{instance}"

    def problem(self, instance: str) -> Problem:
        """The search on a data set."""
        return load(self.data, self.scenario).problem(instance)

    def measured(self, instance: str) -> Reference:
        """Measure the reference of a data set."""
        return load(self.data, self.scenario).measured(instance)


def _as_ray_domain(domain: Mapping[str, Any]) -> Any:
    if domain["type"] == "categorical":
        return tune.choice(list(domain["choices"]))
    lower, upper, log = domain["lower"], domain["upper"], domain["log"]
    if domain["type"] == "uniform_int":  # Ray leaves the upper bound out
        return tune.lograndint(lower, upper + 1) if log else tune.randint(lower, upper + 1)
    return tune.loguniform(lower, upper) if log else tune.uniform(lower, upper)
