"""Search spaces: typed hyperparameters, and the encoder between configurations and [0, 1]^d.

Build a `Space` from a dict of domains: `Float`, `Integer`, `Normal`, `Categorical` and `Ordinal`.
`when` makes a hyperparameter depend on values of others. `Fidelity` marks a hyperparameter that is
smaller in cheap trials. A space can have constraints that every configuration satisfies.
`Space.encode` and `Space.decode` translate between configurations and points of the unit cube.
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
