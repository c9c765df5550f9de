"""A report with something to go on from, in the checkpoint that comes with it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import tune

_FILE = "state"


def report_with(metrics: Mapping[str, Any], state: bytes) -> None:
    """Report from inside of a trial; if it is paused or dies, ``kept`` has this state."""
    with tempfile.TemporaryDirectory() as place:
        Path(place, _FILE).write_bytes(state)
        tune.report(dict(metrics), checkpoint=tune.Checkpoint.from_directory(place))


def kept() -> bytes | None:
    """What came with the last report that this trial goes on from; None if it begins."""
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as place:
        return Path(place, _FILE).read_bytes()
