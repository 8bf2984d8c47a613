"""Clips that lie in folders: on a disk, in a bucket or in a zip file, as one of the layouts has them."""

from __future__ import annotations

import fnmatch
import functools
import json
import zlib
from collections import Counter
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePosixPath

from kconvert.catalog.clip import letters
from kconvert.catalog.names import FoundName
from kconvert.catalog.release import AnnotationFile, Release, Reported, SplitInfo, SupplementInfo
from kconvert.catalog.row_list import joined
from kconvert.catalog.tree_layout import COMMON_LAYOUTS, SPLIT_FOLDERS, TreeLayout, torchvision_folder
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
    for layout in _layouts(release):
        for split in release.splits:
            if any(_is_there(tree, folder) for folder in layout.folders(split)):
                return layout
    return None


def _layouts(release: Release) -> Sequence[TreeLayout]:
    """The layouts that the clips of a release may have; those that are common to all are of splits in folders."""
    own = release.extracted
    return own if own and not any("{split}" in layout.folder for layout in own) else (*own, *COMMON_LAYOUTS)


def looked_for(tree: Tree, release: Release) -> str:
    """What would have been a tree of extracted clips, and what is there instead, for people."""
    folders = ", ".join(layout.folder or "the origin itself" for layout in _layouts(release))
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
    if not folder:
        return bool(tree.listing("", is_video).files)
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

    def listing(self, info: SplitInfo, named: Container[str]) -> Listing:
        found = self._own_files(info, named)
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
        if not info.annotations:
            return AnnotationFile("", "none", is_complete=False), b""
        for file in info.annotations:
            if (data := self._annotation_data(file)) is not None:
                return file, data
        paths = ", ".join(file.path for file in info.annotations)
        raise AbsentError(
            f"no annotations of {info.name} at this origin: no {paths}; {self._looked_for(paths)}; give "
            f"--annotations.{info.name} FILE, or the URL of the official file"
        )

    def _looked_for(self, path: str) -> str:
        folders = [folder or "the origin itself" for folder in self._annotation_folders]
        return f"looked for {path.rpartition('/')[2]} in {' and in '.join(folders)}, too"

    def all_annotations(self, info: SplitInfo) -> Sequence[tuple[AnnotationFile, bytes]]:
        first = self.annotations(info)
        rest = [(file, self._annotation_data(file)) for file in info.annotations if not file.is_complete]
        return [first, *((file, data) for file, data in rest if data is not None and file != first[0])]

    def replacement(self, info: SplitInfo) -> FileGroup | None:
        if info.replacement is None or not (files := self._replacements()):
            return None
        return FileGroup(_REPLACEMENT, self._tree, tuple(files), self._release.names)

    def text(self, path: str) -> bytes:
        if (data := self._text(path)) is None:
            raise AbsentError(f"--origin {self._tree.location}: no {path}; {self._looked_for(path)}")
        return data

    def num_outside(self, named: Callable[[], Container[str]]) -> int:
        if self._has_folders_of_splits or not all(info.annotations for info in self._release.splits.values()):
            return 0
        inside = named()
        return sum(self._name_of(file) not in inside for file in self._files("").files)

    def folder_labels(self) -> Sequence[str]:
        splits = self._release.splits if self._has_folders_of_splits else ("",)
        found = {found.label for split in splits for file in self._files(split).files if (found := self._said(file))}
        return sorted(found - {""})

    def supplement(self, info: SupplementInfo) -> str:
        return f"{self._tree.location}/{self._layout.annotations}/{PurePosixPath(info.archive).name}"

    @property
    def _annotation_folders(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self._layout.annotations, "annotations", "")))

    def _annotation_data(self, file: AnnotationFile) -> bytes | None:
        return self._text(file.path)

    def _text(self, path: str) -> bytes | None:
        """A small file at its path, or in a folder of annotations; several, where the name is a pattern."""
        above, _, leaf = path.rpartition("/")
        for folder in dict.fromkeys((above, *self._annotation_folders)):
            names = [leaf]
            if "*" in leaf:
                others = self._tree.listing(folder, is_video).others
                names = fnmatch.filter([other.rpartition("/")[2] for other in others], leaf)
            with suppress(NotFoundError):
                paths = {name: f"{folder}/{name}" if folder else name for name in names}
                read = {
                    name: self._tree.read_text(path, self._options, _MAX_ANNOTATION_BYTES)
                    for name, path in paths.items()
                }
                if read:
                    return joined(read)
        return None

    @property
    def _has_folders_of_splits(self) -> bool:
        return "{split}" in self._layout.folder

    def _said(self, file: TreeFile) -> FoundName | None:
        """What the path of a file says; `None` if it is no clip's."""
        try:
            return self._release.names.of_file(file.path)
        except ValueError:
            return None

    def _name_of(self, file: TreeFile) -> str:
        found = self._said(file)
        return "" if found is None else found.name

    def _own_files(self, info: SplitInfo, named: Container[str]) -> TreeListing:
        """The files of a split: those in its folder, else those whose paths name it, else those that its lists do."""
        found = self._files(info.name)
        if self._has_folders_of_splits:
            return found
        own = []
        for file in found.files:
            said = self._said(file)
            if said is not None and said.split:
                is_own = said.split in SPLIT_FOLDERS.get(info.name, (info.name,))
            else:
                is_own = said is not None and (not info.annotations or said.name in named)
            if is_own:
                own.append(file)
        return replace(found, files=own)

    def _replacements(self) -> Sequence[TreeFile]:
        folder = self._layout.replacement
        return self._tree.listing(folder, is_video).files if folder else ()

    @functools.cache  # noqa: B019
    def _files(self, split: str) -> TreeListing:
        """The clips of a split, or of all where they lie together; of those that lie both flat and in a folder of their
        class, the flat ones."""
        if split and not self._has_folders_of_splits:
            return self._files("")
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
