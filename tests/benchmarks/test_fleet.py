"""The benchmark of whole fleets, on few workers."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.fleet import CLUSTERS, SEARCHES, main, run


@pytest.mark.parametrize("search", SEARCHES)
def test_every_search_runs_on_every_fleet(search: str) -> None:
    found = {cluster: run(search, cluster, 20, 40, 0) for cluster in CLUSTERS}
    for one in found.values():
        assert one.filled_s >= 2.0
        assert 0.5 < one.busy <= 1.0
    assert 1 <= found["three waves"].lost <= 6  # three waves of two workers, if all are busy
    assert 0 < found["three waves"].repeated < 6 / 40
    assert found["fixed"].lost == found["autoscaler"].lost == 0


def test_the_page_names_its_command(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    arguments = ["--search", "Ray's random search", "--workers", "10", "--trials", "20"]
    result = CliRunner().invoke(main, [*arguments, "--out", str(page)])
    assert result.exit_code == 0, result.output
    written = page.read_text()
    assert """--search "Ray's random search" --workers 10 --trials 20 --seed 0\n""" in written
    assert written.count("| Ray's random search | ") == len(CLUSTERS)
