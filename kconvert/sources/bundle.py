"""Bundles: what one task reads of a split, such as an archive."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from kconvert.sources.fetch.stream import FetchOptions, OnBytes, Remote
from kconvert.sources.members import Members

if TYPE_CHECKING:
    from kconvert.sources.access import ArchiveAccess


class Bundle(ABC):
    """Some clips of a split that are read one after the other. It can be sent to other processes."""

    name: str
    """Unique in its split, whatever the origin."""
    kind = ("archive", "archives")
    """What one, and what several are called."""

    @property
    def version(self) -> str:
        """What its receipt has to say for it to be as it was read; `""` where nobody knows."""
        return ""

    @property
    def paths(self) -> Sequence[str]:
        """The paths of its clips; none where only reading shows them."""
        return ()

    @property
    def num_unjoined(self) -> int:
        """Its clips whose names have no times, and are of no single annotation."""
        return 0

    def named(self, names: Callable[[], Mapping[str, str]]) -> Bundle:
        """The same that knows the names of clips as far as it has files that are called by the ids of their videos
        alone; `names` gives them by these ids, and is asked where there are such files."""
        return self

    @abstractmethod
    def describe(self, options: FetchOptions) -> Remote:
        """Size and version, without reading. Raises `FetchError`."""

    @abstractmethod
    def open(self, access: ArchiveAccess, options: FetchOptions, on_bytes: OnBytes) -> Members:
        """Its members; archives are had by `access`. Raises as `Members` do, and `FetchError` if it is not there."""

    @abstractmethod
    def discard(self, access: ArchiveAccess) -> None:
        """Has what is kept of it, as it turned out to be damaged, forgotten."""

    @abstractmethod
    def clip_name(self, member: str) -> str:
        """The official name of the clip that a member of that name is. Raises `ValueError` if it is none."""
