"""A zip file as a tree: its directory, which is at its end, says where each file is, so that it is read by ranges.

Python's zipfile reads the directory, also of what is beyond 4 GiB (APPNOTE.TXT 4.3.14), and checks each file's sum.
"""

from __future__ import annotations

import functools
import io
import stat
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from kconvert.errors import ArchiveError, FetchError, NotFoundError, OriginError, SourceChangedError
from kconvert.sources.fetch.open import describe, open_resource
from kconvert.sources.fetch.resource import Span
from kconvert.sources.fetch.retry import Retries
from kconvert.sources.fetch.stream import FetchOptions
from kconvert.sources.trees.tree import IsWanted, Tree, TreeFile, TreeListing

_AHEAD_BYTES = 1 << 20
"""What is asked for at a time, at least."""
_UNREADABLE, _UTF8 = 0x1 | 0x20 | 0x40, 0x800
"""Flags of what is encrypted, in either way, or a patch; and of names in UTF-8."""
_DAMAGES = (zipfile.BadZipFile, zlib.error, EOFError, UnicodeError, NotImplementedError)
"""What Python raises of a zip file that is damaged, or of a kind that it does not know."""


@dataclass(frozen=True)
class ZipTree(Tree):
    """A zip file."""

    location: str
    """A URL or an absolute path."""
    options: FetchOptions
    """How its directory is fetched."""

    def folders(self, folder: str) -> set[str]:
        start = f"{folder}/" if folder else ""
        below = (name.removeprefix(start) for name in self._directory if name.startswith(start))
        return {name.partition("/")[0] for name in below if "/" in name}

    def listing(self, folder: str, is_wanted: IsWanted) -> TreeListing:
        start, files, others = f"{folder}/" if folder else "", [], []
        for name, info in self._directory.items():
            if not name.startswith(start) or info.is_dir():
                continue
            if is_wanted(name.rpartition("/")[2]):
                self._require_readable(info)
                files.append(TreeFile(name, info.file_size, f"crc-{info.CRC:08x}"))
            else:
                others.append(name)
        return TreeListing(sorted(files), others)

    def read(self, file: TreeFile, options: FetchOptions) -> bytes:
        info = self._directory.get(file.path)
        if info is None or (info.file_size, f"crc-{info.CRC:08x}") != file[1:]:
            raise FetchError(self.location, f"{file.path} was changed since it was listed; run the same command again")
        try:
            return _opened(self.location, options).read(info)
        except SourceChangedError as error:
            # What is open is of the version before.
            _opened.cache_clear()
            _directory.cache_clear()
            raise FetchError(self.location, "was changed since it was listed; run the same command again") from error
        except _DAMAGES as error:
            raise ArchiveError(self.location, f"{file.path}: {error}") from error

    def read_text(self, path: str, options: FetchOptions, max_bytes: int) -> bytes:
        info = self._directory.get(path)
        if info is None:
            raise NotFoundError(f"{self.location}: {path}", "no such file in it")
        if info.file_size > max_bytes:
            raise FetchError(f"{self.location}: {path}", f"is larger than {max_bytes:,} bytes, which no such file is")
        return self.read(TreeFile(path, info.file_size, f"crc-{info.CRC:08x}"), options)

    @property
    def _directory(self) -> Mapping[str, zipfile.ZipInfo]:
        try:
            return _directory(self.location, self.options)
        except _DAMAGES as error:
            raise OriginError(
                f"--origin {self.location}: is no whole zip file ({error}); fetch it again, or give another --origin"
            ) from error
        except FetchError as error:
            raise OriginError(f"{error}; check --origin") from error

    def _require_readable(self, info: zipfile.ZipInfo) -> None:
        what = ""
        if info.flag_bits & _UNREADABLE:
            what = "encrypted, or a patch"
        elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            what = f"packed by method {info.compress_type}"
        elif stat.S_ISLNK(info.external_attr >> 16):
            what = "a symbolic link"
        if what:
            raise OriginError(
                f"--origin {self.location}: {info.filename} is {what}, expected stored or deflated files; unpack it "
                "with unzip, and give the folder"
            )


@functools.lru_cache(maxsize=4)
def _opened(location: str, options: FetchOptions) -> zipfile.ZipFile:
    """A zip file, which stays open: its directory may have half a million names."""
    raw = _Ranged(location, options)
    return zipfile.ZipFile(io.BufferedReader(raw, _AHEAD_BYTES))


@functools.lru_cache(maxsize=4)
def _directory(location: str, options: FetchOptions) -> Mapping[str, zipfile.ZipInfo]:
    return {_name(info): info for info in _opened(location, options).infolist()}


def _name(info: zipfile.ZipInfo) -> str:
    """The name of an entry. Where it does not say that it is UTF-8, it is UTF-8 nevertheless if it can be: tools of
    Unix write what the disk has, and Python takes that for code page 437."""
    try:
        name = info.filename.encode("cp437").decode("utf-8") if not info.flag_bits & _UTF8 else info.filename
    except UnicodeError:
        name = info.filename
    # As some tools of Windows write it.
    return name.replace("\\", "/").removeprefix("./").lstrip("/")


class _Ranged(io.RawIOBase):
    """A resource that is read from wherever one likes, in one version."""

    def __init__(self, location: str, options: FetchOptions) -> None:
        super().__init__()
        self._location = location
        self._options = options
        self._remote = describe(location, options)
        self._resource = open_resource(location, options)
        self._offset = 0
        if self._remote.size_bytes is None:
            raise FetchError(location, "the server states no length; a zip file is read from its end")

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._offset

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Raises `OSError` for a place before the beginning."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self._remote.size_bytes or 0}[whence]
        if start + offset < 0:
            raise OSError(f"{self._location}: no place {start + offset}")
        self._offset = start + offset
        return self._offset

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Raises `FetchError`."""
        end = min(self._offset + len(buffer), self._remote.size_bytes or 0)
        if end <= self._offset:
            return 0
        span = Span(self._offset, end)
        view = memoryview(buffer)[: span.end - span.start]  # type: ignore[operator]
        Retries(self._location, self._options).run(lambda: self._fill(span, view))
        self._offset = end
        return len(view)

    def _fill(self, span: Span, view: memoryview) -> None:
        try:
            answer = self._resource.ask(span, self._remote)
        except SourceChangedError as error:
            if self._resource.describe() != self._remote:
                raise
            raise FetchError(
                self._location,
                "the server gives no ranges, without which a zip file cannot be read; download it, and give the file",
            ) from error
        try:
            done = 0
            while done < len(view):
                done += answer.read_into(view[done:])
        finally:
            answer.close()
