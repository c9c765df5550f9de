"""Whether trials can run at all."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from ray import tune
from ray.tune import PlacementGroupFactory

import raytuner
from raytuner.cli import BAD_INPUT, main
from raytuner.controller.cluster_state import ClusterState, Node, NodeType, read_cluster
from raytuner.errors import PlacementError, SettingError
from raytuner.placement import ResourceRequest, preflight
from raytuner.study.resources import RequireRoom, trials_at_once

A100 = Node("10.0.0.1", {"CPU": 16.0, "GPU": 4.0, "accelerator_type:A100": 1.0})
T4 = Node("10.0.0.2", {"CPU": 8.0, "GPU": 1.0, "accelerator_type:T4": 1.0})
SPOT = NodeType("spot", {"CPU": 8.0, "GPU": 1.0, "accelerator_type:T4": 1.0}, 3)


def test_what_there_is_room_for() -> None:
    found = preflight(ResourceRequest.of({"cpu": 2, "gpu": 0.5}), ClusterState((A100, T4)))
    assert (found.slots, found.most, found.lacks) == (10, 10, "")
    found.require()
    text = "\n".join(found.lines())
    assert "24 CPU, 5 GPU A100/T4 on 2 nodes" in text
    assert "10.0.0.2 (8 CPU, 1 GPU T4)" in text
    assert "A trial asks for 2 CPU, 0.5 GPU" in text
    assert "Room for 10 trials at once" in text


NEVER: dict[str, tuple[Any, ClusterState, str]] = {
    "too many GPUs": (
        {"gpu": 8},
        ClusterState((A100, T4)),
        r"8 GPU\): the nearest, 10.0.0.1 \(16 CPU, 4 GPU A100\), has 4 GPU of 8 GPU",
    ),
    "no such type": (
        {"gpu": 1, "accelerator_type": "H100"},
        ClusterState((A100, T4)),
        r"has no accelerator H100; accelerators there are: A100, T4",
    ),
    "no such resource": ({"cpu": 1, "slto": 1}, ClusterState((T4,)), "has 0 slto of 1 slto"),
    "more than the autoscaler has": (
        {"gpu": 2},
        ClusterState((Node("head", {"CPU": 2.0}),), (SPOT,)),
        r"the nearest, spot \(8 CPU, 1 GPU T4\), has 1 GPU of 2 GPU",
    ),
    "not together": (
        {"bundles": [{"gpu": 1}] * 3, "strategy": "STRICT_SPREAD"},
        ClusterState((A100, T4)),
        r"each bundle fits on a node, but not all of them together \(STRICT_SPREAD\) on 2 nodes",
    ),
    "all used up": ({"gpu": 1}, ClusterState((), (NodeType("gpu", {"GPU": 1.0}, 0),)), "no node"),
}


@pytest.mark.parametrize(("asked", "cluster", "says"), NEVER.values(), ids=NEVER)
def test_what_can_never_be(asked: Any, cluster: ClusterState, says: str) -> None:
    found = preflight(ResourceRequest.of(asked), cluster)
    assert (found.slots, found.most) == (0, 0)
    with pytest.raises(PlacementError, match=says):
        found.require()


def test_what_may_come_counts() -> None:
    cluster = ClusterState((Node("head", {"CPU": 2.0}),), (SPOT,))
    found = preflight(ResourceRequest.of({"gpu": 0.5}), cluster)
    assert (found.slots, found.most) == (0, 6)
    found.require()
    assert "up to 3 of spot (8 CPU, 1 GPU T4)" in "\n".join(found.lines())
    assert "6 with the nodes that could be added" in "\n".join(found.lines())
    assert found.lines()[-1] == "No node holds one: the autoscaler has to add nodes first"
    # All workers together are limited too, and those that are there have come already.
    assert preflight(found.request, ClusterState(cluster.nodes, (SPOT,), max_workers=2)).most == 4
    one_is_there = ClusterState((*cluster.nodes, Node("w", SPOT.total)), (SPOT,))
    assert preflight(found.request, one_is_there).most == 6
    no_limit = ClusterState((), (NodeType("gpu", {"GPU": 1.0}, math.inf),))
    assert "1000 or more" in "\n".join(preflight(found.request, no_limit).lines())


def test_an_autoscaler_that_does_not_say_may_have_anything() -> None:
    found = preflight(ResourceRequest.of({"gpu": 8}), ClusterState((T4,), None))
    assert found.most is None
    found.require()
    assert "the nodes that it could add are unknown" in "\n".join(found.lines())


CLUSTER_FILE = """
max_workers: 5
head_node_type: head
available_node_types:
  head: { resources: { CPU: 2 }, node_config: {} }
  gpu: { resources: { CPU: 8, GPU: 1 }, node_config: {}, max_workers: 2 }
  big: { resources: { CPU: 8, GPU: 8 }, node_config: {} }
"""


@pytest.mark.usefixtures("ray_cluster")
def test_a_cluster_that_is_to_be_started(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(CLUSTER_FILE)
    found = raytuner.check({"gpu": 1}, cluster_file=tmp_path / "cluster.yaml")
    assert [(kind.name, kind.max_count) for kind in found.cluster.node_types or ()] == [
        ("gpu", 2),
        ("big", 5),
    ]
    assert (found.slots, found.most) == (0, 40)
    (tmp_path / "cluster.yaml").write_text("[]")
    with pytest.raises(SettingError, match=r"cluster.yaml cannot be read as a Ray cluster file"):
        raytuner.check(cluster_file=tmp_path / "cluster.yaml")
    with pytest.raises(SettingError, match="function of the configuration"):
        raytuner.check(lambda config: {"cpu": 1})


@pytest.mark.usefixtures("ray_cluster")
def test_the_command(tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text("[resources]\ncpu = 0.5\n")
    result = CliRunner().invoke(main, ["check", str(study)])
    assert result.exit_code == 0, result.output
    assert "The cluster has 2 CPU" in result.output
    assert "Room for 4 trials" in result.output
    assert read_cluster().node_types == ()  # no autoscaler, and that is known
    result = CliRunner().invoke(main, ["check", str(study), "--gpus", "2"])
    assert result.exit_code == BAD_INPUT
    assert "no node can ever hold a trial's request (0.5 CPU, 2 GPU)" in result.output


def never(config: dict[str, Any]) -> None:
    raise AssertionError("no trial may start")


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("own", [True, False])
def test_a_study_does_not_wait_for_what_cannot_come(tmp_path: Path, own: bool) -> None:
    asked: dict[str, float] = {"cpu": 1, "gpu": 1}
    with pytest.raises(PlacementError, match=r"1 CPU, 1 GPU\): the nearest, .* has 0 GPU of 1 GPU"):
        raytuner.tune(
            tune.with_resources(never, asked) if own else never,
            {"x": tune.uniform(0, 1)},
            metric="loss",
            mode="min",
            num_samples=1,
            resources=None if own else asked,
            storage_path=tmp_path,
            name="study",
            progress=False,
        )
    assert not (tmp_path / "study").exists()
    assert own == hasattr(never, "_resources")  # nothing of ours is left on the function
    if own:
        del never._resources  # type: ignore[attr-defined]


@pytest.mark.usefixtures("ray_cluster")
def test_nor_for_what_a_configuration_asks_for(tmp_path: Path) -> None:
    with pytest.raises(PlacementError, match=r"0 GPU of 3 GPU.*The configuration: .*'gpus': 3"):
        raytuner.tune(
            never,
            {"gpus": tune.choice([3]), "x": tune.uniform(0, 1)},
            metric="loss",
            mode="min",
            num_samples=1,
            resources=lambda config: {"gpu": config["gpus"]},
            storage_path=tmp_path,
            progress=False,
        )


def test_requests_that_are_alike_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clusters = [ClusterState((T4,)), ClusterState(())]
    monkeypatch.setattr("raytuner.study.resources.read_cluster", lambda: clusters.pop(0))

    numbers = itertools.count()

    def trial(gpus: float, over: bool = False) -> Any:
        request = PlacementGroupFactory([{"GPU": gpus}])
        return SimpleNamespace(
            trial_id=str(next(numbers)),
            placement_group_factory=request,
            config={"n": gpus},
            is_finished=lambda: over,
        )

    known = RequireRoom()
    trials = [trial(1)]
    known.on_step_begin(0, trials)
    trials += [trial(1), trial(9, over=True)]
    known.on_step_begin(1, trials)  # the node is lost; it may come back
    assert len(clusters) == 1
    with pytest.raises(PlacementError, match=r"no node at all.*'n': 2"):
        known.on_step_begin(2, [*trials[1:], trial(2), trials[0]])  # a retry goes to the end


def test_no_more_trials_than_fit_with_their_trainers(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = ClusterState((A100, T4))
    monkeypatch.setattr("raytuner.study.resources.read_cluster", lambda: cluster)
    asked = {"cpu": 1, "trainer": {"workers": 2, "gpu": 1}}
    assert trials_at_once(asked, None) == 2  # of 5 GPUs
    assert trials_at_once(asked, 1) == 1
    assert trials_at_once({"cpu": 1}, None) is None  # no trainer: as many as there are slots
    assert trials_at_once(None, 7) == trials_at_once(lambda config: asked, 7) == 7
    with pytest.raises(PlacementError, match="has 4 GPU of 8 GPU"):
        trials_at_once({"cpu": 1, "trainer": {"workers": 1, "gpu": 8}}, None)
    cluster = ClusterState((T4,), (SPOT,))
    assert trials_at_once(asked, None) == 1
    cluster = ClusterState((T4,), None)
    assert trials_at_once(asked, 3) == 3
    with pytest.raises(SettingError, match="set max_concurrent_trials"):
        trials_at_once(asked, None)
