"""The nodes of the connected cluster, and those that its autoscaler may add."""

from __future__ import annotations

import json
import logging
import math
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray

# Private: the file that names the cluster which `ray start` began last.
from ray._common.utils import get_ray_address_file

# Private: what `ray status` prints; nothing public says whether an autoscaler of version 1 runs.
from ray.experimental.internal_kv import _internal_kv_get

from raytuner.errors import SettingError

_ON_HEAD = Path("~/ray_bootstrap_config.yaml")  # `ray up` puts the cluster file here on the head
_OF_EACH_NODE = ("node:", "object_store_memory")  # resources that nobody asks for
_ANSWER_S = 10.0  # seconds that a cluster has to accept a connection
_RAY: Any = ray  # Ray's types are incomplete


@dataclass(frozen=True)
class Node:
    """A live node: its address, its resources by Ray's names, and its labels."""

    name: str
    total: Mapping[str, float]
    labels: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    @property
    def kind(self) -> str:
        """The node type's name in the cluster file or the worker group's; empty if unknown."""
        return self.labels.get("ray.io/node-group", "")


@dataclass(frozen=True)
class NodeType(Node):
    """A type of node that the autoscaler may add, by the type's name.

    There may be up to `max_count` of them; any number by default.
    """

    max_count: float = math.inf


@dataclass(frozen=True)
class ClusterState:
    """The nodes of a cluster.

    Attributes:
        nodes: The live nodes.
        node_types: What the autoscaler may add; None if one runs and does not say what it has.
        max_workers: How many worker nodes it keeps at most, over all types.
    """

    nodes: tuple[Node, ...]
    node_types: tuple[NodeType, ...] | None = ()
    max_workers: float = math.inf


def connect() -> None:
    """Connect to Ray by its own rules (`RAY_ADDRESS`); start a local cluster if there is none.

    Raises:
        SettingError: The address that Ray would use does not answer. Ray would wait for ever.
    """
    if ray.is_initialized():
        return
    address = given = os.environ.get("RAY_ADDRESS", "").removeprefix("auto")  # "auto": the file's
    file = Path(get_ray_address_file(None))
    if not given and file.exists():
        address = file.read_text().strip()
    host, _, port = address.rpartition(":")
    if "/" not in host and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()
        except OSError as error:
            origin, way = ("RAY_ADDRESS", "unset it") if given else (file, "delete that file")
            raise SettingError(
                f"no Ray cluster answers at {address} ({error}). The address comes from {origin}."
                f" Start the cluster, or {way} to start a local one"
            ) from error
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


def read_cluster(cluster_file: Path | None = None) -> ClusterState:
    """Return the state of the cluster that Ray is connected to.

    It has the node types of an autoscaler of version 2 (KubeRay's), and of one that `ray up`
    started if this runs on the head node.

    Args:
        cluster_file: A file for `ray up`, whose worker types count in place of the autoscaler's.

    Raises:
        SettingError: The file cannot be read.
    """
    nodes = live_nodes()
    if cluster_file is not None:
        return ClusterState(nodes, *_worker_types(cluster_file))
    if types := reported_node_types():
        return ClusterState(nodes, types)
    if not _has_autoscaler():
        return ClusterState(nodes)
    if (on_head := _ON_HEAD.expanduser()).is_file():
        return ClusterState(nodes, *_worker_types(on_head))
    return ClusterState(nodes, node_types=None)


def live_nodes() -> tuple[Node, ...]:
    """Return the live nodes."""
    return tuple(
        Node(node["NodeManagerAddress"], _requestable(node["Resources"]), labels=node["Labels"])
        for node in _RAY.nodes()
        if node["Alive"]
    )


def free_resources() -> list[Mapping[str, float]]:
    """Return what is free on each live node; it may lag behind."""
    # Private: the public `ray.available_resources` adds up all nodes.
    return [*_RAY._private.state.available_resources_per_node().values()]


def reported_node_types() -> tuple[NodeType, ...]:
    """Return the node types of an autoscaler of version 2; empty if none runs."""
    # Private: nothing public says what an autoscaler may add. Ray's own libraries read this too.
    config = _RAY._private.state.state.get_cluster_config()
    return tuple(
        NodeType(
            group.name,
            _requestable(group.resources),
            math.inf if group.max_count < 0 else group.max_count,
        )
        for group in (() if config is None else config.node_group_configs)
    )


def _has_autoscaler() -> bool:
    """Return whether an autoscaler of version 1 may add nodes.

    Each head node has a monitor that reports as one. Without a cluster file, it calls every node a
    type of its own.
    """
    text = _internal_kv_get("__autoscaling_status")
    report = (json.loads(text) if text else {}).get("autoscaler_report") or {}
    return any(not name.startswith("node_") for name in report.get("active_nodes") or {})


def _worker_types(path: Path) -> tuple[tuple[NodeType, ...], float]:
    """Return the worker types of a cluster file, and how many workers it allows."""
    import yaml  # a dependency of Ray

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        limit = float(content.get("max_workers", math.inf))
        types = tuple(
            NodeType(
                name,
                _requestable(kind.get("resources") or {}),
                float(kind.get("max_workers", limit)),
            )
            for name, kind in content["available_node_types"].items()
            if name != content.get("head_node_type")
        )
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise SettingError(
            f"{path} cannot be read as a Ray cluster file: {type(error).__name__}: {error}"
        ) from error
    return types, limit


def _requestable(resources: Mapping[str, float]) -> dict[str, float]:
    return {name: float(n) for name, n in resources.items() if not name.startswith(_OF_EACH_NODE)}
