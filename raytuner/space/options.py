"""Choices between parts of a search space that hold hyperparameters of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from raytuner.errors import ConfigError
from raytuner.space.choices import is_primitive, same, shown
from raytuner.space.conditions import When
from raytuner.space.domains import Categorical, Domain
from raytuner.space.fidelity import Fidelity

OPTION = "option"
"""Name of the hyperparameter that says which of the parts is chosen."""

Missing = Literal["nothing", "constants", "anything"]


class Options(dict[str, Any]):
    """A choice between parts, each a domain, a group, a list or a constant.

    A space takes it as a group: the number of the part that is chosen, and each part under the
    condition that it is chosen. A configuration has only the chosen part itself.

    >>> from raytuner.space import Float, Space
    >>> space = Space({"dropout": Options.of([None, Float(0.1, 0.5)])})
    >>> [column.name for column in space.columns]
    ['dropout/option', 'dropout/1']
    >>> space.load({"dropout/option": 1, "dropout/1": 0.25})
    {'dropout': 0.25}
    >>> space.dump({"dropout": None})
    {'dropout/option': 0}
    """

    @classmethod
    def of(cls, parts: Iterable[Any]) -> Options:
        """Return the choice between these parts."""
        parts = list(parts)
        group = {str(i): When(part, ((OPTION, (i,)),)) for i, part in enumerate(parts)}
        return cls({OPTION: Categorical(range(len(parts))), **group})

    def __repr__(self) -> str:
        return f"Options.of({self.parts!r})"

    @property
    def parts(self) -> list[Any]:
        """The parts."""
        return [node.node for key, node in self.items() if key != OPTION]


def like_group(node: Mapping[str, Any], items: dict[str, Any]) -> dict[str, Any]:
    """Return the items as a group of the same kind: options stay options."""
    return Options(items) if isinstance(node, Options) else items


def has_options(node: Any) -> bool:
    """Return whether a template holds options."""
    if isinstance(node, When):
        return has_options(node.node)
    if isinstance(node, Mapping):
        return isinstance(node, Options) or any(map(has_options, node.values()))
    return isinstance(node, list | tuple) and any(map(has_options, node))


def unfolded(node: Any, config: Any, missing: Missing = "constants") -> Any:
    """Return a configuration with each option in the form of a group, as in the template.

    Args:
        node: The template, or a part of it.
        config: The configuration, or its part in the same place.
        missing: What the configuration may leave out.

    Raises:
        ConfigError: A value is none of its options.
    """
    if isinstance(node, When):
        return unfolded(node.node, config, missing)
    if isinstance(node, Options):
        i = _chosen(node, config, missing)
        return {OPTION: i, str(i): unfolded(node.parts[i], config, missing)}
    if isinstance(node, Mapping) and isinstance(config, Mapping):
        return {
            key: unfolded(node[key], value, missing) if key in node else value
            for key, value in config.items()
        }
    both_listed = isinstance(node, list | tuple) and isinstance(config, list | tuple)
    if both_listed and len(node) == len(config):
        return [unfolded(*pair, missing) for pair in zip(node, config, strict=True)]
    return config


def _chosen(node: Options, value: Any, missing: Missing) -> int:
    """Return which option a value is: the one of which it leaves out least, else the first."""
    allowed: list[Missing] = ["nothing", "constants", "anything"]
    for leaves_out in allowed[: allowed.index(missing) + 1]:
        for i, part in enumerate(node.parts):
            if _fits(part, value, leaves_out):
                return i
    options = " or ".join(_describe(part) for part in node.parts)
    raise ConfigError(f"received {shown(value)} ({type(value).__name__}), expected {options}")


def _fits(node: Any, value: Any, missing: Missing) -> bool:
    """Return whether a part of a template can have a value."""
    if isinstance(node, When):
        return _fits(node.node, value, missing)
    if isinstance(node, Fidelity):
        return node.domain.contains(value)
    if isinstance(node, Domain):
        return node.contains(value)
    if isinstance(node, Options):
        return any(_fits(part, value, missing) for part in node.parts)
    if isinstance(node, Mapping):
        if not isinstance(value, Mapping) or not all(key in node for key in value):
            return False
        return all(
            _fits(part, value[key], missing) if key in value else _may_lack(part, missing)
            for key, part in node.items()
        )
    if isinstance(node, list | tuple):
        if not isinstance(value, list | tuple) or len(value) != len(node):
            return False
        return all(_fits(*pair, missing) for pair in zip(node, value, strict=True))
    # A configuration has a copy of a constant, and not every object equals its copy.
    is_copy = type(node) is type(value) and not is_primitive(node) and missing != "nothing"
    return is_copy or same(node, value, strict=False)


def _may_lack(node: Any, missing: Missing) -> bool:
    """Return whether a configuration may leave a part out."""
    if isinstance(node, When) or missing == "anything":
        return True
    if isinstance(node, Mapping | list | tuple):
        parts = node.values() if isinstance(node, Mapping) else node
        return all(_may_lack(part, missing) for part in parts)
    return missing == "constants" and not isinstance(node, Domain | Fidelity)


def _describe(node: Any) -> str:
    if isinstance(node, Domain):
        return node.describe()
    if isinstance(node, Mapping) and not isinstance(node, Options):
        return f"a dict of {', '.join(map(repr, node)) or 'nothing'}"
    return shown(node)
