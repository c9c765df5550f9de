"""Search spaces: typed hyperparameters, and the one encoder between configurations and [0, 1]^d.

Describe what varies with `Float`, `Integer`, `Normal`, `Categorical` and `Ordinal`, put it in a
`Space`, and `encode` and `decode` between configurations and points of the unit cube.
"""

from raytuner.space.domains import (
    LISTABLE_LEVELS,
    Categorical,
    Domain,
    Float,
    Integer,
    Kind,
    Normal,
    Ordinal,
)
from raytuner.space.hull import differences, hull
from raytuner.space.space import Column, Config, Space
from raytuner.space.spec import Path

__all__ = [
    "LISTABLE_LEVELS",
    "Categorical",
    "Column",
    "Config",
    "Domain",
    "Float",
    "Integer",
    "Kind",
    "Normal",
    "Ordinal",
    "Path",
    "Space",
    "differences",
    "hull",
]
