"""How many trials a cluster could run at the same time."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from ray.tune import PlacementGroupFactory

from raytuner.controller import capacity as module
from raytuner.controller.capacity import SlotCounter
from raytuner.controller.cluster_state import Node, NodeType


class FakeCluster:
    """A cluster whose nodes, types and free resources a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.nodes: tuple[Node, ...] = (Node("a", {"CPU": 8.0}),)
        self.types: tuple[NodeType, ...] = ()
        self.free: list[dict[str, float]] = [{"CPU": 8.0}]
        self.request = PlacementGroupFactory([{"CPU": 1.0}])
        self.held = 0
        self.now = 0.0
        monkeypatch.setattr(module, "live_nodes", lambda: self.nodes)
        monkeypatch.setattr(module, "reported_node_types", lambda: self.types)
        monkeypatch.setattr(module, "free_resources", lambda: self.free)
        monkeypatch.setattr("raytuner.controller.capacity.time.monotonic", lambda: self.now)
        self.slots = SlotCounter()

    def look(self) -> int | None:
        self.now += 1.5
        trial = SimpleNamespace(placement_group_factory=self.request)
        return self.slots(
            SimpleNamespace(
                get_trials=lambda: [trial],
                _actor_manager=SimpleNamespace(num_live_actors=self.held),
            )
        )


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    monkeypatch.delenv("TUNE_MAX_PENDING_TRIALS_PG", raising=False)
    return FakeCluster(monkeypatch)


def test_before_the_first_trial_there_is_one_slot(cluster: FakeCluster) -> None:
    assert cluster.slots(SimpleNamespace(get_trials=list)) == 1


def test_what_others_use_is_no_slot(cluster: FakeCluster) -> None:
    cluster.free = [{"CPU": 3.0}]
    assert cluster.look() == 3
    cluster.held, cluster.free = 3, [{}]
    assert cluster.look() == 3
    cluster.free = [{"CPU": 5.0}]  # the others have ended
    assert cluster.look() == 8


def test_what_is_free_counts_on_each_node(cluster: FakeCluster) -> None:
    """The sum of what is left on several nodes holds no trial that needs one node."""
    cluster.nodes = (Node("a", {"CPU": 4.0}),) * 3
    cluster.free = [{"CPU": 2.0}] * 3
    cluster.request = PlacementGroupFactory([{"CPU": 3}])
    assert cluster.look() == 0


def test_resources_that_are_being_given_back_are_still_slots(cluster: FakeCluster) -> None:
    cluster.held, cluster.free = 8, []
    assert cluster.look() == 8
    cluster.held = 5  # three have ended, and Ray has yet to free their resources
    assert cluster.look() == 8


def test_a_node_that_dies(cluster: FakeCluster) -> None:
    cluster.nodes *= 2
    cluster.free *= 2
    assert cluster.look() == 16
    cluster.nodes = cluster.nodes[:1]
    assert cluster.look() == 8


def test_nodes_that_the_autoscaler_may_add_are_slots(cluster: FakeCluster) -> None:
    cluster.types = (NodeType("worker", {"CPU": 8.0}, 5), NodeType("small", {"CPU": 0.5}, 9))
    assert cluster.look() == 40  # one of the five is there
    cluster.types = (NodeType("worker", {"CPU": 8.0}, math.inf),)
    assert cluster.look() == 208


def test_the_users_own_cap_is_respected(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "7")
    assert cluster.look() is None
