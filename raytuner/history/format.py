"""What is in the file of a record: its tables, by format version, and the check of each row.

Format version 4. Five tables, whose rows each end in ``crc``:

``meta(key TEXT PRIMARY KEY, value TEXT)``
    JSON values. ``format`` (this version), ``space`` (its spec), ``metric``, ``mode`` (of the
    first objective), ``goal`` (if there is more to it), ``time_attr``, ``max_t``, and whatever a
    study or searcher keeps beside them.
``trial(trial_id TEXT PRIMARY KEY, number INTEGER, config TEXT, state TEXT, reason TEXT,
origin TEXT, proposed_at REAL, ended_at REAL)``
    ``config`` is the JSON object of the hyperparameters that vary (``Space.dump``); times are
    Unix seconds.
``value(trial_id TEXT, t REAL, value REAL, reported_at REAL, PRIMARY KEY (trial_id, t))``
    The metric as reported; NULL stands for NaN.
``other(trial_id TEXT, t REAL, metric TEXT, value REAL, PRIMARY KEY (trial_id, t, metric))``
    Further metrics whose curves are kept: those of the goal at the same t, and those asked for.
``last(trial_id TEXT PRIMARY KEY, metrics TEXT)``
    The JSON object of the last value of each other number that the trial reported, by name; null
    stands for one that is not finite.

``crc`` is the CRC-32 of the JSON text of ``[table, column, column, ...]`` as Python's json writes
it. SQLite notices a page that is torn, not a bit that has flipped inside of a value: without the
check a loss of 0.125 could become one of 0.0625, and nobody would know. It is also what lets a row
be taken from a file that SQLite no longer reads (:mod:`raytuner.history.recovery`). It guards
against accidents, not against people.

Format 3 had no table ``last``, format 2 no ``crc`` either, format 1 no table ``other`` either. They
are read, and become format 4 when they are opened to be written to.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

FORMAT_VERSION = 4

# Table -> what its columns hold. A "?" may be NULL, and a NaN is kept as NULL there.
COLUMNS = {
    "meta": ("text", "text"),
    "trial": ("text", "int", "text", "text", "text", "text", "real", "real?"),
    "value": ("text", "real", "real?", "real"),
    "other": ("text", "real", "text", "real?"),
    "last": ("text", "text"),
}

# Table -> how many of its first columns tell a row apart.
KEYS = {"meta": 1, "trial": 1, "value": 2, "other": 3, "last": 1}

_SQL = {
    "meta": "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL{crc})",
    "trial": "CREATE TABLE trial (trial_id TEXT PRIMARY KEY, number INTEGER NOT NULL,"
    " config TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, origin TEXT NOT NULL,"
    " proposed_at REAL NOT NULL, ended_at REAL{crc})",
    "value": "CREATE TABLE value (trial_id TEXT NOT NULL, t REAL NOT NULL, value REAL,"
    " reported_at REAL NOT NULL{crc}, PRIMARY KEY (trial_id, t)) WITHOUT ROWID",
    "other": "CREATE TABLE other (trial_id TEXT NOT NULL, t REAL NOT NULL, metric TEXT NOT NULL,"
    " value REAL{crc}, PRIMARY KEY (trial_id, t, metric)) WITHOUT ROWID",
    "last": "CREATE TABLE last (trial_id TEXT PRIMARY KEY, metrics TEXT NOT NULL{crc})",
}

_SINCE = {"other": 2, "last": 4}  # the first format that has a table

Row = tuple[Any, ...]


def schema(version: int) -> dict[str, str]:
    """Each table of a format, by name, as SQLite keeps the statement that made it."""
    crc = ", crc INTEGER NOT NULL" if has_checks(version) else ""
    return {
        table: sql.format(crc=crc) for table, sql in _SQL.items() if version >= _SINCE.get(table, 1)
    }


def has_checks(version: int) -> bool:
    """Whether the rows of a format carry a check."""
    return version >= 3


def as_kept(table: str, row: Sequence[Any]) -> Row:
    """A row as a file gives it back.

    Raises:
        ValueError, TypeError, OverflowError: A column holds something else.
    """
    kinds = COLUMNS[table]
    if len(row) != len(kinds):
        raise ValueError(f"a row of {table} has {len(kinds)} columns, received {len(row)}")
    return tuple(_kept(kind, value) for kind, value in zip(kinds, row, strict=True))


def as_text(metrics: Mapping[str, float]) -> str:
    """Return the last values of a trial's metrics as the table ``last`` keeps them."""
    return json.dumps({k: v if math.isfinite(v) else None for k, v in metrics.items()})


def crc_of(table: str, row: Row) -> int:
    """The check of a row that is as it is kept (:func:`as_kept`).

    >>> crc_of("value", ("a", 1.0, 0.5, 0.0)) == crc_of("value", ("a", 1.0, 0.25, 0.0))
    False
    """
    return zlib.crc32(json.dumps([table, *row]).encode())


def _kept(kind: str, value: Any) -> Any:
    if kind == "text":
        if not isinstance(value, str):
            raise TypeError(f"expected text, received {value!r}")
        # A file name that is no UTF-8 comes into an error's text as half of a character.
        return value.encode("utf-8", "backslashreplace").decode()
    if value is None and kind == "real?":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number, received {value!r}")
    if kind == "int":
        if not isinstance(value, int):
            raise TypeError(f"expected a whole number, received {value!r}")
        return value
    number = float(value) + 0.0  # SQLite has no negative zero in a column of reals
    if math.isnan(number):
        if kind == "real":
            raise ValueError("expected a number, received NaN")
        return None
    return number
