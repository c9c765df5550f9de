"""What must hold for any input at all: success, checked against a simple model, or one error.

Each function here takes something made up and raises only if raytuner did wrong. The tests beside
it call them with Hypothesis's examples, ``guided.py`` with those of a fuzzer that is led by
coverage.
"""

from __future__ import annotations

import json
import math
import operator
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner

from raytuner.cli import main
from raytuner.cli.loading import read_study
from raytuner.errors import ConfigError, HistoryError, RaytunerError, SettingError, SpaceError
from raytuner.history import History, TrialState, salvaged
from raytuner.space import Categorical, Float, Integer, Space
from raytuner.space.constraints import constraint
from raytuner.study.parsing import seconds

LEAVES: dict[str, Any] = {
    "a": Integer(1, 9),
    "b": Float(0.0, 1.0),
    "net/depth": Integer(1, 4),
    "opt": Categorical(["sgd", "adam"]),
    "k": 7,
    "two words": Float(0.0, 2.0),
}
VALUES: dict[str, Any] = {"a": 3, "b": 0.25, "net/depth": 2, "opt": "sgd", "k": 7, "two words": 1.5}


def spec(given: Any) -> Space | None:
    """A space's spec: the space that it makes, if it makes one, keeps its promises."""
    try:
        space = Space.from_spec(given)
    except SpaceError as error:
        said(error)
        return None
    promises(space)
    return space


def promises(space: Space) -> None:
    """What every space says of itself, by a few random configurations."""
    written = json.loads(json.dumps(space.to_spec()))
    assert Space.from_spec(written).to_spec() == space.to_spec()
    configs = space.sample(np.random.default_rng(0), 3)
    X = space.encode(configs)
    assert X.shape == (3, space.dim)
    assert ((X >= 0) & (X <= 1)).all()
    assert space.allowed(X).all()
    for config, row, again in zip(configs, X, space.decode(X), strict=True):
        space.validate(config)
        # Beyond 2 ** 52 levels neighbours share a coordinate; at the same one they stay.
        np.testing.assert_allclose(space.encode([again])[0], row, atol=1e-6)
        dumped = json.loads(json.dumps(space.dump(config)))
        assert repr(space.load(dumped)) == repr(config)
    assert space.cardinality >= 2 or space.constraints or space.columns


def config(space: Space, given: Any) -> None:
    """Whatever is offered as a configuration is one, or is not and says so."""
    try:
        space.validate(given)
    except ConfigError as error:
        said(error)
        return
    X = space.encode([given])
    assert ((X >= 0) & (X <= 1)).all()
    assert space.load(json.loads(json.dumps(space.dump(given)))).keys() <= {*space.template}


def rule(text: Any) -> None:
    """The text of a constraint is refused, or has a truth value everywhere."""
    try:
        found = constraint(text, LEAVES)
        assert set(found.names) <= LEAVES.keys()
        assert found.holds({}, VALUES) in (True, False)
        assert found.holds({}, {}) is True
    except SpaceError as error:
        said(error)


_OPS: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_RELATIONS: dict[str, Callable[[float, float], bool]] = {
    "<": lambda x, y: x < y and not math.isclose(x, y, rel_tol=1e-9),
    "<=": lambda x, y: x <= y or math.isclose(x, y, rel_tol=1e-9),
    "==": lambda x, y: math.isclose(x, y, rel_tol=1e-9),
}


def arithmetic(tree: Any, relation: str, bound: float) -> None:
    """A constraint means what the tree means that it was written from.

    Args:
        tree: A name of a number, a number, or ``(operator, left, right)``.
        relation: One of ``<``, ``<=``, ``==``.
        bound: What the tree is compared with.
    """

    def text(node: Any) -> str:
        if isinstance(node, tuple):
            return f"({text(node[1])} {node[0]} {text(node[2])})"
        return str(node)

    def value(node: Any) -> float:
        if isinstance(node, tuple):
            return _OPS[node[0]](value(node[1]), value(node[2]))
        return float(VALUES[node] if isinstance(node, str) else node)

    try:
        found = constraint(f"{text(tree)} {relation} {bound!r}", LEAVES)
    except SpaceError as error:
        said(error, "names no hyperparameter")
        return
    try:
        expected = _RELATIONS[relation](value(tree), bound)
    except ZeroDivisionError:
        expected = False
    assert found.holds({}, VALUES) is expected


def study_file(text: str) -> None:
    """The text of a study's file gives arguments of `raytuner.tune`, or one error that names it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.toml"
        path.write_text(text, encoding="utf-8", errors="replace")
        try:
            settings = read_study(path)
        except RaytunerError as error:
            said(error, str(path))
            return
        assert all(isinstance(key, str) for key in settings)
        if "param_space" in settings:
            promises(settings["param_space"])


def duration(text: str) -> None:
    """A duration is a number of seconds that is not below zero, or an error."""
    try:
        found = seconds(text)
    except SettingError as error:
        said(error)
        return
    assert found >= 0
    assert math.isfinite(found)


def command(args: list[str]) -> None:
    """A command line ends with an exit code of its own, and with no traceback."""
    with tempfile.TemporaryDirectory() as folder:
        env = {"HOME": folder, "COLUMNS": "80"}
        result = CliRunner(env=env).invoke(main, args)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (0, 1, 2)
    if result.exit_code == 2:
        assert result.stderr.strip()
        assert "Traceback" not in result.stderr


def record(broken: bytes, written: Mapping[str, str]) -> None:
    """A file in the place of a record is read right or told as damaged; nothing is made up.

    Args:
        broken: The file.
        written: What each trial's ``repr`` was in the record that it was once.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "record"
        path.write_bytes(broken)
        try:
            found = History.read(path)
        except HistoryError as error:
            said(error, str(path))
        else:
            assert {t.trial_id: repr(t) for t in found.trials} == written
        try:
            rest, _, _ = salvaged(path)
        except HistoryError as error:
            said(error)
        else:
            assert {trial.trial_id for trial in rest.trials} <= written.keys()


def small_record(path: Path) -> dict[str, str]:
    """Write a record of a few trials; what each trial's ``repr`` is."""
    space = Space({"lr": Float(0.0, 1.0), "opt": Categorical(["sgd", None])})
    history = History(space, metric="loss", mode="min", max_t=3, path=path)
    for i in range(5):
        history.add(f"t{i}", {"lr": i / 8, "opt": ["sgd", None][i % 2]})
        for t in range(1, 4):
            history.report(f"t{i}", t, 1 / (i + t))
        history.end(f"t{i}", TrialState.COMPLETED)
    history.close()
    return {trial.trial_id: repr(trial) for trial in history.trials}


def said(error: RaytunerError, part: str = "") -> None:
    """An error of ours is of a kind, and has something to say: ``part``, among other things."""
    assert type(error) is not RaytunerError
    assert str(error).strip()
    assert part in str(error)
