"""Run studies on a real GPU: packing by memory, a full memory, idle time, and fine-tuning.

For one machine with an NVIDIA GPU. The script needs no network. Each study has a time budget
of a minute, except for the fine-tuning, which has none.

python -m benchmarks.gpu
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import ray
import torch
from ray import tune
from torch import nn

import raytuner
from benchmarks.race.method import versions
from benchmarks.race.table import markdown_table
from raytuner.placement import gpu_memory
from raytuner.report.events import stays, use

RESULTS = Path("benchmarks/results/gpu.json")
PAGE = Path("benchmarks/GPU.md")
EXAMPLE = Path(__file__).parents[1] / "examples" / "finetune.py"

EPOCHS, STEPS, BATCH, WIDTH = 5, 1000, 256, 1024
HELD = 0.1  # share of the GPU's memory that a trial of the packing studies holds
TOO_MUCH = 0.6  # share that each of two trials needs, and only one of them gets
SPACE: dict[str, Any] = {"lr": tune.loguniform(1e-4, 1e-1), "depth": tune.randint(1, 5)}
_EVERY_S = 0.5  # between two readings of nvidia-smi


@dataclass(frozen=True)
class Row:
    """A study.

    Attributes:
        name: What it shows.
        gpu: Share of a GPU that each trial had.
        states: Number of trials in each state.
        seconds: From the first trial's start to the last one's end.
        epochs: All epochs trained.
        running: Share of the slots' time that trials ran.
        starting: Share that their processes started.
        busy: Mean utilisation of the GPU by `nvidia-smi`; None without one.
        alone: Trials that found the memory full and continued alone.
        best: The best loss.
    """

    name: str
    gpu: float
    states: Mapping[str, int]
    seconds: float
    epochs: float
    running: float
    starting: float
    busy: float | None
    alone: int
    best: float


def train(config: dict[str, Any]) -> None:
    """Train a perceptron on the GPU, if there is one, and hold more of its memory."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    held = None
    if device == "cuda" and config["held"]:
        total = torch.cuda.get_device_properties(0).total_memory
        held = torch.ones(int(config["held"] * total / 4), device=device)
    torch.manual_seed(0)
    x = torch.randn(BATCH * 8, WIDTH, device=device)
    y = torch.sin(3 * x[:, :1]) + x[:, 1:2] * x[:, 2:3]
    layers: list[nn.Module] = []
    for _ in range(config["depth"]):
        layers += [nn.Linear(WIDTH, WIDTH), nn.GELU()]
    model = nn.Sequential(*layers, nn.Linear(WIDTH, 1)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"])
    for _ in range(EPOCHS):
        for _ in range(config["steps"]):
            chosen = torch.randint(len(x), (BATCH,), device=device)
            loss = (model(x[chosen]) - y[chosen]).square().mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        tune.report({"loss": loss.item(), "held": 0 if held is None else len(held)})


@contextmanager
def utilisation() -> Iterator[list[float]]:
    """Read the utilisation of the GPU in the background, in percent."""
    found: list[float] = []
    ended = threading.Event()

    def read() -> None:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not ended.wait(_EVERY_S):
            try:
                said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            except (OSError, subprocess.CalledProcessError):
                return
            found.append(float(said.splitlines()[0]))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield found
    finally:
        ended.set()
        reader.join()


def study(name: str, gpu: float | str, folder: Path, steps: int, **settings: Any) -> Row:
    """Run a study with this share of a GPU for each trial."""
    constants = {"held": settings.pop("held", HELD), "steps": steps}
    with utilisation() as percent:
        found = raytuner.tune(
            train,
            {**SPACE, **constants},
            metric="loss",
            mode="min",
            resources={"cpu": 1, "gpu": gpu},
            points_to_evaluate=[{"lr": 1e-3, "depth": 4}],
            storage_path=folder,
            name=name.replace(" ", "-"),
            seed=0,
            time_budget_s=60,
            progress=False,
            **settings,
        )
    return row(name, found, percent)


def row(name: str, found: raytuner.Study, percent: Sequence[float]) -> Row:
    """Return what a study shows."""
    history = found.history
    slots = use(stays(history, history.last_event_at))
    asked = (history.get_meta("settings") or {}).get("resources") or {}
    return Row(
        name=name,
        gpu=float(asked.get("gpu", 0)),
        states={state.value: n for state, n in found.counts.items() if n},
        seconds=round(slots.total / max(slots.slots, 1), 1),
        epochs=sum(len(trial.values) for trial in found.trials),
        running=round(slots.running / slots.total, 3),
        starting=round(slots.starting / slots.total, 3),
        busy=round(fmean(percent), 1) if percent else None,
        alone=len(history.get_meta("out_of_memory", {})),
        best=round(found.best.value, 5),
    )


def finetune(folder: Path, small: bool) -> Row:
    """Run the example of fine-tuning."""
    spec = importlib.util.spec_from_file_location("finetune", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Trials run elsewhere, where no module has this name.
    sys.modules["finetune"] = module
    ray.cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
    sizes = ["--trials", "2", "--tokens", "2000", "--length", "8"] if small else ["--trials", "8"]
    with utilisation() as percent:
        found = module.main([*sizes, "--storage-path", str(folder)])
    return row("fine-tuning", found, percent)


def measure(folder: Path, small: bool) -> list[Row]:
    """Run all studies.

    Args:
        folder: Where their results go.
        small: With few steps, to try the script.
    """
    steps, trials = (2, 2) if small else (STEPS, 8)
    sizes: dict[str, Any] = {"steps": steps, "num_samples": trials}
    rows = [
        study("a search", 1, folder, **sizes, max_t=EPOCHS),
        study("a search, reused processes", 1, folder, **sizes, max_t=EPOCHS, reuse_actors=True),
    ]
    for gpu in (1, 0.5, 0.25, "fit"):
        name = f"packing, {gpu}"
        rows.append(study(name, gpu, folder, **sizes, strategy="random", reuse_actors=True))
    rows.append(study("a full memory", 0.5, folder, steps, num_samples=2, held=TOO_MUCH))
    if importlib.util.find_spec("peft") and importlib.util.find_spec("transformers"):
        rows.append(finetune(folder, small))
    return rows


def page(known: Mapping[str, Any] | None) -> str:
    """Return the page, given the stored results; None: nobody has run it."""
    if known is None:
        return f"{_HEAD}\n**Nobody has run this on a GPU yet.** So there are no figures.\n"
    rows = [Row(**one) for one in known["rows"]]
    columns = ["study", "GPU each", "trials", "s", "epochs per s", "running", "starting",
               "GPU busy", "continued alone", "best loss"]  # fmt: skip
    cells = [
        [
            one.name,
            f"{one.gpu:g}",
            ", ".join(f"{n} {state}" for state, n in one.states.items()),
            f"{one.seconds:.0f}",
            f"{one.epochs / one.seconds:.2f}",
            f"{one.running:.0%}",
            f"{one.starting:.0%}",
            "-" if one.busy is None else f"{one.busy:.0f} %",
            str(one.alone),
            f"{one.best:.4g}",
        ]
        for one in rows
    ]
    versions = ", ".join(f"{name} {version}" for name, version in known["versions"].items())
    said = f"{known['card']}; {versions}; {known['seconds']:.0f} s in all."
    return "\n".join([_HEAD, *markdown_table(columns, cells), "", said, ""])


def card() -> str:
    """Return the name and the memory of the GPU."""
    found = torch.cuda.get_device_properties(0)
    return f"{found.name}, {found.total_memory / 2**30:.0f} GiB, {os.cpu_count()} CPU cores"


_HEAD = f"""\
# A real GPU

```sh
python -m benchmarks.gpu
```

The studies train small perceptrons on one GPU. Most have eight trials of {EPOCHS} epochs.

- "A search": Bayesian search with early stopping, one trial at a time. The GPU is idle while a
  trial's process starts. "Reused processes" avoids that.
- "Packing": 1, 2 or 4 trials share the GPU. "fit" measures the memory of one trial, and runs as
  many as fit. Each trial holds at least a tenth of the GPU's memory.
- "A full memory": two trials share the GPU, and each needs {TOO_MUCH:.0%} of its memory. The one
  that finds it full continues alone.
- "Fine-tuning": `examples/finetune.py`, with "fit".

"Running" and "starting" are shares of the slots' time. "GPU busy" is the mean utilisation by
`nvidia-smi`.
"""


@click.command()
@click.option("--try", "small", is_flag=True, help="Few steps on a logical GPU; stores nothing.")
def main(small: bool) -> None:
    """Run all studies and write the page."""
    if not small and not torch.cuda.is_available():
        raise click.ClickException("there is no GPU; --try runs the script without one")
    began = time.monotonic()
    if small:
        ray.init("local", num_gpus=1, include_dashboard=False, log_to_driver=False)
        gpu_memory.nvidia_smi = lambda: (1e9, 10e9)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), small)
    known = {
        "rows": [asdict(one) for one in rows],
        "card": "a logical GPU" if small else card(),
        "versions": versions(("torch", "botorch")),
        "seconds": round(time.monotonic() - began),
    }
    text = page(known)
    click.echo(text)
    if not small:
        RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
