"""The archive cache: files that are downloaded once, resumed, and used again while the server has the same version."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from kconvert.errors import FetchError, SourceChangedError
from kconvert.sources.access import ArchiveAccess, ArchiveRef
from kconvert.sources.fetch.local import FileResource
from kconvert.sources.fetch.open import describe, open_ahead, open_stream
from kconvert.sources.fetch.resource_stream import ResourceStream
from kconvert.sources.fetch.stream import ByteStream, FetchOptions, OnBytes, Remote, Start, is_remote
from kconvert.storage.files import flush, make_folder, naming
from kconvert.storage.folders import local

_LOOK_SECONDS = 1.0
_MAX_IDLE_SECONDS = 600.0
"""The longest that another run may hold an archive while nothing of it comes. Its own retries take less."""


class _Copy(FileResource):
    """A whole copy. It has the version of what it is a copy of."""

    def __init__(self, path: Path, options: FetchOptions) -> None:
        super().__init__(str(path), options)
        self._version = _etag_file(path).read_text("utf-8")

    def describe(self) -> Remote:
        return replace(super().describe(), etag=self._version)


@dataclass(frozen=True)
class ArchiveCopies(ArchiveAccess):
    """A copy of each archive in a folder, under its official path, wherever it comes from.

    While incomplete it is `….partial`; the version that either has is kept beside it as `….etag`.
    """

    folder: Path
    """Made where it is missing."""

    def open(self, archive: ArchiveRef, options: FetchOptions, on_bytes: OnBytes) -> ByteStream:
        return ResourceStream(_Copy(self.fetch(archive, options, on_bytes), options))

    def fetch(self, archive: ArchiveRef, options: FetchOptions, on_bytes: OnBytes) -> Path:
        """The copy of an archive, downloaded as far as it is not there; reused if size and version still agree.

        Raises: as `open`.
        """
        path = self.folder / archive.name
        make_folder(path.parent)
        with _held(path):
            remote = describe(archive.location, options)
            if _is_version(path, remote) and path.stat().st_size == remote.size_bytes:
                on_bytes(path.stat().st_size)
            else:
                _download(archive.location, path, remote, options, on_bytes)
        return path

    def discard(self, archive: ArchiveRef) -> None:
        (self.folder / archive.name).unlink(missing_ok=True)


@dataclass(frozen=True)
class ArchiveCache(ArchiveCopies):
    """Copies of the archives that are remote; those in a local folder are read where they are."""

    def open(self, archive: ArchiveRef, options: FetchOptions, on_bytes: OnBytes) -> ByteStream:
        if is_remote(archive.location):
            return super().open(archive, options, on_bytes)
        return open_stream(archive.location, options, on_bytes)

    def discard(self, archive: ArchiveRef) -> None:
        if is_remote(archive.location):
            super().discard(archive)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Keeps other runs, which fetch for other output folders, off an archive's copy; waits for one that is at it.

    Raises `FetchError` if that one holds it and fetches nothing.
    """
    lock, progress = path.with_name(f".{path.name}.lock"), (-1, time.monotonic())
    while True:
        with local(lock).lock() as is_ours:
            if is_ours:
                yield
                return
        size, (last_size, since) = _num_fetched(path), progress
        if size != last_size:
            progress = size, time.monotonic()
        elif time.monotonic() - since > _MAX_IDLE_SECONDS:
            idle = f"and fetched nothing of it for {_MAX_IDLE_SECONDS:.0f} seconds"
            raise FetchError(str(path), f"another run holds it ({lock.name}) {idle}; end that one, or wait for it")
        time.sleep(_LOOK_SECONDS)


def _num_fetched(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.with_name(f"{path.name}.partial").stat().st_size
    return 0


def _download(location: str, path: Path, remote: Remote, options: FetchOptions, on_bytes: OnBytes) -> None:
    partial = path.with_name(f"{path.name}.partial")
    offset = partial.stat().st_size if _is_version(partial, remote) else 0
    if remote.size_bytes is not None and offset > remote.size_bytes:
        offset = 0
    if offset == 0:
        # In this order: a partial file is never to stand beside the version of another one.
        partial.unlink(missing_ok=True)
        _etag_file(partial).write_text(remote.etag, "utf-8")
    on_bytes(offset)
    try:
        with (
            naming(partial),
            open(partial, "ab") as file,
            open_ahead(location, options, on_bytes, Start(offset, remote)) as stream,
        ):
            while chunk := stream.read():
                file.write(chunk)
            file.flush()
            flush(file.fileno())
    except SourceChangedError:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(path)
    _etag_file(partial).replace(_etag_file(path))


def _etag_file(path: Path) -> Path:
    return path.with_name(path.name + ".etag")


def _is_version(path: Path, remote: Remote) -> bool:
    """Whether `path` is there and was fetched, whole or in part, from this version."""
    etag = _etag_file(path)
    return path.is_file() and etag.is_file() and remote.etag != "" and etag.read_text("utf-8") == remote.etag
