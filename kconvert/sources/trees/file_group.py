"""Groups of files of a tree, as bundles: what one task reads of clips that lie in folders."""

from __future__ import annotations

import functools
import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import TracebackType

from kconvert.catalog.names import Names
from kconvert.sources.access import ArchiveAccess
from kconvert.sources.bundle import Bundle
from kconvert.sources.fetch.stream import FetchOptions, OnBytes, Remote
from kconvert.sources.members import Member, Members, ReadSoFar
from kconvert.sources.trees.tree import Tree, TreeFile
from kconvert.storage.threads import at_once

MAX_FILES = 1000
"""Of a group, as an official archive of mixed classes has."""
MAX_BYTES = 1 << 30
"""Of a group, unless it is a single file."""
_AT_ONCE_BYTES = 32 << 20
"""Of the files that are read at the same time; one may be larger."""


@dataclass(frozen=True)
class FileGroup(Bundle):
    """Some files of a tree."""

    kind = ("group of files", "groups of files")
    name: str
    """As `train-000003.files`."""
    tree: Tree
    """That they are in."""
    files: Sequence[TreeFile]
    """In their order."""
    names: Names
    """How the clips are called."""
    by_id: Mapping[str, str] = field(default_factory=dict)
    """The names of clips whose files are named by the video's id alone, by that id."""
    is_whole: bool = True
    """Whether all of its files are there."""

    @functools.cached_property
    def version(self) -> str:
        """Of all of its files; `""` if some are gone, as they may be once they are read."""
        if not self.is_whole:
            return ""
        lines = "".join(f"{file.path}\0{file.size_bytes}\0{file.version}\n" for file in self.files)
        return f"files-{hashlib.sha256(lines.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}"

    def named(self, names: Callable[[], Mapping[str, str]]) -> FileGroup:
        if not self._bare_ids:
            return self
        known = names()
        return replace(self, by_id={one: known[one] for one in self._bare_ids if one in known})

    @property
    def paths(self) -> Sequence[str]:
        return [file.path for file in self.files]

    @property
    def num_unjoined(self) -> int:
        return sum(one not in self.by_id for one in self._bare_ids)

    @functools.cached_property
    def _bare_ids(self) -> Sequence[str]:
        found = []
        for file in self.files:
            with suppress(ValueError):
                name = self.names.of_file(file.path).name
                if self.names.parts(name).youtube_id == name:
                    found.append(name)
        return found

    def describe(self, options: FetchOptions) -> Remote:
        return Remote(sum(file.size_bytes for file in self.files), self.version)

    def open(self, access: ArchiveAccess, options: FetchOptions, on_bytes: OnBytes) -> Members:
        return FilesReader(self, options, on_bytes)

    def discard(self, access: ArchiveAccess) -> None:
        """Nothing is kept."""

    def clip_name(self, member: str) -> str:
        name = self.names.of_file(member).name
        return self.by_id.get(name, name)


class FilesReader(Members):
    """The files of a group, in their order."""

    def __init__(self, group: FileGroup, options: FetchOptions, on_bytes: OnBytes) -> None:
        self._group = group
        self._options = options
        self._on_bytes = on_bytes
        self._loadable = -1
        """The index of the file whose bytes may be asked for."""
        self._ahead: dict[int, bytes] = {}
        """What was read of the files that follow."""
        self._read = ReadSoFar(0, 0, 0)
        self.notes: list[str] = []

    @property
    def remote(self) -> Remote:
        return self._group.describe(self._options)

    @property
    def read_so_far(self) -> ReadSoFar:
        return self._read

    def __iter__(self) -> Iterator[Member]:
        for index, file in enumerate(self._group.files):
            self._loadable = index
            yield Member(file.path, True, file.size_bytes, "", functools.partial(self._load, index))
            self._ahead.pop(index, None)
            self._loadable = -1

    def _load(self, index: int) -> bytes:
        file = self._group.files[index]
        if index != self._loadable:
            raise RuntimeError(f"{self._group.name}: the bytes of {file.path!r} have gone by")
        self._loadable = -1
        if index not in self._ahead:
            self._read_from(index)
        data = self._ahead.pop(index)
        self._on_bytes(len(data))
        before = self._read
        self._read = ReadSoFar(before.num_members + 1, before.num_bytes + len(data), zlib.crc32(data, before.crc32))
        return data

    def _read_from(self, first: int) -> None:
        """Reads a file, and some that follow where that takes no longer."""
        files, tree = self._group.files, self._group.tree
        indexes, num_bytes = [first], files[first].size_bytes
        for index in range(first + 1, min(first + tree.max_reads, len(files))):
            num_bytes += files[index].size_bytes
            if num_bytes > _AT_ONCE_BYTES:
                break
            indexes.append(index)
        found = at_once(lambda index: tree.read(files[index], self._options), indexes, tree.max_reads)
        self._ahead = dict(zip(indexes, found, strict=True))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ahead = {}


def groups(split: str, tree: Tree, files: Sequence[TreeFile], names: Names) -> list[FileGroup]:
    """Files, in their order, cut into groups of bounded size."""
    found: list[list[TreeFile]] = []
    num_bytes = 0
    for file in files:
        if not found or len(found[-1]) == MAX_FILES or num_bytes + file.size_bytes > MAX_BYTES:
            found.append([])
            num_bytes = 0
        found[-1].append(file)
        num_bytes += file.size_bytes
    return [FileGroup(f"{split}-{number:06d}.files", tree, tuple(group), names) for number, group in enumerate(found)]
