"""NePS by its `AskAndTell`."""

from __future__ import annotations

from typing import Any

from benchmarks.race.method import Contest, Search
from benchmarks.race.peers.ask_tell import Choice, Range, parameters
from benchmarks.race.peers.staged import Pausing, Stage, StagedSearcher

_UNITS = "units of the resource"


def async_hyperband(contest: Contest) -> Search:
    """Asynchronous HyperBand, which NePS advises where no prior is known and workers are many.

    A promoted trial goes on where it paused: NePS hands the folder of its earlier part to it. NePS
    0.17 promotes one in three of those not promoted yet, so that in the end most trials are trained
    in full, and may promote trials that still run; these go on without a pause.
    """
    import neps

    searcher = NepsSearcher(contest, neps.algorithms.async_hb)
    return Search(searcher, Pausing(searcher))


class NepsSearcher(StagedSearcher):
    """Runs a multi-fidelity algorithm of NePS.

    Args:
        contest: The run.
        algorithm: One of `neps.algorithms`.
    """

    def __init__(self, contest: Contest, algorithm: Any) -> None:
        import neps
        import torch

        problem = contest.problem
        super().__init__(problem)
        torch.manual_seed(contest.seed)  # it draws from the global generators
        units = neps.HPOInteger(lower=1, upper=problem.max_t, is_fidelity=True)
        space = {p.name: _hyperparameter(p) for p in parameters(problem.space)}
        self._peer = neps.AskAndTell(algorithm(neps.SearchSpace({**space, _UNITS: units})))

    def ask(self) -> tuple[Stage, dict[str, Any]]:
        """Return a part of a training. NePS names it by configuration and rung: `7_rung_0`."""
        trial = self._peer.ask()
        config = dict(trial.config)
        units = round(config.pop(_UNITS))
        return Stage(trial.id, trial.id.partition("_")[0], units), config

    def tell(self, handle: Stage, loss: float | None) -> None:
        """Tell NePS the loss, or that the trial crashed."""
        failed = RuntimeError("the trial failed")
        self._peer.tell(handle.handle, failed if loss is None else loss)


def _hyperparameter(hyperparameter: Range | Choice) -> Any:
    import neps

    if isinstance(hyperparameter, Choice):
        return neps.HPOCategorical(list(hyperparameter.values))
    make = neps.HPOInteger if hyperparameter.whole else neps.HPOFloat
    return make(lower=hyperparameter.low, upper=hyperparameter.high, log=hyperparameter.log)
