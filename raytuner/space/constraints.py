"""Constraints on configurations, beyond the range of each hyperparameter.

A constraint is a function of the full configuration, or a string such as

    layers * units <= 1024
    0 < low < high and (optimizer != "sgd" or lr <= 0.1)
    net/depth + 2 * max(net/width, 8) <= 64

A string may contain names of hyperparameters and constants, numbers, strings (to compare choices
with), `+ - * / **`, `min`, `max`, `abs`, comparisons and chains of them, `and`, `or`, `not` and
parentheses. It is parsed and never run as Python.

Write a nested hyperparameter without spaces, `net/depth`. Write a quotient with spaces,
`net / depth`. If a string names a hyperparameter that does not exist in a configuration (see
`raytuner.space.when`), the constraint holds. If the string has no value (a division by zero), it
does not hold. Numbers are compared with a relative tolerance of 1e-9: `0.1 + 0.2 <= 0.3` holds.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from raytuner.errors import SpaceError
from raytuner.space.choices import is_number

Rule = str | Callable[[dict[str, Any]], Any]

_OPERATIONS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,  # of floats: 9 ** 9 ** 9 is an overflow, not hours of computing
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_NODES = (
    *_OPERATIONS,
    *(ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.And, ast.Or, ast.Compare),
    *(ast.Name, ast.Load, ast.Constant, ast.Call),
)
_FUNCTIONS: dict[str, Callable[..., float]] = {"min": min, "max": max, "abs": abs}


@dataclass(frozen=True)
class Constraint:
    """One constraint on the configurations of a space; made by `constraint`."""

    rule: Rule
    name: str = field(compare=False)  # in messages: the string, or the function's name
    names: tuple[str, ...] = field(compare=False, default=())  # that a string names
    _tree: ast.expr | None = field(compare=False, repr=False, default=None)

    def holds(self, config: dict[str, Any], values: Mapping[str, Any]) -> bool:
        """Return whether a full configuration satisfies the constraint.

        Args:
            config: The full configuration.
            values: The values, by name, that exist in it among the names of a string.

        Raises:
            SpaceError: The constraint raised an error.
        """
        try:
            if callable(self.rule):
                return bool(self.rule(config))
            if self._tree is None or any(name not in values for name in self.names):
                return True
            return _truth(self._tree, values)
        except Exception as error:
            if isinstance(error, ArithmeticError | ValueError) and self._tree is not None:
                return False  # it has no value here
            raise SpaceError(
                f"the constraint {self.name} raised {type(error).__name__}: {error}; received"
                f" {config!r}, and it must return True or False for every configuration"
            ) from error


def constraint(rule: Any, known: Collection[str]) -> Constraint:
    """Return the constraint for a string or function, in a space with these names.

    Raises:
        SpaceError: It is neither, or the string cannot be parsed.

    Examples:
        >>> found = constraint("layers * units <= 64", ["layers", "units"])
        >>> [found.holds({}, {"layers": n, "units": 32}) for n in (2, 3)]
        [True, False]
    """
    if callable(rule):
        return Constraint(rule, getattr(rule, "__qualname__", None) or repr(rule))
    if not isinstance(rule, str):
        raise SpaceError(
            "a constraint is a string such as 'a + b <= 1' or a function of the configuration,"
            f" received {rule!r}"
        )
    text, identifiers = _with_identifiers(rule, known)
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        nodes = list(ast.walk(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise SpaceError(f"the constraint {rule[:200]!r} cannot be parsed: {error}") from None
    functions = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    names: dict[str, None] = {}
    for node in nodes:
        is_function = id(node) in functions
        if not isinstance(node, _NODES) or (
            is_function and not (isinstance(node, ast.Name) and node.id in _FUNCTIONS)
        ):
            raise SpaceError(
                f"the constraint {rule!r} cannot be parsed: it may contain names, numbers, strings,"
                " + - * / **, min, max, abs, comparisons, and, or, not and parentheses; use a"
                " function for anything else"
            )
        if isinstance(node, ast.Name) and not is_function:
            node.id = identifiers.get(node.id, node.id)
            names[node.id] = None
            if node.id not in known:
                raise SpaceError(
                    f"the constraint {rule!r} names {node.id!r}, which is unknown; known names:"
                    f" {', '.join(known)}"
                )
    return Constraint(rule, rule, tuple(names), tree)


def _with_identifiers(rule: str, known: Collection[str]) -> tuple[str, dict[str, str]]:
    """Return the rule with identifiers for names that are none in Python, and their meaning."""
    odd = sorted((name for name in known if not name.isidentifier()), key=len, reverse=True)
    if not odd:
        return rule, {}
    identifiers = {name: f"_{number}_of_{len(odd)}" for number, name in enumerate(odd)}
    # Text in quotes is matched first, and stays.
    pattern = rf"""("[^"]*"|'[^']*')|(?<![\w/.])({"|".join(map(re.escape, odd))})(?![\w/])"""
    text = re.sub(pattern, lambda found: found[1] or identifiers[found[2]], rule)
    return text, {identifier: name for name, identifier in identifiers.items()}


def _truth(node: ast.expr, values: Mapping[str, Any]) -> bool:
    found = _value(node, values)
    if not isinstance(found, bool):
        raise TypeError(f"{ast.unparse(node)} is not a comparison; write one such as a + b <= 1")
    return found


def _value(node: ast.AST, values: Mapping[str, Any]) -> Any:
    """Return the value of an expression; numbers are floats."""
    match node:
        case ast.Name(id=name):
            return _plain(values[name])
        case ast.Constant(value=value):
            return _plain(value)
        case ast.UnaryOp(op=op, operand=operand):
            return _OPERATIONS[type(op)](_value(operand, values))
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATIONS[type(op)](_value(left, values), _value(right, values))
        case ast.BoolOp(op=op, values=parts):
            holds = (_truth(part, values) for part in parts)
            return all(holds) if isinstance(op, ast.And) else any(holds)
        case ast.Call(func=ast.Name(id=name), args=args):
            return _FUNCTIONS[name](*(_value(arg, values) for arg in args))
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            sides = [_value(side, values) for side in (left, *comparators)]
            for comparison, (a, b) in zip(ops, pairwise(sides), strict=True):
                close = isinstance(a, float) and isinstance(b, float) and math.isclose(a, b)
                if not _OPERATIONS[type(comparison)](a, a if close else b):
                    return False
            return True
    raise TypeError(f"{ast.dump(node)} has no value")


def _plain(value: Any) -> Any:
    return float(value) if is_number(value) else value


def rules_of(constraints: Any) -> list[Rule]:
    """Return the rules of a list of constraints; raises a SpaceError if it is not a list."""
    if isinstance(constraints, str) or not isinstance(constraints, Sequence):
        raise SpaceError(
            f"constraints must be a list of strings and functions, received {constraints!r}"
        )
    return [one.rule if isinstance(one, Constraint) else one for one in constraints]
