"""The node check: whether the folders of a run are the same on every machine that works on it."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kconvert.engines.engine import Engine
from kconvert.errors import UsageError
from kconvert.storage.store import StorePath

Written = tuple[tuple[str, StorePath], ...]
"""Folders that are written to, by the option that names them."""
Read = tuple[tuple[str, Path], ...]
"""Folders that are only read, by the option that names them."""
_MARKS = "node-check"
_TOKEN = "token"  # noqa: S105


@dataclass(frozen=True)
class NodeCheck:
    """To be called on a machine before it works on anything."""

    token: str
    """Which the driver has written into each folder that is written to."""
    written: Written
    """The folders that are written."""
    read: Read
    """The folders that are only read."""

    def __call__(self) -> None:
        """Raises `UsageError` if a folder is not there, is another one, or cannot be written to."""
        here = socket.gethostname()
        for option, folder in self.written:
            try:
                found = (folder / _MARKS / _TOKEN).read_bytes().decode("utf-8", "replace")
            except OSError as error:
                found = error.strerror or str(error)
            if found != self.token:
                raise UsageError(
                    f"{option} {folder}: {here} does not see there what the driver wrote ({found!r}); every machine "
                    "must reach the same folder: use one on a shared file system, or an object store"
                )
            trial = folder / _MARKS / f"{here}-{uuid.uuid4().hex}"
            try:
                trial.write_bytes(b"")
                trial.remove()
            except OSError as error:
                raise UsageError(
                    f"{option} {folder}: {here} cannot write there ({error.strerror}); "
                    "make it writable for every machine"
                ) from error
        for option, path in self.read:
            if not path.exists():
                raise UsageError(
                    f"{option} {path}: is not there on {here}; use a folder on a shared file system, or a URL"
                )


@contextmanager
def checked_nodes(engine: Engine, written: Written, read: Read) -> Iterator[None]:
    """Has each machine of an engine, before its first task in the block, make sure that it sees the same folders.

    Raises: `UsageError` if one of those that are known does not.
    """
    if engine.is_here:
        yield
        return
    check = NodeCheck(uuid.uuid4().hex, written, read)
    try:
        for _, folder in written:
            (folder / _MARKS).make_folder()
            (folder / _MARKS / _TOKEN).write_bytes(check.token.encode())
        engine.prepare(check)
        yield
    finally:
        for _, folder in written:
            (folder / _MARKS).remove_tree()
