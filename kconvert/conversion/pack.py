"""Packing: staged clips become one shard.

A shard is cut where the next sample might not fit, by a bound that is known without writing it, so that the plan of
all shards depends on nothing but the clips.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kconvert.dataset.formats.format import Format, Sample
from kconvert.dataset.formats.open import open_format
from kconvert.engines.imports import with_arrays
from kconvert.errors import StagingError
from kconvert.events import Advance, Emit
from kconvert.staging.journal import ShardReceipt, SplitJournal, guarded
from kconvert.staging.part import StagedBytes, free_staged, read_staged
from kconvert.storage.store import StorePath
from kconvert.units import ByteSize

Item = TypeVar("Item")


@dataclass(frozen=True)
class ShardOptions:
    """How large shards are."""

    max_bytes: ByteSize = ByteSize(10**9)  # noqa: RUF009
    """A shard is at most this large, unless a single clip is larger; also with kB, MB, GB, KiB, MiB or GiB."""
    max_samples: int = 10_000
    """A shard has at most this many clips."""

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise ValueError(f"--shard.max_bytes {self.max_bytes}: expected 1 or more")
        if self.max_samples < 1:
            raise ValueError(f"--shard.max_samples {self.max_samples}: expected 1 or more")


@dataclass(frozen=True)
class PackSample:
    """A staged clip and what is written with it."""

    metadata: Mapping[str, Any]
    """The sample's JSON: `key`, `label_id`, `size_bytes` and the rest."""
    archive_id: str
    """Which part it is in."""
    staged: StagedBytes
    """Where it is in the part."""


@dataclass(frozen=True)
class PackTask:
    """One shard to be written."""

    number: int
    path: str
    """Of the shard, below the output folder."""
    out: StorePath
    journal: SplitJournal
    format: str
    samples: tuple[PackSample, ...]

    @property
    def name(self) -> str:
        return self.path


@dataclass(frozen=True)
class Cut(Generic[Item]):
    """A planned shard."""

    number: int
    items: tuple[Item, ...]


def cut(
    items: Iterable[tuple[Item, int]], options: ShardOptions, layout: Format, first_number: int
) -> Iterator[Cut[Item]]:
    """Cuts items, given with the sizes of their videos in bytes, into shards; none is empty."""
    pending: list[Item] = []
    room = options.max_bytes - layout.overhead_bytes
    size = 0
    for item, video_bytes in items:
        item_bytes = layout.max_sample_bytes(video_bytes)
        if pending and (size + item_bytes > room or len(pending) == options.max_samples):
            yield Cut(first_number, tuple(pending))
            first_number, pending, size = first_number + 1, [], 0
        pending.append(item)
        size += item_bytes
    if pending:
        yield Cut(first_number, tuple(pending))


def plan_digest(samples: Iterable[tuple[str, str, str]]) -> str:
    """What identifies the plan of a shard: the key, the video's sha256 and the source of each sample."""
    lines = "".join(f"{key} {sha256} {source}\n" for key, sha256, source in samples)
    return hashlib.sha256(lines.encode()).hexdigest()


def pack(task: PackTask, emit: Emit) -> ShardReceipt:
    """Writes a shard; the shard and then its receipt are in place when this returns.

    Raises: `StagingError` if a part is not what it was.
    """
    planned = [
        (metadata["key"], metadata["sha256"], metadata["source"])
        for metadata in (sample.metadata for sample in task.samples)
    ]
    found = task.journal.shard_receipt(task.number)
    layout = open_format(task.format)
    if found is not None and is_packed(found, task.out, task.path, layout, planned):
        # An engine may have begun this task twice, as where a machine was lost.
        _free(task)
        return found
    if found is not None and found.path != task.path and not layout.keeps_archives:
        # Of an earlier plan with another number of shards.
        for name in (found.path, *layout.companion_paths(found.path)):
            (task.out / name).remove()
    try:
        if layout.library is not None:
            with_arrays()
        written = layout.write(task.out, task.path, _samples(task, emit))
    except StagingError:
        found = task.journal.shard_receipt(task.number)
        if found is not None and is_packed(found, task.out, task.path, layout, planned):
            # By another who was given this task, and has freed what was staged for it.
            return found
        _remove_spoilt(task)
        raise
    receipt = ShardReceipt(
        path=task.path,
        num_samples=len(task.samples),
        size_bytes=written.size_bytes,
        sha256=written.sha256,
        offsets=written.offsets,
        plan_sha256=plan_digest(planned),
    )
    task.journal.set_shard_receipt(task.number, receipt)
    _free(task)
    return receipt


def _free(task: PackTask) -> None:
    """Gives the room of the clips back, as they are in a shard now."""
    if not open_format(task.format).keeps_archives:
        for path, clips in _by_part(task).items():
            free_staged(path, clips)


def _remove_spoilt(task: PackTask) -> None:
    """Removes every part that is not what it was, so that the next run reads all these archives again."""
    for path, clips in _by_part(task).items():
        try:
            deque(read_staged((path, clip) for clip in clips), maxlen=0)
        except StagingError as error:
            if error.part is not None:
                error.part.remove()


def _by_part(task: PackTask) -> dict[StorePath, list[StagedBytes]]:
    """The staged clips of each part."""
    found: dict[StorePath, list[StagedBytes]] = {}
    for sample in task.samples:
        found.setdefault(task.journal.part_path(sample.archive_id), []).append(sample.staged)
    return found


def _samples(task: PackTask, emit: Emit) -> Iterator[Sample]:
    videos: Iterable[bytes] = itertools.repeat(b"", len(task.samples))
    if not open_format(task.format).keeps_archives:
        videos = read_staged((task.journal.part_path(planned.archive_id), planned.staged) for planned in task.samples)
    tell = guarded(task.journal, emit)
    for planned, video in zip(task.samples, videos, strict=True):
        metadata = planned.metadata
        yield Sample(metadata["key"], metadata["label_id"], metadata, video)
        tell(Advance(num_bytes=len(video), num_clips=1))


def is_packed(
    receipt: ShardReceipt | None, out: StorePath, path: str, layout: Format, samples: Iterable[tuple[str, str, str]]
) -> bool:
    """Whether a shard of these samples (see `plan_digest`) is in place."""
    if receipt is None or receipt.path != path or receipt.plan_sha256 != plan_digest(samples):
        return False
    return (out / path).size_bytes() == receipt.size_bytes and layout.is_whole(out, path)
