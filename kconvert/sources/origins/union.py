"""The origin of a union: those of its releases, side by side."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from kconvert.catalog.release import AnnotationFile, Release, SplitInfo, SupplementInfo
from kconvert.catalog.union import joined_files
from kconvert.errors import OriginError
from kconvert.sources.bundle import Bundle
from kconvert.sources.origins.origin import Listing, Origin


class UnionOrigin(Origin):
    """The origins of several releases, by these; the newest is read first. Raises `OriginError` where clips lie in
    folders."""

    def __init__(self, release: Release, origins: Mapping[str, tuple[Release, Origin]]) -> None:
        self._release = release
        self._origins = origins

    @property
    def is_certain(self) -> bool:
        return all(origin.is_certain for _, origin in self._origins.values())

    def title(self, split: str) -> str:
        titles = {title for _, origin in self._origins.values() if (title := origin.title(split))}
        if titles and not self.is_certain:
            raise OriginError(
                f"--origin: clips in folders could be of any release of {self._release.name}; give a mirror of the "
                "official server, or the folder that the official shell scripts leave"
            )
        return "; ".join(sorted(titles))

    def split(self, info: SplitInfo) -> SplitInfo | None:
        if any(origin.split(release.splits[info.name]) is None for release, origin in self._origins.values()):
            return None
        better = next((found.name for found in [self.replacement(info)] if found is not None), None)
        return replace(info, archive="{part}", annotations=(_file(info),), replacement=better)

    def listing(self, info: SplitInfo, named: Callable[[], Container[str]]) -> Listing:
        found = [(origin, origin.listing(one, named)) for one, origin in self._newest_first(info)]
        bundles = [bundle for _, listing in found for bundle in listing.bundles]
        if any(listing.kept for _, listing in found):
            raise OriginError(
                f"--origin: {self._release.name} is read from archives; give a mirror of the official server, or the "
                "folder that the official shell scripts leave"
            )
        return Listing(bundles, sum(listing.num_bundles for _, listing in found))

    def relisted(self, info: SplitInfo, names: Sequence[str], kept: bytes) -> Listing:
        known: dict[str, Bundle] = {}
        for one, origin in self._newest_first(info):
            own = [name for name in names if name.startswith(f"{PurePosixPath(one.archive).parent}/")]
            known |= {bundle.name: bundle for bundle in origin.relisted(one, own, kept).bundles}
        return Listing([known[name] for name in names], len(names))

    def annotations(self, info: SplitInfo) -> tuple[AnnotationFile, bytes]:
        files = {
            name: origin.all_annotations(release.splits[info.name]) for name, (release, origin) in self._origins.items()
        }
        return _file(info), joined_files(files)

    def replacement(self, info: SplitInfo) -> Bundle | None:
        found = [origin.replacement(one) for one, origin in self._newest_first(info)]
        return next((bundle for bundle in found if bundle is not None), None)

    def text(self, path: str) -> bytes:
        _, origin = next(iter(self._origins.values()))
        return origin.text(path)

    def supplement(self, info: SupplementInfo) -> str:
        _, origin = list(self._origins.values())[-1]
        return origin.supplement(info)

    def _newest_first(self, info: SplitInfo) -> list[tuple[SplitInfo, Origin]]:
        return [(release.splits[info.name], origin) for release, origin in reversed(list(self._origins.values()))]


def _file(info: SplitInfo) -> AnnotationFile:
    return AnnotationFile(f"the lists of {info.name}", "union")
