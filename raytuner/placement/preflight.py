"""Whether trials can run at all, and how many at once, before any waits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ray.tune import PlacementGroupFactory

from raytuner.controller.packing import Bundle, fits, missing
from raytuner.errors import PlacementError, SettingError
from raytuner.placement.cluster import Cluster, Node, NodeType, connect, described, look
from raytuner.placement.gpu_memory import wants_fit, with_gpus
from raytuner.placement.request import ACCELERATOR, Request, Resources, amount_of

_NO_LIMIT = 1000  # nodes that are taken to come where nothing limits them


@dataclass(frozen=True)
class Preflight:
    """What came of a look at a cluster for a request.

    Attributes:
        request: What one trial asks for.
        cluster: What there is.
        slots: Trials that the nodes hold at once, if nobody else uses them.
        most: Trials at once with all that the autoscaler may add; None if it does not say what
            it has.
        lacks: Why the nearest node, or kind of node, does not do; empty if trials fit.
    """

    request: Request
    cluster: Cluster
    slots: int
    most: int | None
    lacks: str

    @property
    def never(self) -> bool:
        """Whether nothing that is there, or may come, holds one trial."""
        return self.most == 0

    def require(self) -> None:
        """Go on only if a trial can be placed some day.

        Raises:
            PlacementError: None ever can.
        """
        if self.never:
            raise PlacementError(
                f"no node can ever hold a trial's request ({self.request}): {self.lacks}. Ask for"
                " less in resources, or add such a node"
            )

    def lines(self) -> list[str]:
        """What a person wants to know, a line each."""
        lines = [f"The cluster has {described(self.cluster.total)} on {_nodes(self.cluster.nodes)}"]
        lines += [f"  {node}" for node in self.cluster.nodes]
        lines.append(f"A trial asks for {self.request}")
        if self.cluster.types is None:
            lines.append("An autoscaler runs; from here it is not known what it could add")
        for kind in self.cluster.types or ():
            count = "any number" if math.isinf(kind.most) else f"up to {kind.most:g}"
            lines.append(f"The autoscaler could add {count} of {kind}")
        now = f"At once there is room for {_trials(self.slots)}"
        if self.most is not None and self.most > self.slots:
            most = f"{self.most}" if self.most < _NO_LIMIT else f"{_NO_LIMIT} or more"
            now += f", with the nodes that could be added for {most}"
        lines.append(now)
        if self.slots == 0 and self.lacks:
            lines.append(f"No node holds one: {self.lacks}")
        return lines


def check(
    resources: Resources | None = None, *, cluster_file: str | Path | None = None
) -> Preflight:
    """Look what the cluster is, and whether and how often a trial fits. Nothing is started on it.

    Connects to Ray as a study does, and starts a local one if there is none.

    Args:
        resources: What one trial needs (:meth:`Request.of`); None: one CPU.
        cluster_file: The file the cluster was, or is to be, started from with `ray up`: its worker
            types count as what may come.

    Raises:
        SettingError: Bad input; or ``resources`` depend on the configuration.
    """
    if callable(resources) and not isinstance(resources, PlacementGroupFactory):
        raise SettingError(
            "resources are a function of the configuration; check what it returns for one"
        )
    if wants_fit(resources):
        resources = with_gpus(resources, 1)  # at least: the share comes from a short run
    request = Request.of({"cpu": 1} if resources is None else resources)
    connect()
    return preflight(request, look(None if cluster_file is None else Path(cluster_file)))


def preflight(request: Request, cluster: Cluster) -> Preflight:
    """Look whether a cluster holds trials with this request, and how many.

    Args:
        request: What one trial asks for.
        cluster: What there is (:func:`raytuner.placement.cluster.look`).
    """
    there = [node.total for node in cluster.nodes]
    bundles = (*request.bundles, *request.trainer)
    slots = fits(bundles, request.strategy, there)
    most: int | None = None
    if cluster.types is not None:
        to_come = [
            kind.total
            for kind in cluster.types
            for _ in range(int(min(_left(kind, cluster), cluster.workers, _NO_LIMIT)))
        ]
        # Which of them come is the autoscaler's choice: those that hold the most.
        to_come.sort(key=lambda total: -fits(bundles, request.strategy, [total]))
        several = sum(map(bool, bundles)) > 1
        limit = len(to_come) if several else int(min(cluster.workers, _NO_LIMIT))
        most = fits(bundles, request.strategy, there + to_come[:limit])
        most = max(slots, min(most, slots + 10 * _NO_LIMIT))
    return Preflight(request, cluster, slots, most, "" if slots else _lacks(request, cluster))


def _left(kind: NodeType, cluster: Cluster) -> float:
    """How many more of a kind may come: nodes that are as it is said to be are taken for such."""
    there = sum(
        all(node.total.get(name) == amount for name, amount in kind.total.items())
        for node in cluster.nodes
    )
    return max(kind.most - there, 0)


def _lacks(request: Request, cluster: Cluster) -> str:
    """What is wrong with the nearest node."""
    places: Sequence[Node | NodeType] = [*cluster.nodes, *(cluster.types or ())]
    if not places:
        return "there is no node at all"
    for bundle in (*request.bundles, *request.trainer):
        nearest = min(places, key=partial(_distance, bundle))
        lack = missing(bundle, nearest.total)
        if lack:
            short = ", ".join(
                f"has no {amount_of(name, 1)}"
                if name.startswith(ACCELERATOR)
                else f"has {amount_of(name, nearest.total.get(name, 0.0))} of"
                f" {amount_of(name, bundle[name])}"
                for name in lack
            )
            types = sorted(
                {
                    name.removeprefix(ACCELERATOR)
                    for place in places
                    for name in place.total
                    if name.startswith(ACCELERATOR)
                }
            )
            hint = ""
            if any(name.startswith(ACCELERATOR) for name in lack):
                hint = f"; accelerators there are: {', '.join(types) or 'none'}"
            return f"the nearest, {nearest}, {short}{hint}"
    return (
        f"each bundle fits on a node, but not all of them together ({request.strategy}) on"
        f" {_nodes(cluster.nodes)}"
    )


def _distance(bundle: Bundle, place: Node | NodeType) -> tuple[int, float]:
    """The fewest names that it is short of come first, then the smallest share."""
    lack = missing(bundle, place.total)
    return len(lack), sum(amount / bundle[name] for name, amount in lack.items())


def _nodes(nodes: Sequence[Node]) -> str:
    return f"{len(nodes)} node{'' if len(nodes) == 1 else 's'}"


def _trials(count: int) -> str:
    return f"{count} trial{'' if count == 1 else 's'}"
