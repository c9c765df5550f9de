"""What tests of several rooms share."""

import logging
from collections.abc import Iterator

import hypothesis
import pytest

collect_ignore = ["fuzz/guided.py"]  # a program; what it needs is not installed beside the tests

# pytest --hypothesis-profile=fuzz: two hundred times the examples of CI's.
hypothesis.settings.register_profile("fuzz", max_examples=20_000, print_blob=True)


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
