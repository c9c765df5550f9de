"""The live view in a real terminal, driven by keys as a person does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray

import raytuner

pytestmark = pytest.mark.usefixtures("ray_cluster")

_PATIENCE_S = 120
_WIDTH = 80
_TRAIN = """
import time
from ray import tune

def fit(config):
    if config["x"] > 0.8:
        raise ValueError("x is too large")
    for t in range(1, 10):
        time.sleep(0.1)
        tune.report({"loss": config["x"] ** 2 + 1 / t})
"""
_STUDY = """
trainable = "train_in_terminal:fit"
metric = "loss"
mode = "min"
max_t = 9
name = "study"
storage_path = "."
reuse_actors = true
seed = 0
points_to_evaluate = [{ x = 0.9 }]
num_samples = 8
[space]
x = { type = "float", low = -1, high = 1 }
"""


class Terminal:
    """A shell in a terminal of 80 by 24 characters, of a tmux server of its own."""

    def __init__(self, program: str, folder: Path) -> None:
        self._tmux = [program, "-S", str(folder / "tmux"), "-f", "/dev/null"]
        size = ("-x", str(_WIDTH), "-y", "24")
        self._run("new-session", "-d", *size, "-c", str(folder), "sh")

    def type(self, line: str) -> None:
        self._run("send-keys", "-l", line)
        self.press("Enter")

    def press(self, key: str) -> None:
        self._run("send-keys", key)

    def screen(self) -> str:
        """What was written so far, what has scrolled away too."""
        return self._run("capture-pane", "-p", "-J", "-S", "-")

    def wait(self, is_there: Callable[[str], object]) -> str:
        deadline = time.monotonic() + _PATIENCE_S
        while not is_there(screen := self.screen()):
            assert time.monotonic() < deadline, screen
            time.sleep(0.05)
        return screen

    def close(self) -> None:
        self._run("kill-server")

    def _run(self, *words: str) -> str:
        return subprocess.run(
            [*self._tmux, *words], check=True, capture_output=True, text=True
        ).stdout


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    program = shutil.which("tmux")
    if program is None:
        pytest.skip("needs a terminal: apt-get install tmux")
    (tmp_path / "train_in_terminal.py").write_text(_TRAIN)
    (tmp_path / "study.toml").write_text(_STUDY)
    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    monkeypatch.setenv("TUNE_GLOBAL_CHECKPOINT_S", "1")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("PS1", "$ ")
    monkeypatch.delenv("TMUX", raising=False)
    found = Terminal(program, tmp_path)
    try:
        found.type(
            f"raytuner() {{ {sys.executable} -c"
            " 'from raytuner.cli import main; main()' \"$@\"; echo code=$?; }; clear"
        )
        yield found
    finally:
        found.close()


def test_a_study_is_watched_interrupted_and_resumed(terminal: Terminal, tmp_path: Path) -> None:
    terminal.type("raytuner run study.toml")
    seen = terminal.wait(lambda screen: re.search(r"best +loss", screen) and "failed" in screen)
    assert "━" in seen
    assert re.search(r"trials +[1-7] of 8 done: .*1 failed", seen)
    assert re.search(r"slots +[0-2] of 2 busy", seen)
    assert re.search(r"failed +1 x ValueError: x is too large", seen)
    assert max(map(len, seen.splitlines())) <= _WIDTH
    terminal.press("C-c")
    seen = terminal.wait(lambda screen: "code=" in screen)
    assert "code=130" in seen
    assert "The study was interrupted." in seen
    # The picture was drawn over and over in the same place, and what follows stands below it.
    assert seen.count(" done: ") == 1
    assert seen.index(" done: ") < seen.index("The study was interrupted")
    assert raytuner.load(tmp_path / "study").interrupted

    terminal.type("clear; tmux clear-history; raytuner resume study")
    seen = terminal.wait(lambda screen: "code=0" in screen)
    assert "8 of 8 done" in seen
    assert re.search(r"Failures +\d x ValueError: x is too large", seen)
    assert not raytuner.load(tmp_path / "study").interrupted

    # Nothing of it in a file: plain lines on standard error, the result on standard output.
    terminal.type("clear; tmux clear-history; raytuner best study 2>err | cat; cat err")
    # The screen may still be the last one's when it is first looked at.
    seen = terminal.wait(lambda screen: "code=0" in screen and "done" not in screen)
    assert '"x": ' in seen
    assert "\x1b" not in seen
