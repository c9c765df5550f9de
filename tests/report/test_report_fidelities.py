"""What studies and reports say where most trials are not at full fidelity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raytuner.errors import NoResultError
from raytuner.history import History, TrialState
from raytuner.report import explanations
from raytuner.report.events import events, improvements
from raytuner.report.figures import Figures
from raytuner.report.page import render
from raytuner.space import Fidelity, Float, Integer, Space
from raytuner.study.confirm import chosen
from raytuner.study.study import Study
from raytuner.study.summary import summary

SPACE = Space({"lr": Float(1e-4, 1, log=True), "width": Fidelity(Integer(1, 8))})


def history(widths: list[int]) -> History:
    """The wider the worse, to be sure that nobody looks at the value alone."""
    made = History(SPACE, metric="loss", mode="min")
    rates = np.geomspace(1e-4, 1, len(widths))
    for number, (width, lr) in enumerate(zip(widths, rates, strict=True)):
        made.add(str(number), {"lr": float(lr), "width": width})
        made.report(str(number), 1, width + abs(np.log10(lr) + 2))
        made.end(str(number), TrialState.COMPLETED)
    return made


@pytest.mark.parametrize("widths", [[1, 4, 8, 2, 8, 1], [1, 4, 2, 7, 3]])
def test_the_page_is_made_with_and_without_a_full_trial(widths: list[int], tmp_path: Path) -> None:
    record = history(widths)
    assert "width" in render(Figures(record), tmp_path)


def test_only_full_trials_are_ranked() -> None:
    record = history([1, 4, 8, 2, 8, 1])
    study = Study(Path("nowhere"), record)
    assert [trial.config["width"] for trial in study.ranked] == [8, 8]
    assert study.best == study.ranked[0]
    assert chosen(study.history, 5, 1, None) == list(study.ranked)
    steps = improvements(events(record), minimise=True, final=True)
    assert {event.trial.config["width"] for event in steps} == {8}


def test_before_a_full_trial_it_is_said_that_there_is_none() -> None:
    record = history([1, 4, 2, 7, 3])
    said = explanations.summary(record, None, 1.0)
    assert said[-1] == "No trial has reported a usable loss at full fidelity yet."
    study = Study(Path("nowhere"), record)
    with pytest.raises(NoResultError, match="no trial reported a usable loss at full fidelity"):
        _ = study.best
    assert study.best_by_model() is None
    assert study.ranked == ()
    from rich.console import Console

    console = Console(record=True, width=200)
    with console.capture() as shown:
        console.print(summary(study))
    assert "no trial reported a usable loss at full fidelity" in shown.get()
