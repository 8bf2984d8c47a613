"""Clips that lie in folders: on a disk, in a bucket or in a zip file, as one of the layouts has them."""

from __future__ import annotations

import functools
import json
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from kconvert.catalog.clip import letters
from kconvert.catalog.release import AnnotationFile, Release, Reported, SplitInfo, SupplementInfo
from kconvert.catalog.tree_layout import COMMON_LAYOUTS, TreeLayout, torchvision_folder
from kconvert.errors import NotFoundError, OriginError
from kconvert.sources.fetch.stream import FetchOptions
from kconvert.sources.origins.origin import AbsentError, Listing, Origin
from kconvert.sources.trees.file_group import FileGroup, groups
from kconvert.sources.trees.tree import Tree, TreeFile, TreeListing

VIDEO_ENDINGS = (".mp4", ".mkv", ".webm", ".avi")
_REPLACEMENT = "replacement.files"
_MAX_ANNOTATION_BYTES = 1 << 30
_NUM_EXAMPLES = 3


def find_layout(tree: Tree, release: Release) -> TreeLayout | None:
    """The first layout that a tree has clips of; `None` if it has none."""
    for layout in (*release.extracted, *COMMON_LAYOUTS):
        for split in release.splits:
            if any(_is_there(tree, folder) for folder in layout.folders(split)):
                return layout
    return None


def looked_for(tree: Tree, release: Release) -> str:
    """What would have been a tree of extracted clips, and what is there instead, for people."""
    folders = ", ".join(layout.folder for layout in (*release.extracted, *COMMON_LAYOUTS))
    found = tree.listing("", is_video)
    paths = [file.path for file in found.files] + list(found.others)
    endings = Counter(PurePosixPath(path).suffix or "without ending" for path in paths)
    counts = ", ".join(f"{number:,} {ending}" for ending, number in endings.most_common(5))
    examples = ", ".join(map(repr, paths[:_NUM_EXAMPLES]))
    return f"clips in {folders}; found {f'{counts} (as {examples})' if paths else 'no file at all'}"


def is_video(name: str) -> bool:
    """Whether a file of that name is taken for a clip; what a Mac adds (`._`) is none."""
    return name.lower().endswith(VIDEO_ENDINGS) and not name.startswith("._")


def _is_there(tree: Tree, folder: str) -> bool:
    above, _, name = folder.rpartition("/")
    return name in tree.folders(above) and bool(tree.listing(folder, is_video).files)


class ExtractedClips(Origin):
    """A tree in which clips lie."""

    def __init__(self, tree: Tree, layout: TreeLayout, release: Release, options: FetchOptions) -> None:
        self._tree = tree
        self._layout = layout
        self._release = release
        self._options = options

    @functools.cached_property
    def title(self) -> str:
        files = [file for split in self._release.splits for file in self._files(split).files]
        by_letters = {letters(label): label for label in self._release.labels}
        above = Counter(by_letters.get(letters(file.path.split("/")[-2])) for file in files if "/" in file.path)
        num_flat, num_folders = above.pop(None, 0), len(above)
        num_labels = len(self._release.labels)
        flat = f"{num_labels} classes flat" if num_flat else ""
        folders = f"{num_folders} in folders of their own" if flat else f"{num_folders} class folders"
        how = ", ".join(filter(None, (flat, folders if num_folders else "")))
        return f"clips extracted {self._maker(files)}: {how}"

    def _maker(self, files: Sequence[TreeFile]) -> str:
        """Who made the tree, as far as the way in which it is made shows."""
        if self._layout.folder != "{split}":
            return self._layout.title
        if PurePosixPath(self._tree.location).name == "videos":
            return "by arrange_by_classes.py"
        folders = {file.path.split("/")[-2] for file in files if "/" in file.path}
        spelt = {torchvision_folder(label) for label in self._release.labels} - set(self._release.labels)
        return "as torchvision has them" if folders & spelt else self._layout.title

    def split(self, info: SplitInfo) -> SplitInfo | None:
        if not self._files(info.name).files:
            return None
        reported = Reported(0, info.reported.num_clips, info.reported.size_bytes, info.reported.num_annotations)
        return replace(
            info,
            archive=f"{info.name}-{{part}}.files",
            replacement=_REPLACEMENT if info.replacement and self._replacements() else None,
            reported=reported,
        )

    def listing(self, info: SplitInfo) -> Listing:
        found = self._files(info.name)
        cut = groups(info.name, self._tree, found.files, self._release.names)
        kept = json.dumps([[list(file) for file in group.files] for group in cut]).encode()
        return Listing(cut, len(cut), zlib.compress(kept, 1), found.notes)

    def relisted(self, info: SplitInfo, names: Sequence[str], kept: bytes) -> Sequence[FileGroup]:
        if not kept:
            raise OriginError(
                "--origin: the first run read archives, and in this origin clips lie in folders; give the origin of "
                "the first run, or --overwrite"
            )
        now = {file.path: file for file in self._files(info.name).files}
        before = [[TreeFile(*file) for file in group] for group in json.loads(zlib.decompress(kept))]
        found = []
        for number, files in enumerate(before):
            there = tuple(now.get(file.path, file) for file in files)
            is_whole = all(file.path in now for file in files)
            name = f"{info.name}-{number:06d}.files"
            found.append(FileGroup(name, self._tree, there, self._release.names, is_whole=is_whole))
        by_name = {group.name: group for group in found}
        return [by_name[name] for name in names]

    def annotations(self, info: SplitInfo) -> tuple[AnnotationFile, bytes]:
        for file in info.annotations:
            if (data := self._annotation_data(file)) is not None:
                return file, data
        leaves = ", ".join(PurePosixPath(file.path).name for file in info.annotations)
        raise AbsentError(
            f"no annotations of {info.name} at this origin: looked for {leaves} in "
            f"{' and in '.join(folder or 'the origin itself' for folder in self._annotation_folders)}; give "
            f"--annotations.{info.name} FILE, or the URL of the official file"
        )

    def all_annotations(self, info: SplitInfo) -> Sequence[tuple[AnnotationFile, bytes]]:
        first = self.annotations(info)
        rest = [(file, self._annotation_data(file)) for file in info.annotations if not file.is_complete]
        return [first, *((file, data) for file, data in rest if data is not None and file != first[0])]

    def replacement(self, info: SplitInfo) -> FileGroup | None:
        if info.replacement is None or not (files := self._replacements()):
            return None
        return FileGroup(_REPLACEMENT, self._tree, tuple(files), self._release.names)

    def supplement(self, info: SupplementInfo) -> str:
        return f"{self._tree.location}/{self._layout.annotations}/{PurePosixPath(info.archive).name}"

    @property
    def _annotation_folders(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self._layout.annotations, "annotations", "")))

    def _annotation_data(self, file: AnnotationFile) -> bytes | None:
        leaf = PurePosixPath(file.path).name
        for folder in self._annotation_folders:
            try:
                path = f"{folder}/{leaf}" if folder else leaf
                return self._tree.read_text(path, self._options, _MAX_ANNOTATION_BYTES)
            except NotFoundError:
                continue
        return None

    def _replacements(self) -> Sequence[TreeFile]:
        folder = self._layout.replacement
        return self._tree.listing(folder, is_video).files if folder else ()

    @functools.cache  # noqa: B019
    def _files(self, split: str) -> TreeListing:
        """The clips of a split; of those that lie both flat and in a folder of their class, the flat ones."""
        for folder in self._layout.folders(split):
            found = self._tree.listing(folder, is_video)
            if found.files:
                return _flat_first(found, folder)
        return TreeListing(())


def _flat_first(found: TreeListing, folder: str) -> TreeListing:
    flat = {file.path.rpartition("/")[2] for file in found.files if file.path.rpartition("/")[0] == folder}
    files = [file for file in found.files if file.path.rpartition("/")[0] == folder or _leaf(file) not in flat]
    num_left = len(found.files) - len(files)
    notes = [f"{num_left:,} clips lie in folders of classes and flat, too; the flat ones are read"] if num_left else []
    return replace(found, files=files, notes=(*found.notes, *notes))


def _leaf(file: TreeFile) -> str:
    return file.path.rpartition("/")[2]
