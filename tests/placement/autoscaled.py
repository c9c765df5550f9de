"""A Ray head on this machine whose autoscaler adds nodes of logical GPUs: Ray's fake provider."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from ray._common.utils import get_ray_address_file

PORT = 7387
DASHBOARD = 8487
_HEAD = "f" * 51 + "00000"  # as the fake provider expects it
MOST = 2
# What `ray up` would fill in.
_DICTS = ("file_mounts", "auth", "docker")
_LISTS = (
    "cluster_synced_files",
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
CONFIG: dict[str, Any] = {
    **{key: {} for key in _DICTS},
    **{key: [] for key in _LISTS},
    "file_mounts_sync_continuously": False,
    "cluster_name": "fake",
    "max_workers": MOST,
    "upscaling_speed": 100.0,
    "idle_timeout_minutes": 0.2,
    "provider": {
        "type": "fake_multinode",
        "gcs_address": f"127.0.0.1:{PORT}",
        "head_node_id": _HEAD,
        "launch_multiple": True,
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    },
    "head_node_type": "ray.head.default",
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
        "gpu": {
            "resources": {"CPU": 2, "GPU": 1},
            "node_config": {},
            "min_workers": 0,
            "max_workers": MOST,
        },
    },
}


@contextmanager
def head(folder: Path, **environment: str) -> Iterator[None]:
    """A running head, and all that it starts; gone at the end."""
    config = folder / "cluster.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    environment = {
        **{key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"},
        "RAY_FAKE_CLUSTER": "1",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD,
        "RAY_CLOUD_INSTANCE_ID": _HEAD,
        "RAY_AUTH_MODE": "disabled",
        **environment,
    }
    command = [
        str(Path(sys.executable).with_name("ray")),
        *("start", "--head", "--block", f"--port={PORT}", "--num-cpus=1", "--num-gpus=0"),
        f"--dashboard-port={DASHBOARD}",
        # Its own: another Ray on this machine has the usual one.
        f"--dashboard-agent-listen-port={DASHBOARD + 1}",
        f"--autoscaling-config={config}",
    ]
    with (folder / "head.log").open("w") as log:
        # In a session of its own, whose processes are known by it.
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield
        finally:
            _end(process)
            # A killed head leaves the file behind, and whoever starts Ray next looks for it.
            file = Path(get_ray_address_file(None))
            if file.exists() and file.read_text().strip().endswith(f":{PORT}"):
                file.unlink()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the head's processes, and the nodes', which the monitor starts in the same session."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for pid in _in_session(process.pid):
            try:
                os.kill(pid, sign)
            except ProcessLookupError:
                continue
        time.sleep(2)
    process.wait()


def _in_session(session: int) -> list[int]:
    found = subprocess.run(
        ["ps", "-o", "pid=", "-s", str(session)], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in found.stdout.split()]
