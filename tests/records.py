"""Changes to a record's file behind a History's back, with checks that are right."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from raytuner.history.sqlite import insert, read_lines


def rows_of(path: Path, table: str) -> list[Sequence[Any]]:
    """Return the rows of a table."""
    return [row for name, row in read_lines(path) if name == table]


def put_rows(path: Path, *lines: tuple[str, Sequence[Any]]) -> None:
    """Insert rows, or replace those with the same keys."""
    with closing(sqlite3.connect(path)) as database, database:
        insert(database, lines)
