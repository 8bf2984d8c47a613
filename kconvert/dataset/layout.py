"""Layouts: what a finished folder looks like, whatever it holds.

A layout answers for everything that is in the folder beside tables, labels, dataset card and manifest: which files
belong to a shard, which are the readers' own, what differs from what was written. `formats` are the layouts whose
shards kconvert packs; in `archives` the shards are the archives themselves. Paths are relative to the output folder.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NamedTuple

from kconvert.catalog.release import Release
from kconvert.dataset.croissant import Media
from kconvert.dataset.manifest import Manifest
from kconvert.errors import UsageError
from kconvert.installation import how_to_install, import_problem
from kconvert.storage.digests import DigestedReader
from kconvert.storage.ranged_bytes import RangedBytes
from kconvert.storage.store import StorePath
from kconvert.video.boxes import Bytes


class Library(NamedTuple):
    """A library that owns a format."""

    package: str
    """What is installed."""
    module: str
    """What is imported."""


@dataclass(frozen=True)
class ExpectedSamples:
    """What is said of the samples of a shard."""

    rows: tuple[Mapping[str, Any], ...] | None
    """Theirs in the table, in the order of the samples; `None` if the table cannot be read."""
    num_samples: int
    """How many there are by the manifest."""
    num_before: int
    """How many samples the shards of the split have that come before this one."""


class Layout(ABC):
    """What is the same for all but a few stands here."""

    name: str
    """What `--to` calls it."""
    title: str
    """What a person calls it."""
    library: Library | None = None
    """What writes and reads it; `None` if nothing but kconvert is needed."""
    is_local = False
    """Whether it stands in folders only, not in object stores."""
    has_annotations = False
    """Whether its samples can have further annotations."""
    folders: Sequence[str] = ()
    """Where it writes, beside a folder for each split."""
    num_copies = 1
    """How often a shard is on the disk while it is written: twice where a library writes it first."""
    num_shards_in_memory = 0
    """How many whole shards a worker holds in memory while it writes one."""
    packed_order: Sequence[str] = ("shard", "sample_index")
    """The columns of the table by which the rows of written clips stand in the order of packing."""
    unused_options: Mapping[str, str] = {}
    """The groups of options that would change nothing, each with the reason."""
    shard_kind = "application/octet-stream"
    """The media type of a shard."""

    def require(self, out: StorePath) -> None:
        """Raises `UsageError` if its library is missing, or it cannot stand there."""
        if self.library is not None and importlib.util.find_spec(self.library.module) is None:
            raise self._not_importable(f"No module named {self.library.module!r}")
        if self.is_local and out.local_path is None:
            raise UsageError(f"--to {self.name} --out {out}: expected a folder; copy it to the store afterwards")

    def require_importable(self) -> None:
        """Raises `UsageError` if its library is there, and cannot be imported, as one that it needs is missing."""
        if self.library is not None and (problem := import_problem(self.library.module)):
            raise self._not_importable(problem)

    def _not_importable(self, problem: str) -> UsageError:
        assert self.library is not None
        return UsageError(
            f"--to {self.name}: its library, the Python module {self.library.module}, cannot be imported ({problem}); "
            f"{how_to_install(self.library.package, self.name)}, or choose another format"
        )

    def tools(self) -> Mapping[str, str]:
        """The versions of libraries that the bytes depend on, by name."""
        return {} if self.library is None else {self.library.package: version(self.library.package)}

    def video_files(self, out: StorePath, shard: str) -> Sequence[str]:
        """The paths of the files that hold the videos of a written shard, in the order of its samples.

        Raises: `OSError`, `ValueError` if the shard has to be read for that, and cannot be.
        """
        return (shard,)

    def sidecar_paths(self, shard: str) -> Sequence[str]:
        """The paths of the small files that stand with a shard, beside those of its videos."""
        return ()

    def archive_files(self, archives: Set[str]) -> Set[str]:
        """Those of the archives of the tables that stand in the folder themselves, whether or not they are shards."""
        return frozenset()

    def output_patterns(self, split: str) -> Sequence[str]:
        """Patterns of the files that a split is written to, without its table."""
        return (f"{split}/**/*",)

    def is_whole(self, out: StorePath, shard: str) -> bool:
        """Whether the files that stand with a shard are there."""
        return all((out / name).size_bytes() is not None for name in self.sidecar_paths(shard))

    def is_foreign(self, path: str) -> bool:
        """Whether a file is one that readers, or the format's library, keep in the folder themselves."""
        return False

    def sample_index(self, num_before: int, index: int) -> int:
        """The `sample_index` in the table of a sample of which `index` samples of its shard stand before it, and
        `num_before` in the shards before that."""
        return index

    def split_bytes(self, shards_bytes: int, videos_bytes: int) -> int:
        """The bytes of all files of a split, whose shards and videos have so many."""
        return shards_bytes

    def videos(self, out: StorePath, shard: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Bytes]]:
        """The videos of some clips of one file of the table's `shard`, each with its key, in any order; `rows` are
        theirs in the table.

        Raises: `OSError` if something cannot be read, `ValueError` if it is not what it was.
        """
        for row in rows:
            yield row["key"], RangedBytes(out / shard, row["offset_bytes"], row["size_bytes"])

    def sound_at(self, row: Mapping[str, Any], kind: str) -> tuple[str, int] | None:
        """The file that holds the sound of the clip of a row, and its offset there, where that is a member of its own;
        `None` if nobody can say."""
        return None

    @abstractmethod
    def sample_problems(
        self, out: StorePath, shard: str, file: DigestedReader, expected: ExpectedSamples, on_sample: Callable[[], None]
    ) -> Iterator[str]:
        """How the samples of a shard differ from what is said of them; `file` is the shard, opened, and is digested as
        far as it is read. `on_sample` is called for each."""

    def remove_orphans(self, out: StorePath, split: str, known: Set[str]) -> None:  # noqa: B027
        """Removes the files of videos that an earlier plan of the split had, and that are not known by now; nothing
        where videos have no files of their own."""

    def index_files(self, out: StorePath, manifest: Manifest) -> Mapping[str, bytes]:
        """What readers want beside the shards, by path: functions of the manifest and of files that are there."""
        return {}

    def media(self, manifest: Manifest) -> Media | None:
        """How its videos can be had one by one, from files or members of tars; `None` where they cannot."""
        return None

    def commit(self, out: StorePath, manifest: Manifest) -> None:  # noqa: B027
        """Makes the shards known to the format's own library, once all are in place; nothing to do if it knows them."""

    @abstractmethod
    def card_config(
        self, release: Release, splits: Sequence[str], annotations: Sequence[str], sound: str | None
    ) -> Mapping[str, Any]:
        """The front matter of the dataset card that makes Hugging Face datasets read it, of a release of which these
        splits have shards, and whose samples have these further annotations, and sound of that kind."""

    def reading_lines(self, split: str, shards: Sequence[str]) -> Sequence[str]:
        """Python that reads a split of these shards with the libraries that know it, within the folder: programs that
        stand by themselves, after each of which `samples` gives every sample once."""
        return ()

    @abstractmethod
    def card_text(self) -> Sequence[str]:
        """The lines of the dataset card that say how a sample is stored."""
