"""Kept archives: files that are downloaded once, gone on with, and used again while the server has the same version."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from kconvert.errors import SourceChangedError
from kconvert.sources.fetch.open import describe, open_ahead
from kconvert.sources.fetch.stream import FetchOptions, OnBytes, Remote, Start, is_remote
from kconvert.storage.files import make_folder, naming


def keep_archive(
    location: str, folder: Path, name: str, options: FetchOptions, on_bytes: OnBytes, copies: bool = False
) -> Path:
    """Downloads an archive to `folder`/`name`, going on with what is there; reused if size and version still agree.

    One in a local folder is left there, unless `copies`. While incomplete it is `name.partial`; the version that either
    has is kept beside it as `….etag`.
    Raises as `ByteStream.read` does; after a `SourceChangedError` the next call starts from the first byte.
    """
    if not is_remote(location) and not copies:
        return Path(location)
    path = folder / name
    make_folder(path.parent)
    with open(path.with_name(f".{path.name}.lock"), "a") as lock:
        # Another run may be downloading it for another output folder.
        fcntl.flock(lock, fcntl.LOCK_EX)
        remote = describe(location, options)
        if _is_version(path, remote) and path.stat().st_size == remote.size_bytes:
            on_bytes(path.stat().st_size)
        else:
            _download(location, path, remote, options, on_bytes)
    return path


def discard(folder: Path, name: str) -> None:
    """Removes a kept archive that turned out to be damaged, so that it is downloaded again."""
    (folder / name).unlink(missing_ok=True)


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
