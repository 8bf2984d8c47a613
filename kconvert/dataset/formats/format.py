"""Formats: what shards look like on the disk.

A format promises: equal samples in equal order give equal bytes, `max_sample_bytes` is never exceeded, and what it
reads back is what it wrote.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from kconvert.dataset.manifest import JOURNAL_FOLDER, Manifest
from kconvert.errors import UsageError
from kconvert.installation import how_to_install
from kconvert.storage.digests import DigestedReader, DigestingFile
from kconvert.storage.files import make_folder
from kconvert.storage.store import TEMPORARY_SUFFIX, StorePath
from kconvert.units import ByteSize

_COPY_BYTES = 1 << 20

CARD_SPLITS = {"train": "train", "val": "validation", "test": "test"}
"""What Hugging Face datasets calls the splits."""


@dataclass(frozen=True)
class Sample:
    """A clip in a shard."""

    key: str
    """Unique over all splits."""
    label_id: int
    """-1 if it has no label."""
    metadata: Mapping[str, Any]
    """The same keys and types in every sample, and never `None`."""
    video: bytes


@dataclass(frozen=True)
class StoredSample:
    """A sample as it was found in a shard."""

    sample: Sample
    offset_bytes: int | None
    """Where the video's bytes begin in their file; `None` if that cannot be said."""


@dataclass(frozen=True)
class WrittenShard:
    """A shard that is in place."""

    size_bytes: int
    sha256: str
    offsets: tuple[int | None, ...]
    """Where each sample's video begins in its file; `None` if that cannot be said."""


class Library(NamedTuple):
    """A library that owns a format."""

    package: str
    """What is installed."""
    module: str
    """What is imported."""


class Format(ABC):
    """One way to store samples: what is the same for all but a few stands here. Paths are relative to the output
    folder."""

    name: str
    """What `--to` calls it: that of its module, and of the extra that installs its library."""
    title: str
    """What a person calls it."""
    library: Library | None = None
    """What writes and reads it; `None` if nothing but kconvert is needed."""
    is_local = False
    """Whether it stands in folders only, not in object stores."""
    max_shard_bytes: int | None = None
    """Shards must be smaller; `None` if they may have any size."""
    num_copies = 1
    """How often a shard is on the disk while it is written: twice where a library writes it first."""
    num_shards_in_memory = 0
    """How many whole shards a worker holds in memory while it writes one."""
    folders: Sequence[str] = ()
    """Where it writes, beside a folder for each split."""
    has_own_files = False
    """Whether each video is a file of its own, beside the shard that names it."""
    keeps_archives = False
    """Whether the archives themselves are the shards: nothing is staged, mixed or copied then."""

    def require(self, out: StorePath, max_bytes: int) -> None:
        """Raises `UsageError` if its library is missing, or it cannot stand there, or have such large shards."""
        if self.library is not None and importlib.util.find_spec(self.library.module) is None:
            raise UsageError(
                f"--to {self.name}: its library, the Python module {self.library.module}, is not installed; "
                f"{how_to_install(self.library.package, self.name)}, or choose another format"
            )
        if self.is_local and out.local_path is None:
            raise UsageError(f"--to {self.name} --out {out}: expected a folder; copy it to the store afterwards")
        if self.max_shard_bytes is not None and max_bytes >= self.max_shard_bytes:
            raise UsageError(
                f"--shard.max_bytes {max_bytes}: expected less than {ByteSize(self.max_shard_bytes)}, as a file of the "
                f"format {self.name} cannot be larger"
            )

    def tools(self) -> Mapping[str, str]:
        """The versions of libraries that the bytes depend on, by name."""
        return {} if self.library is None else {self.library.package: version(self.library.package)}

    @abstractmethod
    def shard_path(self, release: str, split: str, number: int, num_shards: int | None) -> str:
        """The path of a shard; `num_shards` is how many the split has, where that is known before the last is cut."""

    def video_path(self, shard: str, split: str, name: str, label: str) -> str:
        """The path of the file that holds the video of a clip in that shard."""
        return shard

    def video_files(self, out: StorePath, shard: str) -> Sequence[str]:
        """The paths of the files that hold the videos of a written shard, in the order of its samples."""
        return (shard,)

    def companion_paths(self, shard: str) -> Sequence[str]:
        """The paths of the small files that stand with a shard, beside those of its videos."""
        return ()

    def output_patterns(self, split: str) -> Sequence[str]:
        """Patterns of the files that a split is written to, without its table."""
        return (f"{split}/**/*",)

    def is_whole(self, out: StorePath, shard: str) -> bool:
        """Whether the files that stand with a shard are there."""
        return all((out / name).size_bytes() is not None for name in self.companion_paths(shard))

    def is_foreign(self, path: str) -> bool:
        """Whether a file is one that readers, or the format's library, keep in the folder themselves."""
        return False

    @abstractmethod
    def max_sample_bytes(self, video_bytes: int) -> int:
        """At most how many bytes of a shard, and of its videos' own files, a sample takes."""

    @property
    @abstractmethod
    def overhead_bytes(self) -> int:
        """At most how many bytes a shard has beside its samples."""

    @abstractmethod
    def write(self, out: StorePath, shard: str, samples: Iterable[Sample]) -> WrittenShard:
        """Writes a shard and what stands with it; nothing is half-made under its name."""

    @abstractmethod
    def read(self, out: StorePath, shard: str, file: DigestedReader) -> Iterator[StoredSample]:
        """The samples of a shard, in order; `file` is the shard, opened, and digested as far as it is read.

        Raises: `ValueError` if it is not exactly what `write` writes, `OSError` if a file is not there.
        """

    def index_files(self, out: StorePath, manifest: Manifest) -> Mapping[str, bytes]:
        """What readers want beside the shards, by path: functions of the manifest and of files that are there."""
        return {}

    def commit(self, out: StorePath, manifest: Manifest) -> None:  # noqa: B027
        """Tells the format's own library of the shards, once all are in place; nothing to do if it knows them."""

    @abstractmethod
    def card_config(self, splits: Sequence[str]) -> Mapping[str, Any]:
        """The front matter of the dataset card that tells Hugging Face datasets what to read; these splits have
        shards."""

    @abstractmethod
    def card_text(self) -> Sequence[str]:
        """The lines of the dataset card that tell how a sample is stored."""


def paths_by_split(manifest: Manifest) -> dict[str, list[str]]:
    """The paths of the shards of each split, in order."""
    return {split: [one.path for one in manifest.shards if one.split == split] for split in manifest.splits}


def data_files(splits: Sequence[str], pattern: str) -> dict[str, Any]:
    """The front matter of a dataset card with one config, of files whose pattern holds `{split}`."""
    files = [{"split": CARD_SPLITS[split], "path": pattern.format(split=split)} for split in splits]
    return {"configs": [{"config_name": "default", "data_files": files}]} if files else {}


def groups_of(samples: Iterable[Sample], max_bytes: int) -> Iterator[list[Sample]]:
    """Samples that are written together: as many as have videos of so many bytes, one at least."""
    group: list[Sample] = []
    num_bytes = 0
    for sample in samples:
        if group and num_bytes + len(sample.video) > max_bytes:
            yield group
            group, num_bytes = [], 0
        group.append(sample)
        num_bytes += len(sample.video)
    if group:
        yield group


def row_of(sample: Sample) -> dict[str, Any]:
    """A sample as a row for libraries of rows: `key`, `label`, `label_id`, `facts` (JSON) and `video`."""
    facts = json.dumps(dict(sample.metadata))
    label = sample.metadata["label"]
    return {"key": sample.key, "label": label, "label_id": sample.label_id, "facts": facts, "video": sample.video}


def sample_of(row: Mapping[str, Any]) -> Sample:
    """The sample that `row_of` made a row of."""
    facts = json.loads(row["facts"])
    if facts.get("label") != row["label"]:
        raise ValueError(f"{row['key']}: the label is not that of its facts")
    return Sample(row["key"], row["label_id"], facts, row["video"])


MAX_ROW_BYTES = 4096
"""Of what `row_of` has beside the video, and of a library's own bytes for each row."""


@contextmanager
def scratch_folder(out: StorePath) -> Iterator[Path]:
    """A folder for a library that writes files by itself; it is gone when the block ends, or the next run begins."""
    parent = Path(str(out / JOURNAL_FOLDER))
    make_folder(parent)
    with tempfile.TemporaryDirectory(suffix=TEMPORARY_SUFFIX, dir=parent) as folder:
        yield Path(folder)


def put_in_place(source: Path, path: StorePath) -> DigestingFile:
    """Copies a file that a library wrote to where it belongs, whole or not at all."""
    path.parent.make_folder()
    with open(source, "rb") as made, path.write_whole() as file:
        shutil.copyfileobj(made, cast(IO[bytes], file), _COPY_BYTES)
    return file
