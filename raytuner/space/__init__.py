"""Search spaces: typed hyperparameters, and the one encoder between configurations and [0, 1]^d.

Describe what varies with `Float`, `Integer`, `Normal`, `Categorical` and `Ordinal`, say with `when`
what exists only beside certain values of others and with `Fidelity` what a cheap trial has less of,
put it in a `Space` with the constraints that every configuration keeps, and `encode` and `decode`
between configurations and points of the unit cube.
"""

from raytuner.space.columns import Column
from raytuner.space.constraints import Constraint, Rule
from raytuner.space.domains import LISTABLE_LEVELS, Categorical, Domain, Kind, Ordinal
from raytuner.space.hull import differences, hull
from raytuner.space.numeric import Float, Integer, Normal
from raytuner.space.space import ABSENT, Config, Space
from raytuner.space.template import Fidelity, Options, Path, When, value_at, when

__all__ = [
    "ABSENT",
    "LISTABLE_LEVELS",
    "Categorical",
    "Column",
    "Config",
    "Constraint",
    "Domain",
    "Fidelity",
    "Float",
    "Integer",
    "Kind",
    "Normal",
    "Options",
    "Ordinal",
    "Path",
    "Rule",
    "Space",
    "When",
    "differences",
    "hull",
    "value_at",
    "when",
]
