"""Folders of studies, on a local file system or at a URI."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from raytuner.errors import SettingError, without_secrets

DEFAULT_STORAGE = Path("~/raytuner_results")
"""The default `storage_path`."""

_OBJECT_STORES = ("s3", "gcs", "abfs")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


@dataclass(frozen=True)
class RemoteFolder:
    """A folder in an object store or any other file system with a URI.

    pyarrow reads and writes it, as in Ray: `s3://bucket/runs`, `gs://bucket/runs`, `abfss://...`,
    `hdfs://...` and, with fsspec's file systems, `fsspec+NAME://...`. Options of a file system are
    in the query (`s3://bucket/runs?endpoint_override=minio:9000&scheme=http`).

    Methods raise OSError if the folder cannot be reached, and SettingError if the file system of
    the URI is unknown.

    Attributes:
        uri: The URI, with a user and password if it has them. `str` and `repr` mask them.
    """

    uri: str

    def __str__(self) -> str:
        return without_secrets(self.uri)

    def __repr__(self) -> str:
        return f"RemoteFolder({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteFolder, (self.uri,)  # without the connection

    @property
    def name(self) -> str:
        """The last part of the path; empty for the root of a bucket."""
        _, path, _ = self._parts
        last = path.rpartition("/")[2] if "/" in path else ""
        return last if self._is_unescaped else unquote(last)

    @property
    def parent(self) -> RemoteFolder:
        """The parent folder.

        Examples:
            >>> RemoteFolder("s3://bucket/runs/first?scheme=http").parent.uri
            's3://bucket/runs?scheme=http'
        """
        scheme, path, query = self._parts
        return RemoteFolder(scheme + path.rpartition("/")[0] + query)

    def __truediv__(self, name: str) -> RemoteFolder:
        """Return the subfolder of this name.

        Examples:
            >>> (RemoteFolder("s3://bucket?scheme=http") / "first").uri
            's3://bucket/first?scheme=http'
        """
        scheme, path, query = self._parts
        part = name if self._is_unescaped else in_uri(name)
        return RemoteFolder(f"{scheme}{path}/{part}{query}")

    @property
    def _is_unescaped(self) -> bool:
        """True if pyarrow reads the rest of the URI as a plain path, without query or escapes."""
        return self.uri.startswith(("fsspec+", "hf://"))

    @property
    def _parts(self) -> tuple[str, str, str]:
        """Scheme, bucket with path, and query. urllib cannot join them again for many schemes."""
        rest, mark, query = (self.uri, "", "") if self._is_unescaped else self.uri.partition("?")
        scheme, colon, path = rest.partition("://")
        return scheme + colon, path.rstrip("/"), mark + query

    def exists(self) -> bool:
        """Return whether the folder contains anything."""
        return bool(self._infos())

    def files(self) -> list[str]:
        """Return the names of the files in the folder, sorted."""
        return [info.base_name for info in self._infos() if info.is_file]

    def read(self, file: str) -> bytes:
        """Return the content of a file; raises FileNotFoundError if it does not exist."""
        system, path = self._place
        with _as_oserror(), system.open_input_stream(f"{path}/{file}", compression=None) as stream:
            data: bytes = stream.read()
        return data

    def write(self, file: str, data: bytes) -> None:
        """Write a whole file; an existing one is replaced."""
        system, path = self._place
        # In an object store, a file appears when complete. Elsewhere a reader could see a part.
        is_whole = system.type_name in _OBJECT_STORES
        draft = f"{path}/{file}" if is_whole else f"{path}/.{file}.draft"
        with _as_oserror():
            try:
                stream = system.open_output_stream(draft, compression=None)
            except FileNotFoundError:  # a file system that has folders
                system.create_dir(path)
                stream = system.open_output_stream(draft, compression=None)
            with stream:
                stream.write(data)
            if not is_whole:
                system.move(draft, f"{path}/{file}")

    def delete(self, file: str) -> None:
        """Remove a file; raises FileNotFoundError if it does not exist."""
        system, path = self._place
        with _as_oserror():
            system.delete_file(f"{path}/{file}")

    def _infos(self) -> list[Any]:
        from pyarrow.fs import FileSelector

        system, path = self._place
        with _as_oserror():
            infos = system.get_file_info(FileSelector(path, allow_not_found=True))
        return sorted(infos, key=lambda info: str(info.base_name))

    @cached_property
    def _place(self) -> tuple[Any, str]:
        from pyarrow.fs import FileSystem

        try:
            system, path = FileSystem.from_uri(self.uri)
        except (ValueError, ImportError) as error:  # ArrowInvalid is a ValueError
            said = without_secrets(str(error))
            raise SettingError(
                f"the file system of {str(self)!r} cannot be used ({said}); give a folder, or a URI"
                " that pyarrow supports, such as s3://bucket/runs"
            ) from error
        return system, path.rstrip("/")


@contextmanager
def _as_oserror() -> Iterator[None]:
    """Turn the errors of a file system into OSError; those of fsspec may raise any type."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(without_secrets(f"{type(error).__name__}: {error}")) from error


Folder = Path | RemoteFolder


def is_uri(place: object) -> bool:
    """Return whether text is a URI and not a path.

    Examples:
        >>> is_uri("s3://bucket/runs"), is_uri("runs/first"), is_uri("module:function")
        (True, False, False)
    """
    return isinstance(place, str) and "://" in place


def in_uri(name: str) -> str:
    """Return a file's or folder's name as it stands in a URI.

    Examples:
        >>> in_uri("lr=0.1 90%")
        'lr=0.1%2090%25'
    """
    return quote(name, safe="!$&'()*+,;=:@")


def folder_of(place: str | Path | RemoteFolder) -> Folder:
    """Return the folder that a path or URI names. It need not exist.

    Raises:
        SettingError: A Path was made from a URI.

    Examples:
        >>> folder_of("file:///tmp/runs")
        PosixPath('/tmp/runs')
        >>> folder_of("s3://bucket/runs/").name
        'runs'
    """
    if isinstance(place, RemoteFolder):
        return place
    if isinstance(place, Path) and place.parts and _SCHEME.fullmatch(place.parts[0]):
        raise SettingError(f"{place!r} is a Path made from a URI; give the URI as a string")
    if isinstance(place, Path) or not is_uri(place):
        return Path(place).expanduser().resolve()
    if place.startswith("file://"):
        return Path(unquote(urlsplit(place).path))
    return RemoteFolder("".join(RemoteFolder(place)._parts))


def folders_in(folder: Folder) -> list[Folder]:
    """Return the folders in a folder, sorted; raises OSError if it cannot be reached."""
    if isinstance(folder, RemoteFolder):
        return [folder / info.base_name for info in folder._infos() if not info.is_file]
    return list[Folder](sorted(path for path in folder.glob("*") if path.is_dir()))


def location(folder: Folder) -> str:
    """Return the path or URI that Ray takes as `storage_path`."""
    return str(folder) if isinstance(folder, Path) else folder.uri
