"""What a trial's own process saw, written down beside the search: the truth to hold it to."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class Pen:
    """Writes one trial's ledger; each line is on its way to the disk before the next thing happens.

    Args:
        folder: Of the ledgers.
        trial_id: Whose.
    """

    def __init__(self, folder: str, trial_id: str) -> None:
        self._path = Path(folder, f"{trial_id}.jsonl")

    def note(self, what: str, t: int, value: float) -> None:
        """``begun`` (at t, from a checkpoint if above 0), ``sent`` or ``acknowledged``."""
        line = json.dumps({"what": what, "t": t, "value": value, "pid": os.getpid()}) + "\n"
        with self._path.open("a") as file:  # opened each time: whole lines, by any number of lives
            file.write(line)


@dataclass(frozen=True)
class Ledger:
    """What all trials of a study saw.

    Attributes:
        acknowledged: By trial and t, the value of each report that the search took: Ray lets a
            training go on when it has.
        sent: How often each trial sent its report of each t.
        pids: By trial, the process of its last life.
    """

    acknowledged: Mapping[tuple[str, int], float]
    sent: Mapping[tuple[str, int], int]
    pids: Mapping[str, int]


def read(folder: Path) -> Ledger:
    """The ledgers in ``folder``, as they are now."""
    acknowledged: dict[tuple[str, int], float] = {}
    sent: Counter[tuple[str, int]] = Counter()
    pids: dict[str, int] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            try:
                one = json.loads(line)
            except json.JSONDecodeError:
                continue  # its process was killed as it wrote
            pids[path.stem] = one["pid"]
            if one["what"] == "sent":
                sent[path.stem, one["t"]] += 1
            elif one["what"] == "acknowledged":
                acknowledged[path.stem, one["t"]] = one["value"]
    return Ledger(acknowledged, sent, pids)
