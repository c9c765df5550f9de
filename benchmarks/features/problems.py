"""The problems, by name: test functions of BoTorch, LCBench, and two made for the purpose.

Each is made from its name, so that a run can be made in another process.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from botorch.test_functions.multi_fidelity import AugmentedHartmann
from botorch.test_functions.multi_objective import DTLZ2, ZDT1
from botorch.test_functions.synthetic import Branin, ConstrainedHartmann, Hartmann

from benchmarks.features.losses import HypervolumeMissing, Regret
from benchmarks.features.problem import (
    Config,
    Earlier,
    FeatureProblem,
    Guess,
    Outcomes,
    ParameterConstraint,
)
from benchmarks.race.peers.ask_tell import Choice, Range, parameters
from benchmarks.yahpo import DATA_VARIABLE, Surrogate, load

_SAMPLE = 2_000  # random configurations, of which the median is a loss of 1
_SAMPLE_SEED = 0

HARTMANN_BEST = -3.32237
HARTMANN_OPTIMUM = (0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573)


def _unit(names: list[str]) -> tuple[Range, ...]:
    return tuple(Range(name, 0.0, 1.0, whole=False, log=False) for name in names)


def _numbered(count: int) -> list[str]:
    return [f"x{number + 1}" for number in range(count)]


def _point(config: Config, names: list[str]) -> torch.Tensor:
    return torch.tensor([[config[name] for name in names]], dtype=torch.double)


def _median(function: Callable[[Config], Outcomes], problem: FeatureProblem) -> float:
    """Of random configurations that are allowed and feasible."""
    rng = np.random.default_rng(_SAMPLE_SEED)
    found = [function(problem.draw(rng)) for _ in range(_SAMPLE)]
    feasible = [o for o in found if problem.constraint is None or o[problem.constraint] <= 0]
    return float(np.median([o["f"] for o in feasible]))


def _judged(best: float, **described: Any) -> FeatureProblem:
    """A problem of one objective, by the regret of its best feasible outcome."""
    unjudged = FeatureProblem(loss=lambda outcomes: 1.0, **described)
    loss = Regret(best, _median(unjudged.function, unjudged), unjudged.observed_constraint)
    return FeatureProblem(loss=loss, **described)


def constrained() -> FeatureProblem:
    """Hartmann's function in six dimensions within the unit ball (Letham et al., 2019)."""
    function, names = ConstrainedHartmann(dim=6), _numbered(6)

    def outcomes(config: Config) -> Outcomes:
        x = _point(config, names)
        return {
            "f": float(function.evaluate_true(x)),
            "c": -float(function.evaluate_slack_true(x)),
        }

    return _judged(
        HARTMANN_BEST,
        name="features/constrained",
        parameters=_unit(names),
        function=outcomes,
        constraint="c",
        evaluations=60,
    )


NETWORK_LIMIT = 512


def network_loss(config: Config) -> float:
    """A made-up network's loss: the deeper and wider the better, up to 8 layers of 512 units."""
    depth, width = math.log2(config["layers"]), math.log2(config["units"])
    rate = math.log10(config["learning_rate"]) + 2.0 + 0.2 * (depth + width - 9.0)
    return (
        0.10 * (depth - 3.0) ** 2
        + 0.05 * (width - 9.0) ** 2
        + 0.20 * rate**2
        + 1.00 * (config["dropout"] - 0.3) ** 2
    )


def network_best() -> float:
    """The least loss of a network that is small enough; its other hyperparameters fit any."""
    sizes = ((layers, NETWORK_LIMIT // layers) for layers in range(1, 17))
    return min(
        0.10 * (math.log2(layers) - 3.0) ** 2 + 0.05 * (math.log2(units) - 9.0) ** 2
        for layers, units in sizes
    )


def parameter_constrained() -> FeatureProblem:
    """A network that must not be too large."""
    expression = f"layers * units <= {NETWORK_LIMIT}"

    def excess(config: Config) -> float:
        """In doublings: smoother for those who model it."""
        return math.log2(config["layers"] * config["units"] / NETWORK_LIMIT)

    return _judged(
        network_best(),
        name="features/parameter-constrained",
        parameters=(
            Range("layers", 1, 16, whole=True, log=False),
            Range("units", 16, 1024, whole=True, log=True),
            Range("learning_rate", 1e-5, 1.0, whole=False, log=True),
            Range("dropout", 0.0, 0.8, whole=False, log=False),
        ),
        function=lambda config: {"f": network_loss(config)},
        allowed=ParameterConstraint(expression, excess),
        evaluations=60,
    )


def zdt1() -> FeatureProblem:
    """ZDT1 in eight dimensions."""
    return _several_objectives(
        ZDT1(dim=8),
        "zdt1",
        # Random configurations cover a good third of it, so that there is something to be seen.
        HypervolumeMissing(reference=(1.1, 4.0), largest=1.1 * 4.0 - 1.0 / 3.0),
    )


def dtlz2() -> FeatureProblem:
    """DTLZ2 in six dimensions."""
    function = DTLZ2(dim=6, num_objectives=3)
    return _several_objectives(
        function,
        "dtlz2",
        HypervolumeMissing(reference=(1.1, 1.1, 1.1), largest=float(function.max_hv)),
    )


def _several_objectives(function: Any, name: str, loss: HypervolumeMissing) -> FeatureProblem:
    names = _numbered(function.dim)
    objectives = tuple(f"f{number + 1}" for number in range(len(loss.reference)))

    def outcomes(config: Config) -> Outcomes:
        (values,) = function.evaluate_true(_point(config, names)).tolist()
        return dict(zip(objectives, values, strict=True))

    return FeatureProblem(
        name=f"features/{name}",
        parameters=_unit(names),
        function=outcomes,
        loss=loss,
        objectives=objectives,
        evaluations=50,
    )


def noisy() -> FeatureProblem:
    """Branin's function with noise."""
    function = Branin()
    return _judged(
        0.397887,
        name="features/noisy",
        parameters=(
            Range("x1", -5.0, 10.0, whole=False, log=False),
            Range("x2", 0.0, 15.0, whole=False, log=False),
        ),
        function=lambda config: {"f": float(function.evaluate_true(_point(config, ["x1", "x2"])))},
        noise_sd=10.0,
        evaluations=60,
    )


# Development instances: the first that raytuner's authors list, and the three that follow it.
TARGET, STUDIED = "3945", ("34539", "126029", "146212")
EARLIER_TRIALS = 60


def transfer() -> FeatureProblem:
    """A network on one data set after others.

    Raises:
        FileNotFoundError: The folder that the environment names does not hold LCBench's data.
    """
    lcbench = load(os.environ.get(DATA_VARIABLE, "yahpo_data"))
    known = lcbench.problem(TARGET)
    described: dict[str, Any] = {
        "name": "features/transfer",
        "parameters": tuple(parameters(lcbench.space)),
        "function": lambda config: _errors(lcbench, TARGET, config),
        "loss": Regret(100.0 - known.best, 100.0 - known.median),
        "evaluations": 40,
    }
    cold = FeatureProblem(**described)
    earlier = tuple(_studied(lcbench, cold, instance) for instance in STUDIED)
    return FeatureProblem(**described, earlier=earlier)


def _errors(lcbench: Surrogate, instance: str, config: Config) -> Outcomes:
    accuracy, _ = lcbench.predict(instance, lcbench.scenario.max_t, config)
    return {"f": 100.0 - float(accuracy[0])}


def _studied(lcbench: Surrogate, problem: FeatureProblem, instance: str) -> Earlier:
    rng = np.random.default_rng(int(instance))
    configs = tuple(problem.draw(rng) for _ in range(EARLIER_TRIALS))
    return Earlier(configs, tuple(_errors(lcbench, instance, config) for config in configs))


MODELS_BEST = 0.05


def model_loss(config: Config) -> float:
    """A made-up loss of three kinds of models: the one with the best optimum is the hardest."""
    if config["model"] == "kernel":
        return (
            0.12
            + 0.01 * (math.log10(config["kernel_penalty"]) - 1.0) ** 2
            + 0.02 * (math.log10(config["kernel_scale"]) + 1.5) ** 2
        )
    if config["model"] == "trees":
        return (
            0.08
            + 0.05 * (math.log10(config["trees_count"]) - 2.5) ** 2
            + 0.002 * (config["trees_depth"] - 8) ** 2
            + 0.10 * (config["trees_features"] - 0.4) ** 2
        )
    rate, width = math.log10(config["net_rate"]), math.log2(config["net_width"])
    return (
        MODELS_BEST
        + 0.06 * (rate + 3.0 + 0.1 * (width - 7.0)) ** 2
        + 0.01 * (width - 7.0) ** 2
        + 0.02 * (config["net_layers"] - 3) ** 2
        + 0.30 * (config["net_dropout"] - 0.2) ** 2
    )


def conditional() -> FeatureProblem:
    """A choice of three models, each with hyperparameters of its own."""
    children = (
        Range("kernel_penalty", 1e-3, 1e3, whole=False, log=True),
        Range("kernel_scale", 1e-4, 1e1, whole=False, log=True),
        Range("trees_count", 10, 1000, whole=True, log=True),
        Range("trees_depth", 2, 20, whole=True, log=False),
        Range("trees_features", 0.1, 1.0, whole=False, log=False),
        Range("net_rate", 1e-6, 1.0, whole=False, log=True),
        Range("net_width", 8, 512, whole=True, log=True),
        Range("net_layers", 1, 6, whole=True, log=False),
        Range("net_dropout", 0.0, 0.8, whole=False, log=False),
    )
    return _judged(
        MODELS_BEST,
        name="features/conditional",
        parameters=(Choice("model", ("kernel", "trees", "net")), *children),
        function=lambda config: {"f": model_loss(config)},
        conditions={r.name: ("model", r.name.partition("_")[0]) for r in children},
        evaluations=60,
    )


# Which of the hundred matter: no quasi-random sequence is better in some dimensions by chance.
ACTIVE = (7, 23, 41, 58, 76, 92)


def high_dimensional() -> FeatureProblem:
    """Hartmann's function, hidden among a hundred hyperparameters."""
    function, names = Hartmann(dim=6), _numbered(100)
    active = [names[number] for number in ACTIVE]
    return _judged(
        HARTMANN_BEST,
        name="features/high-dimensional",
        parameters=_unit(names),
        function=lambda config: {"f": float(function.evaluate_true(_point(config, active)))},
        evaluations=100,
    )


def prior_right() -> FeatureProblem:
    """A guess 0.1 from the optimum in each dimension."""
    guess = [x + 0.1 * (-1) ** number for number, x in enumerate(HARTMANN_OPTIMUM)]
    return _prior("right", guess)


def prior_wrong() -> FeatureProblem:
    """A guess half of the range off in each dimension."""
    return _prior("wrong", [(x + 0.5) % 1.0 for x in HARTMANN_OPTIMUM])


def _prior(which: str, centre: list[float]) -> FeatureProblem:
    function, names = Hartmann(dim=6), _numbered(6)
    return _judged(
        HARTMANN_BEST,
        name=f"features/prior-{which}",
        parameters=_unit(names),
        function=lambda config: {"f": float(function.evaluate_true(_point(config, names)))},
        guess=Guess(dict(zip(names, centre, strict=True)), sd=0.1),
        evaluations=40,
    )


def fidelity() -> FeatureProblem:
    """Hartmann's function, of which cheaper evaluations are a little wrong (Wu et al., 2020)."""
    function, names = AugmentedHartmann(), _numbered(6)

    def outcomes(config: Config) -> Outcomes:
        point = _point({"s": 1.0, **config}, [*names, "s"])
        return {"f": float(function.evaluate_true(point))}

    return _judged(
        HARTMANN_BEST,
        name="features/fidelity",
        parameters=_unit(names),
        function=outcomes,
        fidelity=Range("s", 0.0, 1.0, whole=False, log=False),
        cost=lambda config: 0.1 + 0.9 * float(config.get("s", 1.0)),
        evaluations=30,
    )


PROBLEMS: dict[str, Callable[[], FeatureProblem]] = {
    "constrained": constrained,
    "parameter-constrained": parameter_constrained,
    "zdt1": zdt1,
    "dtlz2": dtlz2,
    "noisy": noisy,
    "transfer": transfer,
    "conditional": conditional,
    "high-dimensional": high_dimensional,
    "prior-right": prior_right,
    "prior-wrong": prior_wrong,
    "fidelity": fidelity,
}
