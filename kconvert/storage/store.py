"""Stores: where files are written whole and read in ranges, be that this machine's folders or a bucket.

What every store promises:

- A file appears under its name when its writing block ends without an exception, with all its bytes, or not at all;
  what stood there before stays until then.
- What was written is read back by everybody from then on: nothing is taken from a cache.
- A lock has one holder at a time; the lock of a holder that is dead is given to exactly one other.
- Whatever goes wrong is an `OSError` that names the path; `FileNotFoundError` where there is no such file.

A store that cannot do something which only tidies up says so in a note, and goes on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, NamedTuple

from kconvert.storage.digests import CountingFile, DigestedReader, DigestingFile, Written

TEMPORARY_SUFFIX = ".kconvert-tmp"
"""Of what is not whole yet; a run removes what a killed run left."""


@dataclass(frozen=True)
class Info:
    """What a store says of a file."""

    size_bytes: int
    """As the store states it."""
    version: str
    """An entity tag and the time of change, as far as the store has them; `""` if it has neither."""


class Entry(NamedTuple):
    """Something that is below a folder."""

    path: StorePath
    """Of the store that was asked."""
    kind: Literal["file", "folder", "link"]
    """Links are those of folders on a disk."""


class Range(NamedTuple):
    """Some bytes of a file."""

    key: str
    """Of the file."""
    start: int
    """Their first byte, from 0."""
    end: int
    """The byte after their last."""


class Store(ABC):
    """Where files are, which go by their keys: names with `/` between them. Stores of one location are equal. They can
    be sent to other processes."""

    max_requests = 1
    """How many questions are worth asking at a time."""
    renewal_seconds = 2.0
    """How often a small file may be written anew without being a burden."""

    @abstractmethod
    def name(self, key: str) -> str:
        """What a person calls it: a path, or a URL."""

    @abstractmethod
    def local_path(self, key: str) -> Path | None:
        """Where it is on a disk of this machine; `None` if it is on none."""

    @abstractmethod
    def require_usable(self) -> None:
        """Raises `UsageError` if a library that the store needs is not installed."""

    def without_credentials(self) -> Store | None:
        """The same store, asked without credentials; `None` where it is asked so already, or has none."""
        return None

    @abstractmethod
    def try_writing(self, key: str) -> None:
        """Makes sure that files can be written in a folder that is there; leaves nothing behind."""

    @abstractmethod
    def info(self, key: str) -> Info:
        """Size and version of a file."""

    @abstractmethod
    def is_folder(self, key: str) -> bool:
        """Whether there is a folder, or something below it."""

    @abstractmethod
    def children(self, key: str) -> set[str]:
        """The names right below a folder; none if it is not there."""

    @abstractmethod
    def walk(self, key: str) -> Iterator[tuple[str, Literal["file", "folder", "link"]]]:
        """The keys of everything below a folder, at any depth, in their order; nothing if it is not there."""

    def folders(self, key: str) -> set[str]:
        """The names of the folders right below one; none if it is not there."""
        return {name for name in self.children(key) if self.is_folder(f"{key}/{name}" if key else name)}

    def files(self, key: str) -> Iterator[tuple[str, Info]]:
        """The keys of the files below a folder, at any depth, in their order, and what is said of each."""
        return ((found, self.info(found)) for found, kind in self.walk(key) if kind == "file")

    @abstractmethod
    def read(self, key: str) -> bytes:
        """The content of a file."""

    @abstractmethod
    def read_ranges(self, ranges: Iterable[Range]) -> Iterator[bytes]:
        """The bytes of each range, in the order given; fewer only where a file ends before."""

    @abstractmethod
    def open_to_read(self, key: str) -> BinaryIO:
        """Opens a file to be read from its beginning to its end; elsewhere it can be read, too, but more slowly."""

    @abstractmethod
    def write_whole(self, key: str, kind: type[Written]) -> AbstractContextManager[Written]:
        """Opens a file for writing; it appears when the block ends without an exception, otherwise not at all."""

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Writes a small file, whole or not at all; somebody else may write it as well."""

    def write(self, key: str, data: bytes) -> None:
        """Writes a small file that is nobody else's, and makes sure that it is there. Raises `OSError` if not."""
        self.put(key, data)

    def show(self, key: str, data: bytes) -> None:
        """Writes a small file, whole, that others read, or write, meanwhile, and that need not survive a power cut."""
        self.put(key, data)

    @abstractmethod
    def remove(self, key: str) -> None:
        """Removes a file if it is there."""

    @abstractmethod
    def make_folder(self, key: str) -> None:
        """Makes a folder, and those above it, where files need one to be in."""

    @abstractmethod
    def remove_tree(self, key: str) -> None:
        """Removes a folder with everything in it if it is there."""

    @abstractmethod
    def remove_empty(self, key: str) -> None:
        """Removes a folder, and those in it, as far as there is no file in them."""

    @abstractmethod
    def remove_temporaries(self, key: str, is_deep: bool) -> Sequence[str]:
        """Removes what a killed run left half-written in a folder, if `is_deep` everywhere below it; returns what a
        person should know of what could not be done."""

    @abstractmethod
    def lock(self, key: str) -> AbstractContextManager[bool]:
        """Holds a lock during the block; false if somebody else has it.

        Raises: `LostLockError` where it was lost meanwhile. The block is then interrupted (`KeyboardInterrupt`) if it
        runs in the main thread.
        """

    @abstractmethod
    def is_locked(self, key: str) -> bool:
        """Whether somebody seems to hold a lock."""

    def free_ranges(self, key: str, ranges: Iterable[tuple[int, int]]) -> None:  # noqa: B027
        """Gives the disk space of ranges of a file back, where a store can do that; they read as zeros from then on."""

    def has_holes(self, key: str, ranges: Iterable[tuple[int, int]]) -> bool:
        """Whether something of these ranges was given back, as far as the store says."""
        return False


@dataclass(frozen=True)
class StorePath:
    """A path in a store; like `pathlib.Path` as far as that is used here."""

    store: Store
    """That the path is in."""
    key: str
    """Without a `/` at its end."""

    def __str__(self) -> str:
        return self.store.name(self.key)

    def __truediv__(self, below: str) -> StorePath:
        # Not by `PurePosixPath`: in a bucket, a//b is another key than a/b.
        above = self.key.rstrip("/") if self.key.endswith("/") else self.key
        return StorePath(self.store, f"{above}/{below}" if self.key else below) if below else self

    @property
    def name(self) -> str:
        return PurePosixPath(self.key).name

    @property
    def parent(self) -> StorePath:
        above, slash, _ = self.key.rpartition("/")
        return StorePath(self.store, above or (slash if self.key.startswith("/") else ""))

    def relative_to(self, other: StorePath) -> PurePosixPath:
        """Raises `ValueError` if it is not below the other."""
        if not self.is_relative_to(other):
            raise ValueError(f"{self} is not below {other}")
        return PurePosixPath(self.key).relative_to(other.key)

    def is_relative_to(self, other: StorePath) -> bool:
        return self.store == other.store and PurePosixPath(self.key).is_relative_to(other.key)

    @property
    def local_path(self) -> Path | None:
        """Where it is on a disk of this machine; `None` if it is on none."""
        return self.store.local_path(self.key)

    def try_writing(self) -> None:
        """Raises `OSError` if no file can be written in this folder."""
        self.store.try_writing(self.key)

    def info(self) -> Info:
        """Size and version. Raises `FileNotFoundError` if there is no such file."""
        return self.store.info(self.key)

    def size_bytes(self) -> int | None:
        """The size of a file; `None` if there is none."""
        try:
            return self.info().size_bytes
        except FileNotFoundError:
            return None

    def is_file(self) -> bool:
        return self.size_bytes() is not None

    def is_dir(self) -> bool:
        """Whether there is a folder, or anything below it."""
        return self.store.is_folder(self.key)

    def exists(self) -> bool:
        return self.is_file() or self.is_dir()

    def children(self) -> set[str]:
        """The names right below a folder; none if it is not there."""
        return self.store.children(self.key)

    def walk(self) -> Iterator[Entry]:
        """Everything below a folder, at any depth, in the order of the keys."""
        return (Entry(StorePath(self.store, key), kind) for key, kind in self.store.walk(self.key))

    def read_bytes(self) -> bytes:
        """The content of a file."""
        return self.store.read(self.key)

    def read_range(self, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`; fewer only where the file ends before."""
        return next(iter(self.store.read_ranges([Range(self.key, start, end)])))

    def open_to_read(self) -> BinaryIO:
        """Opens a file to be read from its beginning to its end; elsewhere it can be read, too, but more slowly."""
        return self.store.open_to_read(self.key)

    def digested(self) -> DigestedReader:
        """Opens a file to be read from its beginning to its end, and digested as far as it is read."""
        size_bytes = self.info().size_bytes
        return DigestedReader(self.open_to_read(), size_bytes)

    def sha256(self) -> str:
        """Hexadecimal digest of a file."""
        with self.digested() as file:
            return file.finish()

    def write_whole(self) -> AbstractContextManager[DigestingFile]:
        """Opens a file for writing; it appears when the block ends without an exception, otherwise not at all.

        On a disk its mode is 0644 whatever the umask. Raises `OSError` naming the file if the disk, or the store,
        refuses.
        """
        return self.store.write_whole(self.key, DigestingFile)

    def write_whole_undigested(self) -> AbstractContextManager[CountingFile]:
        """The same for a file whose digest nobody asks for: digesting takes longer than writing."""
        return self.store.write_whole(self.key, CountingFile)

    def write_bytes(self, data: bytes) -> None:
        """Writes a small file that is nobody else's, whole or not at all."""
        self.store.write(self.key, data)

    def show(self, data: bytes) -> None:
        """The same of one that others read, or write, meanwhile, and that need not survive a power cut."""
        self.store.show(self.key, data)

    def remove(self) -> None:
        """Removes a file if it is there."""
        self.store.remove(self.key)

    def make_folder(self) -> None:
        """Makes a folder, and those above it, where files need one to be in."""
        self.store.make_folder(self.key)

    def remove_tree(self) -> None:
        """Removes a folder with everything in it if it is there."""
        self.store.remove_tree(self.key)

    def remove_empty(self) -> None:
        """Removes a folder, and those in it, as far as there is no file in them."""
        self.store.remove_empty(self.key)

    def remove_temporaries(self, is_deep: bool = False) -> Sequence[str]:
        """Removes what a killed run left half-written in a folder; returns what could not be done."""
        return self.store.remove_temporaries(self.key, is_deep)

    def lock(self) -> AbstractContextManager[bool]:
        """Holds a lock of that name during the block; false if somebody else has it. Raises `LostLockError`."""
        return self.store.lock(self.key)

    def is_locked(self) -> bool:
        """Whether somebody seems to hold a lock of that name."""
        return self.store.is_locked(self.key)

    def free_ranges(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Gives the disk space of ranges of a file, from a first byte to the one after a last, back where possible."""
        self.store.free_ranges(self.key, ranges)

    def has_holes(self, ranges: Iterable[tuple[int, int]]) -> bool:
        """Whether something of these ranges was given back, as far as the store says."""
        return self.store.has_holes(self.key, ranges)
