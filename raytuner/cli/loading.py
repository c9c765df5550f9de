"""From what a person types to what a study takes."""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raytuner.errors import SpaceError, TrainableError

if TYPE_CHECKING:
    from raytuner.simulate import Workload
    from raytuner.space import Space


def load_function(name: str) -> Callable[..., Any]:
    """The function that `module:function` names, from the current directory or what is installed.

    Raises:
        TrainableError: It cannot be imported or called.
    """
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise TrainableError(
            f"{name!r} does not name a training function; write MODULE:FUNCTION, such as"
            " train:train for the function train in train.py"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module raises
        raise TrainableError(
            f"cannot import the module {module_name!r} of {name!r} (looked in {here} and in what is"
            f" installed): {type(error).__name__}: {error}"
        ) from error
    for part in function_name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            defined = ", ".join(_functions_of(found)) or "none"
            raise TrainableError(
                f"the module {module_name!r} has no {function_name!r}; functions it has: {defined}"
            ) from None
    if not callable(found):
        raise TrainableError(
            f"{name!r} is {found!r} ({type(found).__name__}); it must be a function or a"
            " ray.tune.Trainable class"
        )
    function: Callable[..., Any] = found
    return function


def load_workload(name: str) -> Workload:
    """What the function gives that `module:function` or `module:function:argument` names.

    Raises:
        TrainableError: It cannot be imported or called, or gives no workload.
    """
    from raytuner.simulate import Workload

    module, _, rest = name.partition(":")
    function, _, argument = rest.partition(":")
    made = load_function(f"{module}:{function}")(*([argument] if argument else []))
    if not isinstance(made, Workload):
        raise TrainableError(
            f"{name!r} gave {made!r} ({type(made).__name__}); it must give a"
            " raytuner.simulate.Workload"
        )
    return made


def load_space(path: Path) -> Space:
    """The search space that a TOML file describes, in its table `space` or in all of it.

    Beside a table `space`, `parameter_constraints` are taken too, as in a study's file.

    Raises:
        SpaceError: The file is no TOML, or describes no search space.
    """
    from raytuner.space import Space

    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, OSError) as error:
        raise SpaceError(f"{path} cannot be read as TOML: {error}") from error
    spec = content.get("space", content)
    try:
        space = Space.from_spec(spec)
        if "space" not in content:
            return space
        return space.constrained(content.get("parameter_constraints", []))
    except SpaceError as error:
        raise SpaceError(f"{path}: {error}") from error


def _functions_of(module: Any) -> list[str]:
    return sorted(
        name
        for name, item in vars(module).items()
        if callable(item) and getattr(item, "__module__", None) == module.__name__
    )
