"""Which files of a tree are clips of which split: as layouts have them, or as the paths of files or lists say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from kconvert.catalog.names import FoundName, is_video
from kconvert.catalog.release import Release, SplitInfo
from kconvert.catalog.spellings import Spellings
from kconvert.catalog.tree_layout import COMMON_LAYOUTS, SPLIT_FOLDERS, TreeLayout, torchvision_folder
from kconvert.errors import OriginError
from kconvert.sources.trees.tree import Tree, TreeFile, TreeListing

_NUM_EXAMPLES = 3


def layouts_of(release: Release) -> Sequence[TreeLayout]:
    """The layouts that the clips of a release may have; those that are common to all are of splits in folders."""
    own = release.extracted
    return own if own and not any(layout.has_folders_of_splits for layout in own) else (*own, *COMMON_LAYOUTS)


def looked_for(tree: Tree, release: Release) -> str:
    """What would have been a tree of extracted clips, and what is there instead, for people."""
    folders = ", ".join(layout.folder or "the origin itself" for layout in layouts_of(release))
    try:
        found = tree.listing("", is_video)
    except OriginError as error:
        return f"clips in {folders}; what is there cannot be listed ({error})"
    paths = [file.path for file in found.files] + list(found.others)
    endings = Counter(PurePosixPath(path).suffix or "without ending" for path in paths)
    counts = ", ".join(f"{number:,} {ending}" for ending, number in endings.most_common(5))
    examples = ", ".join(map(repr, paths[:_NUM_EXAMPLES]))
    return f"clips in {folders}; found {f'{counts} (as {examples})' if paths else 'no file at all'}"


@dataclass(frozen=True)
class _Place:
    """Where clips of a split lie."""

    layout: TreeLayout
    """That has them there."""
    folder: str
    """Below the root of the tree."""


class SplitFiles:
    """The clips of a tree, by split."""

    def __init__(self, tree: Tree, release: Release) -> None:
        self._tree = tree
        self._release = release
        self._listings: dict[str, TreeListing] = {}
        self._all: dict[str, TreeListing] = {}
        self._known_folders: dict[str, set[str]] = {}

    def layout(self, split: str) -> TreeLayout | None:
        """How the clips of a split lie; `None` if none is there."""
        place = next(self._places(split), None)
        return None if place is None else place.layout

    def all(self, split: str) -> TreeListing:
        """The clips that lie where those of a split do, perhaps with those of others; of clips that lie both flat and
        in a folder of their class, the flat ones."""
        if split not in self._all:
            self._all[split] = self._found(split)
        return self._all[split]

    def _found(self, split: str) -> TreeListing:
        places = list(self._places(split))
        if not places:
            return TreeListing(())
        found = self._flat_first(self._listing(places[0].folder), places[0].folder)
        notes = [
            f"clips lie in {other.folder}/, too; those in {places[0].folder}/ are read"
            for other in places[1:]
            if not _is_below(other.folder, places[0].folder) and not _is_below(places[0].folder, other.folder)
        ]
        return replace(found, notes=(*found.notes, *notes))

    def of(self, info: SplitInfo, named: Callable[[], Container[str]]) -> TreeListing:
        """The clips of a split: those in its folder, else those whose paths name it, else those that its lists name."""
        found, layout = self.all(info.name), self.layout(info.name)
        if layout is None or layout.has_folders_of_splits:
            return found
        inside = named() if info.annotations else ()
        files = [file for file in found.files if self._is_of(self.said(file), info, inside)]
        return replace(found, files=files)

    def num_outside(self, named: Mapping[str, Container[str]]) -> int:
        """How many clips are of no split, where those of several lie together; `named` are those that lists name, by
        split."""
        splits = self._release.splits
        files = self.all(next(iter(splits))).files
        return sum(
            not any(self._is_of(said, info, named[split]) for split, info in splits.items())
            for said in map(self.said, files)
        )

    def _is_of(self, said: FoundName | None, info: SplitInfo, named: Container[str]) -> bool:
        """Whether a clip is of a split, by what its path says, or by its lists."""
        if said is None or said.split:
            return said is not None and said.split in SPLIT_FOLDERS.get(info.name, (info.name,))
        return not info.annotations or said.name in named

    def said(self, file: TreeFile) -> FoundName | None:
        """What the path of a file says; `None` if it is no clip's."""
        try:
            return self._release.names.of_file(file.path)
        except ValueError:
            return None

    def _flat_first(self, found: TreeListing, folder: str) -> TreeListing:
        """Without the copies in folders of clips that lie flat, of the same name and size."""
        flat = {(self._name(file), file.size_bytes) for file in found.files if _above(file) == folder} - {("", 0)}
        if not flat or len(flat) == len(found.files):
            return found
        files = [
            file
            for file in found.files
            if _above(file) == folder or (self._name(file), file.size_bytes) not in flat or not self._name(file)
        ]
        num_left = len(found.files) - len(files)
        text = f"{num_left:,} clips lie in folders of classes and flat, too; the flat ones are read"
        return replace(found, files=files, notes=(*found.notes, *([text] if num_left else [])))

    def _name(self, file: TreeFile) -> str:
        said = self.said(file)
        return "" if said is None else said.name

    def title(self, split: str) -> str:
        """How the clips of a split lie, for people."""
        files, layout = self.all(split).files, self.layout(split)
        spellings = Spellings(self._release.labels)
        folders = Counter(file.path.rpartition("/")[0].rpartition("/")[2] for file in files)
        labelled = {folder: number for folder, number in folders.items() if spellings.meant(folder)}
        num_flat = len(files) - sum(labelled.values())
        flat = f"{len(self._release.labels)} classes flat" if num_flat else ""
        own = f"{len(labelled)} {'more folders of classes' if flat else 'class folders'}" if labelled else ""
        how = " and ".join(filter(None, (flat, own)))
        return "" if layout is None else f"clips extracted {self._maker(layout, folders)}: {how}"

    def _maker(self, layout: TreeLayout, folders: Container[str]) -> str:
        """Who made the tree, as far as the way in which it is made shows."""
        if layout.folder != "{split}":
            return layout.title
        if PurePosixPath(self._tree.location).name == "videos":
            return "by arrange_by_classes.py"
        spelt = {torchvision_folder(label) for label in self._release.labels} - set(self._release.labels)
        return "as torchvision has them" if any(folder in folders for folder in spelt) else layout.title

    def _places(self, split: str) -> Iterator[_Place]:
        """Where clips of a split lie, the first place first."""
        for layout in layouts_of(self._release):
            for folder in layout.folders(split):
                if self._is_folder(folder) and self._listing(folder).files:
                    yield _Place(layout, folder)

    def _is_folder(self, folder: str) -> bool:
        above, _, name = folder.rpartition("/")
        return not folder or name in self._folders(above)

    def _folders(self, above: str) -> set[str]:
        """The names of the folders in one, which is looked at once."""
        if above not in self._known_folders:
            self._known_folders[above] = self._tree.folders(above)
        return self._known_folders[above]

    def _listing(self, folder: str) -> TreeListing:
        """What is below a folder, which is walked once."""
        if folder not in self._listings:
            self._listings[folder] = self._tree.listing(folder, is_video)
        return self._listings[folder]


def _is_below(folder: str, other: str) -> bool:
    """Whether a folder is another one, or in it."""
    return not other or f"{folder}/".startswith(f"{other}/")


def _above(file: TreeFile) -> str:
    return file.path.rpartition("/")[0]
