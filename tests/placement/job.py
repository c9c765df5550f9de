"""What is submitted as a job: a study, then its resumption. Usage: job.py run|resume FOLDER."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ray import cloudpickle, tune

import raytuner

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]

NUM_SAMPLES = 4
MAX_T = 6


def train(config: dict[str, Any]) -> None:
    begin = 1
    if (checkpoint := tune.get_checkpoint()) is not None:
        with checkpoint.as_directory() as place:
            begin = int(Path(place, "t").read_text()) + 1
    for t in range(begin, MAX_T + 1):
        time.sleep(1)
        with tempfile.TemporaryDirectory() as place:
            Path(place, "t").write_text(str(t))
            tune.report(
                {"loss": config["x"] ** 2 + 1 / t, "begin": begin},
                checkpoint=tune.Checkpoint.from_directory(place),
            )


def main() -> None:
    folder = Path(sys.argv[2])
    folder.with_suffix(".pid").write_text(str(os.getpid()))
    if sys.argv[1] == "resume":
        raytuner.load(folder).resume(train)
        return
    raytuner.tune(
        train,
        {"x": tune.uniform(-1, 1)},
        metric="loss",
        mode="min",
        num_samples=NUM_SAMPLES,
        resources={"cpu": 1, "gpu": 1},
        prices=36,
        seed=0,
        storage_path=folder.parent,
        name=folder.name,
        progress=False,
    )


if __name__ == "__main__":
    main()
