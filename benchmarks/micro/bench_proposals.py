"""What pytest-benchmark runs; ``python -m benchmarks.micro`` says on which cases."""

from __future__ import annotations

import statistics
import time

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.micro import memory
from benchmarks.micro.proposals import MAKE, Search


def test_proposal(
    benchmark: BenchmarkFixture, dimensions: int, observations: int, name: str, proposals: int
) -> None:
    """Seconds of `suggest`, each after one more observation; the first one apart."""
    before = memory.start_anew()
    search = Search(MAKE[name], dimensions, observations, seed=0)
    start = time.process_time()
    search.suggest()
    first_s = time.process_time() - start
    search.tell()
    benchmark.pedantic(search.suggest, teardown=search.tell, rounds=proposals)
    peak = memory.peak()
    benchmark.extra_info.update(
        first_s=first_s,
        hooks_s=statistics.median(search.hooks_s),
        peak_mib=None if peak is None or before is None else peak - before,
    )
