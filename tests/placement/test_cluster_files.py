"""The cluster files of the project: by Ray's own schema, and by the clouds' names for the rest."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from cluster_schemas import NODE, PROVIDER, RAY_JOB
from ray.autoscaler._private.kuberay.autoscaling_config import (
    _derive_autoscaling_config_from_ray_cr as from_kuberay,
)
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.util import accelerators

from raytuner.controller.cluster_state import ClusterState, _worker_types
from raytuner.placement import ResourceRequest, preflight

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "cluster.yaml", ROOT / "docs/clusters/gcp.yaml"]
RAY_JOB_FILE = ROOT / "docs/clusters/rayjob.yaml"
# What the machines have, from the clouds' pages on them: CPUs, and the GPU's name in Ray.
MACHINES = {
    "m6i.large": (2, None),
    "g5.2xlarge": (8, "A10G"),
    "n2-standard-2": (2, None),
    "g2-standard-8": (8, "L4"),
}


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def check(content: dict[str, Any]) -> None:
    """All that is known of a cluster file for `ray up`.

    Raises:
        jsonschema.ValidationError, ValueError: Something in it is wrong.
    """
    provider = content["provider"]
    jsonschema.validate(provider, PROVIDER[provider["type"]])
    for kind in content["available_node_types"].values():
        jsonschema.validate(kind["node_config"], NODE[provider["type"]])
    validate_config(prepare_config(copy.deepcopy(content)))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_ray_and_the_cloud_take_it(path: Path) -> None:
    content = read(path)
    check(content)
    kinds = content["available_node_types"]
    assert content["head_node_type"] == "head"
    for name, kind in kinds.items():
        node = kind["node_config"]
        cpus, gpu = MACHINES[node.get("InstanceType") or node["machineType"]]
        if name == "head":  # nothing is paid for at rest but the head, which has no GPU
            assert gpu is None
            assert kind["resources"] == {"CPU": 0}
            continue
        assert kind["resources"] == {"CPU": cpus, "GPU": 1, f"accelerator_type:{gpu}": 1}
        assert gpu in vars(accelerators).values()
        assert kind["min_workers"] == 0
        spot = node.get("InstanceMarketOptions", node.get("scheduling"))
        assert "spot" in str(spot).lower()
    mounts = [(path.parent / here).resolve() for here in content["file_mounts"].values()]
    assert mounts == [ROOT]
    text = path.read_text()
    assert "/mnt/results" in text
    assert re.search(r"pip install .*-c ~/raytuner/constraints.txt .*~/raytuner", text)
    # A trial that wants a GPU makes it grow from nothing, to all that it allows.
    types, limit = _worker_types(path)
    found = preflight(ResourceRequest.of({"cpu": 4, "gpu": 0.5}), ClusterState((), types, limit))
    assert (found.slots, found.most) == (0, 16)


SLIPS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "in the provider": lambda c: c["provider"].update(cache_stoped_nodes=True),
    "no region": lambda c: c["provider"].pop("region"),
    "a region of another cloud": lambda c: c["provider"].update(region="the west"),
    "in a node": lambda c: c["available_node_types"]["gpu"]["node_config"].update(Spot=True),
    "a machine": lambda c: [
        kind["node_config"].update(InstanceType="big", machineType="big")
        for kind in c["available_node_types"].values()
    ],
}


@pytest.mark.parametrize("slip", SLIPS.values(), ids=SLIPS)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_slips_are_seen(path: Path, slip: Callable[[dict[str, Any]], Any]) -> None:
    content = read(path)
    slip(content)
    with pytest.raises((jsonschema.ValidationError, ValueError)):
        check(content)


def test_the_ray_job() -> None:
    job = read(RAY_JOB_FILE)
    jsonschema.validate(job, RAY_JOB)
    spec = job["spec"]["rayClusterSpec"]
    constraints = (ROOT / "constraints.txt").read_text()
    assert f"\nray=={spec['rayVersion']}\n" in constraints
    # Ray's own reading of it, as the autoscaler beside the head has it.
    config = from_kuberay(
        {"metadata": {"name": "study", "namespace": "default"}, "spec": copy.deepcopy(spec)}
    )
    validate_config(config)
    assert config["available_node_types"]["gpu"]["resources"]["GPU"] == 1
    assert config["available_node_types"]["gpu"]["resources"]["CPU"] == 8
    assert config["available_node_types"]["gpu"]["min_workers"] == 0
    assert config["available_node_types"]["gpu"]["max_workers"] == 8
    head = config["available_node_types"][config["head_node_type"]]
    assert head["resources"]["CPU"] == 0
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        named = {volume["name"] for volume in pod["volumes"]}
        mounts = {m["name"]: m["mountPath"] for c in pod["containers"] for m in c["volumeMounts"]}
        assert mounts.keys() <= named
        assert "/mnt/results" in mounts.values()
    assert "/mnt/results" in job["spec"]["entrypoint"]


@pytest.mark.parametrize(
    "slip",
    [
        lambda job: job["spec"].update(shutdownAfterJobFinish=True),
        lambda job: job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0].update(maxReplica=3),
        lambda job: job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"].pop("spec"),
        lambda job: job["spec"].update(shutdownAfterJobFinishes=False),
    ],
)
def test_slips_in_the_ray_job_are_seen(slip: Callable[[dict[str, Any]], Any]) -> None:
    job = read(RAY_JOB_FILE)
    slip(job)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, RAY_JOB)
