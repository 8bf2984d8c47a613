"""Buckets: stores that fsspec knows by a URL, `s3://…`, `gs://…` and others.

An object appears when its upload is complete and not before (see `uploads`). Whatever goes wrong is an `OSError` that
names the object (see `store_errors`).

Of a store no more is asked than that objects can be put, got in ranges, listed and deleted one by one: some refuse to
delete many at once, some refuse to list uploads, some ignore conditions.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal

from kconvert.storage.digests import Written
from kconvert.storage.file_systems import COMMITTING, file_system
from kconvert.storage.lease import is_leased, leased
from kconvert.storage.object_ranges import read_ranges
from kconvert.storage.store import TEMPORARY_SUFFIX, Info, Range, Store, StorePath
from kconvert.storage.store_errors import store_errors
from kconvert.storage.threads import at_once
from kconvert.storage.uploads import StoreFile, committed, give_up_uploads, renamed

_READ_BYTES = 8 << 20
_VERSIONS = ("ETag", "etag", "LastModified", "mtime", "updated", "created")
"""What the libraries of stores call the version of an object."""


@dataclass(frozen=True)
class Bucket(Store):
    """Objects by their keys below a host or bucket."""

    url: str
    """What stands in a URL up to the host or bucket, as `s3://name`."""
    is_unsigned: bool = False
    """Whether S3 is asked without credentials, whatever the environment has."""

    max_requests = 16
    renewal_seconds = 15.0

    def name(self, key: str) -> str:
        return f"{self.url}/{key}" if key else self.url

    def local_path(self, key: str) -> Path | None:
        return None

    def require_usable(self) -> None:
        with self._naming(""):
            _ = self._fs

    def try_writing(self, key: str) -> None:
        trial = f"{key}/trial{TEMPORARY_SUFFIX}" if key else f"trial{TEMPORARY_SUFFIX}"
        # Several runs may try at once.
        self.put(trial, b"trial")
        self.remove(trial)

    def info(self, key: str) -> Info:
        with self._naming(key):
            found = self._fs.info(self._key(key))
            if found["type"] != "file":
                raise FileNotFoundError
        return _info(found)

    def is_folder(self, key: str) -> bool:
        with self._naming(key):
            return bool(self._fs.isdir(self._key(key)))

    def children(self, key: str) -> set[str]:
        return set(self._listed(key))

    def folders(self, key: str) -> set[str]:
        return {name for name, kind in self._listed(key).items() if kind == "directory"}

    def _listed(self, key: str) -> dict[str, str]:
        try:
            with self._naming(key):
                found = self._fs.ls(self._key(key), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return _kinds(self._key(key).rstrip("/"), found)

    def walk(self, key: str) -> Iterator[tuple[str, Literal["file", "folder", "link"]]]:
        return ((found, "file") for found, _ in self.files(key))

    def files(self, key: str) -> Iterator[tuple[str, Info]]:
        with self._naming(key):
            found = self._fs.find(self._key(key), detail=True)
        return _below(self._key(key), key, found)

    def read(self, key: str) -> bytes:
        with self._naming(key):
            data: bytes = self._fs.cat_file(self._key(key))
        return data

    def read_ranges(self, ranges: Iterable[Range]) -> Iterator[bytes]:
        found = (Range(self._key(one.key), one.start, one.end) for one in ranges)
        return read_ranges(self._fs, found, lambda key: self._naming(key.removeprefix(self._key("")).lstrip("/")))

    def open_to_read(self, key: str) -> BinaryIO:
        with self._naming(key):
            raw = self._fs.open(self._key(key), "rb", block_size=_READ_BYTES, cache_type="readahead")
        return io.BufferedReader(StoreFile(raw, lambda: self._naming(key)), _READ_BYTES)

    @contextmanager
    def write_whole(self, key: str, kind: type[Written]) -> Iterator[Written]:
        open_upload = committed if self._protocol in COMMITTING else renamed
        with open_upload(self._fs, self._key(key), lambda: self._naming(key)) as raw, kind(raw) as file:
            yield file
        found: int | str = self.info(key).size_bytes
        sent: int | str = file.size_bytes
        if found == sent and (digest := file.digest()):
            found, sent = StorePath(self, key).sha256(), digest
        if found != sent:
            self.remove(key)
            problem = f"the store has {found} where {sent} was sent; it was removed again"
            raise OSError(errno.EIO, problem, self.name(key))

    def put(self, key: str, data: bytes) -> None:
        with self._naming(key):
            self._fs.pipe_file(self._key(key), data)

    def write(self, key: str, data: bytes) -> None:
        self.put(key, data)
        if self.read(key) != data:
            raise OSError(errno.EIO, "the store has something else than was sent", self.name(key))

    def remove(self, key: str) -> None:
        with suppress(FileNotFoundError), self._naming(key):
            self._fs.rm_file(self._key(key))

    def make_folder(self, key: str) -> None:
        """A store has none."""

    def remove_tree(self, key: str) -> None:
        # One by one, and what was listed only: some refuse to delete many at once, or what is not there.
        at_once(self.remove, [found for found, _ in self.files(key)], self.max_requests)

    def remove_empty(self, key: str) -> None:
        """A store has none."""

    def remove_temporaries(self, key: str, is_deep: bool) -> Sequence[str]:
        if self._protocol not in COMMITTING:
            for found, _ in self.files(key):
                if found.endswith(TEMPORARY_SUFFIX):
                    self.remove(found)
        try:
            with self._naming(key):
                give_up_uploads(self._fs, self._key(key))
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise
            return (_unlisted(self.name(key), error),)
        return ()

    def lock(self, key: str) -> AbstractContextManager[bool]:
        return leased(StorePath(self, key))

    def is_locked(self, key: str) -> bool:
        return is_leased(StorePath(self, key))

    def without_credentials(self) -> Bucket | None:
        can_be = self._protocol in ("s3", "s3a") and not _is_anonymous(self._fs)
        return Bucket(self.url, is_unsigned=True) if can_be else None

    @property
    def _protocol(self) -> str:
        return self.url.partition("://")[0]

    @property
    def _fs(self) -> Any:
        return file_system(self.url, os.getpid(), self.is_unsigned)

    def _key(self, key: str) -> str:
        """What fsspec calls it."""
        found: str = self._fs._strip_protocol(self.name(key))
        return found

    def _naming(self, key: str) -> AbstractContextManager[None]:
        return store_errors(self.name(key), lambda: _is_anonymous(self._fs))


def _info(found: Mapping[str, Any]) -> Info:
    """What a store's library says of an object."""
    return Info(int(found["size"]), " ".join(str(found[name]) for name in _VERSIONS if found.get(name)))


def _kinds(root: str, found: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What kind of thing each name is that a store's library lists right below a folder."""
    return {PurePosixPath(one["name"]).name: one["type"] for one in found if one["name"].rstrip("/") != root}


def _below(root: str, key: str, found: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Info]]:
    """The keys of files below a key, which a store's library calls `root`, and what it says of each."""
    for name in sorted(found):
        below = name.removeprefix(root).lstrip("/")
        if below and name != root and found[name]["type"] == "file":
            yield f"{key}/{below}" if key else below, _info(found[name])


def _is_anonymous(file_system: Any) -> bool:
    return bool(getattr(file_system, "anon", False))


def _unlisted(name: str, error: OSError) -> str:
    return (
        f"{name}: uploads that were begun and never completed cannot be looked for (ListMultipartUploads: "
        f"{error.strerror}); a rule of the store's that ends them saves their cost"
    )


def object_path(url: str) -> StorePath:
    """A path in a bucket, by its URL."""
    protocol, _, rest = url.partition("://")
    host, _, key = rest.rstrip("/").partition("/")
    return StorePath(Bucket(f"{protocol}://{host}"), key)


def is_object_url(text: str) -> bool:
    """Whether a text names something in an object store, as opposed to a local path or a web server's."""
    return "://" in text and not text.startswith(("http://", "https://", "file://"))
