"""Translate Ray Tune's search spaces to ours, with the same support and law of each domain.

What Tune does (ray/tune/search/sample.py in ray 2.60), beyond what the names say:

* `randint`, `lograndint`: the upper bound is excluded.
* `qrandint`, `qlograndint`: the draw is over the indices k of the multiples `k * q` that lie
  within the bounds, both included, except that with `q == 1` the upper bound is excluded.
* `quniform`, `qloguniform`, `qrandn`: a continuous draw is rounded to the nearest multiple, so the
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
# searcher sees the space. Private to Ray (ray/tune/impl/placeholder.py); a test watches it.
_FUNCTION_TOKEN = "__fn_ph"


def space_from_tune(param_space: Mapping[str, Any]) -> Space:
    """Return the `Space` with the support and the law of a Ray Tune `param_space`.

    Args:
        param_space: Nested dicts, lists and tuples of Tune's domains, `{"grid_search": [...]}`,
            raytuner's own domains, `raytuner.when`, `raytuner.fidelity` and constants.

    `choice` and `grid_search` become `Ordinal` when their values are at least three numbers that
    strictly increase or decrease, since a model can learn from the order that the user wrote
    (16, 32, 64); otherwise `Categorical`. Their law is the same. Values that hold domains become
    `Options`. A searcher tries each value of a grid search at least once if there are enough
    trials, but not every combination of two grids.

    Raises:
        SpaceError: The space has a `sample_from`, a domain or sampler of unknown law, or bounds
            that Tune could not draw from (the error names the key); or nothing varies.

    >>> from ray import tune
    >>> space_from_tune({"layers": tune.randint(1, 5), "opt": tune.choice(["sgd", "adam"])})
    Space({'layers': Integer(low=1, high=4, log=False, step=None), \
'opt': Categorical(values=('sgd', 'adam'))})
    """
    return Space(template_from_tune(param_space))


def template_from_tune(param_space: Mapping[str, Any]) -> dict[str, Any]:
    """Return a `param_space` with each of Tune's domains replaced by raytuner's.

    Raises:
        SpaceError: As for `space_from_tune`, but it is no error if nothing varies.
    """
    if not isinstance(param_space, Mapping):
        raise SpaceError(f"a param_space is a dict, received {param_space!r}")
    check_functions(param_space)
    template: dict[str, Any] = _translated(param_space, ())
    return template


class Disguised(sample.Domain, Marked):
    """A `When` or `Fidelity` of raytuner's, disguised as a domain of Tune.

    Ray passes its own domains to a searcher as they are, and replaces other objects by a token.
    """

    def __init__(self, node: When | Fidelity) -> None:
        self.node: When | Fidelity = node

    def __repr__(self) -> str:
        return repr(self.node)

    def sample(self, *args: Any, **settings: Any) -> Any:
        """Raise a SpaceError: Ray draws by itself only without a searcher."""
        what = "conditions" if isinstance(self.node, When) else "fidelities"
        raise SpaceError(
            f"Ray's own random search knows no {what}, received {self!r}; set search_alg to"
            " raytuner.BoTorchSearch()"
        )


def when(node: Any, /, **conditions: Any) -> Disguised:
    """Return a part of a `param_space` that exists only if others have certain values.

    This is the form of `raytuner.space.when` that passes through Ray's Tuner.

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
    """Return a hyperparameter that says how close a trial is to the real training.

    This is the form of `raytuner.space.Fidelity` that passes through Ray's Tuner.

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
    """Return a `param_space` without the parts under conditions, at any depth of dicts."""
    return {
        key: without_conditional(value) if isinstance(value, Mapping) else value
        for key, value in param_space.items()
        if not isinstance(_plain(value), When)
    }


def has_domains(node: Any) -> bool:
    """Whether a part of a `param_space` holds a domain, a condition or a function.

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
    """Whether Ray would compute the value: `tune.sample_from`, or `{"eval": "..."}`."""
    if isinstance(node, tuple) and len(node) == 2 and isinstance(node[0], str):
        return node[0] == _FUNCTION_TOKEN
    if isinstance(node, Mapping) and len(node) == 1 and isinstance(node.get("eval"), str):
        return True
    return isinstance(node, sample.Function)


def check_functions(node: Any, path: Path = ()) -> None:
    """Check that Ray computes no value of a `param_space`.

    Raises:
        SpaceError: It computes one; the error names its key.
    """
    for place, part in walk(node, path):
        if is_function(part):
            what = f"the expression {part!r}" if isinstance(part, Mapping) else "tune.sample_from"
            raise SpaceError(
                f"{path_name(place)}: received {what}, whose values no model can know; give a"
                " domain such as tune.uniform or tune.choice instead and compute the value from the"
                " config inside the trainable"
            )
        if isinstance(part, sample.Categorical):
            check_functions(list(part.categories), place)


def is_grid_search(node: Any) -> bool:
    """Whether a part of a `param_space` comes from `tune.grid_search`."""
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
    """Return the domain, or a list of values if some hold domains."""
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
            f"received {kind.__qualname__} with sampler {law.__qualname__}, whose law is unknown;"
            " use one of tune's uniform, quniform, loguniform, qloguniform, randn, qrandn, randint,"
            " qrandint, lograndint, qlograndint, choice, grid_search"
        )
    low, high, log = domain.lower, domain.upper, law is kind._LogUniform
    if kind is sample.Float:
        return Float(low, high, log=log, step=step)
    if step is not None and step != 1:
        return Integer(low, high, log=log, step=step)
    if low == high:
        raise SpaceError(
            f"received integers from {low} to {high}, the upper bound excluded: there are none;"
            f" make the upper bound {high + 1} for the one value {low}"
        )
    # Checked with the user's own bounds first, so that a complaint shows what was received.
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
                f"received {value!r} among the values of {source}; put what is under a condition"
                " at a key of a dict, and a fidelity where every configuration has it"
            )
    return values
