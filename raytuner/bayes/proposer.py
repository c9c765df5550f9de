"""What every proposer can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from raytuner.history import Origin, Snapshot
from raytuner.space import Config


@dataclass(frozen=True)
class Proposal:
    """A configuration to try, and who proposed it."""

    config: Config
    origin: Origin


class Proposer(Protocol):
    """Proposes configurations, given the record of a search.

    A proposer holds no observations of its own: each :meth:`tell` hands it the whole record, in
    which trials without a final value are pending. What it asked for since the last ``tell`` counts
    as pending too, so that ``ask(2)`` and twice ``ask(1)`` both give two different configurations.

    The same seed, the same snapshots and the same calls give the same proposals, also when the
    state was saved and loaded into a fresh proposer in between.
    """

    def tell(self, snapshot: Snapshot) -> None:
        """Learn from the record. Cheap: models are fitted when they are asked."""

    def ask(self, n: int) -> list[Proposal]:
        """Propose ``n`` configurations to evaluate at the same time.

        None of them is in the record or asked for already, as long as the space has others.

        Args:
            n: How many, at least 1.
        """

    def state_dict(self) -> dict[str, Any]:
        """What the next proposals depend on beside the record, as JSON-able values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
