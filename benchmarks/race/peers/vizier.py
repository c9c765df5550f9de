"""Google Vizier by its designers, without its service."""

from __future__ import annotations

import os
from typing import Any

from benchmarks.race.method import Contest
from benchmarks.race.peers.ask_tell import AskTell, Choice, Range, parameters

_METRIC = "loss"


class VizierSearcher(AskTell):
    """Vizier's default, GP-UCB-PE: a Gaussian process that knows which trials are running."""

    def __init__(self, contest: Contest) -> None:
        # Read when JAX is imported. One thread, as everywhere in the race.
        os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
        import jax
        from vizier import pyvizier

        # The public module imports all designers, some of which need more packages.
        from vizier._src.algorithms.designers.gp_ucb_pe import VizierGPUCBPEBandit

        jax.config.update("jax_enable_x64", True)  # as Vizier's service does
        super().__init__(contest.problem)
        statement = pyvizier.ProblemStatement()
        for parameter in parameters(contest.problem.space):
            _add(statement.search_space.root, parameter)
        statement.metric_information.append(
            pyvizier.MetricInformation(_METRIC, goal=pyvizier.ObjectiveMetricGoal.MINIMIZE)
        )
        self._designer = VizierGPUCBPEBandit(statement, rng=jax.random.PRNGKey(contest.seed))
        self._count = 0
        self._active: dict[int, Any] = {}
        self._completed: list[Any] = []  # since it was last asked

    def ask(self) -> tuple[Any, dict[str, Any]]:
        """Report what has changed, and return the next trial."""
        from vizier import algorithms

        self._designer.update(
            algorithms.CompletedTrials(self._completed),
            algorithms.ActiveTrials(list(self._active.values())),
        )
        self._completed = []
        (suggestion,) = self._designer.suggest(1)
        self._count += 1
        trial = self._active[self._count] = suggestion.to_trial(self._count)
        return self._count, dict(trial.parameters.as_dict())

    def tell(self, handle: Any, loss: float | None) -> None:
        """Complete the trial; mark it infeasible if it failed."""
        from vizier import pyvizier

        trial = self._active.pop(handle)
        if loss is None:
            trial.complete(pyvizier.Measurement(), infeasibility_reason="it failed")
        else:
            trial.complete(pyvizier.Measurement({_METRIC: loss}))
        self._completed.append(trial)


def _add(root: Any, hyperparameter: Range | Choice) -> None:
    from vizier import pyvizier

    if isinstance(hyperparameter, Choice):
        root.add_categorical_param(hyperparameter.name, list(hyperparameter.values))
        return
    add = root.add_int_param if hyperparameter.whole else root.add_float_param
    scale = pyvizier.ScaleType.LOG if hyperparameter.log else pyvizier.ScaleType.LINEAR
    add(hyperparameter.name, hyperparameter.low, hyperparameter.high, scale_type=scale)
