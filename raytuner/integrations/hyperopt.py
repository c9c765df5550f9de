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
from raytuner.space import Categorical, Config, Domain, Float, Integer, Normal, Space

Back = Callable[[Any], Any]


def space_from_hyperopt(space: Any) -> Translated:
    """The search space of a Hyperopt expression.

    Its ``params`` gives what ``hyperopt.space_eval`` gives: the expression with the values in it,
    whatever lies in between (``hp.choice`` of spaces, ``scope.int``, arithmetic). What belongs to
    a branch of a choice that was not taken is a hyperparameter of ours all the same, without
    effect there.

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
    """
    expression = as_apply(space)
    template: dict[str, Domain] = {}
    back: dict[str, Back] = {}
    for label, law, args in _hyperparameters(expression):
        template[label], way_back = _domain(label, law, args)
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
