"""Archives in which the clips of several splits lie together: what is of which split, its lists say."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Container, Sequence
from dataclasses import replace

from kconvert.catalog.release import AnnotationFile, Release, SplitInfo, SupplementInfo
from kconvert.sources.access import ArchiveRef
from kconvert.sources.archive_parts import ArchiveParts
from kconvert.sources.bundle import Bundle
from kconvert.sources.fetch.stream import FetchOptions
from kconvert.sources.origins.annotation_files import first_text
from kconvert.sources.origins.origin import Listing, Origin
from kconvert.sources.trees.open import open_tree
from kconvert.sources.trees.texts import TreeTexts
from kconvert.storage.open import to_path


class SharedArchives(Origin):
    """The archives of a folder or a bucket."""

    def __init__(self, where: str, release: Release, options: FetchOptions) -> None:
        self._where = where.rstrip("/")
        self._release = release
        self._texts = TreeTexts(open_tree(where, options), ("annotations", ""), options)
        self._found = list(self._bundles())

    @property
    def has_archives(self) -> bool:
        """Whether any are there."""
        return bool(self._found)

    def split(self, info: SplitInfo) -> SplitInfo | None:
        return replace(info, archive="{part}", replacement=None)

    def listing(self, info: SplitInfo, named: Callable[[], Container[str]]) -> Listing:
        return Listing(self._found, len(self._found), holds_others=bool(info.annotations))

    def relisted(self, info: SplitInfo, names: Sequence[str], kept: bytes) -> Listing:
        found = {bundle.name: bundle for bundle in self._found}
        lost = [ArchiveRef(name, f"{self._where}/{name}", self._release.names) for name in names if name not in found]
        found |= {bundle.name: bundle for bundle in lost}
        return Listing([found[name] for name in names], len(self._found))

    def annotations(self, info: SplitInfo) -> tuple[AnnotationFile, bytes]:
        return first_text(info, self._texts)

    def replacement(self, info: SplitInfo) -> Bundle | None:
        return None

    def text(self, path: str) -> bytes:
        return self._texts.get(path)

    def supplement(self, info: SupplementInfo) -> str:
        return f"{self._where}/{info.archive}"

    def _bundles(self) -> list[Bundle]:
        release = self._release
        found: list[Bundle] = [
            ArchiveRef(path, f"{self._where}/{path}", release.names)
            for pattern in release.archives
            for path in self._matching(pattern)
        ]
        for pattern in release.parts:
            if paths := self._matching(pattern):
                locations = [f"{self._where}/{path}" for path in paths]
                found.append(ArchiveParts(pattern.rstrip("*?.-"), locations, release.names))
        return found

    def _matching(self, pattern: str) -> list[str]:
        above, _, leaf = pattern.rpartition("/")
        names = fnmatch.filter((to_path(self._where) / above).children(), leaf)
        return [f"{above}/{name}" if above else name for name in sorted(names)]
