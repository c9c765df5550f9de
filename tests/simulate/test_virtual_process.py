"""A searcher that thinks in a process of its own, on the virtual clock."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from ray import tune

from raytuner.bayes import SobolProposer
from raytuner.bayes.proposer import Proposal
from raytuner.history import Origin
from raytuner.search.botorch_search import BoTorchSearch
from raytuner.simulate import Cluster, Curve, Settings, Simulation, simulate

_THINKS_S = 30.0
NOW = [0.0]
"""The real clock, which goes on only while a `Slow` thinks."""


@pytest.fixture(autouse=True)
def _begin() -> None:
    NOW[0] = 0.0


class Slow(SobolProposer):
    """Takes half a minute for each proposal."""

    def ask(self, n: int) -> list[Proposal]:
        NOW[0] += _THINKS_S * n
        return [Proposal(proposal.config, Origin.BAYES) for proposal in super().ask(n)]


def objective(config: dict[str, Any]) -> Curve:
    return Curve([{"loss": config["x"]}] * 3, seconds=20 + 20 * config["x"])


def run(
    charge: Literal["none", "inline", "background"], *, background: bool = True, **settings: Any
) -> tuple[Simulation, BoTorchSearch]:
    search = BoTorchSearch(seed=0, background=background, proposer=Slow)
    simulation = simulate(
        objective,
        {"x": tune.uniform(0, 1)},
        searcher=search,
        metric="loss",
        mode="min",
        num_samples=40,
        cluster=Cluster(workers=8, startup_s=1.0),
        settings=Settings(charge=charge, timer=lambda: NOW[0], **settings),
        seed=0,
    )
    return simulation, search


def until_the_last_start(simulation: Simulation) -> float:
    starts = [t.started_at for t in simulation.trials if t.started_at is not None]
    return simulation.utilisation(end_s=max(starts))


def test_no_worker_waits_for_it_and_proposals_grow_stale() -> None:
    simulation, search = run("background")
    assert len(simulation.trials) == 40
    assert until_the_last_start(simulation) > 0.95  # each start takes 1 s of about 90
    counts = search.proposal_counts
    assert counts["stale"] + counts["fallback"] > 0
    assert sum(counts.values()) == 40
    assert NOW[0] <= simulation.end_s + 8 * _THINKS_S  # it thinks no faster than the clock goes


def test_inside_suggest_the_loop_stands_still_meanwhile() -> None:
    inline, search = run("inline")  # which has no process to think in, then
    assert not search.background
    assert until_the_last_start(inline) < 0.7
    assert search.proposal_counts["stale"] == search.proposal_counts["fallback"] == 0
    background, _ = run("background")
    assert background.end_s < inline.end_s


def test_free_of_charge_it_is_as_if_computed_inside() -> None:
    one, _ = run("none")
    other, _ = run("none", background=False)
    assert [trial.config for trial in one.trials] == [trial.config for trial in other.trials]


def test_all_workers_have_a_trial_at_once_and_one_more_is_ready() -> None:
    simulation, _ = run("none")
    assert sum(trial.proposed_at == 0.0 for trial in simulation.trials) == 9
