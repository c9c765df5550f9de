"""Peers that learn from earlier studies: what they are told, and those that are installed."""

from __future__ import annotations

import os
from itertools import cycle
from typing import Any

import pytest
from tiny import EPOCHS, tiny_problem

from benchmarks.knowledge import Function, incumbents, random_task
from benchmarks.race.method import Contest
from benchmarks.transfer_peers import HUB_VARIABLE, PEERS, Studies, searches
from raytuner.space import Float, Space

FUNCTION = Function(Space({"x": Float(0, 1)}), lambda config: (config["x"] - 0.3) ** 2)
TASKS = [random_task(FUNCTION, name, 0) for name in ("0", "1")]


class Remembering:
    """Suggests the best of each study in turn."""

    def __init__(self, contest: Contest, studies: Studies) -> None:
        self.contest, self.studies = contest, studies
        self._best = cycle(float(study["x"][study["loss"].idxmin()]) for study in studies)
        self.suggested: dict[str, dict[str, float]] = {}
        self.told: dict[str, dict[str, Any]] = {}

    def suggest(self, trial_id: str) -> dict[str, float]:
        self.suggested[trial_id] = {"x": next(self._best)}
        return self.suggested[trial_id]

    def on_trial_complete(self, trial_id: str, result: dict[str, Any]) -> None:
        assert trial_id not in self.told
        self.told[trial_id] = result


def test_a_peer_knows_the_earlier_studies_and_is_told_once_of_each_trial_that_ended() -> None:
    made = list[Remembering]()

    def make(contest: Contest, studies: Studies) -> Remembering:
        made.append(Remembering(contest, studies))
        return made[-1]

    search = searches({"remembering": make}, tiny_problem(), TASKS)["remembering"]
    losses = incumbents(FUNCTION, search(3), 6, seed=0)
    (peer,) = made
    assert (peer.contest.seed, peer.contest.problem.metric) == (3, "loss")
    for study in peer.studies:
        assert list(study.columns) == ["x", "loss"]
        assert study["loss"].to_list() == pytest.approx([(x - 0.3) ** 2 for x in study["x"]])
    assert losses[1] == pytest.approx(min(study["loss"].min() for study in peer.studies))
    assert list(peer.suggested) == ["0", "1", "2", "3", "4", "5"]
    assert len(peer.told) == 2  # four of six are pending when the last is suggested
    for trial_id, result in peer.told.items():
        loss = FUNCTION.loss(peer.suggested[trial_id])
        assert result == {"loss": pytest.approx(loss), "training_iteration": EPOCHS}


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_that_is_installed_searches(name: str) -> None:
    if name.startswith("Syne Tune"):
        pytest.importorskip("syne_tune")
    else:
        pytest.importorskip("optunahub")
        if HUB_VARIABLE not in os.environ:
            pytest.skip(f"{HUB_VARIABLE} does not name a clone of Optuna Hub's registry")
    search = searches(PEERS, tiny_problem(), TASKS)[name]
    first, again = (incumbents(FUNCTION, search(1), 12, seed=0) for _ in range(2))
    assert (first == again).all()
    assert first[-1] < 0.01
