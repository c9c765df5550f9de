"""A training that gets into trouble before its last report, and goes on from a checkpoint."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import cloudpickle, tune

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]

MAX_T = 3
SPACE = {"trouble": tune.choice(["never", "once", "always"])}


def training(trouble: Callable[[], object]) -> Callable[[dict[str, Any]], None]:
    """A training that calls ``trouble`` never, once or always when it comes to its last step."""

    def train(config: dict[str, Any]) -> None:
        begin = 1
        if (checkpoint := tune.get_checkpoint()) is not None:
            with checkpoint.as_directory() as place:
                begin = int(Path(place, "t").read_text()) + 1
        for t in range(begin, MAX_T + 1):
            first_time = t != begin  # then it goes on with its last step
            if t == MAX_T and (
                config["trouble"] == "always" or (config["trouble"] == "once" and first_time)
            ):
                trouble()
            with tempfile.TemporaryDirectory() as place:
                Path(place, "t").write_text(str(t))
                checkpoint = tune.Checkpoint.from_directory(place)
                tune.report({"loss": 1 / t}, checkpoint=checkpoint)

    return train
