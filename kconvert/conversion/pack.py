"""Packing: staged clips become one shard."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kconvert.columns.column import Column
from kconvert.columns.combining import side_by_side
from kconvert.conversion.members import with_frames
from kconvert.conversion.samples import PackSample, Samples
from kconvert.dataset.formats.format import Format, Sample, Sound
from kconvert.dataset.formats.open import open_format
from kconvert.dataset.layout import Layout
from kconvert.engines.imports import with_arrays
from kconvert.errors import StagingError
from kconvert.events import Advance, Emit
from kconvert.staging.journal import ShardReceipt, SplitJournal, guarded
from kconvert.staging.part import StagedBytes, free_staged, read_staged
from kconvert.storage.store import StorePath
from kconvert.video.encoding.options import AudioMember
from kconvert.video.process import video_process


@dataclass(frozen=True)
class PackTask:
    """One shard to be written."""

    number: int
    """In its split, from 0."""
    path: str
    """Of the shard, below the output folder."""
    out: StorePath
    """The output folder."""
    journal: SplitJournal
    """Where parts are, and the receipt goes."""
    format: str
    """A name of `formats`."""
    samples: Samples
    """In their order; one at least. They may be made anew each time."""
    plan_sha256: str
    """See `plan_digest`."""
    sound_kind: AudioMember | None = None
    """The ending of the files of their sound; `None` if they have none."""
    labels: tuple[str, ...] = ()
    """Of the release."""

    @property
    def name(self) -> str:
        return self.path


def plan_digest(keys: Column, digests: Sequence[Column], sources: Column) -> str:
    """What identifies the plan of a shard: the key, the sha256 of its video, and of its sound if it has that, and the
    source of each sample."""
    lines = "".join(f"{line}\n" for line in side_by_side(keys, *digests, sources))
    return hashlib.sha256(lines.encode()).hexdigest()


def pack(task: PackTask, emit: Emit) -> ShardReceipt:
    """Writes a shard; the shard and then its receipt are in place when this returns.

    Raises: `StagingError` if a part is not what it was, `LostLockError` if another conversion has the folder.
    """
    if (receipt := _done(task)) is not None:
        # An engine may have begun this task twice, as where a machine was lost.
        _free(task, task.samples)
        return receipt
    layout, samples = open_format(task.format), list(task.samples)
    _remove_earlier(task, layout)
    try:
        if layout.library is not None:
            with_arrays()
        written = layout.write(task.out, task.path, _samples(task, samples, emit), task.labels)
    except StagingError:
        if (receipt := _done(task)) is not None:
            # By another who was given this task, and has freed what was staged for it.
            return receipt
        _remove_changed_parts(task, samples)
        raise
    receipt = ShardReceipt(
        path=task.path,
        num_samples=len(samples),
        size_bytes=written.size_bytes,
        sha256=written.sha256,
        offsets=written.offsets,
        plan_sha256=task.plan_sha256,
    )
    task.journal.set_shard_receipt(task.number, receipt)
    _free(task, samples)
    return receipt


def _done(task: PackTask) -> ShardReceipt | None:
    """The receipt of the shard, if it is in place."""
    receipt = task.journal.shard_receipt(task.number)
    is_done = is_packed(receipt, task.out, task.path, open_format(task.format), task.plan_sha256)
    return receipt if is_done else None


def _remove_earlier(task: PackTask, layout: Format) -> None:
    """Removes the shard of this number of an earlier plan, with another number of shards, that had another path."""
    receipt = task.journal.shard_receipt(task.number)
    if receipt is not None and receipt.path != task.path:
        for name in (receipt.path, *layout.sidecar_paths(receipt.path)):
            (task.out / name).remove()


def _free(task: PackTask, samples: Iterable[PackSample]) -> None:
    """Gives the space of the clips back, as they are in a shard now."""
    own = (sample for sample in samples if not sample.is_shared)
    for path, clips in _by_part(task, own).items():
        free_staged(path, clips)


def _remove_changed_parts(task: PackTask, samples: Iterable[PackSample]) -> None:
    """Removes every part that is not what it was, so that the next run reads all these archives again."""
    for path, clips in _by_part(task, samples).items():
        try:
            deque(read_staged((path, clip) for clip in clips), maxlen=0)
        except StagingError as error:
            if error.part is not None:
                error.part.remove()


def _by_part(task: PackTask, samples: Iterable[PackSample]) -> dict[StorePath, list[StagedBytes]]:
    """The staged clips of each part that some of the samples are in."""
    found: dict[StorePath, list[StagedBytes]] = {}
    for sample in samples:
        found.setdefault(task.journal.part_path(sample.archive_id), []).extend(sample.members)
    return found


def _samples(task: PackTask, samples: Iterable[PackSample], emit: Emit) -> Iterator[Sample]:
    found = read_staged(
        (task.journal.part_path(planned.archive_id), member) for planned in samples for member in planned.members
    )
    advance = guarded(task.journal, emit)
    for planned in samples:
        metadata, video = planned.metadata, next(found)
        sound = None if task.sound_kind is None else Sound(task.sound_kind, next(found))
        annotations = with_frames(planned.annotations, video, video_process())
        yield Sample(metadata["key"], metadata["label_id"], metadata, video, annotations, sound)
        advance(Advance(num_bytes=len(video), num_clips=1))


def is_packed(receipt: ShardReceipt | None, out: StorePath, path: str, layout: Layout, plan_sha256: str) -> bool:
    """Whether the shard of that plan (see `plan_digest`) is in place."""
    if receipt is None or receipt.path != path or receipt.plan_sha256 != plan_sha256:
        return False
    if len(receipt.offsets) != receipt.num_samples:
        # Somebody changed it.
        return False
    return (out / path).size_bytes() == receipt.size_bytes and layout.is_whole(out, path)
