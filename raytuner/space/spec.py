"""Read and write a search space as plain data, for a TOML file or a JSON record.

A table with a string `type` is a hyperparameter:

    lr       = { type = "float", low = 1e-4, high = 0.1, log = true }     # log, step: optional
    layers   = { type = "int", low = 1, high = 8 }                        # log, step: optional
    shift    = { type = "normal", mean = 0, sd = 1 }                      # all optional, and step
    opt      = { type = "choice", values = ["sgd", "adam"] }
    batch    = { type = "ordinal", values = [32, 64, 256] }

Any other table is a group, and any other value is a constant. A list may hold all of these.
Fidelities, conditions (of a hyperparameter, a group or a constant), and choices between parts with
their own hyperparameters:

    width    = { type = "int", low = 16, high = 256, fidelity = true }
    momentum = { type = "float", low = 0, high = 1, when = { opt = "sgd" } }
    adam     = { type = "when", of = { beta = { ... } }, when = { opt = ["adam", "adamw"] } }
    dropout  = { type = "options", of = [0, { type = "float", low = 0.1, high = 0.5 }] }

Values that TOML or JSON cannot express directly:

    { type = "constant", value = ... }    unchanged; for a string under the key "type"
    { type = "literal", value = "None" }  a Python literal: None, bytes, a set; inf and nan too
    { type = "tuple", values = [...] }    a tuple; its items are as in a list
    { type = "group", keys = [...], values = [...] }    a group whose keys are not all strings
    { type = "object", repr = "..." }     a Python object: written, but never read back

Values of a choice are taken unchanged, except for literals and objects. With constraints (see
`raytuner.space.constraints`; a function is written as a Python object):

    { type = "space", of = { lr = { ... } }, constraints = ["a + b <= 1"] }
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from raytuner.errors import SpaceError
from raytuner.space.choices import is_primitive, same, shown, unwrap
from raytuner.space.domains import Categorical, Domain, Listed, Ordinal
from raytuner.space.numeric import Float, Integer, Normal
from raytuner.space.template import Fidelity, Options, Path, When, named, path_name, when

_DOMAINS: dict[str, Any] = {
    "float": Float,
    "int": Integer,
    "normal": Normal,
    "choice": Categorical,
    "ordinal": Ordinal,
}
_FIELDS = {  # by type; those with ? are optional
    "float": "low high log? step? fidelity? when?",
    "int": "low high log? step? fidelity? when?",
    "normal": "mean? sd? step? fidelity? when?",
    "choice": "values fidelity? when?",
    "ordinal": "values fidelity? when?",
    "constant": "value",
    "literal": "value",
    "tuple": "values",
    "group": "keys values",
    "object": "repr",
    "when": "of when",
    "options": "of",
}
_NON_FINITE = ("inf", "-inf", "nan")


def to_spec(node: Any) -> Any:
    """Return the spec of a template: nested dicts, lists and tuples of domains and constants."""
    if isinstance(node, When):
        spec, conditions = to_spec(node.node), {}
        for name, allowed in node.conditions:  # one value alone, several as a list
            values = list(map(_value_spec, allowed))
            is_one = len(values) == 1 and type(values[0]) is not list
            conditions[name] = values[0] if is_one else values
        if isinstance(node.node, Domain | Fidelity):
            return {**spec, "when": conditions}
        return {"type": "when", "of": spec, "when": conditions}
    if isinstance(node, Fidelity):
        return {**to_spec(node.node), "fidelity": True}
    if isinstance(node, Domain):
        (kind,) = (kind for kind, make in _DOMAINS.items() if type(node) is make)
        if isinstance(node, Listed):
            return {"type": kind, "values": list(map(_value_spec, node.values))}
        # Options that are off are left out, and TOML has no null.
        given = {one.name: getattr(node, one.name) for one in fields(_DOMAINS[kind])}
        return {
            "type": kind,
            **{k: v for k, v in given.items() if v is not None and v is not False},
        }
    if isinstance(node, Options):
        return {"type": "options", "of": list(map(to_spec, node.parts))}
    if isinstance(node, Mapping):
        values = list(map(to_spec, node.values()))
        if not all(isinstance(key, str) for key in node):
            return {"type": "group", "keys": list(map(_value_spec, node)), "values": values}
        spec = dict(zip(node, values, strict=True))
        if isinstance(spec.get("type"), str):  # or this group would read as a hyperparameter
            spec["type"] = {"type": "constant", "value": spec["type"]}
        return spec
    if isinstance(node, list):
        return list(map(to_spec, node))
    if type(node) is tuple:
        return {"type": "tuple", "values": list(map(to_spec, node))}
    return _value_spec(node)


def _is_plain(value: Any) -> bool:
    """Return whether TOML and JSON keep this value exactly and a spec does not misread it."""
    if type(value) is list:
        return all(map(_is_plain, value))
    if type(value) is dict:
        typed = isinstance(value.get("type"), str)
        return not typed and all(type(k) is str and _is_plain(v) for k, v in value.items())
    finite = type(value) is not float or math.isfinite(value)
    return is_primitive(value) and value is not None and finite


def _value_spec(value: Any) -> Any:
    value = unwrap(value)
    if _is_plain(value):
        return value
    text = shown(value)
    try:
        is_literal = type(value) is float or same(ast.literal_eval(text), value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        is_literal = False
    return {"type": "literal", "value": text} if is_literal else {"type": "object", "repr": text}


def space_spec(template: Mapping[str, Any], rules: Sequence[Any]) -> dict[str, Any]:
    """Return the spec of a space with a template and the rules of constraints."""
    spec: dict[str, Any] = to_spec(template)
    if not rules:
        return spec
    return {"type": "space", "of": spec, "constraints": list(map(_value_spec, rules))}


def template_and_rules(spec: Any) -> tuple[Any, list[Any]]:
    """Return the template and the constraints' rules of the space that a spec describes."""
    if not isinstance(spec, Mapping):
        raise SpaceError(f"a spec must be a table, received {spec!r}")
    if spec.get("type") != "space":
        return from_spec(spec), []
    _check_fields(spec, "the space", "of constraints?")
    rules = spec.get("constraints", [])
    rules = [_value(rule, "constraints") for rule in rules] if isinstance(rules, list) else rules
    return from_spec(spec["of"]), rules


def from_spec(spec: Any, path: Path = ()) -> Any:
    """Return the template that a spec, or the part of it at `path`, describes.

    Raises:
        SpaceError: A type or field is unknown or missing, or a value is invalid. The message names
            the path.
    """
    if isinstance(spec, list):
        return [from_spec(item, (*path, i)) for i, item in enumerate(spec)]
    if not isinstance(spec, Mapping):
        return spec
    kind, where = spec.get("type"), path_name(path)
    if not isinstance(kind, str):
        return {key: from_spec(value, (*path, key)) for key, value in spec.items()}
    if kind not in _FIELDS:
        raise SpaceError(
            f"{where}: unknown type {kind!r}; allowed: {', '.join(_FIELDS)}. In a group with a key"
            f' named "type", write type = {{ type = "constant", value = "{kind}" }}'
        )
    _check_fields(spec, where, _FIELDS[kind])
    for name in ("keys", "values", "of"):
        if name in spec and kind != "when" and not isinstance(spec[name], list):
            raise SpaceError(f"{where}: {name} must be a list, received {spec[name]!r}")
    if kind in _DOMAINS:
        given = {k: v for k, v in spec.items() if k not in ("type", "values", "fidelity", "when")}
        values = [[_value(value, where) for value in spec["values"]]] if "values" in spec else []
        with named(where):
            domain = _DOMAINS[kind](*values, **given)
        node = Fidelity(domain) if spec.get("fidelity") else domain
        return _conditional(node, spec["when"], where) if "when" in spec else node
    if kind == "when":
        return _conditional(from_spec(spec["of"], path), spec["when"], where)
    if kind == "constant":
        return spec["value"]
    if kind == "options":
        return Options.of(from_spec(spec["of"], path))
    if kind == "tuple":
        return tuple(from_spec(spec["values"], path))
    if kind == "group":
        keys = [_value(key, where) for key in spec["keys"]]
        pairs = zip(keys, spec["values"], strict=True)
        return {key: from_spec(value, (*path, key)) for key, value in pairs}
    return _value(spec, where)


def _conditional(node: Any, spec: Any, where: str) -> When:
    if not isinstance(spec, Mapping):
        raise SpaceError(
            f'{where}: when must be a table such as {{ optimizer = "sgd" }}, received {spec!r}'
        )
    lists = {name: value if type(value) is list else [value] for name, value in spec.items()}
    with named(where):
        return when(node, **{name: [_value(v, name) for v in vs] for name, vs in lists.items()})


def _check_fields(spec: Mapping[str, Any], where: str, allowed: str) -> None:
    known = ["type", *allowed.replace("?", "").split()]
    problems = [
        f"field {f!r} is missing" for f in allowed.split() if f[-1] != "?" and f not in spec
    ]
    problems += [f"unknown field {k!r} (= {v!r})" for k, v in spec.items() if k not in known]
    if problems:
        raise SpaceError(
            f"{where}: {'; '.join(problems)}; fields of type {spec['type']!r} (? is optional):"
            f" {', '.join(allowed.split())}"
        )


def _value(spec: Any, where: str) -> Any:
    """Return the value that `_value_spec` wrote."""
    kind = spec.get("type") if isinstance(spec, Mapping) else None
    if kind == "object":
        raise SpaceError(
            f"{where}: {spec.get('repr')} is a Python object, which cannot be read from a spec;"
            " pass the space itself, or use strings or numbers in place of objects"
        )
    if kind in _DOMAINS:
        raise SpaceError(
            f"{where}: {dict(spec)!r} is a hyperparameter among the values of a choice; for a"
            ' choice between hyperparameters, write { type = "options", of = [...] }'
        )
    if kind != "literal":
        return spec
    text = spec.get("value")
    try:
        return float(text) if text in _NON_FINITE else ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError):
        raise SpaceError(f"{where}: {text!r} is not a Python literal") from None
