"""Kept archives: files that are downloaded once, gone on with, and used again while the server has the same version."""

from __future__ import annotations

from pathlib import Path

from kconvert.fetch import FetchOptions, OnBytes, Remote, describe, is_url
from kconvert.fetch.http import HttpStream


def keep_archive(location: str, folder: Path, name: str, options: FetchOptions, on_bytes: OnBytes) -> Path:
    """Downloads an archive to `folder`/`name`, going on with what is there; reused if size and version still agree.

    While incomplete it is `name.partial`; the version that either has is kept beside it as `….etag`.
    Raises as `ByteStream.read` does.
    """
    if not is_url(location):
        return Path(location)
    path, partial = folder / name, folder / f"{name}.partial"
    path.parent.mkdir(parents=True, exist_ok=True)
    remote = describe(location, options)
    if _is_version(path, remote) and path.stat().st_size == remote.size_bytes:
        on_bytes(path.stat().st_size)
        return path
    offset = partial.stat().st_size if _is_version(partial, remote) else 0
    _etag_file(partial).write_text(remote.etag, "utf-8")
    with open(partial, "ab" if offset else "wb") as file:
        on_bytes(offset)
        with HttpStream(location, options, on_bytes, offset, remote) as stream:
            while chunk := stream.read():
                file.write(chunk)
    partial.replace(path)
    _etag_file(partial).replace(_etag_file(path))
    return path


def _etag_file(path: Path) -> Path:
    return path.with_name(path.name + ".etag")


def _is_version(path: Path, remote: Remote) -> bool:
    """Whether `path` is there and was fetched, whole or in part, from this version."""
    etag = _etag_file(path)
    return path.is_file() and etag.is_file() and remote.etag != "" and etag.read_text("utf-8") == remote.etag
