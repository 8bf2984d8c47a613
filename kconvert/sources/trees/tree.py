"""What every tree of files answers: which files are in it, and what their bytes are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kconvert.errors import FetchError, NotFoundError
from kconvert.sources.fetch.open import open_stream
from kconvert.sources.fetch.stream import FetchOptions, Remote


class TreeFile(NamedTuple):
    """A file of a tree."""

    path: str
    """Below the root of the tree, with `/` between the names."""
    size_bytes: int
    """As the tree states it."""
    version: str
    """What changes when the file does, as far as the tree says; `""` if it says nothing."""


@dataclass(frozen=True)
class TreeListing:
    """What is below a folder of a tree."""

    files: Sequence[TreeFile]
    """Those that were asked for, in the order of their paths."""
    others: Sequence[str] = ()
    """The paths of the others."""
    notes: Sequence[str] = ()
    """What a person should know of it."""


IsWanted = Callable[[str], bool]
"""Says of a file's name whether it is asked for."""


class Tree(ABC):
    """Files by their paths. It can be sent to other processes."""

    location: str
    """What a person calls it."""
    max_reads = 1
    """How many files are worth reading at a time."""

    @abstractmethod
    def folders(self, folder: str) -> set[str]:
        """The names of the folders right below one; nothing if it is not there. The root is `""`."""

    @abstractmethod
    def listing(self, folder: str, is_wanted: IsWanted) -> TreeListing:
        """What is below a folder, at any depth; nothing if it is not there.

        Raises: `OriginError` for what must not be followed.
        """

    @abstractmethod
    def read(self, file: TreeFile, options: FetchOptions) -> bytes:
        """The bytes of a file, as it was listed.

        Raises: `FetchError` if they cannot be had, or are not what they were; `ArchiveError` if the tree is an archive
        that is damaged there.
        """

    @abstractmethod
    def read_text(self, path: str, options: FetchOptions, max_bytes: int) -> bytes:
        """A small file. Raises `NotFoundError` if it is not there, `FetchError` if it cannot be had."""


def read_whole(location: str, options: FetchOptions, is_as_listed: Callable[[Remote], bool]) -> bytes:
    """The bytes of a file at a location. Raises `FetchError` if they cannot be had, or are not what they were."""
    try:
        with open_stream(location, options) as stream:
            if is_as_listed(stream.remote):
                return b"".join(map(bytes, iter(stream.read, b"")))
    except NotFoundError as error:
        raise FetchError(location, f"{error.problem}, though it was listed; put it back, or use --overwrite") from error
    raise FetchError(location, "was changed since it was listed; run the same command again")
