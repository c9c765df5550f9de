"""Resume a recorded search with a new searcher, or restart it without its trials."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from raytuner.history import History
from raytuner.search.botorch_search import BoTorchSearch
from raytuner.search.priors import PRIORS
from raytuner.search.restore import RECORD_FILE
from raytuner.search.transfer import EARLIER


def resume_from(searcher: BoTorchSearch, history: History) -> None:
    """Let a searcher continue from a copy of a record."""
    with TemporaryDirectory() as place:
        copy = Path(place) / RECORD_FILE
        history.copy_to(copy)
        searcher.restore(str(copy))


def restarted(history: History, *, strategy: str, seed: int | None) -> BoTorchSearch:
    """Return a searcher with the space, goal, priors and earlier studies of a record.

    It proposes inside `suggest`.

    Args:
        history: The record. Its trials are not used.
        strategy: As for `BoTorchSearch`.
        seed: Seed of the new searcher.
    """
    blank = History(
        history.space, goal=history.goal, time_attr=history.time_attr, max_t=history.max_t
    )
    for key in (EARLIER, PRIORS):
        blank.set_meta(key, history.get_meta(key))
    searcher = BoTorchSearch(history.space, background=False, seed=seed, strategy=strategy)
    resume_from(searcher, blank)
    return searcher
