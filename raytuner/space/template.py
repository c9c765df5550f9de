"""Templates: nested dicts, lists and tuples that hold domains and constants.

A template may also have conditional parts (`When`), fidelities (`Fidelity`) and choices between
parts (`Options`).
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from raytuner.errors import ConfigError, SpaceError
from raytuner.space.choices import alike, is_primitive
from raytuner.space.domains import Categorical, Domain, Ordinal, is_ordered
from raytuner.space.numeric import Float, Integer

Path = tuple[str | int, ...]
"""Keys and list positions that lead to a part of a template or a configuration."""

MISSING = object()

OPTION = "option"
"""Name of the hyperparameter that says which part of `Options` is chosen."""


def path_name(path: Path) -> str:
    """Return a path's keys joined by slashes, as Ray joins them.

    Examples:
        >>> path_name(("model", "layers", 0))
        'model/layers/0'
    """
    return "/".join(map(str, path))


class Marked:
    """A part of a template, the `node`, that is conditional or a fidelity."""

    node: Any


@dataclass(frozen=True)
class When(Marked):
    """A conditional part of a search space, the `node`; see `when`."""

    node: Any
    conditions: tuple[tuple[str, tuple[Any, ...]], ...]  # names, each with the allowed values


def when(node: Any, /, **conditions: Any) -> When:
    """Make a part of a search space conditional on the values of other hyperparameters.

    If a condition does not hold, the key is left out of the trial's configuration.

    Args:
        node: The value of a key in a dict: a domain, a group of domains (a dict), or a constant.
        conditions: For each condition, the name of another hyperparameter with levels (a choice, an
            integer or a number with a step), and the value that it must have. A list or set
            allows several values. All conditions must hold. A condition on a hyperparameter that
            does not exist does not hold. Names are looked up in the key's own group first, then in
            the groups around it. Pass a path such as `"net/act"` with `**`.

    Returns:
        The conditional part, for use in a search space.

    Raises:
        SpaceError: There is no condition, or one allows no value. `Space` checks names and values.

    Examples:
        >>> from raytuner.space import Categorical, Float, Space
        >>> space = Space({"opt": Categorical(["sgd", "adam"]), "m": when(Float(0, 1), opt="sgd")})
        >>> space.decode([[0.1, 0.5], [0.9, 0.5]])
        [{'opt': 'sgd', 'm': 0.5}, {'opt': 'adam'}]
    """
    outer, node = (node.conditions, node.node) if isinstance(node, When) else ((), node)
    allowed = [
        (name, tuple(values) if isinstance(values, list | set | frozenset) else (values,))
        for name, values in conditions.items()
    ]
    if not allowed or not all(values for _, values in allowed):
        raise SpaceError(
            f"when({node!r}, ...) needs at least one condition such as optimizer='sgd': a name with"
            " a value or a list of values"
        )
    return When(node, (*outer, *allowed))


@dataclass(frozen=True)
class Fidelity(Marked):
    """A hyperparameter that says how close a trial is to the real training.

    Examples are the size of a network, the number of tokens or the share of the data. The search
    learns from cheap trials, and looks for the best configuration at full fidelity: at the upper
    end of a range, or at the last value of a choice. Every configuration has it.

    Args:
        node: A range (`Float`, `Integer`), or values from cheap to expensive: an `Ordinal`, or a
            list of numbers that increase or decrease. `Space` checks it.

    Examples:
        >>> from raytuner.space import Float, Integer, Space
        >>> space = Space({"dropout": Float(0, 1), "width": Fidelity(Integer(16, 256))})
        >>> space.decode(space.in_full([[0.5, 0.1]]))
        [{'dropout': 0.5, 'width': 256}]
    """

    node: Any


class Options(dict[str, Any]):
    """A choice between parts: domains, groups, lists or constants.

    In a space it is a group: the number of the chosen part, and the parts, each on condition that
    it is chosen. A configuration has only the chosen part.

    Examples:
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
        """Return a choice between parts."""
        group = {str(i): When(part, ((OPTION, (i,)),)) for i, part in enumerate(parts)}
        return cls({OPTION: Categorical(range(len(group))), **group})

    def __repr__(self) -> str:
        return f"Options.of({self.parts!r})"

    @property
    def parts(self) -> list[Any]:
        """The parts."""
        return [node.node for key, node in self.items() if key != OPTION]


def like(node: Any, items: Any) -> Any:
    """Return items in the same kind of container as a node: a dict, list or tuple."""
    if isinstance(node, Mapping):
        return Options(items) if isinstance(node, Options) else items
    if isinstance(node, list):
        return items
    return type(node)(*items) if hasattr(node, "_fields") else tuple(items)


def walk(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield the paths and parts of a template in order, parents before children."""
    yield path, node
    if isinstance(node, Marked):
        yield from walk(node.node, path)
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from walk(value, (*path, key))
    elif isinstance(node, list | tuple):
        for i, item in enumerate(node):
            yield from walk(item, (*path, i))


def rebuilt(node: Any, leaf: Callable[[Any, Path], Any], path: Path = ()) -> Any:
    """Return a copy of a template in which `leaf(node, path)` replaces each leaf and fidelity."""
    if isinstance(node, Marked) and not isinstance(node, Fidelity):
        inner = rebuilt(node.node, leaf, path)
        return When(inner, node.conditions) if isinstance(node, When) else inner
    if isinstance(node, Mapping):
        return like(node, {key: rebuilt(v, leaf, (*path, key)) for key, v in node.items()})
    if isinstance(node, list | tuple):
        return like(node, [rebuilt(item, leaf, (*path, i)) for i, item in enumerate(node)])
    return leaf(node, path)


def checked_leaf(node: Any, path: Path) -> Any:
    """Return a copy of a leaf or fidelity of a template; raises a SpaceError if it is invalid."""
    if isinstance(node, Domain):
        return node
    name = path_name(path)
    if isinstance(node, Fidelity):
        if isinstance(node.node, Float | Integer | Ordinal):
            return node
        if isinstance(node.node, Categorical) and is_ordered(node.node.values):
            return Fidelity(Ordinal(node.node.values))
        raise SpaceError(
            f"{name}: received fidelity({node.node!r}), expected values from cheap to expensive: a"
            " range, numbers that increase or decrease, or raytuner.space.Ordinal([...])"
        )
    if type(node).__module__ == "ray.tune.search.sample":  # by name: this package never needs ray
        raise SpaceError(
            f"{name}: received Ray Tune's {type(node).__name__}; translate the whole space with"
            " raytuner.search.tune_space.space_from_tune"
        )
    try:
        return copy.deepcopy(node)
    except Exception as error:  # whatever an object's own code may raise
        raise SpaceError(
            f"{name}: the constant cannot be copied ({error}); pass it to the trainable instead,"
            " for example with tune.with_parameters"
        ) from None


def is_leaf(node: Any) -> bool:
    """Return whether a part of a template is a domain or a constant."""
    return not isinstance(node, Marked | Mapping | list | tuple)


def varies(leaf: Any) -> bool:
    """Return whether a leaf of a template is a domain with more than one value."""
    return isinstance(leaf, Domain) and leaf.n_levels != 1


def filled(node: Any, values: Iterator[Any], absent: Collection[Path], path: Path = ()) -> Any:
    """Return a configuration: a template with the next of `values` in place of each varying leaf.

    The parts at the paths in `absent` are left out, but still use up their values.
    """
    if isinstance(node, Marked):
        return filled(node.node, values, absent, path)
    if isinstance(node, Mapping):
        items = {key: filled(v, values, absent, (*path, key)) for key, v in node.items()}
        if isinstance(node, Options):
            return items[str(items[OPTION])]
        return {key: v for key, v in items.items() if (*path, key) not in absent}
    if isinstance(node, list | tuple):
        return like(node, [filled(v, values, absent, (*path, i)) for i, v in enumerate(node)])
    if isinstance(node, Domain):
        return next(values) if varies(node) else node.from_unit(0.5)
    return copy.deepcopy(node)


def value_at(config: Any, path: Path, default: Any = None) -> Any:
    """Return the value at a path of a configuration, or `default` if there is none."""
    for key in path:
        try:
            config = config[key]
        except (LookupError, TypeError):
            return default
    return config


def unfolded(node: Any, config: Any, path: Path = ()) -> Any:
    """Return a configuration with chosen options in the form of a group, as in the template.

    A value is taken for the first option that it fits completely, or else partly. If it fits none,
    a ConfigError is raised.
    """
    if isinstance(node, When):
        return unfolded(node.node, config, path)
    if isinstance(node, Options):
        fits = [_fit(part, config) for part in node.parts]
        i = fits.index(max(fits))
        if not fits[i]:
            expected = " or ".join(map(_described, node.parts))
            raise ConfigError(f"{path_name(path)}: received {config!r}, expected {expected}")
        return {OPTION: i, str(i): unfolded(node.parts[i], config, (*path, str(i)))}
    if isinstance(node, Mapping) and isinstance(config, Mapping):
        return {
            key: unfolded(node[key], value, (*path, key)) if key in node else value
            for key, value in config.items()
        }
    both_listed = isinstance(node, list | tuple) and isinstance(config, list | tuple)
    if both_listed and len(node) == len(config):
        return [unfolded(node[i], item, (*path, i)) for i, item in enumerate(config)]
    return config


def _fit(node: Any, value: Any) -> int:
    """Return 2 if a value fits a part completely, 1 if some of it is missing, otherwise 0."""
    if isinstance(node, Marked):
        return _fit(node.node, value)
    if isinstance(node, Domain):
        return 2 * node.contains(value)
    if isinstance(node, Options):
        return max(_fit(part, value) for part in node.parts)
    if isinstance(node, Mapping):
        if not isinstance(value, Mapping) or not all(key in node for key in value):
            return 0
        return min(
            (
                _fit(part, value[key]) if key in value else 1 + isinstance(part, When)
                for key, part in node.items()
            ),
            default=2,
        )
    if isinstance(node, list | tuple):
        is_list = isinstance(value, list | tuple) and len(value) == len(node)
        return min(map(_fit, node, value), default=2) if is_list else 0
    # Not every object can be compared with its copy.
    return 2 if alike(node, value) else type(node) is type(value) and not is_primitive(node)


def _described(node: Any) -> str:
    if isinstance(node, Mapping) and not isinstance(node, Options):
        return f"a dict of {', '.join(map(repr, node)) or 'nothing'}"
    return node.describe() if isinstance(node, Domain) else repr(node)


def check(node: Any, value: Any, path: Path = ()) -> None:
    """Raise a ConfigError if the value at a path of a configuration does not fit its template."""
    name = path_name(path) or "the configuration"
    if isinstance(node, Marked):
        check(node.node, value, path)
    elif isinstance(node, Domain):
        with named(name):
            node.cast(value)
    elif isinstance(node, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{name}: received {value!r}, expected a dict")
        for key in value:
            if key not in node:
                raise ConfigError(unknown(path_name((*path, key)), key, value[key], node))
        for key, part in node.items():
            if key in value:
                check(part, value[key], (*path, key))
            elif not isinstance(part, When) and any(varies(leaf) for _, leaf in walk(part)):
                part = part.node if isinstance(part, Fidelity) else part
                group = "a group of hyperparameters"
                expected = part.describe() if isinstance(part, Domain) else group
                raise ConfigError(f"{path_name((*path, key))}: missing, expected {expected}")
    elif isinstance(node, list | tuple):
        if not isinstance(value, list | tuple) or len(value) != len(node):
            raise ConfigError(f"{name}: received {value!r}, expected {len(node)} items")
        for i, part in enumerate(node):
            check(part, value[i], (*path, i))
    elif is_primitive(node) and is_primitive(value) and not alike(node, value):
        raise ConfigError(f"{name}: received {value!r}, expected the constant {node!r}")


def unknown(name: str, key: Any, value: Any, known: Iterable[Any]) -> str:
    """Return the message of the error about a key that a template does not have."""
    return f"{name}: unknown key (received {value!r}); known keys: {known_names(key, known)}"


def known_names(name: Any, known: Iterable[Any]) -> str:
    """Return a list of known names, with a hint if one is close to `name`."""
    by_lower = {str(one).lower(): one for one in known}
    close = difflib.get_close_matches(str(name).lower(), by_lower, n=1)
    hint = f"; did you mean {by_lower[close[0]]!r}?" if close else ""
    return (", ".join(map(str, known)) or "none") + hint


@contextmanager
def named(name: str) -> Iterator[None]:
    """Put the name of a hyperparameter in front of errors about it."""
    try:
        yield
    except (ConfigError, SpaceError) as error:
        raise type(error)(f"{name}: {error}") from None
