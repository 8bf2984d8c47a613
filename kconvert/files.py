"""Files that appear whole or not at all, and their digests.

A file is written under a temporary name, flushed to the disk and renamed; then the folder is flushed as well, so that
what comes later (a receipt, the manifest) never survives a power cut that its data did not.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self, TypeVar

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

TEMPORARY_SUFFIX = ".kconvert-tmp"
"""Of files that are not whole yet; a run removes those that a killed run left."""
_FILE_MODE = 0o644
_CHUNK_BYTES = 1 << 18


class CountingFile(io.RawIOBase):
    """A file being written: counts what passes through it."""

    def __init__(self, raw: BinaryIO) -> None:
        super().__init__()
        self._raw = raw
        self.size_bytes = 0
        """Bytes written so far."""

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        num_bytes = self._raw.write(data)
        self.size_bytes += num_bytes
        return num_bytes

    def tell(self) -> int:
        return self.size_bytes

    def flush(self) -> None:
        self._raw.flush()


class DigestingFile(CountingFile):
    """A file being written: counts and digests what passes through it."""

    def __init__(self, raw: BinaryIO) -> None:
        super().__init__(raw)
        self._sha256 = hashlib.sha256()

    def write(self, data: ReadableBuffer) -> int:
        self._sha256.update(data)
        return super().write(data)

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the bytes written so far."""
        return self._sha256.hexdigest()


Written = TypeVar("Written", bound=CountingFile)


def write_whole(path: Path) -> AbstractContextManager[DigestingFile]:
    """Opens `path` for writing; it appears when the block ends without an exception, and otherwise not at all.

    The file's mode is 0644 whatever the umask. Raises `OSError` naming `path` if the disk refuses.
    """
    return _whole(path, DigestingFile)


def write_whole_undigested(path: Path) -> AbstractContextManager[CountingFile]:
    """The same for a file whose digest nobody asks for: digesting takes longer than writing."""
    return _whole(path, CountingFile)


@contextmanager
def _whole(path: Path, kind: Callable[[BinaryIO], Written]) -> Iterator[Written]:
    # Of this process alone: a worker of a killed run may still be at it.
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        with naming(path, temporary):
            with open(temporary, "wb") as raw:
                yield kind(raw)
                raw.flush()
                os.fchmod(raw.fileno(), _FILE_MODE)
                os.fsync(raw.fileno())
            os.replace(temporary, path)
            _flush_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def naming(path: Path, alias: Path | None = None) -> Iterator[None]:
    """Has errors of the system name `path` where they name no file, as after writing, or one by its temporary name."""
    try:
        yield
    except OSError as error:
        if error.filename is None or error.filename == str(alias):
            error.filename, error.filename2 = str(path), None
        raise


def make_folder(path: Path) -> None:
    """Makes a folder, and those above it, if they are not there; they stay there after a power cut, too."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    # A folder above ours may be closed to us but for the way through.
    with suppress(PermissionError):
        _flush_folder(path.parent)


def write_bytes(path: Path, data: bytes) -> str:
    """Writes a whole file; returns its sha256."""
    with write_whole(path) as file:
        file.write(data)
    return file.sha256


def remove(path: Path) -> None:
    """Removes a file if it is there."""
    path.unlink(missing_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Removes what a killed run left half-written in `folder`."""
    for path in folder.glob("*" + TEMPORARY_SUFFIX):
        path.unlink(missing_ok=True)


class DigestedReader:
    """A file being read from its beginning to its end: digests what passes."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "rb", buffering=_CHUNK_BYTES)  # noqa: SIM115
        self._num_left = os.fstat(self._file.fileno()).st_size
        self._sha256 = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """The next bytes; fewer than `size` only at the end."""
        # Whatever size somebody asks for, no more memory is taken than there are bytes.
        data = self._file.read(min(size, self._num_left))
        self._num_left -= len(data)
        self._sha256.update(data)
        return data

    def finish(self) -> str:
        """Reads what is left; returns the hexadecimal digest of the whole file."""
        while self.read(_CHUNK_BYTES):
            pass
        return self._sha256.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def sha256_of(path: Path) -> str:
    """Hexadecimal digest of a file."""
    with DigestedReader(path) as file:
        return file.finish()


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        with naming(folder):
            os.fsync(handle)
    except OSError as error:
        # Some network file systems know no flushing of folders.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
