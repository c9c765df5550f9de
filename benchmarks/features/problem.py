"""A problem that shows a feature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.race.peers.ask_tell import Choice, Range

Config = dict[str, Any]
Outcomes = dict[str, float]

# The outcome of a problem with a parameter constraint by how much it is exceeded.
EXCESS = "excess"


@dataclass(frozen=True)
class ParameterConstraint:
    """What a configuration must be for it to be evaluated at all.

    Attributes:
        expression: As users write it.
        excess: By how much a configuration exceeds it; at most 0: it does not.
    """

    expression: str
    excess: Callable[[Config], float]


@dataclass(frozen=True)
class Earlier:
    """An earlier study: configurations and their outcomes."""

    configs: tuple[Config, ...]
    outcomes: tuple[Outcomes, ...]


@dataclass(frozen=True)
class Guess:
    """Where somebody expects the optimum: a normal law for each hyperparameter.

    Attributes:
        config: The means.
        sd: Standard deviations, in units of the hyperparameters.
    """

    config: Config
    sd: float


@dataclass(frozen=True, kw_only=True)
class FeatureProblem:
    """A search that a feature is for; every objective is to be as low as possible.

    Attributes:
        name: Its name in results, ``features/...``.
        parameters: The search space; a condition's parent comes before its children.
        function: The outcomes of a configuration, without noise.
        loss: What the outcomes evaluated so far come to; 0: as good as can be, 1: no answer yet.
        objectives: Outcomes to be minimised.
        constraint: Outcome that must be at most 0.
        allowed: Which configurations can be evaluated; None: all.
        conditions: Which hyperparameters exist only for one value of another: that and its value.
        noise_sd: Standard deviation of the noise in the outcomes.
        earlier: Studies of other problems on the same space.
        guess: Where the optimum is expected.
        fidelity: A hyperparameter more, for those who can choose it: only at its upper end, where
            all others evaluate, an outcome counts.
        cost: Of an evaluation, in units of one at full fidelity.
        evaluations: How many there are; at lower fidelity more, for the same cost.
        pending: Trials at a time.
    """

    name: str
    parameters: tuple[Range | Choice, ...]
    function: Callable[[Config], Outcomes]
    loss: Callable[[Sequence[Outcomes]], float]
    objectives: tuple[str, ...] = ("f",)
    constraint: str | None = None
    allowed: ParameterConstraint | None = None
    conditions: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    noise_sd: float = 0.0
    earlier: tuple[Earlier, ...] = ()
    guess: Guess | None = None
    fidelity: Range | None = None
    cost: Callable[[Config], float] = lambda config: 1.0
    evaluations: int
    pending: int = 4

    @property
    def observed_constraint(self) -> str | None:
        """The constraint for those who can observe one only: a parameter constraint too."""
        return EXCESS if self.allowed is not None else self.constraint

    def exists(self, name: str, config: Mapping[str, Any]) -> bool:
        """Whether a hyperparameter is part of a configuration."""
        if name not in self.conditions:
            return True
        parent, value = self.conditions[name]
        return bool(config.get(parent) == value)

    def is_full(self, config: Mapping[str, Any]) -> bool:
        """Whether a configuration is at full fidelity."""
        if self.fidelity is None:
            return True
        return bool(config.get(self.fidelity.name, self.fidelity.high) == self.fidelity.high)

    def evaluate(self, config: Config) -> Outcomes:
        """The outcomes; of a configuration that is not allowed, how far it is from that alone."""
        if self.allowed is None:
            return self.function(config)
        excess = self.allowed.excess(config)
        outcomes = {} if excess > 0 else self.function(config)
        return {**outcomes, EXCESS: excess}

    def draw(self, rng: np.random.Generator) -> Config:
        """A random configuration that is allowed."""
        while True:
            config: Config = {}
            for parameter in self.parameters:
                if self.exists(parameter.name, config):
                    config[parameter.name] = _drawn(parameter, rng)
            if self.allowed is None or self.allowed.excess(config) <= 0:
                return config


def _drawn(parameter: Range | Choice, rng: np.random.Generator) -> Any:
    if isinstance(parameter, Choice):
        return parameter.values[rng.integers(len(parameter.values))]
    low, high = parameter.low, parameter.high
    if parameter.whole:
        low, high = low - 0.5, high + 0.5
    value = np.exp(rng.uniform(*np.log([low, high]))) if parameter.log else rng.uniform(low, high)
    return (
        int(np.clip(round(value), parameter.low, parameter.high))
        if parameter.whole
        else float(value)
    )
