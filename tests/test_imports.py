"""Imports point one way, and what needs no Ray imports none."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import raytuner
from raytuner.history import Goal, History, TrialState
from raytuner.search.restore import RECORD_FILE
from raytuner.space import Categorical, Float, Integer, Normal, Space, when

PACKAGE = Path(raytuner.__file__).parent

_ENGINE = {"errors", "space", "history", "bayes", "halving"}
_ADAPTERS = _ENGINE | {"controller", "search", "schedulers"}

# Each room, and the rooms of ours it may import. A room is a folder or a module of the package.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "folders": {"errors"},
    "space": {"errors"},
    "history": {"errors", "folders", "space"},
    "bayes": {"errors", "space", "history"},
    "halving": {"errors", "history"},
    "controller": {"errors", "space", "history"},
    "placement": {"errors", "controller"},
    "search": {"errors", "folders", "space", "history", "bayes", "controller"},
    "schedulers": {"errors", "space", "history", "bayes", "halving", "controller"},
    "report": {"", "errors", "folders", "space", "history", "bayes"},
    "study": _ADAPTERS | {"folders", "report", "controller", "placement"},
    "simulate": _ADAPTERS | {"study"},  # to read a study that ran
    "integrations": {"", "errors", "folders", "space", "history", "bayes", "search", "study"},
    "demo": {"errors", "folders", "space", "history", "search", "schedulers", "study"},
    "cli": _ADAPTERS | {"", "folders", "study", "report", "placement", "simulate", "demo"},
    # The package itself names its rooms for type checkers only, and imports them when asked.
    "": {"placement", "schedulers", "search", "study"},
}

# Packages that take seconds to import.
_SLOW = {"ray", "torch", "botorch", "pandas", "pyarrow", "plotly"}

# Packages that are not imported at all in a room.
BARRED: dict[str, set[str]] = {
    "space": {"ray", "torch"},
    "history": {"ray", "torch"},
    "bayes": {"ray"},
    "halving": {"ray", "torch"},
    "report": {"ray"},
    "search": {"torch", "botorch", "gpytorch"},
    "schedulers": {"torch", "botorch", "gpytorch"},
}


@cache
def imports() -> tuple[tuple[str, str], ...]:
    """Every import in the package, wherever it stands: ``(module, imported module)``."""
    return tuple(
        (_name(path), found) for path in sorted(PACKAGE.rglob("*.py")) for found in _imported(path)
    )


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: a relative import; name the module in full"
            for alias in node.names:
                # `from raytuner import history` imports the room, not only the package.
                inner = f"{node.module}.{alias.name}"
                yield inner if _is_module(inner) else str(node.module)


def _is_module(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_room_is_in_the_table() -> None:
    rooms = {_room(_name(path)) for path in PACKAGE.rglob("*.py")}
    assert {"space", "history", "bayes", "search", "study"} <= rooms <= ALLOWED.keys()


def test_the_table_has_no_cycle() -> None:
    settled: set[str] = set()
    while settled < ALLOWED.keys():
        free = {room for room, needs in ALLOWED.items() if needs - {""} <= settled} - settled
        assert free, f"each needs another: {sorted(ALLOWED.keys() - settled)}"
        settled |= free


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    found = {
        (module, imported)
        for module, imported in imports()
        if _room(module) == room and imported.split(".")[0] == "raytuner"
    }
    assert {
        (module, imported)
        for module, imported in found
        if _room(imported) not in ALLOWED[room] | {room}
    } == set()


@pytest.mark.parametrize("room", BARRED)
def test_a_room_does_without(room: str) -> None:
    found = {imported.split(".")[0] for module, imported in imports() if _room(module) == room}
    assert "raytuner" in found
    assert not found & BARRED[room]


def test_no_module_imports_itself_by_a_detour() -> None:
    """Not even within a room. Imports inside functions and for type checkers are left out."""
    edges: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        edges[_name(path)] = {
            target
            for node in top
            for target in _targets(node)
            if target.split(".")[0] == "raytuner" and target != "raytuner"
        }
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, f"a cycle: {' -> '.join([*above, module])}"
        if module in done:
            return
        for target in sorted(edges.get(module, ())):
            # A room's own modules are imported by its __init__: that is no detour.
            if target != module and not module.startswith(f"{target}."):
                visit(target, (*above, module))
        done.add(module)

    for module in sorted(edges):
        visit(module, ())
    assert len(done) == len(edges) > 20


def _targets(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    for alias in node.names:
        inner = f"{node.module}.{alias.name}"
        yield inner if _is_module(inner) else str(node.module)


def loaded_after(statement: str) -> set[str]:
    """Top-level packages that a fresh process has imported after ``statement``."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    return set(output.split())


def test_the_rooms_without_ray_leave_it_alone() -> None:
    loaded = loaded_after(
        "from raytuner import bayes, halving, history, space; from raytuner.report import live"
    )
    assert {"raytuner", "botorch", "scipy"} <= loaded
    assert "ray" not in loaded


def test_the_package_is_quick_to_import() -> None:
    loaded = loaded_after("import raytuner")
    assert "raytuner" in loaded
    assert not loaded & {"ray", "torch", "numpy", "pandas"}


def test_the_command_line_is_quick_to_import() -> None:
    loaded = loaded_after("import raytuner.cli")
    assert "click" in loaded
    assert not loaded & {"ray", "torch", "pandas"}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's folder with what a record can hold: conditions, a front, a bound, repeats."""
    folder = tmp_path_factory.mktemp("studies") / "first"
    folder.mkdir()
    space = Space(
        {
            "lr": Float(1e-4, 0.1, log=True),
            "model": Categorical(["linear", "net"]),
            "depth": when(Integer(1, 4), model="net"),
            "noise": Normal(0, 1),
        },
        ["lr + noise <= 9"],
    )
    goal = Goal.of(["loss", "seconds"], ["min", "min"], outcome_constraints=["memory <= 5"])
    history = History(space, goal=goal, max_t=9, path=folder / RECORD_FILE)
    for i, config in enumerate(space.sample(np.random.default_rng(0), 4)):
        history.add(f"t{i}", config)
        history.report(f"t{i}", 9, i, {"seconds": 4 - i, "memory": i})
    for i, state in enumerate([TrialState.COMPLETED, TrialState.COMPLETED, TrialState.FAILED]):
        history.end(f"t{i}", state)
    history.set_meta("confirmed", {"t0": [0.5, 0.25]})
    history.set_meta("finished", False)
    history.close()
    return folder


@pytest.mark.parametrize("command", ["list", "show", "best", "best --format toml"])
def test_commands_that_read_a_record_are_quick(command: str, record: Path) -> None:
    words = [*command.split(), str(record.parent if command == "list" else record)]
    loaded = loaded_after(
        "from click.testing import CliRunner; from raytuner.cli import main\n"
        f"result = CliRunner().invoke(main, {words!r}); assert result.exit_code == 0, result"
    )
    assert {"sqlite3", "numpy"} <= loaded
    assert not loaded & _SLOW


def test_reading_a_study_from_python_is_quick(record: Path) -> None:
    loaded = loaded_after(
        f"import raytuner; study = raytuner.load({str(record)!r})\n"
        "assert study.best and study.pareto and study.trials and study.confirmed and study.counts"
    )
    assert "sqlite3" in loaded
    assert not loaded & _SLOW


def test_public_names_are_loaded_when_asked_for() -> None:
    for name in raytuner.__all__:
        assert getattr(raytuner, name) is not None
    assert set(raytuner.__all__) <= set(dir(raytuner))
    with pytest.raises(AttributeError, match="no attribute 'BoTorchSerach'"):
        _ = raytuner.BoTorchSerach
