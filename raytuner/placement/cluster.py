"""What a Ray cluster has, and what its autoscaler could add."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from raytuner.controller.packing import summed
from raytuner.errors import SettingError
from raytuner.placement.request import ACCELERATOR, amount_of

# `ray up` puts the cluster file here on the head node, with what it found out itself filled in.
_ON_THE_HEAD = Path("~/ray_bootstrap_config.yaml")
# Resources that each node has of its own and nobody asks for.
_ITS_OWN = ("node:", "object_store_memory")


@dataclass(frozen=True)
class Node:
    """A node that is there.

    Attributes:
        name: Its address.
        total: What it has, by Ray's names.
    """

    name: str
    total: Mapping[str, float]

    def __str__(self) -> str:
        return f"{self.name} ({described(self.total)})"


@dataclass(frozen=True)
class NodeType:
    """A kind of node that the autoscaler may add.

    Attributes:
        name: Its name in the cluster's file.
        total: What one such node has, by Ray's names.
        most: At most so many of them; infinite where there is no limit.
    """

    name: str
    total: Mapping[str, float]
    most: float

    def __str__(self) -> str:
        return f"{self.name} ({described(self.total)})"


@dataclass(frozen=True)
class Cluster:
    """What there is, and what may come.

    Attributes:
        nodes: The nodes that are alive.
        types: What the autoscaler may add. None: an autoscaler runs, and does not say what it has.
        workers: How many worker nodes it keeps at most, over all types.
    """

    nodes: tuple[Node, ...]
    types: tuple[NodeType, ...] | None = ()
    workers: float = math.inf

    @property
    def total(self) -> dict[str, float]:
        """What all nodes have together."""
        return summed(node.total for node in self.nodes)


def connect() -> None:
    """Connect to Ray by its own rules (``RAY_ADDRESS``); start a local one if there is none."""
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


def nodes() -> tuple[Node, ...]:
    """The nodes that are alive."""
    ask: Any = ray
    return tuple(
        Node(node["NodeManagerAddress"], _plain(node["Resources"]))
        for node in ask.nodes()
        if node["Alive"]
    )


def look(cluster_file: Path | None = None) -> Cluster:
    """The cluster that Ray is connected to.

    What its autoscaler may add is known of autoscalers of version 2 (KubeRay's), and of those that
    `ray up` started where this runs on the head node.

    Args:
        cluster_file: The file the cluster was, or is to be, started from with `ray up`: its worker
            types count as what may come.

    Raises:
        SettingError: The file cannot be read.
    """
    there = nodes()
    if cluster_file is not None:
        return Cluster(there, *_types_in(cluster_file))
    ask: Any = ray  # its types are incomplete
    # Ray's own libraries ask this too; None unless an autoscaler of version 2 runs.
    known = ask._private.state.state.get_cluster_config()
    if known is not None and known.node_group_configs:
        types = tuple(
            NodeType(
                group.name,
                _plain(group.resources),
                math.inf if group.max_count < 0 else group.max_count,
            )
            for group in known.node_group_configs
        )
        return Cluster(there, types)
    if not _has_autoscaler():
        return Cluster(there)
    on_the_head = _ON_THE_HEAD.expanduser()
    if on_the_head.is_file():
        return Cluster(there, *_types_in(on_the_head))
    return Cluster(there, None)


def described(total: Mapping[str, float]) -> str:
    """A node's resources in words.

    >>> described({"CPU": 8.0, "GPU": 1.0, "accelerator_type:T4": 1.0, "memory": 32 * 2**30})
    '8 CPU, 1 GPU T4, 32 GiB memory'
    """
    types = [name.removeprefix(ACCELERATOR) for name in total if name.startswith(ACCELERATOR)]
    first = {name: total[name] for name in ("CPU", "GPU", "memory") if name in total}
    rest = {n: a for n, a in total.items() if n not in first and not n.startswith(ACCELERATOR)}
    words = []
    for name, amount in {**first, **rest}.items():
        word = amount_of(name, amount)
        words.append(f"{word} {'/'.join(types)}" if name == "GPU" and types else word)
    if types and "GPU" not in first:
        words.append("/".join(types))
    return ", ".join(words) or "nothing"


def _plain(resources: Mapping[str, float]) -> dict[str, float]:
    return {name: float(n) for name, n in resources.items() if not name.startswith(_ITS_OWN)}


def _has_autoscaler() -> bool:
    """Whether an autoscaler of version 1 runs that may add nodes.

    Each head node has a monitor that reports as one; without a cluster file, it calls each node a
    type of its own.
    """
    from ray.experimental.internal_kv import _internal_kv_get

    text = _internal_kv_get("__autoscaling_status")
    report = (json.loads(text) if text else {}).get("autoscaler_report") or {}
    return any(not name.startswith("node_") for name in report.get("active_nodes") or {})


def _types_in(path: Path) -> tuple[tuple[NodeType, ...], float]:
    """The worker types of a cluster file, and how many workers it allows."""
    import yaml  # Ray's own dependency

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        head = content.get("head_node_type")
        limit = float(content.get("max_workers", math.inf))
        types = tuple(
            NodeType(
                name, _plain(kind.get("resources") or {}), float(kind.get("max_workers", limit))
            )
            for name, kind in content["available_node_types"].items()
            if name != head
        )
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise SettingError(
            f"{path} cannot be read as a cluster file of Ray's: {type(error).__name__}: {error}"
        ) from error
    return types, limit
