"""What every origin answers: which bundles of clips a split has, which annotations, which replacements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

from kconvert.catalog.release import AnnotationFile, SplitInfo, SupplementInfo
from kconvert.errors import OriginError
from kconvert.sources.bundle import Bundle


@dataclass(frozen=True)
class Listing:
    """What of a split is there."""

    bundles: Sequence[Bundle]
    """In their order."""
    num_bundles: int
    """That the split has, be they there or not."""
    kept: bytes = b""
    """What a later run needs to find the same bundles again (see `Origin.relisted`); nothing if their names do."""
    notes: Sequence[str] = ()
    """What a person should know of it."""
    holds_others: bool = False
    """Whether clips of other splits are in the bundles, too: those that its lists name are the split's."""


class Origin(ABC):
    """Promises: the same answer at every call while the origin does not change; `OriginError` where it cannot say."""

    @property
    def is_certain(self) -> bool:
        """Whether what is there shows of which release it is."""
        return True

    def title(self, split: str) -> str:
        """How the clips of a split lie, for people; `""` for in archives, which is what is usual."""
        return ""

    def split(self, info: SplitInfo) -> SplitInfo | None:
        """A split as it is here; `None` if it is known not to be here at all."""
        return info

    @abstractmethod
    def listing(self, info: SplitInfo, named: Callable[[], Container[str]]) -> Listing:
        """The bundles of a split; `named` gives the clips that its lists name, and is asked where clips of several
        splits lie together. Raises `OriginError`."""

    @abstractmethod
    def relisted(self, info: SplitInfo, names: Sequence[str], kept: bytes) -> Listing:
        """The bundles of these names, as a run before fixed them, which kept that of their listing. Raises
        `OriginError`."""

    @abstractmethod
    def annotations(self, info: SplitInfo) -> tuple[AnnotationFile, bytes]:
        """The first annotation file of the catalogue's candidates that is there, and its content. Raises `AbsentError`
        if none is."""

    def all_annotations(self, info: SplitInfo) -> Sequence[tuple[AnnotationFile, bytes]]:
        """The same, and of the other candidates those that complete it, as far as they are there."""
        return [self.annotations(info)]

    @abstractmethod
    def replacement(self, info: SplitInfo) -> Bundle | None:
        """The replacements for a split; `None` if the release, or the origin, has none."""

    @abstractmethod
    def text(self, path: str) -> bytes:
        """A small file below the base, or several as one (see `row_list.joined`). Raises `AbsentError` if it is not
        there, `OriginError` if it cannot be had."""

    def num_outside(self, named: Callable[[], Mapping[str, Container[str]]]) -> int:
        """How many clips are of no split, where those of several lie together; `named` gives those that lists name, by
        split. 0 where they do not, and nobody is asked."""
        return 0

    def folder_labels(self) -> Sequence[str]:
        """The labels that the folders, or names, of clips say, where they do."""
        return ()

    @abstractmethod
    def supplement(self, info: SupplementInfo) -> str:
        """Where the archive of further annotations is, if there is one: a URL or a local path."""


class AbsentError(OriginError):
    """There is no such file, or no such release, at this origin."""
