"""Formats: what shards look like on the disk.

A format promises: equal samples in equal order give equal bytes, `max_sample_bytes` is never exceeded, and what it
reads back is what it wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from kconvert.files import DigestedReader, DigestingFile

FormatName = Literal["webdataset"]


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
    offset_bytes: int
    """Where the video's bytes begin in the shard."""


class Format(Protocol):
    """One way to store samples."""

    def shard_path(self, release: str, split: str, number: int) -> str:
        """The path of a shard below the output folder."""

    def max_sample_bytes(self, video_bytes: int) -> int:
        """At most how many bytes of a shard a sample takes."""

    @property
    def overhead_bytes(self) -> int:
        """At most how many bytes a shard has beside its samples."""

    def write(self, file: DigestingFile, samples: Iterable[Sample]) -> tuple[int, ...]:
        """Writes a shard; returns where each sample's video begins."""

    def read(self, file: DigestedReader) -> Iterator[StoredSample]:
        """The samples of a shard, in order. Raises `ValueError` if it is not exactly what `write` writes."""


def open_format(name: FormatName) -> Format:
    """The format of that name."""
    from kconvert.formats.webdataset import WebDataset

    return {"webdataset": WebDataset}[name]()
