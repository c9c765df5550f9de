"""Folders of a file system and behind a URI."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from raytuner.errors import SettingError
from raytuner.folders import RemoteFolder, folder_of, folders_in, location


@pytest.fixture(params=["file", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> RemoteFolder:
    """One that has folders, and one that has none."""
    where = tmp_path / "runs" if request.param == "file" else f"/folders/{tmp_path.name}"
    return RemoteFolder(f"fsspec+{request.param}://{where}")


def test_files_are_written_and_read(folder: RemoteFolder) -> None:
    assert not folder.exists()
    assert folder.files() == []
    folder.write("b", b"1")
    folder.write("a", b"2")
    folder.write("b", b"3")
    (folder / "inner").write("c", b"")
    assert folder.exists()
    assert folder.files() == ["a", "b"]
    assert folder.read("b") == b"3"
    assert folders_in(folder) == [folder / "inner"]
    folder.delete("a")
    assert folder.files() == ["b"]
    for missing in (folder.read, folder.delete):
        with pytest.raises(FileNotFoundError):
            missing("a")


def test_a_folder_is_pickled_without_its_connection(folder: RemoteFolder) -> None:
    folder.write("a", b"1")
    again = pickle.loads(pickle.dumps(folder))
    assert again == folder
    assert again.read("a") == b"1"


def test_secrets_are_not_shown() -> None:
    folder = RemoteFolder("s3://key:hidden@bucket/runs/first?scheme=http")
    assert "hidden" not in f"{folder} {folder!r}"
    assert location(folder) == "s3://key:hidden@bucket/runs/first?scheme=http"
    assert (folder.parent / "second").uri == "s3://key:hidden@bucket/runs/second?scheme=http"
    assert folder.name == "first"


@pytest.mark.parametrize("name", ["a?b=c", "a#b", "%2e%2e", "lr=0.1,k=[1]"])
@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("s3://key:hidden@bucket/runs%20of%20me?region=us-east-1", "bucket/runs of me"),
        ("fsspec+memory:///runs of me", "/runs of me"),
    ],
)
def test_a_folder_of_any_name_is_found(uri: str, path: str, name: str) -> None:
    """Ray names trials' folders by their values; others keep what they like beside studies."""
    folder = RemoteFolder(uri) / name
    assert folder._place[1] == f"{path}/{name}"
    assert (folder.name, folder.parent.name) == (name, "runs of me")
    assert (folder / "inner")._place[1] == f"{path}/{name}/inner"
    assert RemoteFolder(uri) == folder.parent


def test_paths_stay_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert folder_of("a") == tmp_path / "a"
    assert folder_of(Path("a")) == tmp_path / "a"
    assert folder_of("~/a") == Path("/home/me/a")
    assert folder_of("file:///a%20b") == Path("/a b")
    (tmp_path / "one").mkdir()
    (tmp_path / "file").touch()
    assert folders_in(tmp_path) == [tmp_path / "one"]
    assert folders_in(tmp_path / "none") == []


def test_what_a_file_system_raises_is_an_oserror(monkeypatch: pytest.MonkeyPatch) -> None:
    """fsspec's raise what their clients raise."""

    def refuse(*args: object, **settings: object) -> None:
        raise RuntimeError("denied at s3://key:hidden@bucket")

    for name in ("open", "_open", "find", "rm", "info"):
        monkeypatch.setattr(MemoryFileSystem, name, refuse)
    folder = RemoteFolder("fsspec+memory:///folders/denied")
    for ask in (
        folder.files,
        folder.exists,
        lambda: folder.read("a"),
        lambda: folder.write("a", b""),
        lambda: folder.delete("a"),
    ):
        with pytest.raises(OSError, match="denied") as caught:
            ask()
        assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("uri", ["nosuch://bucket/x", "fsspec+nosuch://x", "s3 ://x"])
def test_a_uri_of_no_file_system_is_told_of(uri: str) -> None:
    with pytest.raises(SettingError, match=r"the file system of .* cannot be used"):
        folders_in(folder_of(uri))


def test_a_uri_that_became_a_path_is_told_of() -> None:
    with pytest.raises(SettingError, match="is a Path made from a URI"):
        folder_of(Path("s3://bucket/runs"))
