"""The audit of dependencies in CI: what fails it and what does not; no network is asked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CI = Path(__file__).parents[1] / ".ci"


@pytest.mark.parametrize(
    ("does", "code", "says"),
    [
        ("echo '{}' > $report", 0, ""),
        ('echo \'{"id": "GHSA-1"}\' > $report; exit 1', 1, "GHSA-1"),
        ("echo 'requests.exceptions.ConnectionError: no' >&2; exit 1", 0, "nothing was audited"),
        ("echo 'error: no such option' >&2; exit 2", 1, "no such option"),
        # What is ignored is handed on, and comments are not.
        (
            'case "$*" in *"--ignore-vuln GHSA-2 "*|*"--ignore-vuln GHSA-2") ;; *) exit 3 ;; esac',
            0,
            "",
        ),
        ('case "$*" in *"#"*) exit 3 ;; esac', 0, ""),
    ],
)
def test_a_finding_fails_and_a_database_out_of_reach_does_not(
    does: str, code: int, says: str, tmp_path: Path
) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(CI / "audit", tmp_path / ".ci")
    (tmp_path / ".ci" / "audit-ignored").write_text("# GHSA-0\n\nGHSA-2  2026-11-26  a reason\n")
    fake = tmp_path / "pip-audit"
    find = 'while [ "$1" != --output ]; do shift; done; report="$2"'
    fake.write_text(f'#!/usr/bin/env bash\nall=($*)\n{find}\nset -- "${{all[@]}}"\n{does}\n')
    fake.chmod(0o755)
    done = subprocess.run(
        ["bash", tmp_path / ".ci" / "audit", fake], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert says in done.stderr


def test_what_is_ignored_has_a_date_and_a_reason() -> None:
    for line in (CI / "audit-ignored").read_text().splitlines():
        if line and not line.startswith("#"):
            assert len(line.split(maxsplit=2)) == 3, line
