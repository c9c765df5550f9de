"""Measures what the tests are worth: draws small faults, and counts those that they notice.

Each mutant is the package with one place changed, by mutmut: another operator, another number, an
argument less. It is killed if the default tests of its room fail with it, and survives otherwise.
Words of messages stay as they are: what is inside `raise` or a call of a logger is not changed.

    python3 -m venv /tmp/mutmut && /tmp/mutmut/bin/pip install mutmut==3.8.1
    /tmp/mutmut/bin/python tests/mutants.py draw /tmp/mutants.json --number 150 --seed 0
    .venv/bin/python tests/mutants.py run /tmp/mutants.json

`run` goes on where it was broken off, prints a table, and shows each survivor's change.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import Queue
from typing import Any

ROOMS = ("space", "history", "bayes", "halving", "schedulers")
ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 5.0  # times as long as the tests take without a mutant


def draw(number: int, seed: int) -> list[dict[str, Any]]:
    """Draw from all mutants of all rooms, each as likely as any other."""
    import libcst
    from libcst.metadata import MetadataWrapper
    from mutmut.mutation.file_mutation import MutationVisitor
    from mutmut.mutation.mutators import mutation_operators
    from mutmut.mutation.pragma_handling import IgnoredCode

    class Visitor(MutationVisitor):  # type: ignore[misc]
        """mutmut's own, but for what is said to a person."""

        def on_visit(self, node: libcst.CSTNode) -> bool:
            spoken = isinstance(node, libcst.Raise) or (
                isinstance(node, libcst.Call)
                and isinstance(node.func, libcst.Attribute)
                and isinstance(node.func.value, libcst.Name)
                and node.func.value.value in ("logger", "warnings")
            )
            return not spoken and super().on_visit(node)

    places = []
    for room in ROOMS:
        for path in sorted((ROOT / "raytuner" / room).rglob("*.py")):
            visitor = Visitor(mutation_operators, IgnoredCode(set(), set(), set()))
            module = MetadataWrapper(libcst.parse_module(path.read_text())).visit(visitor)
            places += [(room, path, module, mutation) for mutation in visitor.mutations]
    random.Random(seed).shuffle(places)
    mutants: list[dict[str, Any]] = []
    for room, path, module, mutation in places:
        if len(mutants) == number:
            break
        changed = module.deep_replace(mutation.original_node, mutation.mutated_node)
        assert isinstance(changed, libcst.Module)
        if changed.code != module.code:
            name = str(path.relative_to(ROOT))
            mutants.append({"room": room, "path": name, "code": changed.code})
    print(f"{len(mutants)} of {len(places)} mutants")
    return mutants


def passes(copy: Path, room: str, patience_s: float) -> bool:
    """Run a room's default tests in a copy of the repository, and say whether they pass."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-n",
            "0",
            f"tests/{room}",
            f"raytuner/{room}",
        ],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return process.wait(patience_s) == 0
    except subprocess.TimeoutExpired:  # a mutant may loop for ever
        return False
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def copied(folder: str) -> Path:
    """A copy of the repository as it is now, for one process."""
    copy = Path(tempfile.mkdtemp(dir=folder), "copy")
    hidden = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")
    return Path(shutil.copytree(ROOT, copy, ignore=hidden))


def run(file: Path, processes: int) -> None:
    """Try the mutants of a file that were not tried yet, and write there what became of them."""
    mutants = json.loads(file.read_text())
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(processes) as pool:
        copies: Queue[Path] = Queue()
        for _ in range(processes):
            copies.put(copied(folder))
        patience = {}
        for room in sorted({m["room"] for m in mutants if "killed" not in m}):
            began = time.monotonic()
            assert passes(copies.queue[0], room, 3600), f"the tests of {room} fail as they are"
            patience[room] = PATIENCE * (time.monotonic() - began)

        def attempt(mutant: dict[str, Any]) -> None:
            copy = copies.get()
            path = copy / mutant["path"]
            original = path.read_text()
            path.write_text(mutant["code"])
            mutant["killed"] = not passes(copy, mutant["room"], patience[mutant["room"]])
            path.write_text(original)
            copies.put(copy)
            file.write_text(json.dumps(mutants))

        list(pool.map(attempt, [m for m in mutants if "killed" not in m]))


def show(file: Path) -> None:
    """Print each survivor's change, then the table."""
    mutants = json.loads(file.read_text())
    for i, mutant in enumerate(mutants):
        if not mutant["killed"]:
            before = (ROOT / mutant["path"]).read_text().splitlines()
            after = mutant["code"].splitlines()
            print(f"\n{i}: {mutant['path']}")
            print("\n".join(list(difflib.unified_diff(before, after, lineterm="", n=1))[2:]))
    print("\n| room | mutants | killed | |\n|---|---|---|---|")
    for room in (*ROOMS, "all"):
        found = [m["killed"] for m in mutants if room in (m["room"], "all")]
        print(f"| `{room}/` | {len(found)} | {sum(found)} | {sum(found) / len(found):.0%} |")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["draw", "run", "show"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--number", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    if given.command == "draw":
        given.file.write_text(json.dumps(draw(given.number, given.seed)))
    else:
        if given.command == "run":
            run(given.file, given.processes)
        show(given.file)


if __name__ == "__main__":
    main()
