"""A search space that was another library's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from raytuner.space import Config, Space

Decoder = Callable[[Any], Any]
"""Returns the other library's value for a value of ours."""


@dataclass(frozen=True)
class Translated:
    """A search space of ours, and the way back from its configurations.

    Give `space` to `raytuner.tune` or `raytuner.BoTorchSearch`, and call `params(config)` in the
    training function.

    A hyperparameter without one of the `decoders` has the same values in both libraries. `build`
    returns what the other library hands out, given its values by hyperparameter.
    """

    space: Space
    decoders: Mapping[str, Decoder] = field(default_factory=dict)
    build: Callable[[dict[str, Any]], Any] = dict

    def params(self, config: Config) -> Any:
        """Return what the other library would hand out for a configuration of ours."""
        return self.build(
            {
                name: self.decoders[name](value) if name in self.decoders else value
                for name, value in config.items()
            }
        )
