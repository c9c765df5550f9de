"""``python -m benchmarks.load``: measure searches of many trials, and write the page."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from benchmarks.load import real, virtual
from benchmarks.load.meter import Stretch
from benchmarks.load.page import write

HERE = Path(__file__).parents[1]
RAW = HERE / "results" / "load.jsonl"
PAGE = HERE / "LOAD.md"
PLOT = HERE / "plots" / "load.svg"

Run = Callable[[str, int, int], list[Stretch]]
WHERE: dict[str, Run] = {"virtual": virtual.run, "real": real.run}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("where", choices=[*WHERE, "page"], help="page: from what is stored")
    parser.add_argument("search", nargs="?", help=", ".join([*virtual.SEARCHES, *real.SEARCHES]))
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--every", type=int, help="trials a stretch; default a twentieth")
    given = parser.parse_args()
    if given.where != "page":
        every = given.every or max(1, given.trials // 20)
        stretches = WHERE[given.where](given.search, given.trials, every)
        found = {
            "where": given.where,
            "search": given.search,
            "trials": given.trials,
            "python": platform.python_version(),
            "stretches": [asdict(one) for one in stretches],
        }
        with RAW.open("a") as file:
            file.write(json.dumps(found) + "\n")
    write(RAW, PAGE, PLOT)


if __name__ == "__main__":
    main()
