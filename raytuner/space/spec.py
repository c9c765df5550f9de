"""A search space as plain data, for a TOML file or a JSON record, both ways.

A table with a string `type` is a hyperparameter:

    lr       = { type = "float", low = 1e-4, high = 0.1, log = true }     # log, step: optional
    layers   = { type = "int", low = 1, high = 8 }                        # log, step: optional
    shift    = { type = "normal", mean = 0, sd = 1 }                      # all optional, and step
    opt      = { type = "choice", values = ["sgd", "adam"] }
    batch    = { type = "ordinal", values = [32, 64, 256] }

Any other table is a group of such, any other value a constant, and a list may hold all of these.
One that is a fidelity (see `raytuner.space.fidelity`) says so:

    width    = { type = "int", low = 16, high = 256, fidelity = true }

What exists only beside certain values of others says so (see `raytuner.space.when`); a group or a
constant does in a table of type "when":

    momentum = { type = "float", low = 0, high = 1, when = { opt = "sgd" } }
    adam     = { type = "when", of = { beta = { ... } }, when = { opt = ["adam", "adamw"] } }

A choice between parts, some of which hold hyperparameters of their own:

    dropout  = { type = "options", of = [0, { type = "float", low = 0.1, high = 0.5 }] }

Written so because TOML and JSON have no other way:

    { type = "constant", value = ... }    as it stands; for a string under the key "type"
    { type = "literal", value = "None" }  a Python literal: None, bytes, a set; inf and nan too
    { type = "tuple", values = [...] }    a tuple; its items are as in a list
    { type = "group", keys = [...], values = [...] }    a group whose keys are not all strings
    { type = "object", repr = "..." }     an object that only Python has: written, never read back

Values of a choice are taken as they stand, except for literals and objects.

A space with constraints (see `raytuner.space.constraints`) is written as

    { type = "space", of = { lr = { ... } }, constraints = ["a + b <= 1"] }

in which a function is an object that only Python has.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raytuner.errors import SpaceError
from raytuner.space.choices import is_primitive, same, shown, unwrap
from raytuner.space.domains import Categorical, Domain, Ordinal
from raytuner.space.numeric import Float, Integer, Normal
from raytuner.space.template import Fidelity, Options, Path, When, fidelity, path_name, when

# type -> domain, fields in the order that it takes them, the required ones first; optional fields.
_DOMAINS: dict[str, tuple[Callable[..., Domain], tuple[str, ...], tuple[str, ...]]] = {
    "float": (Float, ("low", "high"), ("log", "step")),
    "int": (Integer, ("low", "high"), ("log", "step")),
    "normal": (Normal, (), ("mean", "sd", "step")),
    "choice": (Categorical, ("values",), ()),
    "ordinal": (Ordinal, ("values",), ()),
}
_OTHERS: dict[str, tuple[str, ...]] = {
    "constant": ("value",),
    "literal": ("value",),
    "tuple": ("values",),
    "group": ("keys", "values"),
    "object": ("repr",),
    "when": ("of", "when"),
    "options": ("of",),
}
_NON_FINITE = ("inf", "-inf", "nan")


def to_spec(node: Any) -> Any:
    """The spec of a template: nested dicts, lists and tuples of domains and constants."""
    if isinstance(node, When):
        spec, conditions = to_spec(node.node), _conditions_spec(node)
        if isinstance(node.node, Domain | Fidelity):
            return {**spec, "when": conditions}
        return {"type": "when", "of": spec, "when": conditions}
    if isinstance(node, Fidelity):
        return {**_domain_spec(node.node), "fidelity": True}
    if isinstance(node, Domain):
        return _domain_spec(node)
    if isinstance(node, Options):
        return {"type": "options", "of": [to_spec(part) for part in node.parts]}
    if isinstance(node, Mapping):
        values = [to_spec(value) for value in node.values()]
        if not all(isinstance(key, str) for key in node):
            return {"type": "group", "keys": [_value_spec(k) for k in node], "values": values}
        spec = dict(zip(node, values, strict=True))
        if isinstance(spec.get("type"), str):  # or this group would read as a hyperparameter
            spec["type"] = {"type": "constant", "value": spec["type"]}
        return spec
    if type(node) is tuple:
        return {"type": "tuple", "values": [to_spec(item) for item in node]}
    if isinstance(node, list):
        return [to_spec(item) for item in node]
    return _value_spec(node)


def from_spec(spec: Any, path: Path = ()) -> Any:
    """The template that a spec describes.

    Args:
        spec: The spec, or the part of it that lies at `path`.
        path: Where in the whole spec this is.

    Raises:
        SpaceError: Naming the key path: a type or field unknown or missing, or a domain's own
            complaint about a value.
    """
    if isinstance(spec, Mapping):
        if isinstance(spec.get("type"), str):
            return _typed(spec, path)
        return {key: from_spec(value, (*path, key)) for key, value in spec.items()}
    if isinstance(spec, list):
        return [from_spec(item, (*path, i)) for i, item in enumerate(spec)]
    return spec


def space_spec(template: Mapping[str, Any], rules: Sequence[Any]) -> dict[str, Any]:
    """Return the spec of a space with a template and the rules of constraints."""
    spec: dict[str, Any] = to_spec(template)
    if not rules:
        return spec
    return {"type": "space", "of": spec, "constraints": [_value_spec(rule) for rule in rules]}


def template_and_rules(spec: Any) -> tuple[Any, list[Any]]:
    """Return the template and the rules of constraints of a space that a spec describes.

    Raises:
        SpaceError: The spec is wrong, or a constraint is a function.
    """
    if not isinstance(spec, Mapping):
        raise SpaceError(f"a spec is a table, received {spec!r}")
    rules = []
    try:
        if spec.get("type") == "space":
            _check_fields(spec, "the space", ("of",), ("constraints",))
            whole, spec, rules = spec, spec["of"], spec.get("constraints", [])
            if not isinstance(spec, Mapping) or not isinstance(rules, list):
                raise SpaceError(
                    f"the space: of must be a table and constraints a list, received {whole!r}"
                )
        return from_spec(spec), [_value(rule, "constraints") for rule in rules]
    except RecursionError:
        raise SpaceError("the spec is nested too deep to be read") from None


def _typed(spec: Mapping[str, Any], path: Path) -> Any:
    kind, where = spec["type"], path_name(path)
    if "when" in spec and (kind in _DOMAINS or kind == "when"):
        if kind == "when":
            _check_fields(spec, where, ("of", "when"), ())
            node = from_spec(spec["of"], path)
        else:
            node = _typed({name: v for name, v in spec.items() if name != "when"}, path)
        return _conditional(node, spec["when"], where)
    if "fidelity" in spec and kind in _DOMAINS:
        mark = spec["fidelity"]
        if not isinstance(mark, bool):
            raise SpaceError(f"{where}: fidelity must be true or false, received {mark!r}")
        node = _typed({name: v for name, v in spec.items() if name != "fidelity"}, path)
        return fidelity(node) if mark else node
    if kind in _DOMAINS:
        make, required, optional = _DOMAINS[kind]
    elif kind in _OTHERS:
        required, optional = _OTHERS[kind], ()
    else:
        raise SpaceError(
            f"{where}: unknown type {kind!r}; allowed: {', '.join([*_DOMAINS, *_OTHERS])}. If "
            f'this is a group with a key named "type", write type = {{type = "constant", value = '
            f'"{kind}"}}'
        )
    _check_fields(spec, where, required, optional)
    if kind == "constant":
        return spec["value"]
    if kind in ("literal", "object"):
        return _value(spec, where)
    for name in ("keys", "values", "of"):
        if name in spec and not isinstance(spec[name], list):
            raise SpaceError(f"{where}: {name} must be a list, received {spec[name]!r}")
    if kind == "options":
        return Options.of(from_spec(part, (*path, i)) for i, part in enumerate(spec["of"]))
    if kind == "tuple":
        return tuple(from_spec(list(spec["values"]), path))
    if kind == "group":
        if len(spec["keys"]) != len(spec["values"]):
            raise SpaceError(
                f"{where}: {len(spec['keys'])} keys and {len(spec['values'])} values; give as many"
            )
        keys = [_value(key, where) for key in spec["keys"]]
        return {k: from_spec(v, (*path, k)) for k, v in zip(keys, spec["values"], strict=True)}
    arguments = {name: spec[name] for name in (*required, *optional) if name in spec}
    if "values" in arguments:
        arguments["values"] = [_value(v, where) for v in arguments["values"]]
    positional = [arguments.pop(name) for name in required]
    try:
        return make(*positional, **arguments)
    except SpaceError as error:
        raise SpaceError(f"{where}: {error}") from None


def _conditions_spec(node: When) -> dict[str, Any]:
    """Conditions as data: one value alone, several as a list."""
    specs = {name: [_value_spec(value) for value in values] for name, values in node.conditions}
    return {
        name: v[0] if len(v) == 1 and type(v[0]) is not list else v for name, v in specs.items()
    }


def _conditional(node: Any, spec: Any, where: str) -> When:
    if not isinstance(spec, Mapping) or not spec:
        raise SpaceError(
            f"{where}: when must be a table of names and values, such as "
            f'{{ optimizer = "sgd" }}, received {spec!r}'
        )
    allowed = {
        str(name): [_value(item, where) for item in (value if type(value) is list else [value])]
        for name, value in spec.items()
    }
    try:
        return when(node, **allowed)
    except SpaceError as error:
        raise SpaceError(f"{where}: {error}") from None


def _check_fields(
    spec: Mapping[str, Any], where: str, required: tuple[str, ...], optional: tuple[str, ...]
) -> None:
    problems = [f"field {name!r} is missing" for name in required if name not in spec]
    problems += [
        f"unknown field {name!r} (= {value!r})"
        for name, value in spec.items()
        if name not in ("type", *required, *optional)
    ]
    if problems:
        allowed = ", ".join([*required, *(f"{name} (optional)" for name in optional)])
        raise SpaceError(
            f"{where}: {'; '.join(problems)}; fields of type {spec['type']!r}: {allowed}"
        )


def _domain_spec(domain: Domain) -> dict[str, Any]:
    for kind, (make, required, optional) in _DOMAINS.items():
        if type(domain) is not make:
            continue
        if isinstance(domain, Categorical | Ordinal):
            objects = domain.choices if isinstance(domain, Categorical) else domain.values
            return {"type": kind, "values": [_value_spec(o) for o in objects]}
        fields = {name: getattr(domain, name) for name in (*required, *optional)}
        # Neither format needs what is off, and TOML has no null.
        return {"type": kind} | {
            k: v for k, v in fields.items() if v is not None and v is not False
        }
    raise SpaceError(f"{domain!r}: a spec has no type for it; allowed: {', '.join(_DOMAINS)}")


def _is_plain(value: Any) -> bool:
    """Whether TOML and JSON give back exactly this value, and a spec does not misread it."""
    if type(value) is list:
        return all(_is_plain(item) for item in value)
    if type(value) is dict:
        typed = isinstance(value.get("type"), str)
        return not typed and all(type(k) is str and _is_plain(v) for k, v in value.items())
    if type(value) is float:
        return math.isfinite(value)
    return is_primitive(value) and value is not None


def _value_spec(value: Any) -> Any:
    value = unwrap(value)
    if _is_plain(value):
        return value
    text = shown(value)
    if type(value) is float:
        return {"type": "literal", "value": text}
    try:
        if same(ast.literal_eval(text), value, strict=True):
            return {"type": "literal", "value": text}
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass  # not a literal
    return {"type": "object", "repr": text}


def _value(spec: Any, where: str) -> Any:
    """The value that `_value_spec` wrote."""
    kind = spec.get("type") if isinstance(spec, Mapping) else None
    if kind == "object":
        raise SpaceError(
            f"{where}: {spec.get('repr')} is an object that only Python has and cannot be read "
            "from a spec; give the space itself, or strings or numbers in the objects' place"
        )
    if kind != "literal":
        if kind in _DOMAINS:
            raise SpaceError(
                f"{where}: {dict(spec)!r} is a hyperparameter among the values of a choice; write "
                '{ type = "options", of = [...] } for a choice between parts with hyperparameters'
            )
        return spec
    text = spec.get("value")
    if text in _NON_FINITE:
        return float(text)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError):
        raise SpaceError(f"{where}: {text!r} is not a Python literal") from None
