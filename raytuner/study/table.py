"""Trials as a table in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raytuner.study.study import Study

_PLAIN = (bool, int, float, str, type(None))


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
            frame[name] = frame[name].map(lambda item: None if item is None else str(item))
    if form == "csv":
        frame = frame.map(_plain).rename(columns=_plain)
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)


def _plain(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula (OWASP, "CSV injection")."""
    is_formula = isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{cell}" if is_formula else cell
