"""Small files of a tree, such as lists: at their paths, or in other folders where people keep them."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from kconvert.catalog.row_list import joined
from kconvert.errors import FetchError, NotFoundError, OriginError
from kconvert.sources.fetch.stream import FetchOptions
from kconvert.sources.trees.tree import Tree

MAX_TEXT_BYTES = 1 << 30


@dataclass(frozen=True)
class TreeTexts:
    """Gives small files of a tree."""

    tree: Tree
    """That they are in."""
    folders: Sequence[str]
    """Where they may be, if not at their path."""
    options: FetchOptions
    """How they are fetched."""

    def find(self, path: str) -> bytes | None:
        """A file by its path, or by its name in one of the folders; several, where `*` stands for something in the name
        (see `row_list.joined`). `None` if it is not there.

        Raises: `OriginError` if it cannot be had.
        """
        above, _, leaf = path.rpartition("/")
        for folder in dict.fromkeys((above, *self.folders)):
            try:
                found = {name: self._read(f"{folder}/{name}" if folder else name) for name in self._names(folder, leaf)}
            except NotFoundError:
                continue
            except FetchError as error:
                raise OriginError(f"{error}; make it a file that this user can read") from error
            if found:
                return joined(found) if "*" in leaf else found[leaf]
        return None

    def get(self, path: str) -> bytes:
        """The same of one that has to be there. Raises `OriginError` if it is not, or cannot be had."""
        if (data := self.find(path)) is None:
            raise OriginError(f"--origin {self.tree.location}: no {path}; {self.looked_for(path)}; add it there")
        return data

    def looked_for(self, path: str) -> str:
        """Where a file was looked for that is not there, for people."""
        places = dict.fromkeys((path.rpartition("/")[0], *self.folders))
        return (
            f"looked for {path.rpartition('/')[2]} in {' and in '.join(one or 'the origin itself' for one in places)}"
        )

    def _names(self, folder: str, leaf: str) -> Sequence[str]:
        if "*" not in leaf:
            return [leaf]
        others = self.tree.listing(folder, lambda name: False).others
        return fnmatch.filter([other.rpartition("/")[2] for other in others], leaf)

    def _read(self, path: str) -> bytes:
        return self.tree.read_text(path, self.options, MAX_TEXT_BYTES)
