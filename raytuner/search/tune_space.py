"""Translate Ray Tune's search spaces to raytuner's, with the same values and distributions.

Details of Tune's domains (ray/tune/search/sample.py in ray 2.60):

* `randint`, `lograndint`: the upper bound is excluded.
* `qrandint`, `qlograndint`: the draw is over the indices k of the multiples `k * q` within the
  bounds. Both bounds are included, but with `q == 1` the upper bound is excluded.
* `quniform`, `qloguniform`, `qrandn`: a continuous draw is rounded to the nearest multiple. So the
  two ends of a bounded range are drawn half as often as their neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ray.tune.search import sample

from raytuner.errors import SpaceError
from raytuner.space import Domain, Fidelity, Float, Integer, Normal, Options, Path, Space, When
from raytuner.space import when as space_when
from raytuner.space.domains import choice
from raytuner.space.template import Marked, like, named, path_name, walk

# Inside a Tuner, Ray replaces each `sample_from` by the tuple (this token, a hash) before a
# searcher sees the space. This is private to Ray (ray/tune/impl/placeholder.py); a test checks it.
_FUNCTION_TOKEN = "__fn_ph"


def space_from_tune(param_space: Mapping[str, Any]) -> Space:
    """Translate a Ray Tune `param_space` to a `Space` with the same values and distributions.

    `choice` and `grid_search` become `Ordinal` if their values are at least three numbers that
    strictly increase or decrease, such as 16, 32, 64: a model can use the order. Otherwise they
    become `Categorical`. Choices between values that contain domains become `Options`. A searcher
    tries each value of a grid search at least once if there are enough trials, but not every
    combination of two grids.

    Args:
        param_space: Nested dicts, lists and tuples of Tune's domains, `{"grid_search": [...]}`,
            raytuner's own domains, `raytuner.when`, `raytuner.fidelity` and constants.

    Returns:
        The search space.

    Raises:
        SpaceError: The space has a `sample_from`, an unknown domain or sampler, or bounds that Tune
            could not draw from; the message names the key. Or nothing varies.

    Examples:
        >>> from ray import tune
        >>> space_from_tune({"layers": tune.randint(1, 5), "dropout": 0.1})
        Space({'layers': Integer(low=1, high=4, log=False, step=None), 'dropout': 0.1})
    """
    return Space(template_from_tune(param_space))


def template_from_tune(param_space: Mapping[str, Any]) -> dict[str, Any]:
    """Return a `param_space` with each of Tune's domains replaced by raytuner's.

    Raises:
        SpaceError: As for `space_from_tune`, except that something must vary there.
    """
    if not isinstance(param_space, Mapping):
        raise SpaceError(f"a param_space must be a dict, received {param_space!r}")
    check_functions(param_space)
    template: dict[str, Any] = _translated(param_space, ())
    return template


class Disguised(sample.Domain, Marked):
    """A `When` or `Fidelity`, disguised as a domain of Tune.

    Ray passes its own domains to a searcher unchanged, but replaces other objects by a token.
    """

    def __init__(self, node: When | Fidelity) -> None:
        self.node: When | Fidelity = node

    def __repr__(self) -> str:
        return repr(self.node)

    def sample(self, *args: Any, **settings: Any) -> Any:
        """Raise a SpaceError: Ray calls this only without a searcher."""
        what = "conditions" if isinstance(self.node, When) else "fidelities"
        raise SpaceError(
            f"Ray's own random search does not support {what}, received {self!r}; set search_alg"
            " to raytuner.BoTorchSearch()"
        )


def when(node: Any, /, **conditions: Any) -> Disguised:
    """Make a part of a `param_space` conditional on the values of other hyperparameters.

    If a condition does not hold, the key is left out of the trial's configuration. The arguments
    are those of `raytuner.space.when`; this form also works in Ray's Tuner.

    Args:
        node: A domain, a group of domains (a dict), or a constant.
        conditions: By the name of another hyperparameter, the value that it must have, or a list
            of allowed values.

    Raises:
        SpaceError: There is no condition, or one allows no value.

    Examples:
        >>> from ray import tune
        >>> space_from_tune(
        ...     {
        ...         "optimizer": tune.choice(["sgd", "adam"]),
        ...         "momentum": when(tune.uniform(0, 1), optimizer="sgd"),
        ...     }
        ... ).columns[1].name
        'momentum'
    """
    return Disguised(space_when(_plain(node), **conditions))


def fidelity(domain: Any, /) -> Disguised:
    """Mark a hyperparameter of a `param_space` as a fidelity, such as the size of a network.

    Trials with small values are cheap. The search learns from them, and looks for the best
    configuration at the full value: the upper end of a range or the last value of a choice. This is
    the form of `raytuner.space.Fidelity` that also works in Ray's Tuner.

    Args:
        domain: A range, or values from cheap to expensive: a choice between numbers that increase
            or decrease, or a `raytuner.space.Ordinal`.

    Examples:
        >>> from ray import tune
        >>> space_from_tune(
        ...     {"lr": tune.loguniform(1e-4, 1), "width": fidelity(tune.choice([64, 128, 256]))}
        ... ).columns[1].is_fidelity
        True
    """
    return Disguised(Fidelity(domain))


def _plain(node: Any) -> Any:
    return node.node if isinstance(node, Disguised) else node


def without_conditional(param_space: Mapping[str, Any]) -> dict[str, Any]:
    """Return a `param_space` without its conditional parts, at any depth of dicts."""
    return {
        key: without_conditional(value) if isinstance(value, Mapping) else value
        for key, value in param_space.items()
        if not isinstance(_plain(value), When)
    }


def has_domains(node: Any) -> bool:
    """Return whether a part of a `param_space` contains a domain, a condition or a function.

    Examples:
        >>> from ray import tune
        >>> has_domains({"a": [1, tune.uniform(0, 1)]}), has_domains({"a": [1, 2]})
        (True, False)
    """
    return any(
        isinstance(part, sample.Domain | Domain | Marked)
        or is_function(part)
        or is_grid_search(part)
        for _, part in walk(node)
    )


def is_function(node: Any) -> bool:
    """Return whether Ray would compute the value: `tune.sample_from` or `{"eval": "..."}`."""
    if isinstance(node, tuple) and len(node) == 2 and isinstance(node[0], str):
        return node[0] == _FUNCTION_TOKEN
    if isinstance(node, Mapping) and len(node) == 1 and isinstance(node.get("eval"), str):
        return True
    return isinstance(node, sample.Function)


def check_functions(node: Any, path: Path = ()) -> None:
    """Check that Ray computes no value of a `param_space`.

    Raises:
        SpaceError: Ray computes a value; the message names its key.
    """
    for place, part in walk(node, path):
        if is_function(part):
            what = f"the expression {part!r}" if isinstance(part, Mapping) else "tune.sample_from"
            raise SpaceError(
                f"{path_name(place)}: received {what}, which a model cannot learn from; use a"
                " domain such as tune.uniform or tune.choice instead, and compute the value from"
                " the config in the training function"
            )
        if isinstance(part, sample.Categorical):
            check_functions(list(part.categories), place)


def is_grid_search(node: Any) -> bool:
    """Return whether a part of a `param_space` comes from `tune.grid_search`."""
    return isinstance(node, Mapping) and len(node) == 1 and "grid_search" in node


def _translated(node: Any, path: Path) -> Any:
    """Return the template for a part of a `param_space`."""
    node = _plain(node)
    if isinstance(node, When):
        return When(_translated(node.node, path), node.conditions)
    if isinstance(node, Fidelity):
        return Fidelity(_translated(node.node, path))
    if isinstance(node, sample.Domain) or is_grid_search(node):
        with named(path_name(path)):
            leaf = _domain(node)
        if isinstance(leaf, Domain):
            return leaf
        return Options.of(_translated(value, (*path, str(i))) for i, value in enumerate(leaf))
    if isinstance(node, Mapping):
        try:
            sorted(node)  # as Ray does to name a trial
        except TypeError:
            raise SpaceError(
                f"received keys of several types, {list(node)!r}; make them all strings"
            ) from None
        return {key: _translated(value, (*path, key)) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return like(node, [_translated(item, (*path, i)) for i, item in enumerate(node)])
    return node


def _domain(domain: Any) -> Domain | list[Any]:
    """Return the domain, or a list of values if some contain domains."""
    if is_grid_search(domain):
        return _choice(domain["grid_search"], "tune.grid_search")
    step: Any = None
    sampler: Any = domain.get_sampler()
    if type(sampler) is sample.Quantized:
        step, sampler = sampler.q, sampler.sampler
    kind, law = type(domain), type(sampler)  # exact types: a subclass may draw otherwise
    if kind is sample.Categorical and law in (kind._Uniform, sample.Grid) and step is None:
        return _choice(domain.categories, "tune.choice")
    if kind is sample.Float and law is kind._Normal:
        return Normal(sampler.mean, sampler.sd, step=step)
    if kind not in (sample.Float, sample.Integer) or law not in (kind._Uniform, kind._LogUniform):
        raise SpaceError(
            f"received {kind.__qualname__} with the unknown sampler {law.__qualname__}; use one of"
            " tune's uniform, quniform, loguniform, qloguniform, randn, qrandn, randint, qrandint,"
            " lograndint, qlograndint, choice, grid_search"
        )
    low, high, log = domain.lower, domain.upper, law is kind._LogUniform
    if kind is sample.Float:
        return Float(low, high, log=log, step=step)
    if step is not None and step != 1:
        return Integer(low, high, log=log, step=step)
    if low == high:
        raise SpaceError(
            f"received integers from {low} up to {high} without {high} itself: there are none; for"
            f" the single value {low}, use the upper bound {high + 1}"
        )
    # Checked first with the user's own bounds, so that messages show them.
    inclusive = Integer(low, high, log=log)
    return Integer(inclusive.low, inclusive.high - 1, log=log)


def _choice(values: Any, source: str) -> Domain | list[Any]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise SpaceError(f"{source} needs a list of values, received {values!r}")
    values = list(values)
    if not any(map(has_domains, values)):
        return choice(values)
    for value in values:
        if isinstance(value, Marked):
            raise SpaceError(
                f"received {value!r} among the values of {source}; a conditional part must be the"
                " value of a key in a dict, and a fidelity must exist in every configuration"
            )
    return values
