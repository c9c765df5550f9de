"""Trials as a table in a file."""

from __future__ import annotations

import math
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raytuner.history import History
from raytuner.space.choices import shown

if TYPE_CHECKING:
    import pandas as pd

    from raytuner.study.study import Study

_REST = ["origin", "reason", "proposed_at", "ended_at"]

_PLAIN = (bool, int, float, str, type(None))


def results(history: History) -> pd.DataFrame:
    """Return the trials as a table, one row for each.

    Columns: ``trial_id``, ``number``, ``state``, the metric (its value at the largest t), the
    further metrics of the goal, the last value of each other number that trials reported (as
    ``metrics/NAME`` if ``NAME`` is a column of its own), ``t``, the hyperparameters as
    ``config/...``, ``origin``, ``reason``, ``proposed_at`` and ``ended_at`` (Unix seconds).
    """
    import pandas as pd

    trials, further = history.trials, history.further_metrics()
    taken = {"trial_id", "number", "state", "t", *_REST}
    columns = [f"metrics/{name}" if name in taken else name for name in further]
    outcome = pd.DataFrame(
        [
            (
                *(t.trial_id, t.number, t.state.value, *history.metrics_of(t).values()),
                *(t.metrics.get(name, math.nan) for name in further),
                t.t,
            )
            for t in trials
        ],
        columns=["trial_id", "number", "state", *history.goal.metrics, *columns, "t"],
    )
    configs = pd.json_normalize([t.config for t in trials], sep="/").add_prefix("config/")
    rest = pd.DataFrame(
        [(t.origin.value, t.reason, t.proposed_at, t.ended_at) for t in trials], columns=_REST
    )
    return pd.concat([outcome, configs, rest], axis=1)


_STARTS = ("=", "+", "-", "@", "\N{MINUS SIGN}")  # of a formula


def write_table(study: Study, path: Path, form: str) -> None:
    """Write :attr:`Study.results` to a file.

    Values that neither format has (lists, objects) are written as text, and so is a column in which
    text and numbers are mixed. In CSV, text that a spreadsheet would run as a formula has a '
    before it.

    Args:
        study: The study.
        path: The file, which is replaced.
        form: "csv" or "parquet".
    """
    frame = study.results
    for name in frame.columns:
        kinds = {type(item) for item in frame[name]}
        numbers = kinds <= {int, float}
        if frame[name].dtype == object and not (
            numbers or (len(kinds - {type(None)}) == 1 and kinds <= set(_PLAIN))
        ):
            frame[name] = frame[name].map(lambda item: None if item is None else shown(item, str))
    if form == "csv":
        frame = frame.map(_plain).rename(columns=_plain)
        # As RFC 4180 ends lines; so cells with either of these signs are quoted.
        frame.to_csv(path, index=False, lineterminator="\r\n")
    else:
        frame.to_parquet(path, index=False)


def _plain(cell: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula (OWASP, "CSV injection").

    Spreadsheets skip blanks and invisible signs, and read full-width signs like others.
    """
    if not isinstance(cell, str):
        return cell
    seen = (sign for sign in cell if unicodedata.category(sign)[0] not in "CMZ")
    first = unicodedata.normalize("NFKC", next(seen, ""))
    is_formula = first.startswith(_STARTS) or cell.startswith(("\t", "\r", "\n"))
    return f"'{cell}" if is_formula else cell
