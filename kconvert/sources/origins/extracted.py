"""Clips that lie in folders: on a disk, in a bucket or in a zip file, as one of the layouts has them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Container, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import PurePosixPath

from kconvert.catalog.names import is_video
from kconvert.catalog.release import AnnotationFile, Release, Reported, SplitInfo, SupplementInfo
from kconvert.errors import OriginError
from kconvert.sources.fetch.stream import FetchOptions
from kconvert.sources.origins.annotation_files import first_text
from kconvert.sources.origins.origin import Listing, Origin
from kconvert.sources.origins.split_files import SplitFiles
from kconvert.sources.trees.file_group import FileGroup, groups
from kconvert.sources.trees.texts import TreeTexts
from kconvert.sources.trees.tree import Tree, TreeFile

_REPLACEMENT = "replacement.files"


class ExtractedClips(Origin):
    """A tree in which clips lie."""

    def __init__(self, tree: Tree, release: Release, options: FetchOptions) -> None:
        self._tree = tree
        self._release = release
        self._options = options
        self._clips = SplitFiles(tree, release)

    @property
    def has_clips(self) -> bool:
        """Whether there are any of the release, as far as that can be seen."""
        return any(self._clips.layout(split) is not None for split in self._release.splits)

    @property
    def is_certain(self) -> bool:
        layouts = [self._clips.layout(split) for split in self._release.splits]
        return any(layout in self._release.extracted for layout in layouts if layout is not None)

    def title(self, split: str) -> str:
        return self._clips.title(split)

    def split(self, info: SplitInfo) -> SplitInfo | None:
        if not self._clips.all(info.name).files:
            return None
        reported = Reported(0, info.reported.num_clips, info.reported.size_bytes, info.reported.num_annotations)
        return replace(info, archive=f"{info.name}-{{part}}.files", reported=reported)

    def listing(self, info: SplitInfo, named: Callable[[], Container[str]]) -> Listing:
        found = self._clips.of(info, named)
        if not found.files and self._clips.all(info.name).files:
            raise OriginError(
                f"--origin {self._tree.location}: none of its clips is of {info.name}, as its lists name them; "
                "`kconvert releases FILE --origin DIR` shows both: correct the patterns of names"
            )
        cut = groups(info.name, self._tree, found.files, self._release.names)
        kept = json.dumps([[list(file) for file in group.files] for group in cut]).encode()
        return Listing(cut, len(cut), zlib.compress(kept, 1), found.notes)

    def relisted(self, info: SplitInfo, names: Sequence[str], kept: bytes) -> Listing:
        if not kept:
            raise OriginError(
                "--origin: the first run read archives, and in this origin clips lie in folders; give the origin of "
                "the first run, or --overwrite"
            )
        before = _before(kept)
        now = {file.path: file for file in self._clips.all(info.name).files}
        found = {}
        for number, files in enumerate(before):
            there = tuple(now.get(file.path, file) for file in files)
            name = f"{info.name}-{number:06d}.files"
            is_whole = all(file.path in now for file in files)
            found[name] = FileGroup(name, self._tree, there, self._release.names, is_whole=is_whole)
        notes = self._additions(info, now.keys() - {file.path for files in before for file in files})
        return Listing([found[name] for name in names], len(found), kept, notes)

    def _additions(self, info: SplitInfo, new: Set[str]) -> list[str]:
        """What a person should know of files that were added since the first run."""
        layout = self._clips.layout(info.name)
        if not new or layout is None or not layout.has_folders_of_splits:
            return []
        return [f"{len(new):,} new files are not taken in; --overwrite begins anew"]

    def annotations(self, info: SplitInfo) -> tuple[AnnotationFile, bytes]:
        return first_text(info, self._texts(info.name))

    def all_annotations(self, info: SplitInfo) -> Sequence[tuple[AnnotationFile, bytes]]:
        first, texts = self.annotations(info), self._texts(info.name)
        rest = [(file, texts.find(file.path)) for file in info.annotations if not file.is_complete]
        return [first, *((file, data) for file, data in rest if data is not None and file != first[0])]

    def replacement(self, info: SplitInfo) -> FileGroup | None:
        layout = self._clips.layout(info.name)
        if info.replacement is None or layout is None or not layout.replacement:
            return None
        files = self._tree.listing(layout.replacement, is_video).files
        return FileGroup(_REPLACEMENT, self._tree, tuple(files), self._release.names) if files else None

    def text(self, path: str) -> bytes:
        return self._texts(self._first_split).get(path)

    def num_outside(self, named: Callable[[], Mapping[str, Container[str]]]) -> int:
        layout = self._clips.layout(self._first_split)
        return 0 if layout is None or layout.has_folders_of_splits else self._clips.num_outside(named())

    def folder_labels(self) -> Sequence[str]:
        files = (file for split in self._release.splits for file in self._clips.all(split).files)
        return sorted({said.label for said in map(self._clips.said, files) if said is not None and said.label})

    def supplement(self, info: SupplementInfo) -> str:
        folder = self._texts(self._first_split).folders[0]
        return f"{self._tree.location}/{folder}/{PurePosixPath(info.archive).name}"

    @property
    def _first_split(self) -> str:
        return next(iter(self._release.splits))

    def _texts(self, split: str) -> TreeTexts:
        layout = self._clips.layout(split)
        own = () if layout is None else (layout.annotations,)
        return TreeTexts(self._tree, tuple(dict.fromkeys((*own, "annotations", ""))), self._options)


def _before(kept: bytes) -> list[list[TreeFile]]:
    """The files of each group, as the first run listed them."""
    try:
        return [[TreeFile(*file) for file in group] for group in json.loads(zlib.decompress(kept))]
    except (zlib.error, ValueError, TypeError) as error:
        raise OriginError(
            f"the list of files that the first run kept was changed ({error}); use --overwrite to start again"
        ) from error
