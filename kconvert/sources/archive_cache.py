"""The archive cache: files that are downloaded once, resumed, and used again while the server has the same version."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from kconvert.errors import SourceChangedError
from kconvert.sources.access import ArchiveAccess
from kconvert.sources.fetch.open import describe, open_ahead, open_stream
from kconvert.sources.fetch.stream import ByteStream, FetchOptions, OnBytes, Remote, Start, is_remote
from kconvert.sources.origin import ArchiveRef
from kconvert.storage.files import make_folder, naming


@dataclass(frozen=True)
class ArchiveCopies(ArchiveAccess):
    """A copy of each archive in a folder, under its official path, wherever it comes from.

    While incomplete it is `….partial`; the version that either has is kept beside it as `….etag`.
    """

    folder: Path
    """Made where it is missing."""

    def open(self, archive: ArchiveRef, options: FetchOptions, on_bytes: OnBytes) -> ByteStream:
        return open_stream(str(self.fetch(archive, options, on_bytes)), options)

    def fetch(self, archive: ArchiveRef, options: FetchOptions, on_bytes: OnBytes) -> Path:
        """The copy of an archive, downloaded as far as it is not there; reused if size and version still agree.

        Raises: as `open`.
        """
        path = self.folder / archive.name
        make_folder(path.parent)
        with open(path.with_name(f".{path.name}.lock"), "a") as lock:
            # Another run may be downloading it for another output folder.
            fcntl.flock(lock, fcntl.LOCK_EX)
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
            os.fsync(file.fileno())
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
