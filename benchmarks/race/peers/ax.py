"""Ax by its Client: Ray's AxSearch does not work with Ax 1.3."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from benchmarks.race.method import Contest, Search
from benchmarks.race.peers.ask_tell import AskTell, Choice, Range, parameters
from benchmarks.race.peers.deciding import Deciding


def with_early_stopping(contest: Contest) -> Search:
    """Ax, and the strategy that its Client takes where none is given.

    A trial is stopped from its tenth report on while it is worse than the median of all at the same
    report, once five trials are complete.
    """
    searcher = AxCurves(contest)
    return Search(searcher, Deciding(searcher))


class AxSearcher(AskTell):
    """Ax's standard strategy, "fast": Sobol points, then BoTorch with running trials pending."""

    def __init__(self, contest: Contest) -> None:
        import torch
        from ax.api.client import Client
        from ax.utils.common.logger import set_stderr_log_level

        super().__init__(contest.problem)
        set_stderr_log_level(logging.ERROR)
        torch.manual_seed(contest.seed)
        self._client = Client(random_seed=contest.seed)
        self._client.configure_experiment(
            [as_parameter(parameter) for parameter in parameters(contest.problem.space)]
        )
        self._client.configure_optimization(objective="-loss")
        self._client.configure_generation_strategy(
            method="fast",
            initialization_random_seed=contest.seed,
            # Else it refuses a trial while its first five run.
            allow_exceeding_initialization_budget=True,
        )

    def ask(self) -> tuple[Any, dict[str, Any]]:
        """One trial."""
        ((index, config),) = self._client.get_next_trials(max_trials=1).items()
        return index, dict(config)

    def tell(self, handle: Any, loss: float | None) -> None:
        """Complete the trial."""
        if loss is None:
            self._client.mark_trial_failed(handle)
        else:
            self._client.complete_trial(handle, raw_data={"loss": loss})


class AxCurves(AxSearcher):
    """Ax with every report of a trial, so that it can stop trials."""

    def __init__(self, contest: Contest) -> None:
        super().__init__(contest)
        self._max_t = contest.problem.max_t

    def decision(self, trial_id: str, result: Mapping[str, Any]) -> str:
        """Tell Ax the report, and ask it whether to stop."""
        loss = self.loss(result)
        if loss is None:
            return Deciding.CONTINUE  # its training ends here, and it has failed
        index, t = self._handles[trial_id], result["training_iteration"]
        self._client.attach_data(index, {"loss": loss}, progression=t)
        if t >= self._max_t or not self._client.should_stop_trial_early(index):
            return Deciding.CONTINUE
        self._client.mark_trial_early_stopped(self._handles.pop(trial_id))
        return Deciding.STOP

    def tell(self, handle: Any, loss: float | None) -> None:
        """Complete the trial, all of whose reports Ax has."""
        if loss is None:
            self._client.mark_trial_failed(handle)
        else:
            self._client.complete_trial(handle)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell Ax, unless it has stopped the trial itself."""
        if trial_id in self._handles:
            super().on_trial_complete(trial_id, result, error)


def as_parameter(hyperparameter: Range | Choice) -> Any:
    """Return a hyperparameter as Ax has it."""
    from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

    if isinstance(hyperparameter, Choice):
        return ChoiceParameterConfig(
            name=hyperparameter.name,
            values=list(hyperparameter.values),
            parameter_type="str",
            is_ordered=False,
        )
    return RangeParameterConfig(
        name=hyperparameter.name,
        bounds=(hyperparameter.low, hyperparameter.high),
        parameter_type="int" if hyperparameter.whole else "float",
        scaling="log" if hyperparameter.log else "linear",
    )
