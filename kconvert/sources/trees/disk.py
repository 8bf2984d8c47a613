"""Folders of a disk as a tree. Links are followed where they stay inside, or as a person allows."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kconvert.errors import OriginError
from kconvert.sources.fetch.open import read_small
from kconvert.sources.fetch.stream import FetchOptions
from kconvert.sources.trees.tree import IsWanted, Tree, TreeFile, TreeListing, read_whole

LinkPolicy = Literal["inside", "anywhere"]
"""Where symbolic links may lead that are followed."""
_LINKED_FROM = "videos"
"""The folder whose links lead to its neighbours (arrange_by_classes.py, github.com/cvdfoundation/kinetics-dataset)."""


@dataclass
class _Walk:
    """What a walk has met so far."""

    is_wanted: IsWanted
    """What is asked for."""
    files: list[TreeFile] = field(default_factory=list)
    """That are asked for."""
    others: list[str] = field(default_factory=list)
    """The paths of others."""
    dead: list[str] = field(default_factory=list)
    """Links to nothing."""
    visited: set[tuple[int, int]] = field(default_factory=set)
    """The folders, by device and number."""
    strays: list[tuple[str, str]] = field(default_factory=list)
    """Links that lead outside, and where to."""


@dataclass(frozen=True)
class DiskTree(Tree):
    """A folder of this machine."""

    location: str
    """An absolute path."""
    links: LinkPolicy = "inside"
    """Which links are followed."""

    def folders(self, folder: str) -> set[str]:
        try:
            return {entry.name for entry in os.scandir(self._path(folder)) if os.path.isdir(entry.path)}
        except (FileNotFoundError, NotADirectoryError):
            return set()
        except OSError as error:
            raise self._unreadable(folder, error) from error

    def listing(self, folder: str, is_wanted: IsWanted) -> TreeListing:
        walk = _Walk(is_wanted)
        if os.path.isdir(self._path(folder)):
            self._require_inside(folder, walk)
            self._visit(folder, walk)
        if walk.strays:
            path, target = walk.strays[0]
            raise OriginError(
                f"--origin {self.location}: {path} is a link to {os.path.dirname(target)}, outside of "
                f"{self._boundary}{_and_more(len(walk.strays) - 1)}; give --links anywhere if such links are to be "
                "followed"
            )
        notes = [f"{walk.dead[0]}{_and_more(len(walk.dead) - 1)}: a link to nothing"] if walk.dead else []
        return TreeListing(sorted(walk.files), walk.others, notes)

    def read(self, file: TreeFile, options: FetchOptions) -> bytes:
        location = str(self._path(file.path))
        return read_whole(location, options, lambda remote: (remote.size_bytes, remote.etag) == file[1:])

    def read_text(self, path: str, options: FetchOptions, max_bytes: int) -> bytes:
        return read_small(str(self._path(path)), options, max_bytes)

    def _path(self, path: str) -> Path:
        return Path(self.location, path)

    @functools.cached_property
    def _boundary(self) -> Path:
        """The folder that links may lead into."""
        root = Path(os.path.realpath(self.location))
        return root.parent if root.name == _LINKED_FROM else root

    def _require_inside(self, folder: str, walk: _Walk) -> None:
        """Notes a folder that is looked for, and is itself a link that must not be followed."""
        target = os.path.realpath(self._path(folder))
        if self.links == "inside" and not Path(target).is_relative_to(self._boundary):
            walk.strays.append((folder or self.location, f"{target}/"))

    def _unreadable(self, folder: str, error: OSError) -> OriginError:
        return OriginError(
            f"--origin {self.location}: {folder or 'it'}: {error.strerror}; make it readable for this user"
        )

    def _visit(self, folder: str, walk: _Walk) -> None:
        try:
            state = os.stat(self._path(folder))
            entries = sorted(os.scandir(self._path(folder)), key=lambda entry: entry.name)
        except OSError as error:
            raise self._unreadable(folder, error) from error
        if (here := (state.st_dev, state.st_ino)) in walk.visited:
            # A link to a folder that was met already, or that it is in.
            return
        walk.visited.add(here)
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            is_folder = os.path.isdir(entry.path)
            if not is_folder and not walk.is_wanted(entry.name):
                walk.others.append(path)
            elif entry.is_symlink() and not self._is_followed(entry, path, walk):
                continue
            elif is_folder:
                self._visit(path, walk)
            elif os.path.isfile(entry.path):
                found = entry.stat()
                walk.files.append(TreeFile(path, found.st_size, f"mtime-{found.st_mtime_ns}"))
            else:
                walk.others.append(path)

    def _is_followed(self, entry: os.DirEntry[str], path: str, walk: _Walk) -> bool:
        target = os.path.realpath(entry.path)
        if not os.path.exists(target):
            walk.dead.append(path)
            return False
        is_inside = Path(target).is_relative_to(self._boundary)
        if self.links == "inside" and not is_inside:
            walk.strays.append((path, target))
            return False
        return True


def _and_more(number: int) -> str:
    return f" (and {number:,} more)" if number else ""
