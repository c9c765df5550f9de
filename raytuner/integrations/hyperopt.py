"""Translate Hyperopt's spaces to a search space."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

from hyperopt import space_eval
from hyperopt.pyll import as_apply
from hyperopt.pyll.base import Literal, dfs

from raytuner.errors import SpaceError
from raytuner.integrations.translated import Decoder, Translated
from raytuner.space import Categorical, Domain, Float, Integer, Normal, Space, when
from raytuner.space.template import When

_Branches = dict[str, frozenset[int]]


def space_from_hyperopt(space: Any) -> Translated:
    """Translate a Hyperopt expression to a search space.

    The branches of a choice become conditions (`raytuner.when`) on the number of the branch. If a
    hyperparameter occurs in several places, only the conditions of all places are kept.

    Args:
        space: The expression.

    Returns:
        The translated space. Its `params` returns the same as `hyperopt.space_eval`: the expression
        with its values filled in, including `hp.choice` of spaces, `scope.int` and arithmetic.

    Raises:
        SpaceError: A hyperparameter has an unknown distribution, or a parameter of its distribution
            is a hyperparameter. The message names its label.

    Examples:
        >>> from hyperopt import hp
        >>> space_from_hyperopt(
        ...     hp.choice("model", [{"c": hp.uniform("c", 0, 1)}, {"n": hp.randint("n", 9)}])
        ... ).space.decode([[0.1, 0.5, 0.5]])
        [{'model': 0, 'c': 0.5}]
    """
    expression = as_apply(space)
    conditions = _conditions(expression)
    template: dict[str, Domain | When] = {}
    decoders: dict[str, Decoder] = {}
    for label, law, args in _hyperparameters(expression):
        domain, decoder = _domain(label, law, args)
        needs = {choice: sorted(taken) for choice, taken in conditions.get(label, {}).items()}
        template[label] = when(domain, **needs) if needs else domain
        if decoder is not None:
            decoders[label] = decoder
    return Translated(Space(template), decoders, partial(space_eval, expression))


def _hyperparameters(expression: Any) -> Iterator[tuple[str, str, list[Any]]]:
    """Yield the label, distribution and parameters of each hyperparameter."""
    for node in dfs(expression):
        if node.name != "hyperopt_param":
            continue
        label, law = node.pos_args[0].obj, node.pos_args[1]
        inputs = [*law.pos_args, *(value for _, value in law.named_args)]
        if law.name == "categorical" and inputs and inputs[0].name == "pos_args":
            inputs = inputs[0].pos_args
        if not all(isinstance(value, Literal) for value in inputs):
            raise SpaceError(
                f"{label}: the parameters of {law.name} are not plain numbers; make each of them"
                " that varies a separate hyperparameter"
            )
        yield label, law.name, [value.obj for value in inputs]


def _conditions(expression: Any) -> dict[str, _Branches]:
    """Return by label the choices on every path to it, and their branches that lead to it."""
    found: dict[str, _Branches] = {}

    def visit(node: Any, taken: _Branches) -> None:
        if node.name == "hyperopt_param":
            label = node.pos_args[0].obj
            before = found.get(label, taken)
            found[label] = {c: before[c] | taken[c] for c in before.keys() & taken.keys()}
        elif node.name == "switch" and node.pos_args[0].name == "hyperopt_param":
            choice, *branches = node.pos_args
            visit(choice, taken)
            label = choice.pos_args[0].obj
            for number, branch in enumerate(branches):
                if number in taken.get(label, {number}):
                    visit(branch, {**taken, label: frozenset({number})})
        else:
            for inner in node.inputs():
                visit(inner, taken)

    visit(expression, {})
    return found


def _domain(label: str, law: str, args: list[Any]) -> tuple[Domain, Decoder | None]:
    if law == "randint":  # the number of a branch, most often: without an order
        low, high = (0, args[0]) if len(args) == 1 else args[:2]
        return Categorical(list(range(int(low), int(high)))), None
    if law in ("randint_via_categorical", "categorical"):
        return Categorical(list(range(len(args)))), None
    a, b, q = (*map(float, args), 1.0)[:3]
    rounded = (lambda value: round(value / q) * q) if law.startswith("q") else None
    match law.removeprefix("q"):
        case "uniform" if rounded is None:
            return Float(a, b), None
        case "uniform" | "uniformint":
            # Hyperopt rounds to multiples of q, of which one may lie outside the bounds.
            return Integer(round(a / q), round(b / q)), lambda value: value * q
        case "loguniform":
            return Float(math.exp(a), math.exp(b), log=True), rounded
        case "normal":
            return Normal(a, b), rounded
        case "lognormal":
            return Normal(a, b), lambda v: rounded(math.exp(v)) if rounded else math.exp(v)
    raise SpaceError(f"{label}: received hp.{law}, which is not supported")
