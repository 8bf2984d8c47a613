"""Files that appear whole or not at all, and their digests; on a disk and in object stores alike.

A file is written under a temporary name, flushed to the disk and renamed; then the folder is flushed as well, so that
what comes later (a receipt, the manifest) never survives a power cut that its data did not. An object is uploaded, and
then compared with what was sent.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import io
import os
import re
import shutil
import socket
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self, TypeVar

from kconvert.errors import UsageError
from kconvert.storage.objects import TEMPORARY_SUFFIX, ObjectPath, is_object_url

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

AnyPath = Path | ObjectPath
"""Where files are: on a disk, or in an object store."""

_HALF_URL = re.compile(r"(https?|s3a?|gc?s|az|abfs|file):/?(?!/)(.*)", re.IGNORECASE)
_OTHER_MACHINE = re.compile(r"[\w.-]+@[\w.-]+:|[\w-]+(\.[\w-]+)+:/(?!/)")
"""As scp and rsync write it: user@host:/folder, or host.domain:/folder."""
_OTHER_PROTOCOLS = {"ftp", "ftps", "sftp", "ssh", "scp", "rsync", "smb", "nfs"}
_MACHINE = zlib.crc32(socket.gethostname().encode())
_FILE_MODE = 0o644
_CHUNK_BYTES = 1 << 18
_PUNCH_HOLE = 0x01 | 0x02
"""FALLOC_FL_KEEP_SIZE and FALLOC_FL_PUNCH_HOLE of linux/falloc.h."""
_MOUNTS = Path("/proc/self/mountinfo")
_FREEING_KINDS = {"ext4", "tmpfs", "xfs"}
"""Of file systems, where a hole is free room at once; btrfs keeps what was written in one go until none of it is left,
and nobody knows of others."""


def to_path(text: str) -> AnyPath:
    """The absolute path, or the place in a store, that a person means. Raises `UsageError` for neither."""
    text = meant_location(text)
    if text.startswith(("http://", "https://")):
        raise UsageError(f"{text}: nothing can be written there; expected a folder, or s3://… and the like")
    if not is_object_url(text):
        # Which leaves a user alone whom nobody knows.
        return Path(os.path.expanduser(text)).absolute()
    if not text.partition("://")[2].strip("/"):
        raise UsageError(f"{text}: expected the name of a bucket after {text.partition('://')[0]}://")
    if "@" in text.partition("://")[2].partition("/")[0] and text.startswith(("s3", "gs", "gcs")):
        raise UsageError(
            "credentials in a URL: expected them in the environment, as AWS_ACCESS_KEY_ID; take them out of the URL"
        )
    return ObjectPath(text)


def meant_location(text: str) -> str:
    """A path or a URL, without `file://`. Raises `UsageError` for what looks like a URL and cannot be used as one."""
    if text.startswith("file://"):
        return text.removeprefix("file://").removeprefix("localhost")
    if found := _HALF_URL.match(text):
        meant = f"/{found[2]}" if found[1].lower() == "file" else f"{found[1]}://{found[2]}"
        raise UsageError(f"{text}: did you mean {meant}?")
    if text.partition("://")[0] in _OTHER_PROTOCOLS or _OTHER_MACHINE.match(text):
        raise UsageError(
            f"{text}: kconvert does not reach other machines that way; mount it and give the folder, or give a URL of "
            "http(s), s3 or gs"
        )
    return text


class CountingFile(io.RawIOBase):
    """A file being written: counts what passes through it. Closing it flushes `raw`; closing that is its opener's."""

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


def write_whole(path: AnyPath) -> AbstractContextManager[DigestingFile]:
    """Opens `path` for writing; it appears when the block ends without an exception, and otherwise not at all.

    The file's mode is 0644 whatever the umask. Raises `OSError` naming `path` if the disk, or the store, refuses.
    """
    return _whole_object(path, DigestingFile) if isinstance(path, ObjectPath) else _whole(path, DigestingFile)


def write_whole_undigested(path: AnyPath) -> AbstractContextManager[CountingFile]:
    """The same for a file whose digest nobody asks for: digesting takes longer than writing."""
    return _whole_object(path, CountingFile) if isinstance(path, ObjectPath) else _whole(path, CountingFile)


@contextmanager
def _whole_object(path: ObjectPath, kind: Callable[[BinaryIO], Written]) -> Iterator[Written]:
    with path.upload() as raw, kind(raw) as file:
        yield file
    found: int | str = path.info().size_bytes
    sent: int | str = file.size_bytes
    if found == sent and isinstance(file, DigestingFile):
        found, sent = sha256_of(path), file.sha256
    if found != sent:
        path.unlink(missing_ok=True)
        raise OSError(errno.EIO, f"the store has {found} where {sent} was sent; it was removed again", str(path))


@contextmanager
def _whole(path: Path, kind: Callable[[BinaryIO], Written]) -> Iterator[Written]:
    # Of this process alone: a worker of a killed run may still be at it, here or on another machine.
    temporary = path.with_name(f"{path.name}.{_MACHINE}{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        with naming(path, temporary):
            with open(temporary, "wb") as raw:
                with kind(raw) as file:
                    yield file
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


def make_folder(path: AnyPath) -> None:
    """Makes a folder, and those above it, if they are not there; they stay there after a power cut, too. A store has
    none."""
    if isinstance(path, ObjectPath) or path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    # A folder above ours may be closed to us but for the way through.
    with suppress(PermissionError):
        _flush_folder(path.parent)


def write_bytes(path: AnyPath, data: bytes) -> str:
    """Writes a whole file; returns its sha256."""
    if isinstance(path, ObjectPath):
        path.write_bytes(data)
        if path.read_bytes() != data:
            raise OSError(errno.EIO, "the store has something else than was sent", str(path))
        return hashlib.sha256(data).hexdigest()
    with write_whole(path) as file:
        file.write(data)
    return file.sha256


def size_of(path: AnyPath) -> int | None:
    """The size of a file in bytes; `None` if there is none."""
    try:
        if isinstance(path, ObjectPath):
            return path.info().size_bytes
        return path.stat().st_size if path.is_file() else None
    except FileNotFoundError:
        return None


def remove(path: AnyPath) -> None:
    """Removes a file if it is there."""
    path.unlink(missing_ok=True)


def remove_tree(path: AnyPath) -> None:
    """Removes a folder with everything in it if it is there."""
    if isinstance(path, ObjectPath):
        path.remove_tree()
    elif path.is_dir():
        shutil.rmtree(path)


def free_ranges(path: Path, ranges: Iterable[tuple[int, int]]) -> None:
    """Gives ranges of a file, each from its first byte to the one after its last, back to the disk as far as they are
    whole blocks; those read as zeros from then on. Does nothing where the system, the disk or the file's owner does
    not allow that, or the file is gone: the room is then given back with the file."""
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
    """Whether something of these ranges of a file was given back to the disk, as far as the disk tells."""
    with naming(path), open(path, "rb", buffering=0) as file:
        try:
            return any(os.lseek(file.fileno(), start, os.SEEK_HOLE) < end for start, end in ranges if start < end)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTSUP):
                # It knows no holes, so that there are none.
                return False
            raise


def frees_at_once(folder: Path) -> bool:
    """Whether `free_ranges` makes room for others on the disk that a folder is on, as far as its kind tells."""
    with suppress(OSError):
        device = folder.stat().st_dev
        number = f"{os.major(device)}:{os.minor(device)}"
        for line in _MOUNTS.read_text("utf-8", "surrogateescape").splitlines():
            # As proc_pid_mountinfo(5) has it: device in the third field, kind after a dash.
            mount, _, disk = line.partition(" - ")
            if mount.split()[2] == number:
                return disk.split()[0] in _FREEING_KINDS
    return False


def remove_empty(folder: AnyPath) -> None:
    """Removes a folder, and those in it, as far as there is no file in them."""
    if isinstance(folder, ObjectPath) or not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.is_dir():
            remove_empty(path)
    with suppress(OSError):
        folder.rmdir()


def remove_temporaries(folder: AnyPath, is_deep: bool = False) -> None:
    """Removes what a killed run left half-written in `folder`; in a store, or if `is_deep`, everywhere below it."""
    if isinstance(folder, ObjectPath):
        folder.give_up_uploads()
        return
    for path in list(folder.glob(f"{'**/' if is_deep else ''}*{TEMPORARY_SUFFIX}")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


class DigestedReader:
    """A file being read from its beginning to its end: digests what passes."""

    def __init__(self, path: AnyPath) -> None:
        if isinstance(path, ObjectPath):
            self._num_left = path.info().size_bytes
            self._file = path.open_to_read()
        else:
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


def sha256_of(path: AnyPath) -> str:
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
