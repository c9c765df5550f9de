"""The page of faults, from the stored studies."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.faults.study import MAX_T, NUM_SAMPLES
from benchmarks.race.table import markdown_table

_HEAD = f"""\
# What is lost when something fails

`python -m benchmarks.faults` makes things fail on purpose, on a real Ray with three nodes. Each
study has {NUM_SAMPLES} trials of up to {MAX_T} reports, a tenth of a second apart, on four slots,
with early stopping. Each fault comes at a random moment, up to four times per study. After it,
`resume` or `Tuner.restore` continues the study until it ends.

Every trial's process keeps a log of its own, and the page compares the results with these logs. A
report is *acknowledged* once Ray lets the training continue after it: the searcher and the
scheduler have it then. For Ray's own searcher and scheduler, the results are the files that Ray
keeps for each trial.

*Results in S3* are in a server on the same machine (moto). If the head is lost, the files on its
disk are lost too. The record is uploaded about a second after each event. Later reports are lost
with the head, and are trained again.

raytuner's studies last ran on 2026-11-28, the others on 2026-11-26. The machine has two cores, and
other work caused a load of 3 to 30. Python 3.11, ray 2.60.0, optuna 5.0.0. Studies are numbered
from 0. The number seeds the moments of the faults, but the pace of the machine varies.

| column | meaning |
|---|---|
| faults | number of faults; of unwritable checkpoints, each counts |
| reports | acknowledged reports |
| lost | acknowledged reports that the results lack |
| made up | results that no trial reported |
| sent again | acknowledged reports that a trial had to train for again |
| twice to the end | trials that were trained in full and then trained in full again |
| failed | trials that count as failed; all of them could have been trained |
| unended | studies that hung, or gave up three times |
| contradictions | records with live trials after the end, a rung that lost its count, a \
configuration twice, or a wrong best trial |
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
