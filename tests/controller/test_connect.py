"""Connecting to Ray where the cluster that it would connect to is gone."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray

from raytuner.controller.cluster_state import connect
from raytuner.errors import SettingError

GONE = "127.0.0.1:1"  # nothing listens on this port


@pytest.fixture(autouse=True)
def not_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test connect, whatever the session is connected to."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("connected"))


def test_an_address_in_the_environment_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", GONE)
    with pytest.raises(SettingError, match=f"{GONE}.*RAY_ADDRESS.*unset it"):
        connect()


@pytest.mark.parametrize("address", ["", "auto"])
def test_the_file_of_a_cluster_that_is_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str
) -> None:
    """`ray start` leaves this file behind if the machine is switched off."""
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    file = tmp_path / "ray" / "ray_current_cluster"
    file.write_text(GONE)
    with pytest.raises(SettingError, match=f"{GONE}.*{file}.*delete that file"):
        connect()


@pytest.mark.parametrize("address", [None, "local", "auto", "ray://host:10001"])
def test_other_addresses_are_left_to_ray(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str | None
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    calls = []
    monkeypatch.setattr(ray, "init", lambda **given: calls.append(given))
    connect()
    assert len(calls) == 1
