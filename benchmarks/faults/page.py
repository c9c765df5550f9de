"""The page of faults, from what is stored."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.faults.study import MAX_T, NUM_SAMPLES
from benchmarks.race.table import markdown_table

_HEAD = f"""\
# What is lost when something dies

Studies that are hurt on purpose, on a real Ray of three nodes, by `python -m benchmarks.faults`:
{NUM_SAMPLES} trials of up to {MAX_T} reports each, a tenth of a second apart, four slots, early
stopping. Each fault comes at a random moment of a study, up to four times in one; after it the
study is gone on with, by `resume`, or `Tuner.restore`, until it ends. What is lost is counted by
what each trial's own process has written down: a report is *acknowledged* once Ray has let the
training go on after it, which is when searcher and scheduler have it. For Ray's own searcher and
scheduler, results are those in the files that Ray keeps of each trial. *Results in S3*: in a server
on the same machine (moto); where the head is lost, so is what Ray keeps on its disk. Behind S3, the
record is uploaded about a second after each event: what came later is lost with the head, and
trained again.

raytuner's studies were last run on 2026-11-28, the others on 2026-11-26, on two cores at a load of
3 to 30 by other work, Python 3.11, ray 2.60.0, optuna 5.0.0. Studies are numbered from 0. The
number seeds the moments, not the machine's pace.

*Lost*: acknowledged reports that the results lack. *Sent again*: acknowledged reports that a
trial had to train for again. *Twice to the end*: trials that were trained in full, and then again.
*Failed*: trials that count as failed; all of them could have been trained. *Unended*: studies that
hung, or gave up three times.
*Contradictions*: records in which trials are live after the end, a rung has counted anew, a
configuration comes twice, or the best is not the best.
"""


def write(raw: Path, page: Path) -> None:
    """Write the page from the stored findings."""
    found = [json.loads(line) for line in raw.read_text().splitlines()]
    page.write_text(as_markdown(found))


def as_markdown(found: Sequence[Mapping[str, Any]]) -> str:
    """The page."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for one in found:
        groups[one["injury"], one["method"]].append(one)
    head = [
        "fault", "search", "studies", "faults", "reports", "lost", "made up", "sent again",
        "twice to the end", "failed", "unended", "contradictions",
    ]  # fmt: skip
    rows = [_row(*key, group) for key, group in sorted(groups.items(), key=_order)]
    lines = [_HEAD, *markdown_table(head, rows)]
    if odd := [one for one in found if one["inconsistent"]]:
        lines += ["", "The contradictions:", ""]
        lines += [
            f"- {one['method']}, {one['injury']}, study {one['seed']}:"
            f" {'; '.join(one['inconsistent'])}"
            for one in odd
        ]
    return "\n".join(lines) + "\n"


def _order(item: tuple[tuple[str, str], object]) -> tuple[str, bool, str]:
    injury, method = item[0]
    return injury, method.startswith("Ray"), method


def _row(injury: str, method: str, group: Sequence[Mapping[str, Any]]) -> list[str]:
    sums = [
        sum(one[name] for one in group)
        for name in ("times", "acknowledged", "lost", "wrong", "repeated", "twice")
    ]
    # The first studies were run before it was looked at.
    failed = sum(one["failed"] for one in group) if all("failed" in one for one in group) else ""
    unended = sum(not one["ended"] for one in group)
    odd = sum(bool(one["inconsistent"]) for one in group)
    return [injury, method, *map(str, [len(group), *sums, failed, unended, odd])]
