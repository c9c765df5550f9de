"""Studies whose results are in S3: an S3 server of this machine, on a real cluster."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import ray
from click.testing import CliRunner
from drivers import check_resumption
from integration_driver import GRACE, MAX_T, SPACE, loss, saving, train
from pyarrow.fs import copy_files
from ray import tune
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import raytuner
from benchmarks.s3 import bucket
from raytuner.cli import main
from raytuner.errors import HistoryError, SettingError
from raytuner.folders import RemoteFolder, location
from raytuner.history import TrialState
from raytuner.integrations.sklearn import RayTunerSearchCV

pytestmark = pytest.mark.usefixtures("ray_cluster")

for module in ("integration_driver", __name__):
    ray.cloudpickle.register_pickle_by_value(sys.modules[module])  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def remote() -> Iterator[RemoteFolder]:
    """A bucket of an S3 server."""
    with bucket() as folder:
        yield folder


@pytest.fixture
def storage(remote: RemoteFolder, request: pytest.FixtureRequest) -> RemoteFolder:
    """A folder of it."""
    return remote / request.node.name


def test_a_study_is_run_and_gone_on_with(storage: RemoteFolder, tmp_path: Path) -> None:
    study = raytuner.tune(
        saving,
        SPACE,
        metric="loss",
        mode="min",
        num_samples=4,
        scheduler=raytuner.ASHAScheduler(
            max_t=MAX_T, grace_period=GRACE, variant="promotion", seed=0
        ),
        storage_path=storage.uri,
        name="first",
        seed=0,
        progress=False,
    )
    assert study.path == storage / "first"
    assert not study.interrupted
    # What was paused in a trial's process went on in another from its checkpoint in the bucket.
    ended = [trial for trial in study.trials if trial.state is TrialState.COMPLETED]
    assert ended
    assert all([t for t, _ in trial.values] == list(range(1, MAX_T + 1)) for trial in ended)
    loaded = raytuner.load((storage / "first").uri)
    assert loaded.trials == study.trials
    assert loaded.best == study.best

    more = loaded.extend(
        2, saving, scheduler=raytuner.ASHAScheduler(max_t=MAX_T, seed=0), progress=False
    )
    assert len(more.trials) == 6
    assert more.trials[:4] == study.trials
    (again,) = more.confirm(1, 1, train)
    assert again.values == (loss(again.trial.config, MAX_T),)
    assert raytuner.load(more.path).confirmed == (again,)
    next_one = raytuner.BoTorchSearch(SPACE, "loss", "min", earlier=[more.path.uri])  # type: ignore[union-attr]
    assert next_one.suggest("first") == more.best.config

    with pytest.raises(SettingError, match="already exists and is not empty"):
        raytuner.tune(
            train,
            SPACE,
            metric="loss",
            mode="min",
            num_samples=1,
            storage_path=storage,
            name="first",
        )
    assert not any("hidden" in line for line in _commands(storage, tmp_path))


def _commands(storage: RemoteFolder, folder: Path) -> Iterator[str]:
    """What the command line says of the study."""
    study = (storage / "first").uri
    (storage / "no study, 90% é?").write("notes", b"")  # is passed over
    for command in (["list", storage.uri], ["show", study], ["best", study], ["report", study]):
        found = subprocess.run(
            [sys.executable, "-c", "from raytuner.cli import main; main()", *command],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
        )
        yield found.stdout + found.stderr
    assert "first" in (folder / "first-report.html").read_text()


PASSWORD = "hid/d@n+p?w%41"


def refused(config: dict[str, Any]) -> None:
    if config["x"] > 0:
        # Backwards: Ray keeps the function itself, and would keep the password with it.
        raise PermissionError("403 at " + "tekcub@14%w?p+n@d/dih:enoemos//:3s"[::-1])
    tune.report({"loss": config["x"]})


def test_the_password_in_a_uri_is_not_written_or_shown(
    remote: RemoteFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Neither as it is nor as it stands in the URI. Ray's own files are not masked."""
    escaped = quote(PASSWORD, safe="")
    storage = RemoteFolder(remote.uri.replace(":hidden@", f":{escaped}@")) / "secret"
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.DEBUG, "raytuner")
    study = raytuner.tune(
        refused,
        {"x": tune.uniform(-1, 1)},
        metric="loss",
        mode="min",
        num_samples=3,
        points_to_evaluate=[{"x": 0.5}, {"x": -0.5}],
        storage_path=storage.uri,
        name="study",
        seed=0,
        progress=True,
    )
    assert study.failures[0].reason.startswith("PermissionError: 403 at s3://***")
    raytuner.load(location(study.path)).extend(1, refused, progress=True)
    with pytest.raises(SettingError) as caught:
        raytuner.tune(
            refused,
            SPACE,
            metric="loss",
            mode="min",
            num_samples=1,
            storage_path=storage.uri,
            name="study",
        )
    said = [str(caught.value), repr(study), study._repr_html_()]
    uri = location(study.path)
    for command in (
        *(["list", storage.uri], ["show", uri], ["best", uri], ["report", uri], ["recover", uri]),
        *(["export", uri, name] for name in ("trials.csv", "trials.db")),
        *(["show", f"{uri}/none"], ["list", storage.uri.replace("@bucket", "@none")]),
    ):
        result = CliRunner().invoke(main, command)
        said += [result.output, repr(result.exception)]
    said += [caplog.text, *capfd.readouterr()]
    wrote = [*tmp_path.glob("*")]
    assert {"study-report.html", "trials.csv", "trials.db"} <= {path.name for path in wrote}
    system, path = storage._place
    copy = tmp_path / "copy"
    copy_files(path, str(copy), source_filesystem=system)
    files = [p for p in copy.rglob("*") if p.is_file()]
    ours = [p for p in files if re.search("raytuner|searcher", str(p.relative_to(copy)))]
    assert len({p.suffix for p in ours}) > 1  # the record, and what Ray asked us to save
    for secret in (PASSWORD, escaped):
        assert [text for text in said if secret in text] == []
        assert [p for p in (*wrote, *ours) if secret.encode() in p.read_bytes()] == []


def test_a_killed_study_is_resumed_elsewhere(storage: RemoteFolder, tmp_path: Path) -> None:
    # Long epochs, to see the study while it runs: a read of a bucket takes about a second.
    check_resumption(storage / "killed", tmp_path, epoch_s=1.5)


def test_a_scikit_learn_search_says_where_its_studies_are(storage: RemoteFolder) -> None:
    X, y = load_iris(return_X_y=True)
    search = RayTunerSearchCV(
        LogisticRegression(),
        {"C": tune.loguniform(1e-3, 1e3)},
        n_iter=2,
        cv=2,
        random_state=0,
        storage_path=storage.uri,
    ).fit(X, y)
    (path,) = search.study_paths_
    assert len(raytuner.load(path).trials) == 2


def drop_in(storage: RemoteFolder, searcher: raytuner.BoTorchSearch) -> RemoteFolder:
    """The folder of an experiment of Ray's own with the searcher."""
    tune.Tuner(
        train,
        param_space=SPACE,
        tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=2, search_alg=searcher),
        run_config=tune.RunConfig(name="drop_in", storage_path=storage.uri, verbose=0),
    ).fit()
    return storage / "drop_in"


def test_the_drop_in_is_read_as_ray_has_saved_it(storage: RemoteFolder) -> None:
    study = raytuner.load(drop_in(storage, raytuner.BoTorchSearch(seed=0)))
    assert study.counts == {TrialState.COMPLETED: 2}
    assert study.best is not None


def test_the_drop_in_keeps_its_record_there_if_asked(storage: RemoteFolder) -> None:
    record = storage / "drop_in" / "raytuner-record.sqlite"
    folder = drop_in(storage, raytuner.BoTorchSearch(seed=0, record=record.uri))
    deadline = time.monotonic() + 10  # nobody closes the record of a drop-in
    while raytuner.load(folder).history.live() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert raytuner.load(folder).counts == {TrialState.COMPLETED: 2}


def test_bad_storage_is_told_of_before_any_trial(remote: RemoteFolder) -> None:
    uri = f"s3://someone:hidden@nobucket/x?{remote.uri.partition('?')[2]}"
    message = "NoSuchBucket|No such bucket|does not exist|[Bb]ucket"
    with pytest.raises(SettingError, match=message) as caught:
        raytuner.tune(train, SPACE, metric="loss", mode="min", num_samples=1, storage_path=uri)
    assert "hidden" not in str(caught.value)


def test_no_study_is_told_of(storage: RemoteFolder) -> None:
    with pytest.raises(HistoryError, match="is not a study"):
        raytuner.load(storage)
