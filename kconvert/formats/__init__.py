"""Formats: what shards look like on the disk.

A format promises: equal samples in equal order give equal bytes, `max_sample_bytes` is never exceeded, and what it
reads back is what it wrote.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kconvert.files import AnyPath, DigestedReader
from kconvert.manifest import Manifest

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


class Format(Protocol):
    """One way to store samples. Paths are relative to the output folder."""

    @property
    def title(self) -> str:
        """What a person calls it."""

    @property
    def folders(self) -> Sequence[str]:
        """Where it writes, beside a folder for each split."""

    def shard_path(self, release: str, split: str, number: int, num_shards: int | None) -> str:
        """The path of a shard; `num_shards` is how many the split has, where that is known before the last is cut."""

    def video_path(self, shard: str, split: str, name: str, label: str) -> str:
        """The path of the file that holds the video of a clip in that shard."""

    def companion_paths(self, shard: str) -> Sequence[str]:
        """The paths of the small files that stand with a shard, beside those of its videos."""

    def foreign_paths(self, shard: str) -> Sequence[str]:
        """The paths of files that readers themselves put beside a shard."""

    def max_sample_bytes(self, video_bytes: int) -> int:
        """At most how many bytes of a shard a sample takes."""

    @property
    def overhead_bytes(self) -> int:
        """At most how many bytes a shard has beside its samples."""

    def write(self, out: AnyPath, shard: str, samples: Iterable[Sample]) -> WrittenShard:
        """Writes a shard and what stands with it; nothing is half-made under its name."""

    def read(self, out: AnyPath, shard: str, file: DigestedReader) -> Iterator[StoredSample]:
        """The samples of a shard, in order; `file` is the shard, opened, and digested as far as it is read.

        Raises: `ValueError` if it is not exactly what `write` writes, `OSError` if a file is not there.
        """

    def index_files(self, manifest: Manifest) -> Mapping[str, bytes]:
        """What readers want beside the shards, by path: functions of the manifest."""

    def card_config(self, splits: Sequence[str]) -> Mapping[str, Any]:
        """The front matter of the dataset card that tells Hugging Face datasets what to read; these splits have
        shards."""

    def card_text(self) -> Sequence[str]:
        """The lines of the dataset card that tell how a sample is stored."""


def open_format(name: str) -> Format:
    """The format of that name: the module of that name has it as `FORMAT`."""
    found: Format = importlib.import_module(f"kconvert.formats.{name}").FORMAT
    return found
