"""A search space that was translated from another library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from raytuner.space import Config, Space

Decoder = Callable[[Any], Any]
"""A function that returns the other library's value for a value of the search space."""


@dataclass(frozen=True)
class Translated:
    """A search space translated from another library, and the way back for configurations.

    Give `space` to `raytuner.tune` or `raytuner.BoTorchSearch`, and call `params(config)` in the
    training function.

    Attributes:
        space: The search space.
        decoders: Functions that return the other library's value, by hyperparameter. Other
            hyperparameters have the same values in both libraries.
        build: Returns the other library's parameters, given its values by hyperparameter.
    """

    space: Space
    decoders: Mapping[str, Decoder] = field(default_factory=dict)
    build: Callable[[dict[str, Any]], Any] = dict

    def params(self, config: Config) -> Any:
        """Return the other library's parameters for a configuration."""
        return self.build(
            {
                name: self.decoders[name](value) if name in self.decoders else value
                for name, value in config.items()
            }
        )
