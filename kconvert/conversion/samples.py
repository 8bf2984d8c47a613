"""Samples: what is written of each clip of a shard, and where that is staged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from kconvert.catalog.clip import sample_key
from kconvert.catalog.release import Release
from kconvert.columns.column import Column
from kconvert.conversion.decisions import Decision, Decisions
from kconvert.conversion.members import Annotations
from kconvert.dataset.staged_rows import StagedRows
from kconvert.staging.part import StagedBytes

Number = TypeVar("Number", int, float)
STAGED_COLUMNS = (
    "defects", "size_bytes", "sha256", "duration_seconds", "num_frames", "fps", "width", "height", "video_codec",
    "audio_codec", "part_offset", "crc32", "sound_size_bytes", "sound_crc32",
)  # fmt: skip
"""Those of the staged rows that samples are made from."""


@dataclass(frozen=True)
class PackSample:
    """A staged clip and what is written with it."""

    metadata: Mapping[str, Any]
    """The sample's JSON: `key`, `label_id`, `size_bytes` and the rest."""
    archive_id: str
    """Which part it is in."""
    staged: StagedBytes
    """Where it is in the part."""
    sound: StagedBytes | None = None
    """Where its sound is there, behind it; `None` if that is no member of its own."""
    annotations: Annotations = field(default_factory=dict)
    """Further ones that it has itself; which frames they are of is not known yet."""
    is_shared: bool = False
    """Whether another clip has the same bytes in the part, which are not given back then."""

    @property
    def members(self) -> list[StagedBytes]:
        """All that is staged of it."""
        return [self.staged] if self.sound is None else [self.staged, self.sound]


class Samples(Protocol):
    """The samples of a shard, which may be made anew each time."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[PackSample]: ...


@dataclass(frozen=True)
class ShardSamples:
    """The samples of a shard in columns, as a task takes them to whoever packs it."""

    release: Release
    """That they are of."""
    split: str
    """That they are of."""
    decisions: Decisions
    """On their clips, in the order of the samples."""
    rows: StagedRows
    """Theirs, `STAGED_COLUMNS` of them."""
    archive_ids: Column
    """Which parts they are in."""
    are_shared: Column
    """Whether another clip has the same bytes in the part."""
    annotations: Sequence[Annotations]
    """Further ones of each."""

    def __len__(self) -> int:
        return len(self.decisions)

    def __iter__(self) -> Iterator[PackSample]:
        columns = (self.decisions, self.rows.rows(), self.archive_ids, self.are_shared, self.annotations)
        for decision, row, archive_id, is_shared, further in zip(*columns, strict=True):
            yield PackSample(
                sample_metadata(decision, row, self.release, self.split),
                archive_id,
                StagedBytes(row["part_offset"], row["size_bytes"], row["crc32"]),
                _staged_sound(row),
                further,
                is_shared,
            )


def sample_metadata(decision: Decision, row: Mapping[str, Any], release: Release, split: str) -> dict[str, Any]:
    """The JSON of a sample: the same keys and types in all of them, never `None`, numbers that nobody knows are -1;
    `row` is its staged row."""
    parts = release.names.parts(decision.name)
    return {
        "key": sample_key(split, decision.name),
        "release": release.name,
        "split": split,
        "youtube_id": parts.youtube_id,
        "start_seconds": parts.start_seconds,
        "end_seconds": parts.end_seconds,
        **release.labelled(decision.label),
        "label_source": decision.label_source,
        "duration_seconds": _known(row["duration_seconds"], -1.0),
        "num_frames": _known(row["num_frames"], -1),
        "fps": _known(row["fps"], -1.0),
        "width": _known(row["width"], -1),
        "height": _known(row["height"], -1),
        "video_codec": row["video_codec"] or "",
        "audio_codec": row["audio_codec"] or "",
        "size_bytes": row["size_bytes"],
        "sha256": row["sha256"],
        "source": decision.source,
        "short": "short" in row["defects"],
        "few_frames": "few_frames" in row["defects"],
        **({} if release.names.are_keys else {"name": decision.name}),
    }


def _staged_sound(row: Mapping[str, Any]) -> StagedBytes | None:
    """Where the sound of a clip is in its part; `None` if it is no member of its own."""
    if row["sound_size_bytes"] is None:
        return None
    return StagedBytes(row["part_offset"] + row["size_bytes"], row["sound_size_bytes"], row["sound_crc32"])


def _known(value: Number | None, unknown: Number) -> Number:
    return unknown if value is None else value
