"""Objects: places in an object store, which look like `pathlib.Path` as far as that is used here.

What fsspec knows is a place: `s3://…`, `gs://…` and others. Credentials and endpoints come from the environment only,
as each store's own tools take them. An object appears when its upload is complete and not before; listings are never
taken from a cache, as other machines write there, too. Whatever goes wrong is an `OSError` that names the place.
"""

from __future__ import annotations

import errno
import functools
import io
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from kconvert.errors import UsageError
from kconvert.installation import how_to_install

_UPLOAD_BYTES = 32 << 20
"""Of a piece of a multipart upload; S3 takes 10,000 of them
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html)."""
_READ_BYTES = 8 << 20
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
_LIBRARIES = {"s3": "s3fs", "gcs": "gcsfs"}
_LISTED = {*_EXTRAS, "abfs", "az"}
"""Whose listings fsspec would cache."""
_COMMITTING = set(_EXTRAS)
"""Where an object is not there before its upload is complete, and the library lets us say when."""
TEMPORARY_SUFFIX = ".kconvert-tmp"
"""Of what is not whole yet; a run removes what a killed run left."""


@dataclass(frozen=True)
class Info:
    """What a store says of an object."""

    size_bytes: int
    version: str
    """An entity tag and the time of change, as far as the store has them."""


@dataclass(frozen=True)
class ObjectPath:
    """A place in an object store, by its URL without a slash at the end. Methods raise `OSError` that names it."""

    url: str

    def __post_init__(self) -> None:
        protocol, _, rest = self.url.partition("://")
        object.__setattr__(self, "url", f"{protocol}://{rest.rstrip('/')}")

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, below: str) -> ObjectPath:
        return ObjectPath(f"{self.url}/{below}") if below else self

    @property
    def _pure(self) -> PurePosixPath:
        return PurePosixPath(self.url.partition("://")[2])

    @property
    def name(self) -> str:
        return self._pure.name

    @property
    def stem(self) -> str:
        return self._pure.stem

    @property
    def parent(self) -> ObjectPath:
        return ObjectPath(self.url.rpartition("/")[0])

    def with_name(self, name: str) -> ObjectPath:
        return self.parent / name

    def relative_to(self, other: ObjectPath) -> PurePosixPath:
        """Raises `ValueError` if it is not below the other."""
        return self._pure.relative_to(other._pure)

    def is_relative_to(self, other: object) -> bool:
        return isinstance(other, ObjectPath) and self._pure.is_relative_to(other._pure)

    def require_library(self) -> None:
        """Raises `UsageError` if fsspec does not know such stores, or needs a library that is not installed."""
        with self._telling():
            _ = self._fs

    def info(self) -> Info:
        """Size and version. Raises `FileNotFoundError` if there is no such object."""
        with self._telling():
            found = self._fs.info(self._key)
            if found["type"] != "file":
                raise FileNotFoundError
        version = [str(found[name]) for name in ("ETag", "etag", "LastModified", "mtime", "updated") if found.get(name)]
        return Info(int(found["size"]), " ".join(version))

    def is_file(self) -> bool:
        try:
            self.info()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether there is anything below it."""
        with self._telling():
            return bool(self._fs.isdir(self._key))

    def exists(self) -> bool:
        return self.is_file() or self.is_dir()

    def is_symlink(self) -> bool:
        return False

    def sizes(self) -> dict[ObjectPath, int]:
        """The size in bytes of every object below it."""
        with self._telling():
            found = self._fs.find(self._key, detail=True)
        root = self._key
        return {self / key.removeprefix(root).lstrip("/"): int(info["size"]) for key, info in sorted(found.items())}

    def rglob(self, pattern: str) -> Iterator[ObjectPath]:
        """The objects below it, at any depth, whose name matches."""
        return (path for path in self.sizes() if PurePosixPath(path.name).match(pattern))

    def glob(self, pattern: str) -> Iterator[ObjectPath]:
        """The objects right below it whose name matches."""
        return (path for path in self.rglob(pattern) if path.parent == self)

    def read_bytes(self) -> bytes:
        with self._telling():
            data: bytes = self._fs.cat_file(self._key)
        return data

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def read_range(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end`; fewer only where the object ends before."""
        with self._telling():
            data: bytes = self._fs.cat_file(self._key, start=start, end=end)
        return data

    def read_ranges(self, ranges: list[tuple[ObjectPath, int, int]]) -> list[bytes]:
        """The same of several objects of this store, all at once."""
        with self._telling():
            keys = [path._key for path, _, _ in ranges]
            starts, ends = [start for _, start, _ in ranges], [end for _, _, end in ranges]
            data: list[bytes] = self._fs.cat_ranges(keys, starts, ends, on_error="raise")
        return data

    def open_to_read(self) -> BinaryIO:
        """Opens an object to be read from its beginning to its end; it can be read elsewhere, too, but more slowly."""
        with self._telling():
            raw = self._fs.open(self._key, "rb", block_size=_READ_BYTES, cache_type="readahead")
        return io.BufferedReader(_Telling(self, raw), _READ_BYTES)

    def upload(self) -> AbstractContextManager[BinaryIO]:
        """Opens an object for writing; it appears when the block ends without an exception, otherwise not at all."""
        return self._committed() if self._protocol in _COMMITTING else self._renamed()

    @contextmanager
    def _committed(self) -> Iterator[BinaryIO]:
        with self._telling():
            raw = self._fs.open(self._key, "wb", block_size=_UPLOAD_BYTES, autocommit=False)
        try:
            yield _Telling(self, raw)  # type: ignore[misc]
            with self._telling():
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
    def _renamed(self) -> Iterator[BinaryIO]:
        """For stores that show what is being written."""
        temporary = self.with_name(self.name + TEMPORARY_SUFFIX)
        with self._telling():
            raw = self._fs.open(temporary._key, "wb")
        try:
            yield _Telling(self, raw)  # type: ignore[misc]
            with self._telling():
                raw.close()
                self._fs.mv(temporary._key, self._key)
        except BaseException:
            with suppress(Exception):
                raw.close()
            with suppress(Exception):
                self._fs.rm_file(temporary._key)
            raise

    def write_bytes(self, data: bytes) -> None:
        """Writes an object with one request."""
        with self._telling():
            self._fs.pipe_file(self._key, data)

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            with self._telling():
                self._fs.rm_file(self._key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def remove_tree(self) -> None:
        """Removes every object below it."""
        if self.is_dir():
            with self._telling():
                self._fs.rm(self._key, recursive=True)

    def give_up_uploads(self) -> None:
        """Gives up uploads below it that were begun and never completed: nobody sees them, but S3 keeps them."""
        if self._protocol not in _COMMITTING:
            for path in self.rglob("*" + TEMPORARY_SUFFIX):
                path.unlink(missing_ok=True)
        if not hasattr(self._fs, "abort_mpu"):
            return
        bucket, _, prefix = self._key.partition("/")
        with self._telling():
            while uploads := self._fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=f"{prefix}/"):
                for upload in uploads.get("Uploads", ()):
                    # It may be complete, or given up, by now.
                    with suppress(FileNotFoundError):
                        self._fs.abort_mpu(bucket, upload["Key"], upload["UploadId"])
                if not uploads.get("IsTruncated"):
                    break

    @property
    def _protocol(self) -> str:
        return self.url.partition("://")[0]

    @property
    def _fs(self) -> Any:
        return _file_system(self._root, os.getpid())

    @property
    def _root(self) -> str:
        """What stands in the URL up to the host or bucket."""
        protocol, _, rest = self.url.partition("://")
        return f"{protocol}://{rest.partition('/')[0]}"

    @property
    def _key(self) -> str:
        """What fsspec calls it."""
        key: str = self._fs._strip_protocol(self.url)
        return key

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Turns whatever a store's library raises into an `OSError` that names the place."""
        try:
            yield
        except UsageError:
            raise
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, "no such object or bucket", self.url) from error
        except FileExistsError as error:
            raise FileExistsError(errno.EEXIST, "is there already", self.url) from error
        except PermissionError as error:
            alone = (
                ", asked without credentials as the environment has none" if getattr(self._fs, "anon", False) else ""
            )
            raise PermissionError(errno.EACCES, (_said(error) or "access denied") + alone, self.url) from error
        except OSError as error:
            raise OSError(error.errno or errno.EREMOTEIO, _said(error), self.url) from error
        except Exception as error:
            raise OSError(errno.EREMOTEIO, f"{_said(error)} ({type(error).__name__})", self.url) from error


class _Telling(io.RawIOBase):
    """A file of fsspec whose errors are ours."""

    def __init__(self, path: ObjectPath, raw: Any) -> None:
        super().__init__()
        self._path = path
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
        with self._path._telling():
            data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        with self._path._telling():
            num_bytes: int = self._raw.write(data)
        return num_bytes


def is_object_url(text: str) -> bool:
    """Whether a text names a place in an object store, as opposed to a local path or a web server's."""
    return "://" in text and not text.startswith(("http://", "https://", "file://"))


@functools.cache
def _file_system(root: str, process_id: int) -> Any:
    """The file system that has a bucket, one for all threads of a process: none survives a fork.

    Raises: `UsageError` if its library is not installed.
    """
    # Most conversions know no store, and it takes a moment to import.
    import fsspec

    protocol = root.partition("://")[0]
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
        options["anon"] = not _has_s3_credentials()
    # fsspec keeps one for each thread.
    return kind(**options, skip_instance_cache=True)


def _has_s3_credentials() -> bool:
    """Without any, S3 is asked anonymously, as the official bucket allows."""
    import botocore.session

    return botocore.session.get_session().get_credentials() is not None


def _said(error: BaseException) -> str:
    """What an error says, without the endpoint, which is nobody's business but the environment's."""
    text = " ".join((getattr(error, "strerror", None) or str(error)).split())
    return re.sub(r"https?://[^\s\"']+", "the endpoint", text)
