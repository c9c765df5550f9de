"""What Ray's schema of a cluster file lets pass: the cloud's own part of it.

Only what the files here use is allowed, by the names that the clouds have for it (EC2's
RunInstances, Compute Engine's instances.insert): a name that is not here is a slip, or is to be
looked up and added.
"""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string", "minLength": 1}


def _only(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


PROVIDER = {
    "aws": _only(
        ["type", "region", "cache_stopped_nodes"],
        type={"const": "aws"},
        region={"pattern": r"^[a-z]{2}(-[a-z]+)+-\d$"},
        availability_zone={
            "pattern": r"^[a-z]{2}(-[a-z]+)+-\d[a-z](,[a-z]{2}(-[a-z]+)+-\d[a-z])*$"
        },
        cache_stopped_nodes={"type": "boolean"},
    ),
    "gcp": _only(
        ["type", "region", "availability_zone", "project_id"],
        type={"const": "gcp"},
        region={"pattern": r"^[a-z]+-[a-z]+\d$"},
        availability_zone={"pattern": r"^[a-z]+-[a-z]+\d-[a-z]$"},
        project_id={"pattern": "^[a-z][a-z0-9-]{4,28}[a-z0-9]$"},
    ),
}

NODE = {
    "aws": _only(
        ["InstanceType", "ImageId", "BlockDeviceMappings"],
        ImageId={"pattern": "^ami-[0-9a-f]{17}$"},  # Ray's default is too old for Python 3.11
        InstanceType={"pattern": r"^[a-z][a-z0-9-]*\.\d*[a-z]+$"},
        InstanceMarketOptions=_only(["MarketType"], MarketType={"const": "spot"}),
        BlockDeviceMappings={
            "type": "array",
            "minItems": 1,
            "items": _only(
                ["DeviceName", "Ebs"],
                DeviceName={"pattern": "^/dev/"},
                Ebs=_only(
                    ["VolumeSize"],
                    VolumeSize={"type": "integer", "minimum": 150},  # the image's own size and more
                    VolumeType={"enum": ["gp3", "gp2", "io1", "io2"]},
                ),
            ),
        },
    ),
    "gcp": _only(
        ["machineType", "disks"],
        machineType={"pattern": r"^[a-z]\w*-[a-z]+-\d+$"},
        disks={
            "type": "array",
            "minItems": 1,
            "items": _only(
                ["boot", "autoDelete", "type", "initializeParams"],
                boot={"const": True},
                autoDelete={"const": True},  # else disks are paid for when their nodes are gone
                type={"enum": ["PERSISTENT", "SCRATCH"]},
                initializeParams=_only(
                    ["diskSizeGb", "sourceImage"],
                    diskSizeGb={"type": "integer", "minimum": 50},
                    sourceImage={"pattern": "^projects/[^/]+/global/images/family/[^/]+$"},
                ),
            ),
        },
        metadata=_only(
            ["items"],
            items={"type": "array", "items": _only(["key", "value"], key=TEXT, value=TEXT)},
        ),
        scheduling=_only(
            ["onHostMaintenance"],
            onHostMaintenance={"const": "TERMINATE"},  # as machines with GPUs must
            automaticRestart={"const": False},  # as spot machines must
            provisioningModel={"enum": ["SPOT", "STANDARD"]},
        ),
    ),
}

# Of Kubernetes' PodSpec and of KubeRay's RayJob.
_AMOUNTS = {"type": "object", "additionalProperties": TEXT}
_POD = _only(
    ["spec"],
    spec=_only(
        ["containers", "volumes"],
        tolerations={
            "type": "array",
            "items": _only(
                ["key"],
                key=TEXT,
                operator={"enum": ["Exists", "Equal"]},
                effect={"enum": ["NoSchedule", "NoExecute", "PreferNoSchedule"]},
            ),
        },
        containers={
            "type": "array",
            "minItems": 1,
            "items": _only(
                ["name", "image", "resources"],
                name=TEXT,
                image=TEXT,
                resources=_only(["limits"], limits=_AMOUNTS, requests=_AMOUNTS),
                volumeMounts={
                    "type": "array",
                    "items": _only(["name", "mountPath"], name=TEXT, mountPath={"pattern": "^/"}),
                },
            ),
        },
        volumes={
            "type": "array",
            "items": _only(
                ["name", "persistentVolumeClaim"],
                name=TEXT,
                persistentVolumeClaim=_only(["claimName"], claimName=TEXT),
            ),
        },
    ),
)
_COUNT = {"type": "integer", "minimum": 0}
RAY_JOB = _only(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=_only(["name"], name=TEXT),
    spec=_only(
        ["entrypoint", "shutdownAfterJobFinishes", "rayClusterSpec"],
        entrypoint=TEXT,
        shutdownAfterJobFinishes={"const": True},  # else the cluster is paid for after the study
        ttlSecondsAfterFinished=_COUNT,
        backoffLimit=_COUNT,
        rayClusterSpec=_only(
            ["rayVersion", "enableInTreeAutoscaling", "headGroupSpec", "workerGroupSpecs"],
            rayVersion={"pattern": r"^\d+\.\d+\.\d+$"},
            enableInTreeAutoscaling={"const": True},
            autoscalerOptions=_only([], version={"const": "v2"}, idleTimeoutSeconds=_COUNT),
            headGroupSpec=_only(
                ["rayStartParams", "template"], rayStartParams=_AMOUNTS, template=_POD
            ),
            workerGroupSpecs={
                "type": "array",
                "minItems": 1,
                "items": _only(
                    ["groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"],
                    groupName=TEXT,
                    replicas=_COUNT,
                    minReplicas=_COUNT,
                    maxReplicas=_COUNT,
                    rayStartParams=_AMOUNTS,
                    template=_POD,
                ),
            },
        ),
    ),
)
