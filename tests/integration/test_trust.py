"""What a study writes: no secret of the environment, and all that it takes to recover it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import ray
from click.testing import CliRunner
from ray import tune

import raytuner
from raytuner.cli import main
from raytuner.search.restore import RECORD_FILE

# Ray's workers cannot import the tests: they get the functions themselves.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]

pytestmark = pytest.mark.usefixtures("ray_cluster")

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG",
    "WANDB_API_KEY": "0123456789abcdef0123",
    "DB_PASSWORD": "hunter2hunter2",
    "HF_TOKEN": "hf_abcdefghijkl",
}
INLINE = "inlin3pw"
SPACE: dict[str, Any] = {"x": tune.uniform(0, 1), "deep": {"kind": tune.choice(["a", None])}}
# Ray's own words for what a training raised, as it raised it.
RAYS_ERRORS = {"error.txt", "error.pkl"}


def leaking(config: dict[str, Any]) -> None:
    tune.report({"loss": config["x"]})
    if config["x"] > 0.5:
        # Backwards: Ray keeps the function itself, and would keep them with it.
        said = "atad/tekcub@wp3nilni:yek//:3s ta lkjihgfedcba_fh rof 104"
        raise PermissionError(said[::-1])
    tune.report({"loss": config["x"] / 2})


def test_no_secret_is_written_and_what_is_lost_is_recovered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    options = [
        "--storage",
        f"s3://key:{INLINE}@bucket",
        f"--api-key={INLINE}",
        "--password",
        INLINE,
    ]
    monkeypatch.setattr(sys, "argv", ["study.py", *options, SECRETS["DB_PASSWORD"], "--seed", "3"])
    study = raytuner.tune(
        leaking,
        SPACE,
        metric="loss",
        mode="min",
        num_samples=4,
        points_to_evaluate=[{"x": x, "deep": {"kind": "a"}} for x in (0.75, 0.25)],
        seed=0,
        storage_path=tmp_path,
        name="study",
        progress=False,
    )
    assert isinstance(study.path, Path)
    study.report()
    for name in ("trials.csv", "trials.db"):
        said = CliRunner().invoke(main, ["export", str(study.path), str(study.path / name)])
        assert said.exit_code == 0, said.output
    shown = CliRunner().invoke(main, ["show", str(study.path)]).output
    assert "PermissionError: 401 for *** at s3://***@bucket/data" in study.failures[0].reason
    assert study.history.get_meta("runs")[0]["program"] == "study.py"
    written = [p for p in study.path.rglob("*") if p.is_file() and p.name not in RAYS_ERRORS]
    assert {RECORD_FILE, "report.html", "raytuner-progress.jsonl"} <= {p.name for p in written}
    for secret in (*SECRETS.values(), INLINE):
        assert secret not in shown
        assert [(secret, p.name) for p in written if secret.encode() in p.read_bytes()] == []

    (study.path / RECORD_FILE).unlink()  # Ray saved a copy at the end
    assert raytuner.recover(study.path).lost == ()
    assert repr(raytuner.load(study.path).trials) == repr(study.trials)
