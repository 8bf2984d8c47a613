"""Members: what a source holds, one after the other, in an order of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from kconvert.sources.fetch.stream import Remote


@dataclass(frozen=True)
class Member:
    """An entry of a source."""

    name: str
    """As stored, with the folders above it; bytes that are not UTF-8 stand as surrogates."""
    is_file: bool
    """False for folders, links, devices and everything else that carries no bytes of its own."""
    size_bytes: int
    """As declared, which may be wrong; 0 for what carries no bytes."""
    link: str
    """The name of the earlier member whose bytes it shares (a hard link); `""` if it has its own, or none."""
    load: Callable[[], bytes]
    """Gives its bytes, once, until the next member is asked for. Raises `ArchiveError` if the source is damaged before
    their end, `RuntimeError` where it is too late."""


class ReadSoFar(NamedTuple):
    """What was read of a source."""

    num_members: int
    """Members that were given; the last one perhaps not whole."""
    num_bytes: int
    """Of the source, as it is stored."""
    crc32: int
    """Of these bytes."""


class Members(AbstractContextManager["Members"], Protocol):
    """The members of a source. To be closed.

    `notes` are what a person should know of the source, once all members were given: what was odd, and is harmless.

    Each is given once. When the iteration ends by itself, everything that the source has to say was read and checked;
    what is damaged raises `ArchiveError`, also after the last member.
    """

    notes: list[str]

    @property
    def remote(self) -> Remote:
        """Size and version of the source, as far as is known by now."""

    @property
    def read_so_far(self) -> ReadSoFar:
        """How far the reading is."""

    def __iter__(self) -> Iterator[Member]: ...
