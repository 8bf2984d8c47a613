"""Uploads: an object is written while it is not there yet, and appears whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, BinaryIO

from kconvert.storage.store import TEMPORARY_SUFFIX

_UPLOAD_BYTES = 32 << 20
"""Of a part of a multipart upload; S3 takes 10,000 of them
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html)."""
Naming = Callable[[], AbstractContextManager[None]]
"""Gives what has an error name the object."""


class StoreFile(io.RawIOBase):
    """A file of fsspec whose errors are ours."""

    def __init__(self, raw: Any, naming: Naming) -> None:
        super().__init__()
        self._raw = raw
        self._naming = naming

    def readable(self) -> bool:
        return bool(self._raw.readable())

    def writable(self) -> bool:
        return bool(self._raw.writable())

    def seekable(self) -> bool:
        return self.readable() and bool(self._raw.seekable())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._raw.seek(offset, whence))

    def tell(self) -> int:
        return int(self._raw.tell())

    def readinto(self, buffer: Any) -> int:
        with self._naming():
            data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        with self._naming():
            num_bytes: int = self._raw.write(data)
        return num_bytes


@contextmanager
def committed(fs: Any, key: str, naming: Naming) -> Iterator[BinaryIO]:
    """Opens an object for writing, in a store where it is not there before its upload is complete."""
    # MinIO lists uploads by their exact keys only. What cannot be listed stays, as `give_up_uploads` tells.
    with suppress(Exception):
        bucket, _, name = key.partition("/")
        _give_up(fs, bucket, name, lambda found: found == name)
    with naming():
        raw = fs.open(key, "wb", block_size=_UPLOAD_BYTES, autocommit=False)
    try:
        yield StoreFile(raw, naming)  # type: ignore[misc]
        with naming():
            raw.close()
            # One whose answer was lost is done when it is tried again. Whoever uploads compares what is there.
            with suppress(FileNotFoundError):
                raw.commit()
    except BaseException:
        # The first error is the one that counts; what could not be given up is cleared by the next run.
        with suppress(Exception):
            raw.discard()
        # Or closing, when it is forgotten, would upload what is left.
        raw.closed = True
        raise


@contextmanager
def renamed(fs: Any, key: str, naming: Naming) -> Iterator[BinaryIO]:
    """Opens an object for writing, in a store that shows what is being written."""
    temporary = key + TEMPORARY_SUFFIX
    with naming():
        raw = fs.open(temporary, "wb")
    try:
        yield StoreFile(raw, naming)  # type: ignore[misc]
        with naming():
            raw.close()
            fs.mv(temporary, key)
    except BaseException:
        with suppress(Exception):
            raw.close()
        with suppress(Exception):
            fs.rm_file(temporary)
        raise


def give_up_uploads(fs: Any, key: str) -> None:
    """Gives up uploads below a key that were begun and never completed: nobody sees them, but S3 keeps them."""
    bucket, _, prefix = key.partition("/")
    _give_up(fs, bucket, f"{prefix}/", lambda found: True)


def _give_up(fs: Any, bucket: str, prefix: str, is_meant: Callable[[str], bool]) -> None:
    """Gives up the uploads of those keys with that prefix that are meant."""
    if not hasattr(fs, "abort_mpu"):
        return
    while uploads := fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix):
        for upload in filter(lambda one: is_meant(one["Key"]), uploads.get("Uploads", ())):
            # It may be complete, or given up, by now.
            with suppress(FileNotFoundError):
                fs.abort_mpu(bucket, upload["Key"], upload["UploadId"])
        if not uploads.get("IsTruncated"):
            break
