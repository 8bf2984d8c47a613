"""What the official shell scripts leave: the archives of a split in one folder, the annotations in another."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Sequence
from pathlib import Path

from kconvert.catalog.release import AnnotationFile, Release, SplitInfo, SupplementInfo
from kconvert.errors import OriginError
from kconvert.sources.access import ArchiveRef
from kconvert.sources.fetch.stream import FetchOptions
from kconvert.sources.origins.annotation_files import (
    completed_annotations,
    first_annotations,
    read_file,
    require_single,
)
from kconvert.sources.origins.official import ARCHIVE_ENDINGS, is_archive_name, require_archives
from kconvert.sources.origins.origin import Listing, Origin
from kconvert.sources.trees.texts import MAX_TEXT_BYTES


def has_archives(root: Path, release: Release) -> bool:
    """Whether a folder has archives where the official shell scripts put them."""
    if release.script_folders is None:
        return False
    folders = [root / release.script_folders.archives.format(split=split) for split in release.splits]
    return any(is_archive_name(path.name) for folder in folders if folder.is_dir() for path in folder.iterdir())


class ScriptFolders(Origin):
    """What the official shell scripts leave: the archives of a split in one folder, the annotations in another."""

    def __init__(self, root: Path, release: Release, options: FetchOptions) -> None:
        assert release.script_folders is not None
        self._folders = release.script_folders
        self._root = root
        self._release = release
        self._options = options

    def listing(self, info: SplitInfo, named: Callable[[], Container[str]]) -> Listing:
        found = self._archives(info)
        # There is no path list among the files that the scripts leave, and downloads may be missing.
        return Listing(found, max(len(found), info.reported.num_archives))

    def relisted(self, info: SplitInfo, names: Sequence[str], kept: bytes) -> Listing:
        require_archives(kept)
        there = {ref.name: ref for ref in self._archives(info)}
        # It may have been read and removed since; if it is needed, reading it will show that it is not there.
        folder = self._root / self._folders.archives.format(split=info.name)
        clips = self._release.names
        found = [there.get(name) or ArchiveRef(name, str(folder / Path(name).name), clips) for name in names]
        return Listing(found, len(found))

    def _archives(self, info: SplitInfo) -> tuple[ArchiveRef, ...]:
        folder = self._root / self._folders.archives.format(split=info.name)
        if not folder.is_dir():
            raise OriginError(
                f"{folder}: no such folder; the official script puts the {info.name} archives there; "
                f"run it, or leave {info.name} out of --split"
            )
        found = sorted(path for path in folder.iterdir() if is_archive_name(path.name) and path.is_file())
        if not found:
            raise OriginError(
                f"{folder}: holds no {' or '.join(ARCHIVE_ENDINGS)} file; "
                f"fetch them, or leave {info.name} out of --split"
            )
        refs: dict[str, ArchiveRef] = {}
        for path in found:
            ref = ArchiveRef(self._official_name(info, path), str(path), self._release.names)
            if refs.setdefault(ref.name, ref) != ref:
                raise OriginError(f"{folder}: {path.name} is there in both spellings; remove one of them")
        return tuple(sorted(refs.values(), key=lambda ref: _natural(ref.name)))

    def annotations(self, info: SplitInfo) -> tuple[AnnotationFile, bytes]:
        return first_annotations(self._candidates(info), self._options)

    def all_annotations(self, info: SplitInfo) -> Sequence[tuple[AnnotationFile, bytes]]:
        return completed_annotations(self._candidates(info), self._options)

    def _candidates(self, info: SplitInfo) -> list[tuple[AnnotationFile, str]]:
        folder = self._root / self._folders.annotations
        return [(file, str(folder / Path(file.path).name)) for file in info.annotations]

    def replacement(self, info: SplitInfo) -> ArchiveRef | None:
        if info.replacement is None or self._folders.replacement is None:
            return None
        folder = self._root / self._folders.replacement
        found = sorted(path for path in folder.glob("*") if is_archive_name(path.name))
        return ArchiveRef(info.replacement, str(found[0]), self._release.names) if found else None

    def text(self, path: str) -> bytes:
        require_single(path)
        return read_file(str(self._root / path), self._options, MAX_TEXT_BYTES)

    def supplement(self, info: SupplementInfo) -> str:
        return str(self._root / self._folders.annotations / Path(info.archive).name)

    def _official_name(self, info: SplitInfo, path: Path) -> str:
        """The official path of a file; k600's may be spelt with underscores on disk."""
        name = f"{Path(info.archive).parent}/{path.name}"
        if "{label}" in info.archive:
            label = info.label_of(name, self._release.labels)
            return info.archive.format(label=label) if label else name
        return name


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts `part_2` before `part_10`."""
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split("([0-9]+)", name)]
