"""Ax by its Client."""

from __future__ import annotations

import logging
from typing import Any

from benchmarks.features.player import Player
from benchmarks.features.problem import Config, FeatureProblem, Outcomes
from benchmarks.race.peers.ask_tell import Choice
from benchmarks.race.peers.ax import as_parameter


class AxPlayer(Player):
    """Ax's standard strategy; a hierarchical space for conditions, constraints as outcomes."""

    def __init__(self, problem: FeatureProblem, seed: int) -> None:
        import torch
        from ax.api.client import Client
        from ax.utils.common.logger import set_stderr_log_level

        set_stderr_log_level(logging.ERROR)
        torch.manual_seed(seed)
        self._client = Client(random_seed=seed)
        self._client.configure_experiment([_parameter(problem, p) for p in problem.parameters])
        constraint = problem.observed_constraint
        self._client.configure_optimization(
            objective=", ".join(f"-{name}" for name in problem.objectives),
            outcome_constraints=None if constraint is None else [f"{constraint} <= 0"],
        )
        self._client.configure_generation_strategy(
            method="fast",
            initialization_random_seed=seed,
            # Else it refuses a trial while its first five run.
            allow_exceeding_initialization_budget=True,
        )
        self._first = [] if problem.guess is None else [problem.guess.config]

    def ask(self) -> tuple[int, Config]:
        """One trial."""
        if self._first:
            config = self._first.pop()
            return self._client.attach_trial(config), config
        ((index, config),) = self._client.get_next_trials(max_trials=1).items()
        return index, dict(config)

    def tell(self, handle: int, outcomes: Outcomes) -> None:
        """Complete the trial; one that was not allowed has a constraint's value only."""
        self._client.complete_trial(handle, raw_data=outcomes)

    def best(self) -> Config:
        """By its model, once it has one."""
        config, *_ = self._client.get_best_parameterization()
        return dict(config)


def _parameter(problem: FeatureProblem, parameter: Any) -> Any:
    from ax.api.configs import ChoiceParameterConfig

    if not isinstance(parameter, Choice):
        return as_parameter(parameter)
    children: dict[str, list[str]] = {}
    for child, (parent, value) in problem.conditions.items():
        if parent == parameter.name:
            children.setdefault(value, []).append(child)
    return ChoiceParameterConfig(
        name=parameter.name,
        values=list(parameter.values),
        parameter_type="str",
        is_ordered=False,
        dependent_parameters=children or None,
    )
