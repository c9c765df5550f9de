"""Made-up input of every kind; what must hold is in `checks.py`.

Short here; ``pytest tests/fuzz --hypothesis-profile=fuzz`` tries two hundred times as much.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checks
import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ray import tune

from raytuner.cli import main
from raytuner.cli.loading import _KEYS
from raytuner.errors import RaytunerError
from raytuner.search.tune_space import space_from_tune
from raytuner.space import Categorical, Float, Integer, Space, when


def few(n: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Try ``n`` examples under the default profile, in proportion more under another."""
    return settings(
        max_examples=max(1, n * settings().max_examples // 100),
        suppress_health_check=list(HealthCheck),
    )


NUMBERS = st.one_of(
    st.integers(-10, 1000),
    st.integers(),
    st.sampled_from([2**53, 2**63, -(2**64), 10**400]),
    st.floats(),
    st.floats(1e-6, 1e3),
)
WORDS = st.sampled_from(["lr", "opt", "net", "type", "a/b", "", "sgd", "low", "when"]) | st.text(
    max_size=8
)
PLAIN = st.none() | st.booleans() | NUMBERS | WORDS
JSON = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4)
)


def domain_specs(inner: Any) -> Any:
    """Hyperparameters, right or nearly so."""
    kinds = st.sampled_from(
        [
            *("float", "int", "normal", "choice", "ordinal", "constant", "literal", "tuple"),
            *("group", "object", "when", "space", "nonsense"),
        ]
    )
    fields = {
        "low": NUMBERS,
        "high": NUMBERS,
        "log": st.booleans() | PLAIN,
        "step": NUMBERS | st.none(),
        "mean": NUMBERS,
        "sd": NUMBERS,
        "values": st.lists(PLAIN | inner, max_size=4) | PLAIN,
        "value": PLAIN | st.sampled_from(["None", "[1, 2", "{1}", "(" * 99, "nan", "1e999"]),
        "keys": st.lists(PLAIN, max_size=3),
        "repr": WORDS,
        "of": inner,
        "when": st.dictionaries(WORDS, PLAIN | st.lists(PLAIN, max_size=3), max_size=2) | PLAIN,
        "constraints": st.lists(st.text(max_size=12), max_size=2),
    }
    any_of = st.fixed_dictionaries({"type": kinds}, optional=fields)
    low = st.integers(-100, 100) | st.floats(-100, 100)
    right = st.one_of(
        st.builds(
            lambda kind, low, width, log: (
                {"type": kind, "low": low, "high": low + width} | ({"log": True} if log else {})
            ),
            st.sampled_from(["float", "int"]),
            low,
            st.integers(0, 50) | st.floats(0, 50),
            st.booleans(),
        ),
        st.builds(
            lambda kind, values: {"type": kind, "values": values},
            st.sampled_from(["choice", "ordinal"]),
            st.lists(PLAIN, min_size=1, max_size=4),
        ),
    )
    return right | any_of


SPECS = st.dictionaries(
    WORDS,
    st.recursive(
        PLAIN | domain_specs(PLAIN),
        lambda inner: (
            st.dictionaries(WORDS, inner, max_size=3)
            | st.lists(inner, max_size=3)
            | domain_specs(inner)
        ),
        max_leaves=6,
    ),
    max_size=4,
)


@few(75)
@given(SPECS | JSON)
def test_any_spec_is_a_space_or_one_error(given: Any) -> None:
    checks.spec(given)


SPACE = Space(
    {
        "lr": Float(1e-4, 1.0, log=True),
        "n": Integer(1, 10**6),
        "q": Float(0, 1, step=0.25),
        "opt": Categorical(["sgd", None, 3, (1, 2)]),
        "net": {"depth": when(Integer(1, 4), opt="sgd"), "k": 5},
    }
)


@few(75)
@given(
    JSON
    | st.fixed_dictionaries(
        {"lr": NUMBERS | st.just(0.1), "n": NUMBERS | st.just(3), "q": st.just(0.5) | PLAIN},
        optional={
            "opt": JSON | st.sampled_from(["sgd", None, 3, (1, 2), [1, 2]]),
            "net": JSON | st.fixed_dictionaries({}, optional={"depth": PLAIN, "k": PLAIN}),
        },
    )
)
def test_any_configuration_is_one_of_the_space_or_one_error(given: Any) -> None:
    checks.config(SPACE, given)


def _drawn(make: Callable[..., Any], *args: Any) -> Any:
    """A domain of Ray's, or the arguments where Ray itself refuses them."""
    try:
        return make(*args)
    except Exception:  # Ray asserts, divides and compares what it is given
        return list(args)


AMOUNTS = st.integers(-5, 100) | st.floats(-5, 100) | NUMBERS
TUNE = st.recursive(
    PLAIN
    | st.builds(
        lambda make, args: _drawn(make, *args),
        st.sampled_from([tune.uniform, tune.loguniform, tune.randint, tune.lograndint, tune.randn]),
        st.tuples(AMOUNTS, AMOUNTS),
    )
    | st.builds(
        lambda make, args: _drawn(make, *args),
        st.sampled_from([tune.quniform, tune.qloguniform, tune.qrandint, tune.qrandn]),
        st.tuples(AMOUNTS, AMOUNTS, AMOUNTS),
    )
    | st.builds(tune.choice, st.lists(PLAIN, max_size=4))
    | st.builds(tune.grid_search, st.lists(PLAIN, max_size=4)),
    lambda inner: st.dictionaries(WORDS, inner, max_size=3) | st.lists(inner, max_size=3),
    max_leaves=6,
)


@few(75)
@given(st.dictionaries(WORDS, TUNE, max_size=4))
def test_any_space_of_rays_is_one_of_ours_or_one_error(given: Any) -> None:
    try:
        space = space_from_tune(given)
    except RaytunerError as error:
        checks.said(error)
        return
    checks.promises(space)


RULES = st.lists(
    st.sampled_from(["a", "b", "net/depth", "opt", "k", "two words", "1", "0.5", "'sgd'", "1e999"])
    | st.sampled_from(["+", "-", "*", "/", "**", "<", "<=", "==", "!=", " and ", " or ", " not "])
    | st.sampled_from(
        ["(", ")", "min(", "max(", "abs(", ",", "[", ".", "lambda:", "__import__", ":="]
    ),
    max_size=12,
).map(" ".join)


@few(100)
@given(RULES | st.text(max_size=20) | JSON)
def test_any_text_is_a_constraint_or_one_error(text: Any) -> None:
    checks.rule(text)


TREES = st.recursive(
    st.sampled_from(["a", "b", "k", "net/depth", "two words"]) | st.integers(0, 5),
    lambda inner: st.tuples(st.sampled_from(["+", "-", "*", "/"]), inner, inner),
    max_leaves=8,
)


@few(75)
@given(TREES, st.sampled_from(["<", "<=", "=="]), st.integers(-10, 50).map(float))
def test_a_constraint_means_what_it_says(tree: Any, relation: str, bound: float) -> None:
    checks.arithmetic(tree, relation, bound)


def _toml(content: Any) -> str:
    try:
        return tomli_w.dumps(content)
    except (TypeError, ValueError, AttributeError, RecursionError):  # TOML has no way to write it
        return repr(content)


SETTINGS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(_KEYS, JSON)
    | {
        "resources": st.dictionaries(
            st.sampled_from(["cpu", "gpu", "memory", "bundles", "accelerator_type", "strategy"]),
            PLAIN | st.sampled_from(["fit", "8GiB", "PACK"]) | st.lists(JSON, max_size=2),
            max_size=3,
        ),
        "priors": st.dictionaries(
            WORDS, JSON | st.fixed_dictionaries({"near": PLAIN}, optional={"spread": PLAIN})
        ),
        "space": SPECS,
    },
)


@few(60)
@given(SETTINGS.map(_toml) | JSON.map(_toml) | st.text(max_size=60))
def test_any_study_file_is_read_or_one_error(text: str) -> None:
    checks.study_file(text)


@few(100)
@given(st.text(alphabet="0123456789.smhind ", max_size=12) | st.text(max_size=8))
def test_any_duration_is_read_or_one_error(text: str) -> None:
    checks.duration(text)


OPTIONS = sorted(
    {o for c in main.commands.values() for p in c.params for o in p.opts if o[0] == "-"}
)
# Nothing that runs a search or serves a page.
COMMANDS = sorted({*main.commands} - {"demo"})
ARGUMENT = (
    st.sampled_from(sorted({*OPTIONS} - {"--live"}))
    | st.sampled_from(
        [
            "0",
            "-1",
            "nan",
            "inf",
            "1e999",
            "a:b",
            "os:getcwd",
            "no.toml",
            "/",
            ".",
            "..",
            "/dev/null",
        ]
    )
    | st.text(max_size=6)
)


@few(60)
@given(st.sampled_from(COMMANDS) | st.text(max_size=5), st.lists(ARGUMENT, max_size=5))
def test_any_command_line_ends_with_an_exit_code(command: str, args: list[str]) -> None:
    if command == "check" and "--help" not in args:
        args = ["--cpus", "many", *args]  # refused before Ray is started
    if command == "export":
        args = [arg for arg in args if arg.startswith("-")]  # or it would write a file
    checks.command([command, *args])


DEEP = 3000


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * DEEP + "]" * DEEP,
        "a = " + "{a = " * DEEP + "1" + "}" * DEEP,
        ".".join(["space", *"a" * DEEP]) + " = 1",
        "[" + ".".join(["space", *"a" * DEEP]) + "]\nb = 1",
        "parameter_constraints = ['" + "(" * DEEP + "']",
    ],
)
def test_what_is_nested_too_deep_is_one_error(text: str) -> None:
    checks.study_file(text)


@pytest.mark.parametrize(
    "text",
    [
        "a" + " + a" * DEEP + " <= 1",
        "a" + " + a" * 300 + " <= 1",
        "not " * 400 + "a <= 1",
        "a <= " * 400 + "1",
        "-" * 900 + "a <= 1",
        "a <= " + "9" * 5000,
        "a ** 9 ** 9 ** 9 <= 1",
        "'" + "x" * 10**6 + "' == opt",
    ],
)
def test_a_long_constraint_is_read_or_one_error(text: str) -> None:
    checks.rule(text)


def test_a_spec_that_is_nested_too_deep_is_one_error() -> None:
    nested: Any = {"type": "float", "low": 0, "high": 1}
    for _ in range(sys.getrecursionlimit()):
        nested = {"a": nested}
    assert checks.spec(nested) is None


def _small(folder: Path) -> tuple[bytes, dict[str, str]]:
    written = checks.small_record(folder / "record")
    return (folder / "record").read_bytes(), written


@pytest.fixture(scope="module", autouse=True)
def _one_record(tmp_path_factory: pytest.TempPathFactory) -> None:
    global SMALL
    SMALL = _small(tmp_path_factory.mktemp("record"))


SMALL: tuple[bytes, dict[str, str]]


def test_what_was_found_once() -> None:
    """Each of these was a traceback, or refused what it had made itself."""
    for huge in (10**400, -(10**400)):
        checks.config(SPACE, {"lr": huge, "n": 3, "q": 0.5, "opt": None, "net": {}})
        checks.spec({"lr": {"type": "float", "low": 0, "high": huge}})
        checks.study_file(f"[resources]\ncpu = {abs(huge)}")
    checks.study_file(f"[resources]\nmemory = '{'9' * 400}GB'")
    constant = checks.spec({"k": float("nan"), "lr": {"type": "float", "low": 0, "high": 1}})
    assert constant is not None
    data, written = SMALL
    checks.record(data.replace(b"CREATE TABLE meta", b"\x80REATE TABLE meta"), written)
