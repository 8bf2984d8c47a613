"""The store that this machine's file systems are, however many disks there are."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Literal

from kconvert.storage.digests import CountingFile, Written
from kconvert.storage.files import free_ranges, has_holes, make_folder, naming, remove_empty, show_file, whole_file
from kconvert.storage.lease import is_leased, leased
from kconvert.storage.store import TEMPORARY_SUFFIX, Info, Range, Store, StorePath

_READ_BYTES = 1 << 18
_LOCK_ATTEMPTS = 5
_LOCK_PAUSE_SECONDS = 0.1
_ABSENT = (FileNotFoundError, NotADirectoryError)
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)
"""What file systems without `flock` answer, as Lustre unless it is mounted with it."""


@dataclass(frozen=True)
class Folders(Store):
    """Files by their absolute paths."""

    def name(self, key: str) -> str:
        return key

    def local_path(self, key: str) -> Path | None:
        return Path(key)

    def require_usable(self) -> None:
        """Nothing is needed."""

    def try_writing(self, key: str) -> None:
        with tempfile.TemporaryFile(dir=key):
            pass

    def info(self, key: str) -> Info:
        try:
            found = os.stat(key)
        except (*_ABSENT, ValueError) as error:
            # A path with a zero byte in it is none.
            raise _absent(key) from error
        if not stat.S_ISREG(found.st_mode):
            raise _absent(key)
        return Info(found.st_size, str(found.st_mtime_ns))

    def is_folder(self, key: str) -> bool:
        return Path(key).is_dir()

    def children(self, key: str) -> set[str]:
        try:
            return set(os.listdir(key))
        except _ABSENT:
            return set()

    def walk(self, key: str) -> Iterator[tuple[str, Literal["file", "folder", "link"]]]:
        for path in sorted(Path(key).rglob("*"), key=str):
            if path.is_symlink():
                yield str(path), "link"
            else:
                yield str(path), "folder" if path.is_dir() else "file"

    def read(self, key: str) -> bytes:
        return Path(key).read_bytes()

    def read_ranges(self, ranges: Iterable[Range]) -> Iterator[bytes]:
        for key, start, end in ranges:
            # Opened each time: that takes a fiftieth of a read, and nothing is shared by threads or processes.
            with naming(Path(key)), open(key, "rb", buffering=0) as file:
                data = os.pread(file.fileno(), end - start, start)
            yield data

    def open_to_read(self, key: str) -> BinaryIO:
        return open(key, "rb", buffering=_READ_BYTES)

    def write_whole(self, key: str, kind: type[Written]) -> AbstractContextManager[Written]:
        return whole_file(Path(key), kind)

    def put(self, key: str, data: bytes) -> None:
        with whole_file(Path(key), CountingFile) as file:
            file.write(data)

    def show(self, key: str, data: bytes) -> None:
        show_file(Path(key), data)

    def remove(self, key: str) -> None:
        Path(key).unlink(missing_ok=True)

    def make_folder(self, key: str) -> None:
        make_folder(Path(key))

    def remove_tree(self, key: str) -> None:
        if os.path.isdir(key):
            shutil.rmtree(key)

    def remove_empty(self, key: str) -> None:
        remove_empty(Path(key))

    def remove_temporaries(self, key: str, is_deep: bool) -> Sequence[str]:
        for path in list(Path(key).glob(f"{'**/' if is_deep else ''}*{TEMPORARY_SUFFIX}")):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        return ()

    @contextmanager
    def lock(self, key: str) -> Iterator[bool]:
        """The system frees the lock when its holder ends, however it ends. Where it knows no locks, it is a lease."""
        make_folder(Path(key).parent)
        with open(key, "a") as file:
            try:
                is_ours = _flock_with_retries(file)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
            else:
                yield is_ours
                return
        with leased(_lease_beside(self, key)) as is_ours:
            yield is_ours

    def is_locked(self, key: str) -> bool:
        try:
            with open(key) as file:
                return not _flock(file, fcntl.LOCK_SH)
        except _ABSENT:
            return False
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return is_leased(_lease_beside(self, key))
            raise

    def free_ranges(self, key: str, ranges: Iterable[tuple[int, int]]) -> None:
        free_ranges(Path(key), ranges)

    def has_holes(self, key: str, ranges: Iterable[tuple[int, int]]) -> bool:
        return has_holes(Path(key), ranges)


def local(path: Path) -> StorePath:
    """An absolute path on this machine."""
    return StorePath(Folders(), str(path))


def _lease_beside(store: Folders, key: str) -> StorePath:
    return StorePath(store, f"{key}.lease")


def _flock_with_retries(file: IO[str]) -> bool:
    """Locks a file for one alone. A glance of `kconvert status` is over in a moment."""
    for _ in range(_LOCK_ATTEMPTS):
        if _flock(file, fcntl.LOCK_EX):
            return True
        time.sleep(_LOCK_PAUSE_SECONDS)
    return False


def _flock(file: IO[str], kind: int) -> bool:
    """Locks an open file, until it is closed, if that is possible at once."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _absent(key: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), key)
