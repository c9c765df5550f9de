"""A record behind a URI, where nothing can be appended: it is written in pieces.

A piece is a file of JSON lines, each a row of the record with its check as in
:mod:`raytuner.history.format`: ``[table, column, ..., crc]``; the last line is how many rows there
are. Its name says which pieces it stands for, ``0000000007-0000000007.jsonl`` for the eighth alone;
of a row that stands in several the last counts. Pieces are merged as in a log-structured merge tree
(O'Neil et al. 1996), so that a long search comes to a few dozen files, and each row is uploaded
again a few times only.

All uploads are made by a thread: Ray's loop does not wait for a network.
"""

from __future__ import annotations

import atexit
import json
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from raytuner.errors import HistoryError
from raytuner.folders import RemoteFolder
from raytuner.history.format import KEYS, Row

logger = logging.getLogger(__name__)

FOLDER = "raytuner-record"
"""The folder of the pieces, in that of the study."""

_TOGETHER = 32  # pieces that become one
_EVERY_S = 1.0  # between uploads, at least: so much is lost with a machine
_REST = 4  # and so many times the last one's length: a slow network is left to the trials
_RETRY_S = 30.0  # at most, while nothing can be uploaded
_END_S = 60.0  # that the last piece may take
_READERS = 8
_TRIES = 10  # to read pieces that are merged meanwhile
_AGAIN_S = 0.1
_NAME = re.compile(r"(\d{10})-(\d{10})\.jsonl")

Line = tuple[str, Row]
"""A table and a row of it, its check last."""


class Piece(NamedTuple):
    """The first and the last piece that a file stands for."""

    first: int
    last: int

    @classmethod
    def of(cls, file: str) -> Piece | None:
        """What a file's name says; None if that is not a piece's."""
        found = _NAME.fullmatch(file)
        return None if found is None else cls(int(found[1]), int(found[2]))

    @property
    def file(self) -> str:
        """Its name.

        >>> Piece(0, 31).file
        '0000000000-0000000031.jsonl'
        """
        return f"{self.first:010d}-{self.last:010d}.jsonl"

    @property
    def level(self) -> int:
        """How often it was merged.

        >>> Piece(3, 3).level, Piece(0, 31).level, Piece(0, 1023).level
        (0, 1, 2)
        """
        level, span = 0, self.last - self.first + 1
        while span >= _TOGETHER ** (level + 1):
            level += 1
        return level


class Journal:
    """Writes rows to a folder behind a URI, in their order, soon after they are given.

    Args:
        folder: Where the pieces are.
        pieces: Those that are there and stay, in their order.
    """

    def __init__(self, folder: RemoteFolder, pieces: Sequence[Piece] = ()) -> None:
        self.folder = folder
        self._pieces = list(pieces)
        self._waiting: deque[Line] = deque()
        self._in_flight = False
        self._is_urgent = False
        self._is_closed = False
        self._error: OSError | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        atexit.register(self._at_exit)

    def put(self, lines: Iterable[Line]) -> None:
        """Have rows written; returns at once."""
        with self._changed:
            self._waiting.extend(lines)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="record", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def replace_by(self, lines: Iterable[Line]) -> None:
        """Write a whole record now, in the place of all pieces.

        Raises:
            OSError: It cannot be written; the pieces are as they were.
        """
        old = self._pieces
        new = Piece(0, old[-1].last + 1 if old else 0)
        self.folder.write(new.file, _as_bytes(lines))
        self._pieces = [new]
        self._remove(old)

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was given is written.

        Returns:
            Whether it is.
        """
        with self._changed:
            self._is_urgent = True
            self._changed.notify_all()
            is_written = self._changed.wait_for(
                lambda: not (self._waiting or self._in_flight), timeout_s
            )
            self._is_urgent = False
        return is_written

    def close(self) -> None:
        """Write the rest, and end.

        Raises:
            HistoryError: Something is left that could not be written.
        """
        is_whole = self.flush(_END_S)
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        atexit.unregister(self._at_exit)
        if not is_whole:
            raise HistoryError(self._what_is_left())

    def _at_exit(self) -> None:
        """The process ends by an error, or a search of which nobody has said that it is over."""
        if not self.flush(_END_S):
            logger.error("At the end of the process, %s.", self._what_is_left())

    def _what_is_left(self) -> str:
        return (
            f"the last of the record could not be written to {self.folder} within {_END_S:g} s:"
            f" {self._error or 'it takes longer'}"
        )

    # -- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                if not self._waiting:
                    return
                lines = list(self._waiting)
                self._waiting.clear()
                self._in_flight = True
            begun = time.monotonic()
            failures = 0 if self._upload(lines) else failures + 1
            pause = max(_EVERY_S, _REST * (time.monotonic() - begun))
            with self._changed:
                self._in_flight = False
                self._changed.notify_all()
                if failures:
                    longer = _EVERY_S * 2 ** min(failures, 10)
                    self._changed.wait_for(lambda: self._is_closed, min(longer, _RETRY_S))
                    if self._is_closed:
                        return  # whoever closed it has said so
                self._changed.wait_for(lambda: self._is_urgent or self._is_closed, pause)

    def _upload(self, lines: list[Line]) -> bool:
        """Whether rows could be written as the next piece; if not, they wait again."""
        number = self._pieces[-1].last + 1 if self._pieces else 0
        piece = Piece(number, number)
        try:
            self.folder.write(piece.file, _as_bytes(lines))
        except OSError as error:
            if self._error is None:
                logger.warning(
                    "The record cannot be written to %s now (%s); it is kept in memory, and tried"
                    " again.",
                    self.folder,
                    error,
                )
            with self._changed:
                self._waiting.extendleft(reversed(lines))
                self._error = error
            return False
        self._error = None
        self._pieces.append(piece)
        try:
            self._merge()
        except (OSError, HistoryError) as error:  # the pieces are there all the same
            logger.warning("Pieces of the record at %s were not merged: %s", self.folder, error)
        return True

    def _merge(self) -> None:
        """Make one of the last pieces, as long as so many of one level end the record."""
        while len(self._pieces) >= _TOGETHER:
            old = self._pieces[-_TOGETHER:]
            if len({piece.level for piece in old}) > 1:
                return
            new = Piece(old[0].first, old[-1].last)
            parts = _lines_of(self.folder, old)
            if None in parts:
                raise OSError("one of them was not read as it was written")
            self.folder.write(new.file, _as_bytes(_latest(part or [] for part in parts)))
            self._pieces[-_TOGETHER:] = [new]
            self._remove(old)

    def _remove(self, old: Iterable[Piece]) -> None:
        for piece in old:
            try:
                self.folder.delete(piece.file)
            except OSError as error:  # whoever reads passes over it
                logger.debug("%s of %s is left behind: %s", piece.file, self.folder, error)


def read_pieces(folder: RemoteFolder) -> tuple[list[Piece], list[Line]]:
    """The pieces that a record is made of, and all of its rows, the last of each.

    It may be written to at the same time. A piece that a killed process has left unfinished is
    passed over, as if it had not been begun.

    Raises:
        HistoryError: There is none, or it is damaged, or out of reach.
    """
    for _ in range(_TRIES):
        try:
            known = _pieces_in(folder)
            if not known:
                raise HistoryError(f"there is no record of a search at {folder}")
            read = dict(zip(known, _lines_of(folder, known), strict=True))
            is_still = set(known) <= set(_pieces_in(folder))  # nothing was merged meanwhile
        except OSError as error:
            raise HistoryError(f"the record at {folder} is out of reach: {error}") from error
        found = {piece: lines for piece, lines in read.items() if lines is not None}
        if is_still and (cover := _cover(found)) is not None:
            return cover, _latest(found[piece] for piece in cover)
        time.sleep(_AGAIN_S)
    raise HistoryError(
        f"the record at {folder} lacks a piece: it is damaged, or was not copied as a whole"
    )


def _pieces_in(folder: RemoteFolder) -> list[Piece]:
    return [piece for name in folder.files() if (piece := Piece.of(name)) is not None]


def _cover(pieces: Iterable[Piece]) -> list[Piece] | None:
    """Those that stand for all others, in their order; None if one is missing.

    >>> _cover([Piece(0, 0), Piece(1, 1), Piece(0, 1), Piece(2, 2)])
    [Piece(first=0, last=1), Piece(first=2, last=2)]
    >>> _cover([Piece(0, 0), Piece(2, 2)])
    """
    cover: list[Piece] = []
    for piece in sorted(pieces, key=lambda one: (one.first, -one.last)):
        following = cover[-1].last + 1 if cover else 0
        if piece.first > following:
            return None
        if piece.first == following:
            cover.append(piece)
    return cover or None


def _lines_of(folder: RemoteFolder, pieces: Sequence[Piece]) -> list[list[Line] | None]:
    """The rows of each piece; None for one that is not there, or is not whole."""
    with ThreadPoolExecutor(_READERS) as readers:
        return list(readers.map(lambda piece: _lines_in(folder, piece), pieces))


def _lines_in(folder: RemoteFolder, piece: Piece) -> list[Line] | None:
    try:
        texts = folder.read(piece.file).splitlines()
    except FileNotFoundError:
        return None
    if not texts or texts.pop() != str(len(texts)).encode():
        return None
    lines = []
    for text in texts:
        try:
            table, *columns = json.loads(text)
            lines.append((table, tuple(columns)))
            _ = KEYS[table]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise HistoryError(
                f"the record at {folder} is damaged: {piece.file} has a line that is no row"
            ) from error
    return lines


def _latest(pieces: Iterable[Iterable[Line]]) -> list[Line]:
    """Rows as they stand last, in the order in which they first came."""
    latest: dict[tuple[str, Row], Line] = {}
    for lines in pieces:
        for table, row in lines:
            latest[table, row[: KEYS[table]]] = table, row
    return list(latest.values())


def _as_bytes(lines: Iterable[Line]) -> bytes:
    texts = [json.dumps([table, *row]) for table, row in lines]
    return "".join(f"{text}\n" for text in (*texts, len(texts))).encode()
