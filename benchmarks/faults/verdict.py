"""What a study has lost, by its trials' ledgers."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import raytuner
from benchmarks.faults.ledger import Ledger
from benchmarks.faults.study import MAX_T
from raytuner.errors import HistoryError
from raytuner.folders import Folder
from raytuner.history import TrialState

_RANK = re.compile(r"of (\d+) at rung (\d+)")


@dataclass(frozen=True)
class Verdict:
    """What became of one study.

    Attributes:
        acknowledged: Reports that the search had taken.
        lost: Of these, those that its results lack.
        wrong: Results that no trial sent.
        repeated: Reports that were sent again although they had been acknowledged.
        twice: Trials that trained to the end twice.
        failed: Trials that the search counts as failed.
        ended: Whether the study came to its end by itself.
        inconsistent: What contradicts itself in a record of raytuner's, in words.
    """

    acknowledged: int
    lost: int
    wrong: int
    repeated: int
    twice: int
    failed: int
    ended: bool
    inconsistent: tuple[str, ...] = ()


def judge(folder: Folder, ledger: Ledger, in_full: Mapping[str, int], *, ended: bool) -> Verdict:
    """Hold what is in a study's folder to its ledger.

    Args:
        folder: The study's.
        ledger: What its trials saw.
        in_full: By trial that the results once had in full, how often it had sent its last report
            by then.
        ended: Whether its last process came to its end by itself.
    """
    study = _study(folder)
    kept = _kept(study, folder)
    lost = [key for key, value in ledger.acknowledged.items() if kept.get(key) != value]
    return Verdict(
        acknowledged=len(ledger.acknowledged),
        lost=len(lost),
        wrong=sum(key not in ledger.sent for key in kept),
        repeated=sum(times - 1 for key, times in ledger.sent.items() if key in ledger.acknowledged),
        twice=sum(ledger.sent[one, MAX_T] > times for one, times in in_full.items()),
        failed=len(list(_local(folder).glob("*/error.txt")))
        if study is None
        else study.counts[TrialState.FAILED],
        ended=ended,
        inconsistent=() if study is None else tuple(contradictions(study, ended=ended)),
    )


def results(folder: Folder) -> Mapping[tuple[str, int], float]:
    """By trial and t, the reports that a study's folder has: a record's, or else Ray's own."""
    return _kept(_study(folder), folder)


def _kept(study: raytuner.Study | None, folder: Folder) -> Mapping[tuple[str, int], float]:
    return of_ray(_local(folder)) if study is None else of_record(study)


def _local(folder: Folder) -> Path:
    """Where Ray's own files are; without a record, nothing of an object store's is counted."""
    return folder if isinstance(folder, Path) else Path(os.devnull)


def _study(folder: Folder) -> raytuner.Study | None:
    try:
        return raytuner.load(folder)
    except HistoryError:
        return None


def of_record(study: raytuner.Study) -> Mapping[tuple[str, int], float]:
    """The reports in a record of raytuner's."""
    return {(one.trial_id, int(t)): value for one in study.trials for t, value in one.values}


def of_ray(folder: Path) -> Mapping[tuple[str, int], float]:
    """The reports in the files that Ray writes of each trial."""
    kept = {}
    for path in folder.glob("*/result.json"):
        for line in path.read_text().splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # torn
            kept[row["trial_id"], row["t"]] = row["loss"]
    return kept


def contradictions(study: raytuner.Study, *, ended: bool) -> list[str]:
    """What cannot be, in the record of a study."""
    found = []
    if ended and (live := study.history.live()):
        found.append(f"{len(live)} trials are live")
    full = [one for one in study.trials if one.state is TrialState.COMPLETED]
    if short := [one.trial_id for one in full if one.t != MAX_T]:
        found.append(f"complete before t = {MAX_T}: {', '.join(short)}")
    best = min((one.value for one in full if one.value is not None), default=None)
    known = study.history.best
    if best is not None and (known is None or known.value != best):
        found.append(f"the best is {known} and not {best}")
    configs = [json.dumps(one.config, sort_keys=True) for one in study.trials]
    if len(set(configs)) < len(configs):
        found.append("a configuration was tried twice")
    # Every trial that comes to a rung is one more there: a rung that was lost counts again.
    counts: dict[str, list[int]] = defaultdict(list)
    for one in study.trials:
        if (match := _RANK.search(one.reason)) is not None:
            counts[match[2]].append(int(match[1]))
    for rung, numbers in counts.items():
        came = sum(one.t >= int(rung) for one in study.trials)
        if len(set(numbers)) < len(numbers) or max(numbers) > came:
            found.append(f"rung {rung}, where {came} came, counted {sorted(numbers)}")
    return found
