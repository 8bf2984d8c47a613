"""Buckets: stores that fsspec knows by a URL, `s3://…`, `gs://…` and others.

Credentials and endpoints come from the environment only, as each store's own tools take them. An object appears when
its upload is complete and not before; listings are never taken from a cache, as other machines write there, too.
Whatever goes wrong is an `OSError` that names the object.

Of a store no more is asked than that objects can be put, got in ranges, listed and deleted one by one: some refuse to
delete many at once, some refuse to list uploads, some ignore conditions.
"""

from __future__ import annotations

import atexit
import errno
import functools
import io
import logging
import os
import re
import warnings
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal

from kconvert.errors import UsageError
from kconvert.installation import how_to_install
from kconvert.storage.digests import Written
from kconvert.storage.lease import is_leased, leased
from kconvert.storage.store import TEMPORARY_SUFFIX, Info, Range, Store, StorePath
from kconvert.storage.threads import at_once

_UPLOAD_BYTES = 32 << 20
"""Of a part of a multipart upload; S3 takes 10,000 of them
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html)."""
_READ_BYTES = 8 << 20
_AHEAD_BYTES = 32 << 20
"""What is read at once, where each question takes its time."""
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
_LIBRARIES = {"s3": "s3fs", "gcs": "gcsfs"}
_LISTED = {*_EXTRAS, "abfs", "az"}
"""Whose listings fsspec would cache."""
_OF_THIS_MACHINE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC}
"""Numbers of errors that are not the store's, nor the network's."""
_COMMITTING = set(_EXTRAS)
"""Where an object is not there before its upload is complete, and the library lets us say when."""


@dataclass(frozen=True)
class Bucket(Store):
    """Objects by their keys below a host or bucket."""

    url: str
    """What stands in a URL up to the host or bucket, as `s3://name`."""

    max_requests = 16
    renewal_seconds = 15.0

    def name(self, key: str) -> str:
        return f"{self.url}/{key}" if key else self.url

    def local_path(self, key: str) -> Path | None:
        return None

    def require_usable(self) -> None:
        with self._naming(""):
            _ = self._fs

    def try_writing(self, key: str) -> None:
        trial = f"{key}/trial{TEMPORARY_SUFFIX}" if key else f"trial{TEMPORARY_SUFFIX}"
        # Several runs may try at once.
        self.put(trial, b"trial")
        self.remove(trial)

    def info(self, key: str) -> Info:
        with self._naming(key):
            found = self._fs.info(self._key(key))
            if found["type"] != "file":
                raise FileNotFoundError
        version = [
            str(found[name])
            for name in ("ETag", "etag", "LastModified", "mtime", "updated", "created")
            if found.get(name)
        ]
        return Info(int(found["size"]), " ".join(version))

    def is_folder(self, key: str) -> bool:
        with self._naming(key):
            return bool(self._fs.isdir(self._key(key)))

    def children(self, key: str) -> set[str]:
        try:
            with self._naming(key):
                found = self._fs.ls(self._key(key), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return set()
        own = self._key(key).rstrip("/")
        return {PurePosixPath(name).name for name in found if name.rstrip("/") != own}

    def walk(self, key: str) -> Iterator[tuple[str, Literal["file", "folder", "link"]]]:
        return ((found, "file") for found in self._files(key))

    def _files(self, key: str) -> list[str]:
        with self._naming(key):
            root = self._key(key)
            found = self._fs.find(root)
        below = sorted(one.removeprefix(root).lstrip("/") for one in found if one != root)
        return [f"{key}/{one}" if key else one for one in below if one]

    def read(self, key: str) -> bytes:
        with self._naming(key):
            data: bytes = self._fs.cat_file(self._key(key))
        return data

    def read_ranges(self, ranges: Iterable[Range]) -> Iterator[bytes]:
        ahead: list[Range] = []
        for wanted in ranges:
            ahead.append(wanted)
            if sum(one.end - one.start for one in ahead) >= _AHEAD_BYTES:
                yield from self._at_once(ahead)
                ahead = []
        yield from self._at_once(ahead)

    def _at_once(self, ranges: Sequence[Range]) -> list[bytes]:
        if not ranges:
            return []
        if len(ranges) == 1:
            return [self._range(ranges[0])]
        with self._naming(os.path.commonpath([one.key for one in ranges])):
            keys, starts, ends = zip(*ranges, strict=True)
            asked = [self._key(key) for key in keys]
            data: list[bytes] = self._fs.cat_ranges(asked, list(starts), list(ends), on_error="raise")
        return data

    def _range(self, wanted: Range) -> bytes:
        with self._naming(wanted.key):
            key = self._key(wanted.key)
            try:
                data: bytes = self._fs.cat_file(key, start=wanted.start, end=wanted.end)
            except FileNotFoundError:
                raise
            except (OSError, ValueError):
                # Some stores refuse a range that ends beyond the object.
                size = self.info(wanted.key).size_bytes
                if wanted.end <= size:
                    raise
                data = self._fs.cat_file(key, start=wanted.start, end=size) if wanted.start < size else b""
        return data

    def open_to_read(self, key: str) -> BinaryIO:
        with self._naming(key):
            raw = self._fs.open(self._key(key), "rb", block_size=_READ_BYTES, cache_type="readahead")
        return io.BufferedReader(_Named(self, key, raw), _READ_BYTES)

    @contextmanager
    def write_whole(self, key: str, kind: type[Written]) -> Iterator[Written]:
        with self._upload(key) as raw, kind(raw) as file:
            yield file
        found: int | str = self.info(key).size_bytes
        sent: int | str = file.size_bytes
        if found == sent and (digest := file.digest()):
            found, sent = StorePath(self, key).sha256(), digest
        if found != sent:
            self.remove(key)
            problem = f"the store has {found} where {sent} was sent; it was removed again"
            raise OSError(errno.EIO, problem, self.name(key))

    def _upload(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Opens an object for writing; it appears when the block ends without an exception, otherwise not at all."""
        return self._committed(key) if self._protocol in _COMMITTING else self._renamed(key)

    @contextmanager
    def _committed(self, key: str) -> Iterator[BinaryIO]:
        with self._naming(key):
            raw = self._fs.open(self._key(key), "wb", block_size=_UPLOAD_BYTES, autocommit=False)
        try:
            yield _Named(self, key, raw)  # type: ignore[misc]
            with self._naming(key):
                raw.close()
                # One whose answer was lost is done when it is tried again. Whoever uploads compares what is there.
                with suppress(FileNotFoundError):
                    raw.commit()
        except BaseException:
            # The first error is the one to tell of; what could not be given up is cleared by the next run.
            with suppress(Exception):
                raw.discard()
            # Or closing, when it is forgotten, would upload what is left.
            raw.closed = True
            raise

    @contextmanager
    def _renamed(self, key: str) -> Iterator[BinaryIO]:
        """For stores that show what is being written."""
        temporary = self._key(key + TEMPORARY_SUFFIX)
        with self._naming(key):
            raw = self._fs.open(temporary, "wb")
        try:
            yield _Named(self, key, raw)  # type: ignore[misc]
            with self._naming(key):
                raw.close()
                self._fs.mv(temporary, self._key(key))
        except BaseException:
            with suppress(Exception):
                raw.close()
            with suppress(Exception):
                self._fs.rm_file(temporary)
            raise

    def put(self, key: str, data: bytes) -> None:
        with self._naming(key):
            self._fs.pipe_file(self._key(key), data)

    def write(self, key: str, data: bytes) -> None:
        self.put(key, data)
        if self.read(key) != data:
            raise OSError(errno.EIO, "the store has something else than was sent", self.name(key))

    def remove(self, key: str) -> None:
        with suppress(FileNotFoundError), self._naming(key):
            self._fs.rm_file(self._key(key))

    def make_folder(self, key: str) -> None:
        """A store has none."""

    def remove_tree(self, key: str) -> None:
        # One by one, and what was listed only: some refuse to delete many at once, or what is not there.
        at_once(self.remove, self._files(key), self.max_requests)

    def remove_empty(self, key: str) -> None:
        """A store has none."""

    def remove_temporaries(self, key: str, is_deep: bool) -> Sequence[str]:
        if self._protocol not in _COMMITTING:
            for found in self._files(key):
                if found.endswith(TEMPORARY_SUFFIX):
                    self.remove(found)
        if not hasattr(self._fs, "abort_mpu"):
            return ()
        try:
            with self._naming(key):
                self._give_up_uploads(key)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise
            return (
                f"{self.name(key)}: uploads that were begun and never completed cannot be looked for "
                f"(ListMultipartUploads: {error.strerror}); a rule of the store's that ends them saves their cost",
            )
        return ()

    def _give_up_uploads(self, key: str) -> None:
        """Gives up uploads below a key that were begun and never completed: nobody sees them, but S3 keeps them."""
        bucket, _, prefix = self._key(key).partition("/")
        while uploads := self._fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=f"{prefix}/"):
            for upload in uploads.get("Uploads", ()):
                # It may be complete, or given up, by now.
                with suppress(FileNotFoundError):
                    self._fs.abort_mpu(bucket, upload["Key"], upload["UploadId"])
            if not uploads.get("IsTruncated"):
                break

    def lock(self, key: str) -> AbstractContextManager[bool]:
        return leased(StorePath(self, key))

    def is_locked(self, key: str) -> bool:
        return is_leased(StorePath(self, key))

    @property
    def _protocol(self) -> str:
        return self.url.partition("://")[0]

    @property
    def _fs(self) -> Any:
        return _file_system(self.url, os.getpid())

    def _key(self, key: str) -> str:
        """What fsspec calls it."""
        found: str = self._fs._strip_protocol(self.name(key))
        return found

    @contextmanager
    def _naming(self, key: str) -> Iterator[None]:
        """Turns whatever a store's library raises into an `OSError` that names the object."""
        try:
            yield
        except UsageError:
            raise
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, "no such object or bucket", self.name(key)) from error
        except FileExistsError as error:
            raise FileExistsError(errno.EEXIST, "is there already", self.name(key)) from error
        except PermissionError as error:
            alone = (
                ", asked without credentials as the environment has none" if getattr(self._fs, "anon", False) else ""
            )
            raise PermissionError(errno.EACCES, (_said(error) or "access denied") + alone, self.name(key)) from error
        except OSError as error:
            number = error.errno if error.errno in _OF_THIS_MACHINE else errno.EREMOTEIO
            raise OSError(number, _said(error), self.name(key)) from error
        except Exception as error:
            raise OSError(errno.EREMOTEIO, f"{_said(error)} ({type(error).__name__})", self.name(key)) from error


def object_path(url: str) -> StorePath:
    """A path in a bucket, by its URL."""
    protocol, _, rest = url.partition("://")
    host, _, key = rest.rstrip("/").partition("/")
    return StorePath(Bucket(f"{protocol}://{host}"), key)


class _Named(io.RawIOBase):
    """A file of fsspec whose errors are ours."""

    def __init__(self, store: Bucket, key: str, raw: Any) -> None:
        super().__init__()
        self._store = store
        self._key = key
        self._raw = raw

    def readable(self) -> bool:
        return bool(self._raw.readable())

    def writable(self) -> bool:
        return bool(self._raw.writable())

    def seekable(self) -> bool:
        return self.readable() and bool(self._raw.seekable())

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        return int(self._raw.seek(place, whence))

    def tell(self) -> int:
        return int(self._raw.tell())

    def readinto(self, buffer: Any) -> int:
        with self._store._naming(self._key):
            data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        with self._store._naming(self._key):
            num_bytes: int = self._raw.write(data)
        return num_bytes


def is_object_url(text: str) -> bool:
    """Whether a text names something in an object store, as opposed to a local path or a web server's."""
    return "://" in text and not text.startswith(("http://", "https://", "file://"))


@functools.cache
def _file_system(root: str, process_id: int) -> Any:
    """The file system that has a bucket, one for all threads of a process: none survives a fork.

    Raises: `UsageError` if its library is not installed.
    """
    protocol = root.partition("://")[0]
    if _EXTRAS.get(protocol) == "gcs":
        # Else it asks by gRPC what kind of bucket it is, and waits a minute where only HTTP is spoken.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    # Most conversions know no store, and it takes a moment to import.
    import fsspec

    try:
        kind = fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        how = how_to_install(_LIBRARIES[extra], extra) if extra else f"install what fsspec names: {error}"
        raise UsageError(f"{root}: {protocol}:// needs a library that is not installed; {how}") from error
    except ValueError as error:
        known = ", ".join(f"{one}://" for one in ("s3", "gs", "az", "sftp"))
        raise UsageError(
            f"{root}: unknown kind of store {protocol}://, expected {known} or another of fsspec's"
        ) from error
    options: dict[str, Any] = kind._get_kwargs_from_urls(root)
    if protocol in _LISTED:
        options["use_listings_cache"] = False
    if _EXTRAS.get(protocol) == "s3":
        # Parts of one size, as Cloudflare's R2 demands.
        options |= {"anon": not _has_s3_credentials(), "fixed_upload_size": True}
    if _EXTRAS.get(protocol) == "gcs":
        # It tells of its own troubles on stderr, and raises them as well.
        logging.getLogger("gcsfs").setLevel(logging.CRITICAL + 1)
        # gcsfs sends each part from memory, where it is, at once.
        warnings.filterwarnings("ignore", "Sending a large body directly", ResourceWarning)
    # fsspec keeps one for each thread.
    opened = kind(**options, skip_instance_cache=True)
    if _EXTRAS.get(protocol) == "gcs":
        # What runs at exit runs in the reverse order: before gcsfs's own way, which leaves a coroutine unawaited.
        weakref.finalize(opened, int)
        atexit.register(_close_session, opened)
    return opened


def _close_session(opened: Any) -> None:
    """Closes the connections of a file system of gcsfs, if it has any."""
    if opened._session is not None and not opened._session.closed:
        import fsspec.asyn

        with suppress(fsspec.FSTimeoutError):
            fsspec.asyn.sync(opened.loop, opened._session.close, timeout=1)


def _has_s3_credentials() -> bool:
    """Without any, S3 is asked anonymously, as the official bucket allows."""
    import botocore.session

    return botocore.session.get_session().get_credentials() is not None


def _said(error: BaseException) -> str:
    """What an error says, without the endpoint, which is nobody's business but the environment's."""
    text = " ".join((getattr(error, "strerror", None) or str(error)).split())
    return re.sub(r"https?://[^\s\"']+", "the endpoint", text)
