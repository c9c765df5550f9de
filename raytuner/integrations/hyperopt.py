"""Hyperopt's spaces as a search space of ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hyperopt import space_eval
from hyperopt.pyll import as_apply
from hyperopt.pyll.base import Literal, dfs

from raytuner.errors import SpaceError
from raytuner.integrations.translated import Translated
from raytuner.space import Categorical, Config, Domain, Float, Integer, Normal, Space, when
from raytuner.space.template import When

Back = Callable[[Any], Any]
_Branches = dict[str, frozenset[int]]


def space_from_hyperopt(space: Any) -> Translated:
    """The search space of a Hyperopt expression.

    Its ``params`` gives what ``hyperopt.space_eval`` gives: the expression with the values in it,
    whatever lies in between (``hp.choice`` of spaces, ``scope.int``, arithmetic). What belongs to
    branches of a choice is there under conditions (:func:`raytuner.when`), on the number of the
    branch. Of what stands at several places, only the conditions that all of these share: where
    ours has it all the same, it has no effect.

    Args:
        space: What was given to ``fmin(space=...)``.

    Raises:
        SpaceError: Naming the label: a law unknown to us, or one whose parameters are themselves
            hyperparameters.

    Example:
        >>> from hyperopt import hp
        >>> ours = space_from_hyperopt({"lr": hp.loguniform("rate", -5, 0)})
        >>> ours.params({"rate": 0.1})
        {'lr': 0.1}
    >>> space_from_hyperopt(
    ...     hp.choice("model", [{"c": hp.uniform("c", 0, 1)}, {"depth": hp.randint("depth", 9)}])
    ... ).space.decode([[0.1, 0.5, 0.5]])
    [{'model': 0, 'c': 0.5}]
    """
    expression = as_apply(space)
    needed = _conditions(expression)
    template: dict[str, Domain | When] = {}
    back: dict[str, Back] = {}
    for label, law, args in _hyperparameters(expression):
        domain, way_back = _domain(label, law, args)
        needs = {chooser: sorted(branches) for chooser, branches in needed.get(label, {}).items()}
        template[label] = when(domain, **needs) if needs else domain
        if way_back is not None:
            back[label] = way_back
    return Translated(Space(template), _Evaluated(expression, back))


@dataclass(frozen=True)
class _Evaluated:
    """The expression with a configuration's values in it."""

    expression: Any
    back: Mapping[str, Back]

    def __call__(self, config: Config) -> Any:
        values = {k: self.back[k](v) if k in self.back else v for k, v in config.items()}
        return space_eval(self.expression, values)


def _hyperparameters(expression: Any) -> Iterator[tuple[str, str, list[Any]]]:
    """Label, law and its numbers of each hyperparameter."""
    for node in dfs(expression):
        if node.name != "hyperopt_param":
            continue
        label, law = node.pos_args[0].obj, node.pos_args[1]
        inputs = [*law.pos_args, *(value for _, value in law.named_args)]
        if law.name == "categorical":
            inputs = inputs[:1][0].pos_args if inputs and inputs[0].name == "pos_args" else inputs
        if not all(isinstance(value, Literal) for value in inputs):
            raise SpaceError(
                f"{label}: the parameters of {law.name} are not plain numbers; make what varies in"
                " them a hyperparameter of its own"
            )
        yield label, law.name, [value.obj for value in inputs]


def _conditions(expression: Any) -> dict[str, _Branches]:
    """Of each label, the branches of which choices lead to it, if every way to it takes one."""
    found: dict[str, _Branches] = {}

    def visit(node: Any, taken: _Branches) -> None:
        if node.name == "hyperopt_param":
            label = node.pos_args[0].obj
            before = found.get(label, taken)
            found[label] = {c: before[c] | taken[c] for c in before.keys() & taken.keys()}
            return
        if node.name == "switch" and node.pos_args[0].name == "hyperopt_param":
            chooser, *branches = node.pos_args
            visit(chooser, taken)
            label = chooser.pos_args[0].obj
            for number, branch in enumerate(branches):
                if number in taken.get(label, {number}):
                    visit(branch, {**taken, label: frozenset({number})})
            return
        for inner in node.inputs():
            visit(inner, taken)

    visit(expression, {})
    return found


def _domain(label: str, law: str, args: list[Any]) -> tuple[Domain, Back | None]:
    if law in ("randint", "randint_via_categorical", "categorical"):
        if law == "randint":
            low, high = (0, args[0]) if len(args) == 1 else args[:2]
        else:
            low, high = 0, len(args)
        # The number of a choice's branch, most often: there is no order in it.
        return Categorical(list(range(int(low), int(high)))), None
    a, b, q = (*map(float, args), 1.0)[:3]
    if law == "uniform":
        return Float(a, b), None
    if law in ("quniform", "uniformint"):
        # Rounded to multiples of q wherever these lie: one may lie outside of the bounds.
        first, last = (round(bound / q) for bound in (a, b))
        return Integer(first, last), _Times(q)
    if law in ("loguniform", "qloguniform"):
        return Float(math.exp(a), math.exp(b), log=True), _Rounded(q) if law[0] == "q" else None
    if law in ("normal", "qnormal"):
        return Normal(a, b), _Rounded(q) if law[0] == "q" else None
    if law in ("lognormal", "qlognormal"):
        return Normal(a, b), _Exp(q if law[0] == "q" else None)
    raise SpaceError(f"{label}: received hp.{law}, which is unknown here")


@dataclass(frozen=True)
class _Times:
    q: float

    def __call__(self, value: Any) -> float:
        return value * self.q


@dataclass(frozen=True)
class _Rounded:
    q: float

    def __call__(self, value: Any) -> float:
        return round(value / self.q) * self.q


@dataclass(frozen=True)
class _Exp:
    q: float | None

    def __call__(self, value: Any) -> float:
        number = math.exp(value)
        return number if self.q is None else round(number / self.q) * self.q
