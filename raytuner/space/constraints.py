"""Constraints: what every configuration must keep, beyond the range of each hyperparameter.

A constraint is a function of the full configuration, or a string such as

    layers * units <= 1024
    0 < low < high and (optimizer != "sgd" or lr <= 0.1)
    net/depth + 2 * max(net/width, 8) <= 64

A string holds names of hyperparameters and constants, numbers, strings (to compare choices with),
`+ - * / **`, `min`, `max`, `abs`, comparisons and chains of them, `and`, `or`, `not` and
parentheses. It is parsed and never run as Python.

A nested hyperparameter is written as its column is called, `net/depth`, without spaces. A quotient
of two is written with spaces, `net / depth`. If a hyperparameter that a string names does not exist
(see `raytuner.space.when`), the constraint holds. If the string has no value (a division by zero),
it does not hold. Numbers are equal within a relative 1e-9: `0.1 + 0.2 <= 0.3` holds.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from raytuner.errors import SpaceError
from raytuner.space.choices import is_number
from raytuner.space.domains import Domain, Listed
from raytuner.space.template import varies

Rule = str | Callable[[dict[str, Any]], Any]

_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,  # of floats: 9 ** 9 ** 9 is an overflow, not hours of computing
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_FUNCTIONS: dict[str, Callable[..., float]] = {"min": min, "max": max, "abs": abs}


@dataclass(frozen=True)
class Constraint:
    """One constraint on the configurations of a space; made by `constraint`.

    Attributes:
        rule: The string or the function.
        name: Its name in messages: the string, or the function's name.
        names: The hyperparameters and constants that a string names.
    """

    rule: Rule
    name: str = field(compare=False)
    names: tuple[str, ...] = field(compare=False, default=())
    _tree: ast.expr | None = field(compare=False, repr=False, default=None)

    def holds(self, config: dict[str, Any], values: Mapping[str, Any]) -> bool:
        """Return whether a configuration keeps the constraint.

        Args:
            config: The full configuration, for a function.
            values: By name, the values of what exists in it, for a string.

        Raises:
            SpaceError: The function raised an exception.
        """
        if self._tree is not None:
            try:
                return any(name not in values for name in self.names) or _value(self._tree, values)
            except (ArithmeticError, ValueError):  # it has no value here
                return False
        assert callable(self.rule)
        try:
            return bool(self.rule(config))
        except Exception as error:
            raise SpaceError(
                f"the constraint {self.name} raised {type(error).__name__}: {error}; received"
                f" {config!r}, and it must return True or False for every configuration"
            ) from error


def constraint(rule: Any, leaves: Mapping[str, Any]) -> Constraint:
    """Read a constraint.

    Args:
        rule: A string, or a function of the full configuration that returns whether it is allowed,
            always the same for the same configuration.
        leaves: The domains and constants of the space by name.

    Raises:
        SpaceError: It is neither, or the string cannot be read.

    >>> from raytuner.space import Integer
    >>> found = constraint("layers * units <= 64", {"layers": Integer(1, 9), "units": 32})
    >>> [found.holds({}, {"layers": n, "units": 32}) for n in (2, 3)]
    [True, False]
    """
    if isinstance(rule, Constraint):
        rule = rule.rule
    if callable(rule):
        return Constraint(rule, getattr(rule, "__qualname__", None) or repr(rule))
    if not isinstance(rule, str):
        raise SpaceError(
            "a constraint is a string such as 'a + b <= 1' or a function of the configuration,"
            f" received {rule!r}"
        )
    text, identifiers = _with_identifiers(rule, leaves)
    reader = _Reader(rule, identifiers, leaves)
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        kind = reader.kind(tree)
        ast.unparse(tree)  # recurses as deep as the evaluation
    except SpaceError:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise SpaceError(f"the constraint {rule[:200]!r} cannot be read: {error}") from None
    if kind != _TRUTH:
        raise SpaceError(f"the constraint {rule!r} compares nothing; write such as 'a + b <= 1'")
    if not any(varies(leaves[name]) for name in reader.names):
        raise SpaceError(
            f"the constraint {rule!r} names no hyperparameter; known here: {', '.join(leaves)}"
        )
    return Constraint(rule, rule, tuple(reader.names), tree)


def _with_identifiers(rule: str, leaves: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Return the rule with identifiers for names that are none in Python, and their meaning."""
    odd = sorted((name for name in leaves if not name.isidentifier()), key=len, reverse=True)
    if not odd:
        return rule, {}
    identifiers = {name: f"_{number}_of_{len(odd)}" for number, name in enumerate(odd)}
    # Text in quotes is matched first, and stays.
    pattern = rf"""("[^"]*"|'[^']*')|(?<![\w/.])({"|".join(map(re.escape, odd))})(?![\w/])"""
    text = re.sub(pattern, lambda found: found[1] or identifiers[found[2]], rule)
    return text, {identifier: name for name, identifier in identifiers.items()}


_NUMBER, _TRUTH, _CHOICE = "a number", "a comparison", "a choice"


@dataclass
class _Reader:
    """Checks an expression and puts the names of hyperparameters into it.

    `names` are those that it has found, in order.
    """

    rule: str
    identifiers: Mapping[str, str]
    leaves: Mapping[str, Any]
    names: list[str] = field(default_factory=list)

    def kind(self, node: ast.expr) -> str:
        """Return the kind of value that an expression has."""
        match node:
            case ast.Name():
                return self._kind_of_name(node)
            case ast.Constant(value=bool() | str()):
                return _CHOICE
            case ast.Constant(value=int() | float()):
                return _NUMBER
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
                return self._all([operand], _NUMBER)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self._all([operand], _TRUTH)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return self._all([left, right], _NUMBER)
            case ast.BoolOp(values=values):
                return self._all(values, _TRUTH)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
                if not args or (name == "abs") != (len(args) == 1):
                    raise self._error(node, "abs takes one number, min and max two or more")
                return self._all(args, _NUMBER)
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                return self._comparison([left, *comparators], ops)
        raise self._error(
            node,
            "it may hold names, numbers, strings, + - * / **, min, max, abs, comparisons, and, or,"
            " not and parentheses",
        )

    def _kind_of_name(self, node: ast.Name) -> str:
        node.id = self.identifiers.get(node.id, node.id)
        if node.id not in self.leaves:
            raise SpaceError(
                f"the constraint {self.rule!r} names {node.id!r}, which is unknown; known here:"
                f" {', '.join(self.leaves)}"
            )
        if node.id not in self.names:
            self.names.append(node.id)
        leaf = self.leaves[node.id]
        if isinstance(leaf, Domain) and not isinstance(leaf, Listed):
            return _NUMBER
        values = leaf.objects if isinstance(leaf, Listed) else [leaf]
        return _NUMBER if all(map(is_number, values)) else _CHOICE

    def _comparison(self, sides: Sequence[ast.expr], ops: Sequence[ast.cmpop]) -> str:
        for op, pair in zip(ops, pairwise(sides), strict=True):
            if type(op) not in _COMPARISONS:
                raise self._error(pair[0], "it may compare by <, <=, >, >=, == and !=")
            if not isinstance(op, ast.Eq | ast.NotEq):
                self._all(pair, _NUMBER)
            elif _TRUTH in map(self.kind, pair):
                raise self._error(pair[0], "what is true or false cannot be compared")
        return _TRUTH

    def _all(self, nodes: Sequence[ast.expr], wanted: str) -> str:
        for node in nodes:
            if (kind := self.kind(node)) != wanted:
                why = f"that is {kind} and must be {wanted}; a function can say more"
                raise self._error(node, why)
        return wanted

    def _error(self, node: ast.AST, why: str) -> SpaceError:
        part = ast.unparse(node)
        return SpaceError(f"the constraint {self.rule!r} cannot be read at {part!r}: {why}")


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    """Return the value of an expression that was checked; numbers are floats.

    Raises:
        ArithmeticError, ValueError: It has none.
    """
    match node:
        case ast.Name(id=name):
            return _plain(values[name])
        case ast.Constant(value=value):
            return _plain(value)
        case ast.UnaryOp(op=op, operand=operand):
            inner = _value(operand, values)
            if isinstance(op, ast.Not):
                return not inner
            return -inner if isinstance(op, ast.USub) else inner
        case ast.BinOp(left=left, op=op, right=right):
            return _ARITHMETIC[type(op)](_value(left, values), _value(right, values))
        case ast.BoolOp(op=op, values=parts):
            holds = (_value(part, values) for part in parts)
            return all(holds) if isinstance(op, ast.And) else any(holds)
        case ast.Call(func=ast.Name(id=name), args=args):
            return _FUNCTIONS[name](*(_value(arg, values) for arg in args))
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            sides = [_value(side, values) for side in (left, *comparators)]
            pairs = zip(ops, pairwise(sides), strict=True)
            return all(_compare(op, *pair) for op, pair in pairs)
    raise AssertionError(f"unchecked: {ast.dump(node)}")


def _compare(op: ast.cmpop, a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float) and math.isclose(a, b):
        a = b
    return bool(_COMPARISONS[type(op)](a, b))


def _plain(value: Any) -> Any:
    return float(value) if is_number(value) else value
