"""The live figures among Ray's metrics, as Prometheus reads them."""

from __future__ import annotations

import re
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import ray
from integration_driver import MAX_T, SPACE, train

import raytuner

ray.cloudpickle.register_pickle_by_value(sys.modules["integration_driver"])  # type: ignore[no-untyped-call]

_PATIENCE_S = 60


def exported() -> dict[tuple[str, str], float]:
    """What the node exports of raytuner, by name and state."""
    node = ray.nodes()[0]  # type: ignore[no-untyped-call]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = {}
    for line in lines:
        match = re.match(r'ray_(raytuner_\w+)\{(.*study="study".*)\} (\S+)', line)
        if match:
            state = re.search(r'state="(\w+)"', match[2])
            found[match[1], state[1] if state else ""] = float(match[3])
    return found


@pytest.mark.usefixtures("ray_cluster")
def test_ray_exports_the_live_figures(tmp_path: Path) -> None:
    pytest.importorskip("opencensus", reason="Ray exports metrics with ray[default] only")
    study = raytuner.tune(
        train,
        SPACE,
        metric="loss",
        mode="min",
        num_samples=4,
        max_t=MAX_T,
        storage_path=tmp_path,
        name="study",
        progress=False,
        reuse_actors=True,
    )
    assert study.best is not None
    deadline = time.monotonic() + _PATIENCE_S  # it exports what it has every few seconds
    while (found := exported()).get(("raytuner_done", "")) != 4:
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    assert found["raytuner_num_samples", ""] == 4
    assert found["raytuner_slots", ""] == 2
    assert found["raytuner_best", ""] == pytest.approx(study.best.value)
    by_state = {state: n for (name, state), n in found.items() if name == "raytuner_trials"}
    assert {state: n for state, n in by_state.items() if n} == {
        state.value: n for state, n in study.counts.items()
    }
