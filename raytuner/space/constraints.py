"""What every configuration of a search must keep, beyond the range of each hyperparameter.

A constraint is a function of the full configuration, or a string such as

    layers * units <= 1024
    0 < low < high and (optimizer != "sgd" or lr <= 0.1)
    net/depth + 2 * max(net/width, 8) <= 64

of the names of hyperparameters and constants, numbers, strings (to compare choices with), ``+ - *
/ **``, ``min``, ``max``, ``abs``, comparisons and chains of them, ``and``, ``or``, ``not`` and
parentheses. It is read by a parser of its own and never run as Python.

A nested hyperparameter is written as its column is called, ``net/depth``, without spaces; a
quotient of two, where that could be meant, with spaces: ``net / depth``. Where a hyperparameter
that a string names does not exist (see :func:`raytuner.space.when`), the constraint holds; where it
has no value (a division by zero, say), it does not. Numbers count as equal within a relative 1e-9,
for ``<=`` and ``>=`` too: 0.1 + 0.2 <= 0.3 holds.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
_FUNCTIONS: dict[str, Callable[..., float]] = {"min": min, "max": max, "abs": abs}
_HALVINGS = 12  # a point is pulled back to within this many halvings of the boundary


def _close(a: Any, b: Any) -> bool:
    both_numbers = isinstance(a, float) and isinstance(b, float)
    return math.isclose(a, b) if both_numbers else bool(a == b)


_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: lambda a, b: a < b and not _close(a, b),
    ast.LtE: lambda a, b: a <= b or _close(a, b),
    ast.Gt: lambda a, b: a > b and not _close(a, b),
    ast.GtE: lambda a, b: a >= b or _close(a, b),
    ast.Eq: _close,
    ast.NotEq: lambda a, b: not _close(a, b),
}


@dataclass(frozen=True)
class Constraint:
    """One constraint on the configurations of a space; made by :func:`constraint`.

    Attributes:
        rule: The string or the function.
        name: What it is called in messages: the string, or the function's name.
        names: The hyperparameters and constants that a string names.
    """

    rule: Rule
    name: str = field(compare=False)
    names: tuple[str, ...] = field(compare=False, default=())
    _tree: ast.expr | None = field(compare=False, repr=False, default=None)

    def holds(self, config: dict[str, Any], values: Mapping[str, Any]) -> bool:
        """Whether a configuration keeps it.

        Args:
            config: The full configuration, for a function.
            values: The values of what exists in it, by name, for a string.

        Raises:
            SpaceError: The function raised an exception.
        """
        if self._tree is not None:
            if any(name not in values for name in self.names):
                return True
            try:
                return bool(_value(self._tree, values))
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
        rule: A string, see above, or a function of the full configuration that returns a truth
            value. A function must give the same for the same configuration.
        leaves: The domains and constants of the space by name.

    Raises:
        SpaceError: It is neither, or the string cannot be read: what stands there, what is known.

    Example:
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
            f"a constraint is a string such as 'a + b <= 1' or a function of the configuration,"
            f" received {rule!r}"
        )
    text, by_stand_in = _with_identifiers(rule, leaves)
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise SpaceError(f"the constraint {rule!r} cannot be read: {error}") from None
    reader = _Reader(rule, by_stand_in, leaves)
    try:
        kind = reader.kind(tree)
        # It is evaluated the same way down.
        ast.unparse(tree)
    except RecursionError:
        raise SpaceError(
            f"the constraint {rule[:40]!r}... is too long; a function can say the same"
        ) from None
    if kind != "truth":
        raise SpaceError(f"the constraint {rule!r} compares nothing; write such as 'a + b <= 1'")
    if not any(varies(leaves[name]) for name in reader.names):
        raise SpaceError(
            f"the constraint {rule!r} names no hyperparameter; known here: {', '.join(leaves)}"
        )
    return Constraint(rule, rule, tuple(reader.names), tree)


def _with_identifiers(rule: str, leaves: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """The rule with an identifier for each name that Python would not read as one; their names."""
    odd = sorted((name for name in leaves if not name.isidentifier()), key=len, reverse=True)
    if not odd:
        return rule, {}
    stand_ins = {name: f"_{number}_of_{len(odd)}" for number, name in enumerate(odd)}
    names = "|".join(re.escape(name) for name in odd)
    # A string is passed over whole.
    pattern = rf"""("[^"]*"|'[^']*')|(?<![\w/.])({names})(?![\w/])"""
    text = re.sub(pattern, lambda found: found[1] or stand_ins[found[2]], rule)
    return text, {stand_in: name for name, stand_in in stand_ins.items()}


class _Reader:
    """Checks an expression, and puts the names of hyperparameters in the place of stand-ins.

    Args:
        rule: The string, for messages.
        by_stand_in: See :func:`_with_identifiers`.
        leaves: As for :func:`constraint`.

    Attributes:
        names: What it names, in order.
    """

    def __init__(
        self, rule: str, by_stand_in: Mapping[str, str], leaves: Mapping[str, Any]
    ) -> None:
        self._rule = rule
        self._by_stand_in = by_stand_in
        self._leaves = leaves
        self.names: list[str] = []

    def kind(self, node: ast.expr) -> str:
        """What an expression gives: a "number", a "truth" or another "value"."""
        match node:
            case ast.Name():
                return self._name(node)
            case ast.Constant(value=bool() | str()):
                return "value"
            case ast.Constant(value=int() | float()):
                return "number"
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
                return self._all([operand], "number")
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self._all([operand], "truth")
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return self._all([left, right], "number")
            case ast.BoolOp(values=values):
                return self._all(values, "truth")
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
                if not args or (name == "abs") != (len(args) == 1):
                    raise self._wrong(node, "abs takes one number, min and max two or more")
                return self._all(args, "number")
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                return self._comparison([left, *comparators], ops)
        raise self._wrong(
            node,
            "it may hold names, numbers, strings, + - * / **, min, max, abs, comparisons, and, or,"
            " not and parentheses",
        )

    def _name(self, node: ast.Name) -> str:
        node.id = self._by_stand_in.get(node.id, node.id)
        if node.id not in self._leaves:
            raise SpaceError(
                f"the constraint {self._rule!r} names {node.id!r}, which is unknown; known here:"
                f" {', '.join(self._leaves)}"
            )
        if node.id not in self.names:
            self.names.append(node.id)
        leaf = self._leaves[node.id]
        if isinstance(leaf, Listed):
            return "number" if all(map(is_number, leaf.objects)) else "value"
        return "number" if isinstance(leaf, Domain) or is_number(leaf) else "value"

    def _comparison(self, sides: list[ast.expr], ops: list[ast.cmpop]) -> str:
        if any(type(op) not in _COMPARISONS for op in ops):
            raise self._wrong(sides[0], "it may compare by <, <=, >, >=, == and !=")
        kinds = [self.kind(side) for side in sides]
        for i, op in enumerate(ops):
            if not isinstance(op, ast.Eq | ast.NotEq):
                self._all(sides[i : i + 2], "number")
        if "truth" in kinds:
            raise self._wrong(
                sides[kinds.index("truth")], "what is true or false cannot be compared"
            )
        return "truth"

    def _all(self, nodes: list[ast.expr], wanted: str) -> str:
        for node in nodes:
            kind = self.kind(node)
            if kind != wanted:
                words = {"number": "a number", "truth": "a comparison", "value": "a choice"}
                raise self._wrong(
                    node,
                    f"that is {words[kind]} and must be {words[wanted]}; a function can say more",
                )
        return wanted

    def _wrong(self, node: ast.AST, why: str) -> SpaceError:
        part = ast.unparse(node)
        return SpaceError(f"the constraint {self._rule!r} cannot be read at {part!r}: {why}")


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    """The value of an expression that was checked; numbers are floats.

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
            pairs = zip(sides, ops, sides[1:], strict=False)
            return all(_COMPARISONS[type(op)](a, b) for a, op, b in pairs)
    raise AssertionError(f"unchecked: {ast.dump(node)}")


def _plain(value: Any) -> Any:
    return float(value) if is_number(value) else value
