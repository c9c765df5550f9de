"""A search space that was another library's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from raytuner.space import Config, Space


@dataclass(frozen=True)
class Translated:
    """A search space of ours, and the way back from its configurations.

    Give ``space`` to :func:`raytuner.tune` or :class:`raytuner.BoTorchSearch`, and in the training
    function go on with ``params(config)``.

    Attributes:
        space: The search space.
        params: What the other library would have handed out in a configuration's place.
    """

    space: Space
    params: Callable[[Config], Any]
