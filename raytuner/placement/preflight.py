"""Check whether a cluster can hold trials, and how many, before any trial waits for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ray.tune import PlacementGroupFactory

from raytuner.controller.capacity import MAX_NEW_NODES, Bundle, capacity, missing, summed
from raytuner.controller.cluster_state import ClusterState, Node, connect, read_cluster
from raytuner.errors import PlacementError, SettingError
from raytuner.placement.gpu_memory import wants_fit, with_gpus
from raytuner.placement.request import (
    ResourceRequest,
    Resources,
    accelerator_of,
    describe,
    describe_amount,
)


@dataclass(frozen=True)
class Preflight:
    """The number of trials that a cluster can hold.

    Attributes:
        request: The resource request of one trial.
        cluster: The cluster.
        slots: Number of trials that fit on the live nodes at once, if nothing else uses them.
        most: The same, including all nodes that the autoscaler may add; None if these are unknown.
        lacks: Why the closest node or type of node is not sufficient; empty if a trial fits on the
            live nodes.
    """

    request: ResourceRequest
    cluster: ClusterState
    slots: int
    most: int | None
    lacks: str

    def require(self) -> None:
        """Check that the cluster can hold a trial, now or later.

        Raises:
            PlacementError: It never will.
        """
        if self.most == 0:
            raise PlacementError(
                f"no node can ever hold a trial's request ({self.request}): {self.lacks}. Request"
                " fewer resources, or add a suitable node"
            )

    def lines(self) -> list[str]:
        """Return the result as lines of text."""
        nodes, types = self.cluster.nodes, self.cluster.node_types
        total = describe(summed(node.total for node in nodes))
        lines = [f"The cluster has {total} on {_count(len(nodes), 'node')}"]
        lines += [f"  {_named(node)}" for node in nodes]
        lines.append(f"A trial asks for {self.request}")
        if types is None:
            lines.append("An autoscaler is running; the nodes that it could add are unknown")
        for kind in types or ():
            limit = "any number" if math.isinf(kind.max_count) else f"up to {kind.max_count:g}"
            lines.append(f"The autoscaler could add {limit} of {_named(kind)}")
        now = f"Room for {_count(self.slots, 'trial')} at once"
        if self.most is not None and self.most > self.slots:
            most = f"{self.most}" if self.most < MAX_NEW_NODES else f"{MAX_NEW_NODES} or more"
            now += f", {most} with the nodes that could be added"
        lines.append(now)
        if self.lacks:
            lines.append(f"No node holds one: {self.lacks}")
        return lines


def check(
    resources: Resources | None = None, *, cluster_file: str | Path | None = None
) -> Preflight:
    """Check how many trials fit on the cluster. Runs nothing on it.

    Connects to Ray like a study, and starts a local cluster if there is none.

    Args:
        resources: The resources of one trial (see `ResourceRequest.of`). None: one CPU.
        cluster_file: The cluster file of `ray up`. Its worker types count as nodes that may be
            added.

    Returns:
        The result. `require()` raises an error if the cluster can never hold a trial.

    Raises:
        SettingError: An argument is invalid, or the resources depend on the configuration.
    """
    if callable(resources) and not isinstance(resources, PlacementGroupFactory):
        raise SettingError(
            "resources is a function of the configuration; check its result for a configuration"
        )
    if wants_fit(resources):
        resources = with_gpus(resources, 1)  # the share is known only after a short run
    request = ResourceRequest.of({"cpu": 1} if resources is None else resources)
    connect()
    return preflight(request, read_cluster(None if cluster_file is None else Path(cluster_file)))


def preflight(request: ResourceRequest, cluster: ClusterState) -> Preflight:
    """Check whether a cluster can hold trials with this request, and how many."""
    slots, most = capacity(request.all_bundles, request.strategy, cluster)
    if slots:
        lacks = ""
    elif most:
        lacks = "the autoscaler has to add nodes first"
    else:
        lacks = _lacks(request, cluster)
    return Preflight(request, cluster, slots, most, lacks)


def _lacks(request: ResourceRequest, cluster: ClusterState) -> str:
    """Return what the nearest node lacks."""
    nodes: Sequence[Node] = [*cluster.nodes, *(cluster.node_types or ())]
    if not nodes:
        return "there is no node at all"
    for bundle in request.all_bundles:
        nearest = min(nodes, key=partial(_distance, bundle))
        lack = missing(bundle, nearest.total)
        if not lack:
            continue
        texts = [
            f"has no accelerator {accelerator}"
            if (accelerator := accelerator_of(name))
            else f"has {describe_amount(name, nearest.total.get(name, 0.0))} of"
            f" {describe_amount(name, bundle[name])}"
            for name in lack
        ]
        hint = ""
        if any(map(accelerator_of, lack)):
            types = {accelerator_of(name) for node in nodes for name in node.total} - {""}
            hint = f"; accelerators there are: {', '.join(sorted(types)) or 'none'}"
        return f"the nearest, {_named(nearest)}, {', '.join(texts)}{hint}"
    return (
        f"each bundle fits on a node, but not all of them together ({request.strategy}) on"
        f" {_count(len(cluster.nodes), 'node')}"
    )


def _distance(bundle: Bundle, node: Node) -> tuple[int, float]:
    """Compare nodes by how many resources they lack, then by how much of these."""
    lack = missing(bundle, node.total)
    return len(lack), sum(amount / bundle[name] for name, amount in lack.items())


def _named(node: Node) -> str:
    return f"{node.name} ({describe(node.total)})"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
