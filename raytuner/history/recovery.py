"""Recover damaged records: keep every row that SQLite can read and whose check is right."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from raytuner.errors import ConfigError, HistoryError
from raytuner.history.history import History
from raytuner.history.opaque import with_opaque_values
from raytuner.history.sqlite import (
    SCHEMA,
    Line,
    connect,
    copied,
    crc_of,
    create,
    insert,
    lines_in,
    readable,
)
from raytuner.space import Space


def salvaged(path: Path, copies: Sequence[Path] = ()) -> tuple[History, int, tuple[str, ...]]:
    """Return the readable part of a record, completed from older copies.

    Args:
        path: The file. It may be damaged or missing.
        copies: The copies, the newest last. Copies of another search are ignored.

    Returns:
        The record in memory, the number of rows that only a copy had, and descriptions of known
        losses, one line each.

    Raises:
        HistoryError: The search space or the goal is lost.
    """
    own, older = list(_rows_in(path)), [list(_rows_in(copy)) for copy in copies]
    search = next(filter(None, map(_search_id, [own, *reversed(older)])), None)
    with closing(connect(":memory:", path)) as db, readable(path):
        create(db, own)
        before = sum(table != "meta" for table, _ in lines_in(db, path))
        for rows in (*older, own):  # what is newer replaces what is older
            if _search_id(rows) in (None, search):
                insert(db, rows)
        whole = list(lines_in(db, path))
        meta = {row[0]: row[1] for table, row in whole if table == "meta"}
        if missing := [key for key in ("space", "goal", "time_attr") if key not in meta]:
            raise HistoryError(
                f"nothing can be recovered: neither {path} nor a copy of it in Ray's saved state"
                f" has the study's {' and '.join(missing)}"
            )
        lost = tuple(_drop_unusable(db, meta["space"]))
        history = History.of_lines(lines_in(db, path), opaque=True)
        return history, len(whole) - len(meta) - before, lost


def _rows_in(path: Path) -> Iterator[Line]:
    """Yield the rows of a file that can be read, some of them twice."""
    with TemporaryDirectory(prefix="raytuner-") as folder:
        copy = copied(path, Path(folder))  # SQLite may write to what it reads
        if not copy.is_file():
            return
        with suppress(sqlite3.Error, HistoryError), closing(connect(str(copy), path)) as db:
            db.execute("PRAGMA trusted_schema = OFF")
            db.execute("PRAGMA writable_schema = ON")  # else SQLite reads nothing of a short file
            db.text_factory = bytes
            for table in SCHEMA:
                key = "trial_id" if "WITHOUT ROWID" in SCHEMA[table] else "rowid"
                for order in ("ASC", "DESC"):  # from both ends to a page that cannot be read
                    with suppress(sqlite3.Error):
                        for row in db.execute(f"SELECT * FROM {table} ORDER BY {key} {order}"):
                            with suppress(ValueError, TypeError):
                                texts = [v.decode() if isinstance(v, bytes) else v for v in row]
                                if crc_of(table, texts[:-1]) == texts[-1]:
                                    yield table, texts[:-1]


def _search_id(rows: Sequence[Line]) -> str | None:
    return next((row[1] for _, row in rows if row[0] == "search_id"), None)


def _drop_unusable(db: sqlite3.Connection, spec: str) -> Iterator[str]:
    """Remove trials outside the space and rows without a trial. Yield descriptions of the loss."""
    space = Space.from_spec(with_opaque_values(json.loads(spec)))
    heads = db.execute("SELECT trial_id, config FROM trial ORDER BY number").fetchall()
    last = db.execute("SELECT MAX(number) FROM trial").fetchone()[0]
    if last is not None and last >= len(heads):
        yield f"{last + 1 - len(heads)} trials between the others"
    for trial_id, config in heads:
        try:
            space.load(json.loads(config))
        except ConfigError as error:
            yield f"trial {trial_id!r}: {error}"
            db.execute("DELETE FROM trial WHERE trial_id = ?", (trial_id,))
    for table in ("value", "other", "last"):
        query = f"DELETE FROM {table} WHERE trial_id NOT IN (SELECT trial_id FROM trial)"
        if (dropped := db.execute(query).rowcount) and table == "value":
            yield f"{dropped} values of trials whose configuration is lost"
