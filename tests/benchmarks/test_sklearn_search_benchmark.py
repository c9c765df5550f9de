"""The benchmark of searches in one process."""

import pytest

from benchmarks.sklearn_search import main


def test_each_search_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--candidates", "2", "--searches", "RandomizedSearchCV", "RayTunerSearchCV"])
    theirs, ours = capsys.readouterr().out.splitlines()
    assert theirs.startswith("RandomizedSearchCV (scikit-learn ")
    assert "2 candidates: import" in ours
    assert "best 0.9" in ours
