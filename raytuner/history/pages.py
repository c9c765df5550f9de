"""Reading rows out of a database file that SQLite itself no longer reads.

A file of SQLite's is a row of pages of one size; a page that holds rows (a leaf of a table, or any
page of a table WITHOUT ROWID) says by itself where they stand (https://sqlite.org/fileformat2.html).
So each page is read for what it holds, whatever has become of the pages that lead to it.

Nothing here vouches for a row: that is left to its check.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_HEADER = 100  # bytes of the file before the content of its first page
_WAL_HEADER, _FRAME_HEADER = 32, 24
_PAGE_SIZE = 4096  # SQLite's own, where the file no longer says
_TABLE_LEAF, _INDEX_LEAF, _INDEX_INTERIOR = 13, 10, 2
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # serial type -> bytes
_BROKEN = (IndexError, ValueError, struct.error)


def rows_in(path: Path) -> Iterator[tuple[Any, ...]]:
    """Every row in a database file and the write-ahead log beside it, of whatever table.

    Args:
        path: The file; one that is absent has no rows.

    Yields:
        The columns in the order in which the file has them. A row may come more than once, in older
        states: those come first.
    """
    pages = _Pages(path)
    for number in pages.oldest_first():
        yield from pages.rows(number)


class _Pages:
    """The pages of a file, as its last commit left them, numbered from 1."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes() if path.is_file() else b""
        log = path.with_name(path.name + "-wal")
        logged = log.read_bytes() if log.is_file() else b""
        size = _page_size(data, logged)
        self._of = {
            start // size + 1: data[start : start + size].ljust(size, b"\0")
            for start in range(0, len(data), size)
        }
        self._of |= _committed(logged, size)
        self._usable = size

    def oldest_first(self) -> list[int]:
        """Page numbers; pages that SQLite has given up, which keep what they held, come first."""
        free = self._free()
        return sorted(self._of, key=lambda number: (number not in free, number))

    def rows(self, number: int) -> Iterator[tuple[Any, ...]]:
        """The rows that a page holds."""
        page, start = self._of[number], _HEADER if number == 1 else 0
        kind = page[start]
        if kind not in (_TABLE_LEAF, _INDEX_LEAF, _INDEX_INTERIOR):
            return
        pointers = start + (12 if kind == _INDEX_INTERIOR else 8)
        for i in range(_int(page, start + 3, 2)):
            try:
                at = _int(page, pointers + 2 * i, 2)
                if at == 0:  # a page of zeros says that it has many cells, at none
                    continue
                yield _decoded(self._payload(page, at, kind))
            except _BROKEN:
                continue

    def _payload(self, page: bytes, at: int, kind: int) -> bytes:
        """A row's bytes, with what did not fit into its page."""
        if kind == _INDEX_INTERIOR:
            at += 4  # the number of the page to its left
        length, at = _varint(page, at)
        if kind == _TABLE_LEAF:
            _, at = _varint(page, at)  # the row's number
        if length > self._usable * len(self._of):
            raise ValueError("longer than the file")
        usable = self._usable
        most = usable - 35 if kind == _TABLE_LEAF else (usable - 12) * 64 // 255 - 23
        if length <= most:
            return _cut(page, at, length)
        least = (usable - 12) * 32 // 255 - 23
        here = least + (length - least) % (usable - 4)
        here = here if here <= most else least
        found, more = bytearray(_cut(page, at, here)), _int(page, at + here, 4)
        while len(found) < length:
            rest = self._of.get(more)
            if rest is None:
                raise ValueError("the rest is missing")
            found += rest[4:][: length - len(found)]
            more = _int(rest, 0, 4)
        return bytes(found)

    def _free(self) -> set[int]:
        free: set[int] = set()
        first = self._of.get(1)
        trunk = 0 if first is None else _int(first, 32, 4)
        while trunk in self._of and trunk not in free:
            page = self._of[trunk]
            count = min(_int(page, 4, 4), len(page) // 4 - 2)
            free |= {trunk, *struct.unpack_from(f">{count}I", page, 8)}
            trunk = _int(page, 0, 4)
        return free


def _page_size(data: bytes, log: bytes) -> int:
    """What the file says, or the log, if it can be."""
    said = [int.from_bytes(data[16:18], "big"), int.from_bytes(log[8:12], "big")]
    sizes = [65536 if size == 1 else size for size in said]
    return next((s for s in sizes if 512 <= s <= 65536 and s & (s - 1) == 0), _PAGE_SIZE)


def _committed(log: bytes, size: int) -> dict[int, bytes]:
    """The pages in a write-ahead log, up to the last commit of its present round."""
    salts = log[16:24]
    found: dict[int, bytes] = {}
    pending: dict[int, bytes] = {}
    for start in range(_WAL_HEADER, len(log) - size - _FRAME_HEADER + 1, size + _FRAME_HEADER):
        number, pages_then = struct.unpack_from(">II", log, start)
        if log[start + 8 : start + 16] != salts:
            break  # of an earlier round
        pending[number] = log[start + _FRAME_HEADER : start + _FRAME_HEADER + size]
        if pages_then:  # the end of a transaction
            found |= pending
            pending = {}
    return found


def _decoded(payload: bytes) -> tuple[Any, ...]:
    """The columns of a row."""
    header, at = _varint(payload, 0)
    kinds = []
    while at < header:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    return tuple(_columns(payload, at, kinds))


def _columns(payload: bytes, at: int, kinds: Sequence[int]) -> Iterator[Any]:
    for kind in kinds:
        if kind in _INTEGERS:
            length = _INTEGERS[kind]
            yield int.from_bytes(_cut(payload, at, length), "big", signed=True)
        elif kind == 7:
            length = 8
            yield struct.unpack(">d", _cut(payload, at, length))[0]
        elif kind >= 13 and kind % 2 == 1:
            length = (kind - 13) // 2
            yield _cut(payload, at, length).decode()
        elif kind in (0, 8, 9):
            length = 0
            yield None if kind == 0 else kind - 8
        else:
            raise ValueError("a record has no such column")
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where it ends."""
    number = 0
    for i in range(8):
        byte = data[at + i]
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number, at + i + 1
    return number << 8 | data[at + 8], at + 9


def _int(data: bytes, at: int, length: int) -> int:
    return int.from_bytes(_cut(data, at, length), "big")


def _cut(data: bytes, at: int, length: int) -> bytes:
    found = data[at : at + length]
    if len(found) < length:
        raise ValueError("it reaches out of its page")
    return found
