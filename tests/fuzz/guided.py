"""A fuzzer led by coverage (Atheris, libFuzzer's engine) over the checks of `checks.py`.

    pip install -e ".[test,fuzz]"
    python tests/fuzz/guided.py corpus/ -max_total_time=600 -max_len=512 -len_control=0

It stops at the first thing that raytuner does wrong and writes the input as ``crash-...``;
``python tests/fuzz/guided.py crash-...`` shows it again. What it found so far has a test each.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

# How often each check was called, told at the end.
CALLS: dict[str, int] = {}

with atheris.instrument_imports(include=["raytuner"]):
    import checks

    import raytuner.report.page
    import raytuner.simulate
    import raytuner.study  # noqa: F401

WORDS = ["lr", "opt", "net", "a/b", "", "type", "sgd", "when", "low", "near", "float", "choice"]
KINDS = ["float", "int", "normal", "choice", "ordinal", "constant", "literal", "tuple", "group"]
FIELDS = ["low", "high", "log", "step", "mean", "sd", "values", "value", "keys", "of", "when"]
TOKENS = ["a", "b", "net/depth", "opt", "k", "two words", "1", "0.5", "'sgd'", "+", "-", "*", "/"]
TOKENS += ["**", "<", "<=", "==", "!=", "and", "or", "not", "(", ")", "min(", "max(", "abs(", ","]
LINES = ["metric = 'loss'", "mode = 'min'", "num_samples = 5", "time_budget_s = '1h'", "[space]"]
LINES += ["lr = { type = 'float', low = 0, high = 1 }", "[resources]", "gpu = 'fit'", "cpu = 1"]
LINES += [
    "[priors]",
    "lr = { near = 0.5 }",
    "parameter_constraints = ['lr <= 1']",
    "grace_period = 1",
]
COMMANDS = ["list", "show", "best", "report", "export", "recover", "simulate", "run", "extend"]
OPTIONS = [
    "--help",
    "--space",
    "--metric",
    "--mode",
    "--num-samples",
    "--max-t",
    "--workers",
    "--to",
]

Data = Any  # atheris.FuzzedDataProvider


def plain(data: Data) -> Any:
    """A value that TOML or JSON has."""
    kind = data.ConsumeIntInRange(0, 6)
    if kind == 0:
        return data.PickValueInList(WORDS)
    if kind == 1:
        return data.ConsumeInt(2)
    if kind == 2:
        return data.ConsumeInt(9)
    if kind == 3:
        return data.ConsumeFloat()
    if kind == 4:
        return data.ConsumeBool()
    return None if kind == 5 else data.ConsumeUnicode(8)


def tree(data: Data, depth: int = 0) -> Any:
    """A spec, or something like one."""
    kind = data.ConsumeIntInRange(0, 3 if depth < 3 else 0)
    if kind == 0:
        return plain(data)
    count = data.ConsumeIntInRange(0, 4)
    if kind == 1:
        return [tree(data, depth + 1) for _ in range(count)]
    if kind == 2:
        return {data.PickValueInList(WORDS): tree(data, depth + 1) for _ in range(count)}
    fields = {data.PickValueInList(FIELDS): tree(data, depth + 1) for _ in range(count)}
    return {"type": data.PickValueInList(KINDS), **fields}


def text(data: Data, parts: list[str], joint: str) -> str:
    """Known parts and unknown ones."""
    found = []
    for _ in range(data.ConsumeIntInRange(0, 12)):
        known = data.ConsumeIntInRange(0, 7) > 0
        found.append(data.PickValueInList(parts) if known else data.ConsumeUnicodeNoSurrogates(6))
    return joint.join(found)


def spec(data: Data) -> None:
    """A space by its spec, and configurations of it."""
    given = {data.PickValueInList(WORDS): tree(data) for _ in range(data.ConsumeIntInRange(1, 4))}
    space = checks.spec(given)
    if space is not None:
        checks.config(space, tree(data))


def command(data: Data) -> None:
    """A command line that starts no search and writes no file but its own."""
    more = [
        data.PickValueInList(OPTIONS) if data.ConsumeBool() else data.ConsumeUnicodeNoSurrogates(6)
        for _ in range(data.ConsumeIntInRange(0, 4))
    ]
    checks.command([data.PickValueInList(COMMANDS), *(arg for arg in more if arg.isprintable())])


def broken(data: Data) -> None:
    """A record some bytes of which were changed."""
    content = bytearray(WHOLE)
    for _ in range(data.ConsumeIntInRange(1, 4)):
        content[data.ConsumeIntInRange(0, len(content) - 1)] = data.ConsumeIntInRange(0, 255)
    cut = data.ConsumeIntInRange(0, 8 * len(content))
    checks.record(bytes(content[:cut]), WRITTEN)


CHECKS: list[Callable[[Data], None]] = [
    spec,
    spec,
    lambda data: checks.rule(text(data, TOKENS, " ")),
    lambda data: checks.study_file(text(data, LINES, "\n")),
    lambda data: checks.duration(text(data, ["1", "2.5", "h", "min", "s", " ", "e"], "")),
    broken,
    command,
]
NAMES = ["spec", "spec", "rule", "study_file", "duration", "record", "command"]


def one_input(content: bytes) -> None:
    """What libFuzzer calls with each input."""
    data = atheris.FuzzedDataProvider(content)
    number = data.ConsumeIntInRange(0, len(CHECKS) - 1)
    CALLS[NAMES[number]] = CALLS.get(NAMES[number], 0) + 1
    CHECKS[number](data)
    if sum(CALLS.values()) % 5000 == 0:
        print(CALLS, flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        WRITTEN = checks.small_record(Path(folder) / "record")
        WHOLE = (Path(folder) / "record").read_bytes()
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
