"""Archives: the members of a tar, gzipped or plain, read once from a stream and never written to the disk.

The stream is checked to its very end: the gzip around it (see `inflate`), the tar's header checksums and its two
end blocks (POSIX.1-2017, pax, "ustar Interchange Format"), and that nothing follows them. Python's tarfile takes a
damaged header for the end and would lose the rest in silence, so that here it only reads single headers.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from types import TracebackType

from kconvert.errors import ArchiveError
from kconvert.sources.fetch.stream import ByteStream, Remote
from kconvert.sources.inflate import GZIP_MAGIC, VIDEOS_EXPANSION, InflatedStream
from kconvert.sources.members import Member, Members, ReadSoFar

BLOCK_BYTES = 512
MAX_CLIP_BYTES = 1 << 28
"""A clip that declares more is not loaded; official clips of 10 s have a few megabytes."""
_MAX_SHOWN_CHARS = 100
_MAX_EXTENSION_BYTES = 1 << 20
"""A long name or a PAX header that declares more is not loaded."""
_SPARSE = "GNU.sparse"
_EXTENDED, _EXTENDED_AGAIN = 482, 504
"""Where a header, and a block that continues its map, say that another such block follows."""
_PAX, _PAX_GLOBAL = b"x", b"g"
_LONG = {b"L": "path", b"K": "linkpath"}
"""PAX's names for what GNU tar has in members of their own."""
_WITHOUT_DATA = {
    tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE,
}  # fmt: skip
"""Kinds of members that no data follow, whatever size they state; any other kind may have some."""
_REGULAR = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}


class ArchiveReader(Members):
    """The members of an archive, in their order.

    Raises `ArchiveError` while iterating if anything is damaged, also after the last member, and whatever the stream
    raises. Every byte of the stream has been read and checked when the iteration ends by itself.
    """

    def __init__(self, stream: ByteStream, name: str, max_expansion: float = VIDEOS_EXPANSION) -> None:
        """`max_expansion` is how many times as large its gzip may be when it is unpacked."""
        self._name = name
        self._stream = stream
        self._bytes = InflatedStream(stream, name, max_expansion)
        self._num_pending = 0
        """Bytes of the current member, padding included, that are not read yet."""
        self._loadable = 0
        """The number of the member whose bytes come next; 0 for none."""
        self._num_members = 0
        """That were begun."""
        self._num_whole = 0
        """Of these, the ones all of whose bytes were read."""
        self._is_extended = False
        """Whether the map of the sparse member that the last header is of goes on in further blocks."""
        self.notes: list[str] = []

    @property
    def remote(self) -> Remote:
        return self._stream.remote

    @property
    def read_so_far(self) -> ReadSoFar:
        return ReadSoFar(self._num_whole, *self._bytes.packed)

    def __iter__(self) -> Iterator[Member]:
        overrides: dict[str, str] = {}
        while True:
            self._bytes.skip(self._num_pending, "inside a member")
            self._num_pending = self._loadable = 0
            self._num_whole = self._num_members
            header = self._header()
            if header is None:
                return self._finish()
            if header.type in (*_LONG, _PAX, _PAX_GLOBAL):
                overrides |= self._extension(header)
                continue
            yield self._member(header, overrides)
            overrides = {}

    def _header(self) -> tarfile.TarInfo | None:
        """The next header; `None` at an end block."""
        offset = self._bytes.num_read
        block = self._bytes.take(BLOCK_BYTES)
        if not block and self._bytes.is_gzip and offset:
            # The gzip around it is whole, so that nothing can be missing.
            self.notes.append("ends without the two end blocks of a tar; its gzip is whole")
            return None
        if len(block) < BLOCK_BYTES:
            raise self._damaged(f"ends at byte {offset:,} without the two end blocks of a tar: it was cut")
        if not block.strip(b"\0"):
            return None
        self._is_extended = bool(block[_EXTENDED])
        try:
            return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            if offset == 0 and block.startswith(GZIP_MAGIC):
                raise self._damaged(
                    "is gzipped twice, perhaps by the server (Content-Encoding); expected a tar in the gzip"
                ) from error
            if offset == 0:
                raise self._damaged(f"begins with {block[:16]!r}, expected a gzip or a tar") from error
            raise self._damaged(f"no tar header at byte {offset:,} ({error})") from error

    def _member(self, header: tarfile.TarInfo, overrides: dict[str, str]) -> Member:
        if header.type == tarfile.GNUTYPE_SPARSE:
            self._skip_sparse_headers(header)
        is_sparse = header.type == tarfile.GNUTYPE_SPARSE or _SPARSE in overrides
        size = header.size
        if "size" in overrides:
            if not (overrides["size"].isascii() and overrides["size"].isdigit() and len(overrides["size"]) < 20):
                raise self._damaged(f"size {overrides['size'][:40]!r} in a PAX header, expected a number")
            size = int(overrides["size"])
        if size < 0:
            raise self._damaged(f"member {_shown(header.name)} declares {size} bytes")
        is_file = header.type in _REGULAR and not header.name.endswith("/") and not is_sparse
        size = 0 if header.type in _WITHOUT_DATA else size
        self._num_pending = _padded(size)
        self._num_members += 1
        self._loadable = number = self._num_members
        name = overrides.get("path", header.name)
        link = overrides.get("linkpath", header.linkname) if header.type == tarfile.LNKTYPE else ""
        return Member(name, is_file, size, link, lambda: self._load(number, name, size))

    def _load(self, number: int, name: str, size: int) -> bytes:
        if number != self._loadable:
            raise RuntimeError(f"{self._name}: the bytes of member {_shown(name)} have gone by")
        self._loadable = 0
        data = self._bytes.take(size)
        if len(data) < size:
            raise self._damaged(f"ends inside member {_shown(name)}: it was cut")
        self._num_pending -= size
        self._num_whole = number
        return data

    def _extension(self, header: tarfile.TarInfo) -> dict[str, str]:
        """What a GNU long name or a PAX header says of the next member, under PAX's names."""
        if not 0 <= header.size <= _MAX_EXTENSION_BYTES:
            raise self._damaged(f"a header extension declares {header.size:,} bytes")
        data = self._bytes.take(_padded(header.size))
        if len(data) < _padded(header.size):
            raise self._damaged("ends inside a header extension: it was cut")
        data = data[: header.size]
        if header.type in _LONG:
            return {_LONG[header.type]: data.rstrip(b"\0").decode("utf-8", "surrogateescape")}
        try:
            return _pax_records(data) if header.type == _PAX else {}
        except ValueError as error:
            raise self._damaged(str(error)) from error

    def _finish(self) -> None:
        """After the first end block: the second, and then nothing but zeros up to the checked end of the stream."""
        block = self._bytes.take(BLOCK_BYTES)
        if not block and self._bytes.is_gzip:
            if not self.notes:
                self.notes.append("has one end block of a tar instead of two; its gzip is whole")
            return
        if len(block.strip(b"\0")) or self._bytes.num_short:
            raise self._damaged(
                f"one end block instead of two at byte {self._bytes.num_read:,}: it was cut or is corrupt"
            )
        while chunk := self._bytes.take(BLOCK_BYTES * 128):
            if chunk.strip(b"\0"):
                raise self._damaged(f"something follows the end of the tar before byte {self._bytes.num_read:,}")

    def _skip_sparse_headers(self, header: tarfile.TarInfo) -> None:
        """Passes over what continues the map of a sparse member (GNU tar's manual, "Basic Tar Format")."""
        is_extended = self._is_extended
        while is_extended:
            block = self._bytes.take(BLOCK_BYTES)
            if len(block) < BLOCK_BYTES:
                raise self._damaged(f"ends inside the header of member {_shown(header.name)}: it was cut")
            is_extended = bool(block[_EXTENDED_AGAIN])

    def _damaged(self, problem: str) -> ArchiveError:
        return ArchiveError(self._name, problem)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bytes.close()


def _pax_records(data: bytes) -> dict[str, str]:
    """What counts of records of the form `LENGTH KEY=VALUE\\n`. Raises `ValueError` for others."""
    records = {}
    while data:
        length, _, _ = data.partition(b" ")
        size = int(length) if length.isdigit() and len(length) < 8 else 0
        key, equals, value = data[len(length) + 1 : size].partition(b"=")
        if not equals or len(data) < size or not value.endswith(b"\n"):
            raise ValueError(f"malformed PAX header {data[:40]!r}")
        if key in (b"path", b"size", b"linkpath"):
            records[key.decode()] = value[:-1].decode("utf-8", "surrogateescape")
        elif key.startswith(b"GNU.sparse."):
            records[_SPARSE] = "1"
        data = data[size:]
    return records


def _shown(name: str) -> str:
    return repr(name if len(name) <= _MAX_SHOWN_CHARS else name[:_MAX_SHOWN_CHARS] + "…")


def _padded(size: int) -> int:
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES
