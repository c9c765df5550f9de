"""Peers that learn from earlier studies, in the search of `benchmarks.knowledge`.

Syne Tune 0.16 has two more that cannot be run here. Its `ZeroShotTransfer` needs earlier studies of
the same configurations (`use_surrogates` fails in its constructor), and what it then chooses is
never suggested. `RUSHScheduler` is no more than a name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from benchmarks.problem import Problem
from benchmarks.race.method import Contest
from benchmarks.race.peers.syne_tune import SyneSearcher, domains
from benchmarks.race.runs import seed_everything
from raytuner.bayes.proposer import Proposal
from raytuner.bayes.transfer import Task
from raytuner.history import Origin, Snapshot
from raytuner.search.tune_space import space_from_tune

HUB_VARIABLE = "RAYTUNER_OPTUNAHUB"

Studies = Sequence[pd.DataFrame]  # of each trial the configuration and, last, the loss
MakePeer = Callable[[Contest, Studies], Any]


class SearcherProposer:
    """A Ray Tune searcher as a proposer that learns from fully trained trials.

    Args:
        searcher: The searcher.
        problem: What it searches.
    """

    def __init__(self, searcher: Any, problem: Problem) -> None:
        self._searcher = searcher
        self._problem = problem
        self._told: set[str] = set()
        self._trials = 0

    def tell(self, snapshot: Snapshot) -> None:
        """Tell the searcher of the trials that have ended since the last time."""
        self._trials = len(snapshot.trial_ids)
        for row, y in zip(snapshot.trial[snapshot.final], snapshot.y[snapshot.final], strict=True):
            trial_id = snapshot.trial_ids[row]
            if trial_id not in self._told:
                self._told.add(trial_id)
                result = {self._problem.metric: -float(y)}
                result["training_iteration"] = self._problem.max_t
                self._searcher.on_trial_complete(trial_id, result)

    def ask(self, n: int) -> list[Proposal]:
        """Propose what the searcher suggests for the next `n` trials, whose ids are numbers."""
        ids = [str(self._trials + i) for i in range(n)]
        return [Proposal(self._searcher.suggest(i), Origin.SEARCHER) for i in ids]

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the benchmark's searches are not interrupted."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `state_dict`."""


def searches(
    peers: Mapping[str, MakePeer], problem: Problem, tasks: Sequence[Task]
) -> dict[str, Callable[[int], SearcherProposer]]:
    """Return the peers' ways to search, by name.

    Args:
        peers: The peers.
        problem: What they search, minimising "loss".
        tasks: Earlier studies.
    """
    problem = replace(problem, metric="loss", mode="min", best=0.0, median=1.0)
    space = space_from_tune(problem.space)
    studies = [
        pd.DataFrame(space.decode(task.snapshot.points)).assign(loss=-task.snapshot.y)
        for task in tasks
    ]

    def search(make: MakePeer, seed: int) -> SearcherProposer:
        seed_everything(seed)
        contest = Contest(problem, seed, workers=4, budget=1.0)  # peers read no budget
        return SearcherProposer(make(contest, studies), problem)

    return {name: partial(search, make) for name, make in peers.items()}


def meta_learning_tpe(**settings: Any) -> MakePeer:
    """TPE of Optuna Hub that mixes the densities of all studies by how alike they are."""

    def make(contest: Contest, studies: Studies) -> Any:
        import optuna
        import optunahub
        from ray.tune.search.optuna import OptunaSearch

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        space = OptunaSearch.convert_search_space(dict(contest.problem.space))
        sources = []
        for study in studies:
            source = optuna.create_study()
            for *values, loss in study.itertuples(index=False):
                config = dict(zip(study.columns, values, strict=False))
                source.add_trial(
                    optuna.create_trial(params=config, distributions=space, value=loss)
                )
            sources.append(source)
        registry = os.path.join(os.environ.get(HUB_VARIABLE, "optunahub-registry"), "package")
        hub = optunahub.load_local_module("samplers/meta_learn_tpe", registry_root=registry)
        sampler = hub.MetaLearnTPESampler(source_studies=sources, seed=contest.seed, **settings)
        return OptunaSearch(space, contest.problem.metric, contest.problem.mode, sampler=sampler)

    return make


def bounding_box(baseline: str) -> MakePeer:
    """A baseline of Syne Tune's in the smallest box around the best of each study."""

    def make(contest: Contest, studies: Studies) -> Any:
        from syne_tune.optimizer import baselines
        from syne_tune.optimizer.schedulers.transfer_learning.bounding_box import BoundingBox

        def inside(space: Any, metric: str, do_minimize: bool, seed: int) -> Any:
            metrics = [metric] if baseline == "RandomSearch" else metric
            return getattr(baselines, baseline)(space, metrics, do_minimize, random_seed=seed)

        given = _given(contest, studies)
        metric = contest.problem.metric
        box = BoundingBox(inside, metric=metric, random_seed=contest.seed, **given)
        return SyneSearcher(contest, box)

    return make


def quantiles(contest: Contest, studies: Studies) -> Any:
    """Syne Tune's Thompson samples of a model of all studies' quantiles."""
    from syne_tune.optimizer.schedulers.single_objective_scheduler import SingleObjectiveScheduler
    from syne_tune.optimizer.schedulers.transfer_learning.quantile_based import (
        quantile_based_searcher as quantile_based,
    )

    given = _given(contest, studies)
    searcher = quantile_based.QuantileBasedSurrogateSearcher(random_seed=contest.seed, **given)
    space, metric = given["config_space"], contest.problem.metric
    return SyneSearcher(contest, SingleObjectiveScheduler(space, metric, searcher=searcher))


def _given(contest: Contest, studies: Studies) -> dict[str, Any]:
    """The space and the earlier studies as Syne Tune takes them."""
    from syne_tune.optimizer.schedulers.transfer_learning import (
        transfer_learning_task_evaluation as evaluation,
    )

    space = domains(contest.problem.space)
    evaluations = {
        str(number): evaluation.TransferLearningTaskEvaluations(
            space, study[list(space)], ["loss"], study[["loss"]].to_numpy()[:, None, None]
        )
        for number, study in enumerate(studies)
    }
    return {"config_space": space, "transfer_learning_evaluations": evaluations}


PEERS: dict[str, MakePeer] = {
    "Optuna Hub, meta-learning TPE": meta_learning_tpe(),
    "the same, after 3 random trials instead of 10": meta_learning_tpe(n_startup_trials=3),
    "Syne Tune, bounding box and random search": bounding_box("RandomSearch"),
    "Syne Tune, bounding box and BoTorch": bounding_box("BOTorch"),
    "Syne Tune, quantile-based surrogate": quantiles,
}
