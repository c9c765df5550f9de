"""ConfigSpace's spaces as a search space of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ConfigSpace import ConfigurationSpace
from ConfigSpace import hyperparameters as kinds
from ConfigSpace.util import deactivate_inactive_hyperparameters

from raytuner.errors import SpaceError
from raytuner.integrations.translated import Translated
from raytuner.space import Categorical, Config, Float, Integer, Space


def space_from_configspace(given: ConfigurationSpace) -> Translated:
    """The search space of a ``ConfigurationSpace``.

    Its ``params`` gives the dict of a ``Configuration``: without what the conditions turn off,
    which is a hyperparameter of ours all the same, without effect there. Of a normal or beta law,
    and of a choice's weights, the values are kept and the law is not.

    Raises:
        SpaceError: There are forbidden clauses, which a space of ours does not have, or a
            hyperparameter of an unknown kind.

    Example:
        >>> ours = space_from_configspace(ConfigurationSpace({"lr": (0.1, 1.0), "k": ["a", "b"]}))
        >>> ours.params({"lr": 0.5, "k": "b"})
        {'k': 'b', 'lr': 0.5}
    """
    if given.forbidden_clauses:
        raise SpaceError(
            f"the ConfigurationSpace forbids {given.forbidden_clauses[0]}; a search space here has"
            " no such clauses: leave it out, and have the training report NaN there"
        )
    template: dict[str, Any] = {}
    back: dict[str, Callable[[Any], Any]] = {}
    for name, parameter in given.items():
        if isinstance(parameter, kinds.Constant):
            continue  # ConfigSpace itself fills it in
        if isinstance(parameter, kinds.FloatHyperparameter):
            template[name] = Float(parameter.lower, parameter.upper, log=parameter.log)
        elif isinstance(parameter, kinds.IntegerHyperparameter):
            template[name] = Integer(parameter.lower, parameter.upper, log=parameter.log)
        elif isinstance(parameter, kinds.CategoricalHyperparameter):
            template[name] = Categorical(list(parameter.choices))
        elif isinstance(parameter, kinds.OrdinalHyperparameter):
            # Whatever the values are: their order is what counts.
            template[name] = Integer(0, len(parameter.sequence) - 1)
            back[name] = list(parameter.sequence).__getitem__
        else:
            raise SpaceError(f"{name}: received {parameter!r}, of a kind that is unknown here")
    return Translated(Space(template), _Active(given, back))


@dataclass(frozen=True)
class _Active:
    """The hyperparameters that are active in a configuration."""

    space: ConfigurationSpace
    back: Mapping[str, Callable[[Any], Any]]

    def __call__(self, config: Config) -> dict[str, Any]:
        values = {k: self.back[k](v) if k in self.back else v for k, v in config.items()}
        constants = {
            name: parameter.value
            for name, parameter in self.space.items()
            if isinstance(parameter, kinds.Constant)
        }
        return dict(deactivate_inactive_hyperparameters(constants | values, self.space))
