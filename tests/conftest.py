"""What tests of several rooms share."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import hypothesis
import pytest
from tiers import tier_of

collect_ignore = ["fuzz/guided.py"]  # a program; what it needs is not installed beside the tests

# A deadline is an assertion on wall time: an example may take long on a busy machine.
# The same examples each time, so that a change that passes once passes again; others are for the
# night, and --hypothesis-profile=fuzz has two hundred times as many.
hypothesis.settings.register_profile("each change", deadline=None, derandomize=True)
hypothesis.settings.register_profile("nightly", deadline=None, print_blob=True)
hypothesis.settings.register_profile("fuzz", deadline=None, max_examples=20_000, print_blob=True)
hypothesis.settings.load_profile("each change")


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups next
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test the mark of its tier.

    Tests on Ray come first, in one process: the cluster starts once, and is gone before the rest,
    which would run differently beside it.
    """
    for item in items:
        if (tier := tier_of(item.nodeid, on_ray=_is_on_ray(item))) is not None:
            item.add_marker(tier)
        if _is_on_ray(item):
            item.add_marker(pytest.mark.xdist_group("ray"))
    items.sort(key=_is_on_ray, reverse=True)


def _is_on_ray(item: pytest.Item) -> bool:
    return "ray_cluster" in getattr(item, "fixturenames", ())


def pytest_runtest_setup(item: pytest.Item) -> None:
    """End the cluster before the first test that does not ask for it."""
    if "ray" in sys.modules and not _is_on_ray(item):
        sys.modules["ray"].shutdown()


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> None:
    """Tests share the machine's cores with Ray's workers and with one another."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A local Ray cluster of two CPUs, started once."""
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=0,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield
    ray.shutdown()


@contextmanager
def _another_process(record: Path, child: str = "") -> Iterator[subprocess.Popen[str]]:
    """A process that writes a record, and has started another one."""
    program = (
        "import os, subprocess, sys, time; from pathlib import Path;"
        "from raytuner.history import Writer; writer = Writer(Path(sys.argv[1])); child = 0\n"
        f"{child}\nprint(child, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(record)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    child_id = int(process.stdout.readline())
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if child_id:
            os.kill(child_id, signal.SIGKILL)


@pytest.fixture
def another_process() -> Callable[..., AbstractContextManager["subprocess.Popen[str]"]]:
    """Starts a process that writes the record at a path."""
    return _another_process
