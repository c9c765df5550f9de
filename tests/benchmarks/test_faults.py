"""What studies that are hurt are held to: the verdicts can go against a study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults.ledger import Ledger, Pen, read
from benchmarks.faults.page import as_markdown
from benchmarks.faults.study import MAX_T, NUM_SAMPLES
from benchmarks.faults.verdict import Verdict, judge
from raytuner.history import History, TrialState
from raytuner.search.restore import RECORD_FILE
from raytuner.space import Float, Space


def value(number: int, t: int) -> float:
    return number + 1 / t


class Played:
    """A study as it is left, and its trials' ledgers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.in_full: dict[str, int] = {}
        space = Space({"x": Float(0, 1)})
        self.history = History(space, metric="loss", mode="min", time_attr="t", max_t=MAX_T)
        self.history.set_meta("finished", True)
        (folder / "ledger").mkdir()
        for number in range(NUM_SAMPLES):
            trial_id = f"trial{number}"
            self.history.add(trial_id, {"x": number / NUM_SAMPLES})
            for t in range(1, MAX_T + 1):
                self.sends(number, t)
                self.history.report(trial_id, t, value(number, t))
                self.pen(number).note("acknowledged", t, value(number, t))
            self.history.end(trial_id, TrialState.COMPLETED)

    def pen(self, number: int) -> Pen:
        return Pen(str(self.folder / "ledger"), f"trial{number}")

    def sends(self, number: int, t: int) -> None:
        self.pen(number).note("sent", t, value(number, t))

    def judged(self, *, ended: bool = True) -> Verdict:
        self.history.copy_to(self.folder / RECORD_FILE)
        return judge(self.folder, read(self.folder / "ledger"), self.in_full, ended=ended)


REPORTS = NUM_SAMPLES * MAX_T


def test_a_study_that_lost_nothing(tmp_path: Path) -> None:
    assert Played(tmp_path).judged() == Verdict(REPORTS, 0, 0, 0, 0, 0, True)


def test_a_report_that_is_not_there_is_lost_and_one_that_nobody_sent_is_wrong(
    tmp_path: Path,
) -> None:
    one = Played(tmp_path)
    one.pen(0).note("acknowledged", MAX_T + 1, 0.5)
    one.history.reopen("trial1")  # an ended trial takes no report
    one.history.report("trial1", MAX_T + 2, 0.25)
    one.history.end("trial1", TrialState.COMPLETED)
    verdict = one.judged()
    assert (verdict.lost, verdict.wrong) == (1, 1)
    assert verdict.inconsistent == (f"complete before t = {MAX_T}: trial1",)


def test_what_is_trained_again_is_counted(tmp_path: Path) -> None:
    one = Played(tmp_path)
    one.sends(3, MAX_T - 1)
    one.sends(3, MAX_T)
    assert (one.judged().repeated, one.judged().twice) == (2, 0)  # the search may not have had it
    one.in_full = {"trial2": 1, "trial3": 1}
    assert one.judged().twice == 1


def test_a_study_that_did_not_end(tmp_path: Path) -> None:
    one = Played(tmp_path)
    assert not one.judged(ended=False).ended
    one.history.end("trial5", TrialState.FAILED)
    assert one.judged().failed == 1
    one.history.reopen("trial5")
    assert one.judged().inconsistent == ("1 trials are live",)
    assert one.judged(ended=False).inconsistent == ()


def test_a_rung_that_has_counted_anew_contradicts_itself(tmp_path: Path) -> None:
    one = Played(tmp_path)
    for trial_id in ("trial7", "trial8"):
        one.history.end(trial_id, TrialState.STOPPED_EARLY, "it ranks 3 of 3 at rung 1")
    assert one.judged().inconsistent == (f"rung 1, where {NUM_SAMPLES} came, counted [3, 3]",)


def test_rays_own_files_are_held_to_the_same(tmp_path: Path) -> None:
    played = Played(tmp_path)
    for number in range(NUM_SAMPLES):
        folder = tmp_path / f"train_trial{number}_1"
        folder.mkdir()
        rows = [
            {"trial_id": f"trial{number}", "t": t, "loss": value(number, t)}
            for t in range(1 + (number == 0), MAX_T + 1)  # the first has lost its first row
        ]
        (folder / "result.json").write_text("\n".join(json.dumps(row) for row in rows) + '\n{"tor')
    (folder / "error.txt").write_text("it was killed")
    ledger = read(played.folder / "ledger")
    assert judge(tmp_path, ledger, {}, ended=True) == Verdict(REPORTS, 1, 0, 0, 0, 1, True)


def test_a_torn_line_of_a_ledger_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"what": "sent", "t": 1, "value": 0.5, "pid": 7}\n{"what"')
    assert read(tmp_path) == Ledger({}, {("a", 1): 1}, {"a": 7})


@pytest.mark.parametrize("inconsistent", [[], ["2 trials are live"]])
def test_the_page_adds_up_what_was_found(inconsistent: list[str]) -> None:
    found: list[dict[str, Any]] = [
        {
            "injury": "driver killed",
            "method": "raytuner.tune",
            "seed": seed,
            "times": 4,
            "acknowledged": 10,
            "lost": seed,
            "wrong": 0,
            "repeated": 2,
            "twice": 0,
            "failed": 3,
            "ended": seed == 0,
            "inconsistent": inconsistent,
        }
        for seed in range(2)
    ]
    page = as_markdown(found)
    odd = 2 if inconsistent else 0
    assert f"| driver killed | raytuner.tune | 2 | 8 | 20 | 1 | 0 | 4 | 0 | 6 | 1 | {odd} |" in page
    assert ("study 1: 2 trials are live" in page) == bool(inconsistent)
