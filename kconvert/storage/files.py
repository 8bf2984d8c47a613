"""Files on a disk of this machine: whole or not at all, under clear names, and their disk space.

A file is written under a temporary name, flushed to the disk and renamed; then the folder is flushed as well, so that
what comes later (a receipt, the manifest) never survives a power cut that its data did not.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kconvert.storage.digests import Written
from kconvert.storage.store import TEMPORARY_SUFFIX

_MACHINE = zlib.crc32(socket.gethostname().encode())
_FILE_MODE = 0o644
_PUNCH_HOLE = 0x01 | 0x02
"""FALLOC_FL_KEEP_SIZE and FALLOC_FL_PUNCH_HOLE of linux/falloc.h."""
_NOT_KNOWN = {errno.EINVAL, errno.ENOTSUP, errno.ENOTTY}
"""What a file system answers to what it does not know."""
_MOUNTS = Path("/proc/self/mountinfo")
_FREEING_KINDS = {"ext4", "tmpfs", "xfs"}
"""Of file systems, where a hole is free space at once; btrfs keeps what was written in one go until none of it is left,
and nobody knows of others."""


@contextmanager
def whole_file(path: Path, kind: type[Written]) -> Iterator[Written]:
    """Opens a file for writing; it appears when the block ends without an exception, and otherwise not at all.

    Its mode is 0644 whatever the umask. Raises `OSError` naming `path` if the disk refuses.
    """
    temporary = _temporary(path)
    try:
        with naming(path, temporary):
            with open(temporary, "wb") as raw:
                with kind(raw) as file:
                    yield file
                os.fchmod(raw.fileno(), _FILE_MODE)
                flush(raw.fileno())
            os.replace(temporary, path)
            _flush_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def flush(handle: int) -> None:
    """Has what was written to a file, or a folder, on the disk itself. Raises `OSError` if the disk refuses."""
    # On macOS, `fsync` leaves it in the memory of the disk (fcntl(2), F_FULLFSYNC).
    if (whole := getattr(fcntl, "F_FULLFSYNC", None)) is not None:
        try:
            fcntl.fcntl(handle, whole)
        except OSError as error:
            if error.errno not in _NOT_KNOWN:
                raise
        else:
            return
    os.fsync(handle)


def show_file(path: Path, data: bytes) -> None:
    """Replaces a file as a whole for whoever reads it meanwhile; unlike `whole_file`, nothing waits for the disk."""
    temporary = _temporary(path)
    try:
        with naming(path, temporary):
            temporary.write_bytes(data)
            os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _temporary(path: Path) -> Path:
    """Of this thread alone: a worker of a killed run may still be at it, here or on another machine."""
    return path.with_name(f"{path.name}.{_MACHINE}{threading.get_native_id()}{TEMPORARY_SUFFIX}")


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


def remove_empty(folder: Path) -> None:
    """Removes a folder, and those in it, as far as there is no file in them."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.is_dir():
            remove_empty(path)
    with suppress(OSError):
        folder.rmdir()


def free_ranges(path: Path, ranges: Iterable[tuple[int, int]]) -> None:
    """Gives ranges of a file, each from its first byte to the one after its last, back to the disk as far as they are
    whole blocks; those read as zeros from then on. Does nothing where the system, the disk or the file's owner does
    not allow that, or the file is gone: the space is then given back with the file."""
    fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if fallocate is None:
        return
    with suppress(OSError), open(path, "r+b", buffering=0) as file:
        block = os.fstat(file.fileno()).st_blksize
        for start, end in ranges:
            first, size = -(-start // block) * block, end // block * block - -(-start // block) * block
            if size > 0 and fallocate(file.fileno(), _PUNCH_HOLE, ctypes.c_int64(first), ctypes.c_int64(size)):
                return


def has_holes(path: Path, ranges: Iterable[tuple[int, int]]) -> bool:
    """Whether something of these ranges of a file was given back to the disk, as far as the disk says."""
    with naming(path), open(path, "rb", buffering=0) as file:
        try:
            hole = os.SEEK_HOLE
            return any(os.lseek(file.fileno(), start, hole) < end for start, end in ranges if start < end)
        except AttributeError:
            # The system knows no holes, so that there are none.
            return False
        except OSError as error:
            if error.errno in _NOT_KNOWN:
                # The disk knows none.
                return False
            raise


def frees_at_once(folder: Path) -> bool:
    """Whether `free_ranges` makes space for others on the disk that a folder is on, as far as its kind says."""
    with suppress(OSError):
        device = folder.stat().st_dev
        number = f"{os.major(device)}:{os.minor(device)}"
        for line in _MOUNTS.read_text("utf-8", "surrogateescape").splitlines():
            # As proc_pid_mountinfo(5) has it: device in the third field, kind after a dash.
            mount, _, disk = line.partition(" - ")
            if mount.split()[2] == number:
                return disk.split()[0] in _FREEING_KINDS
    return False


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        with naming(folder):
            flush(handle)
    except OSError as error:
        # Some network file systems know no flushing of folders.
        if error.errno not in _NOT_KNOWN:
            raise
    finally:
        os.close(handle)
