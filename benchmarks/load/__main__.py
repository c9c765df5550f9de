"""``python -m benchmarks.load``: measure searches of many trials, and write the page."""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict
from pathlib import Path

from benchmarks.load import real, virtual
from benchmarks.load.meter import Stretch
from benchmarks.load.page import write

HERE = Path(__file__).parents[1]
RAW = HERE / "results" / "load" / "searches.jsonl"
PAGE = HERE / "LOAD.md"
PLOT = HERE / "plots" / "load.svg"


def measured(given: argparse.Namespace, every: int) -> list[Stretch]:
    """What one search takes: many trials at once, or (``soak``) many slots for long."""
    if given.where == "virtual":
        return virtual.run(given.search, given.trials, every)
    if given.where == "real":
        return real.run(given.search, given.trials, every)
    return real.run(
        given.search,
        -1,
        every,
        slots=given.slots,
        seconds=given.seconds,
        time_budget_s=60.0 * given.minutes,
        early_stopping=False,
    )


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("where", choices=["virtual", "real", "soak", "page"])
    parser.add_argument(
        "search",
        nargs="?",
        help=", ".join(dict.fromkeys((*virtual.SEARCHES, *real.SEARCHES, *real.SOAKED))),
    )
    parser.add_argument("--trials", type=int, default=2000, help="but for a soak")
    parser.add_argument("--minutes", type=float, default=60.0, help="of a soak")
    parser.add_argument("--slots", type=int, default=64, help="of a soak")
    parser.add_argument("--seconds", type=float, default=20.0, help="a trial's sleep in a soak")
    parser.add_argument("--every", type=int, help="trials a stretch; default a twentieth")
    given = parser.parse_args()
    searches = {"virtual": tuple(virtual.SEARCHES), "real": real.SEARCHES, "soak": real.SOAKED}
    known = searches.get(given.where, (None,))
    if given.search not in known:
        parser.error(
            f"{given.where} has no search {given.search!r}; it has {', '.join(map(str, known))}"
        )
    if given.where != "page":
        every = given.every or max(1, given.trials // 20)
        stretches = measured(given, every)
        if len(stretches) < 2:
            parser.error(f"fewer than {2 * every} trials ended; give more time or a lower --every")
        found = {
            "where": given.where,
            "search": given.search,
            **({"slots": given.slots, "seconds": given.seconds} if given.where == "soak" else {}),
            "python": platform.python_version(),
            "stretches": [asdict(one) for one in stretches],
        }
        RAW.parent.mkdir(parents=True, exist_ok=True)
        with RAW.open("a") as file:
            file.write(json.dumps(found) + "\n")
    write(RAW, PAGE, PLOT)


if __name__ == "__main__":
    main()
