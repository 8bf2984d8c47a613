"""Reach: whether the folders of a run are the same on every machine that works on it."""

from __future__ import annotations

import socket
import uuid
from dataclasses import dataclass
from pathlib import Path

from kconvert.errors import UsageError
from kconvert.files import AnyPath, make_folder, remove, write_bytes

_MARK = "reach"


@dataclass(frozen=True)
class Reach:
    """To be called on a machine before it works on anything."""

    token: str
    written: tuple[tuple[str, AnyPath], ...]
    """Folders that have the token in a file, by the option that names them."""
    read: tuple[tuple[str, Path], ...]
    """Folders that are read only."""

    def __call__(self) -> None:
        """Raises `UsageError` if a folder is not there, is another one, or cannot be written to."""
        here = socket.gethostname()
        for option, folder in self.written:
            try:
                found = (folder / _MARK).read_bytes().decode("utf-8", "replace")
            except OSError as error:
                found = error.strerror or str(error)
            if found != self.token:
                raise UsageError(
                    f"{option} {folder}: {here} does not see there what the driver wrote ({found!r}); every machine "
                    "must reach the same folder: use one on a shared file system, or an object store"
                )
            trial = folder / f"{_MARK}-{here}-{uuid.uuid4().hex}"
            try:
                write_bytes(trial, b"")
                remove(trial)
            except OSError as error:
                raise UsageError(f"{option} {folder}: {here} cannot write there ({error.strerror})") from error
        for option, path in self.read:
            if not path.exists():
                raise UsageError(
                    f"{option} {path}: is not there on {here}; use a folder on a shared file system, or a URL"
                )


def mark(written: tuple[tuple[str, AnyPath], ...], read: tuple[tuple[str, Path], ...]) -> Reach:
    """Marks the folders of a run so that other machines can tell that they see the same ones."""
    token = uuid.uuid4().hex
    for _, folder in written:
        make_folder(folder)
        write_bytes(folder / _MARK, token.encode())
    return Reach(token, written, read)


def unmark(reach: Reach) -> None:
    """Removes the marks."""
    for _, folder in reach.written:
        remove(folder / _MARK)
