"""Repacking: window by window, the archives of a split are ingested, accounted for, shuffled, cut and packed.

Everything with a receipt is skipped. The plan of the shards is made anew from the staged rows each time; it comes out
the same, as it depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kconvert.catalog.clip import safe_name, sample_key
from kconvert.catalog.release import Release
from kconvert.conversion.account import Account, Decision
from kconvert.conversion.cutting import ShardOptions, cut
from kconvert.conversion.damaged import DamagedPolicy
from kconvert.conversion.ingest import ingest
from kconvert.conversion.members import max_bytes
from kconvert.conversion.pack import PackSample, PackTask, is_packed, pack, plan_digest
from kconvert.conversion.record import MadeShard, MadeSplit, record_split
from kconvert.conversion.shuffle import ShuffleOptions, shuffled, windows
from kconvert.conversion.split_job import SplitJob
from kconvert.conversion.staged import StagedParts, sharing_rows
from kconvert.conversion.strategy import Strategy
from kconvert.conversion.tasks import Tasks
from kconvert.dataset.formats.format import Format
from kconvert.dataset.manifest import SplitRecord
from kconvert.dataset.table import StagedRows
from kconvert.errors import StagingError, UsageError
from kconvert.events import Step
from kconvert.sources.access import ArchiveAccess, Streamed
from kconvert.sources.archive_cache import ArchiveCache
from kconvert.staging.journal import Inputs
from kconvert.staging.part import StagedBytes
from kconvert.storage.store import StorePath

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Repack(Strategy):
    """Packs the clips of archives into shards of a format."""

    format: Format
    """Of the shards."""
    shuffle: ShuffleOptions
    """How clips are mixed."""
    shard: ShardOptions
    """How large shards are."""

    @property
    def layout(self) -> Format:
        return self.format

    def require(self, out: StorePath, cache: Path | None, damaged: DamagedPolicy) -> None:
        self.format.require_shards_of(self.shard.max_bytes)
        self.format.require(out)

    def require_archives(self, cache: Path | None, title: str) -> None:
        if cache is not None:
            raise UsageError(f"--archives {cache}: would be ignored, as the origin has none, but {title}; leave it out")

    def access(self, out: StorePath, cache: Path | None) -> ArchiveAccess:
        return Streamed() if cache is None else ArchiveCache(cache)

    def staged(self, inputs: Inputs) -> frozenset[str]:
        return frozenset(inputs.ids())

    def read(self, names: Sequence[str], split: SplitJob, tasks: Tasks) -> None:
        split.read_archives(_unread(names, split), ingest, tasks)

    def make(self, split: SplitJob, tasks: Tasks) -> SplitRecord:
        parts = StagedParts(split)
        try:
            return self._walk(split, parts, tasks)
        except _OtherRowsError as error:
            tasks.note(f"{error.archive} has other clips than when it was first read; the shards are planned anew")
        try:
            return self._walk(split, parts, tasks)
        except _OtherRowsError as error:
            raise StagingError(
                f"{error.archive}: holds other clips each time that it is read; run again once its origin is as it "
                "should be"
            ) from error

    def _walk(self, split: SplitJob, parts: StagedParts, tasks: Tasks) -> SplitRecord:
        """The way through all windows. Raises `_OtherRowsError` if what was planned is no longer true."""
        state = _State(split.open_account())
        groups = windows(split.plan.inputs.archives, self.shuffle, split.name)
        for number, group in enumerate(groups):
            replacements = split.replacements if number == 0 else ()
            unread = _unread([*replacements, *group], split)
            parts.read(unread)
            split.read_archives(unread, ingest, tasks)
            if number == 0:
                state.add_replacements(split.rows(replacements))
            decisions = state.admit(split.rows(group))
            if number == len(groups) - 1:
                decisions = [*decisions, *state.account.close(split.reason_for_missing())]
            planned = self._plan(split, state, decisions, is_only=len(groups) == 1)
            self._pack(split, state.rows, planned, parts, tasks)
            state.shards += planned
            parts.remove(group)
        parts.remove(split.replacements)
        made = MadeSplit(state.account, state.rows, [self._made(split, planned) for planned in state.shards])
        return record_split(split, self.format, made)

    def _plan(
        self, split: SplitJob, state: _State, decisions: Sequence[Decision], is_only: bool
    ) -> list[_PlannedShard]:
        """The shards of a window; how many the split has is known in time if it is the only one."""
        sizes, sounds = state.rows.column("size_bytes"), state.rows.column("sound_size_bytes")
        order = shuffled(decisions, self.shuffle, split.name)
        self.shard.require_enough(split.name, len(order))
        sized = (
            (one, sizes[one.row], [*_one_or_none(sounds[one.row]), *max_bytes(split.annotations_of(one.name))])
            for one in order
        )
        cuts = list(cut(sized, self.shard, self.format, len(state.shards)))
        num_shards = len(cuts) if is_only else None
        return [
            _PlannedShard(
                one.number, self.format.shard_path(split.release.name, split.name, one.number, num_shards), one.items
            )
            for one in cuts
        ]

    def _pack(
        self, split: SplitJob, rows: StagedRows, planned: Sequence[_PlannedShard], parts: StagedParts, tasks: Tasks
    ) -> None:
        """Packs the shards of a window that are not in place yet; archives whose clips are staged no more are read once
        more for that."""
        digests = rows.column("sha256")
        unpacked = [shard for shard in planned if not self._is_packed(split, digests, shard)]
        if not unpacked:
            return
        decisions = [decision for shard in unpacked for decision in shard.decisions]
        if lacking := parts.lacking(decisions, rows):
            _read_again(lacking, split, parts, tasks)
        numbers = {shard.number for shard in unpacked}
        parts.free([one for shard in planned if shard.number not in numbers for one in shard.decisions], rows)
        text = f"{split.name}: packing {len(unpacked):,} shard{'s' * (len(unpacked) != 1)}"
        step = Step(split.name, "packing", text, None, len(decisions))
        tasks.run(step, pack, self._pack_tasks(split, rows, unpacked))

    def _is_packed(self, split: SplitJob, digests: Sequence[str], shard: _PlannedShard) -> bool:
        """Whether a shard is in place; `digests` are those of all rows."""
        samples = ((sample_key(split.name, one.name), digests[one.row], one.source) for one in shard.decisions)
        receipt = split.journal.shard_receipt(shard.number)
        return is_packed(receipt, split.out, shard.path, self.format, plan_digest(samples))

    def _pack_tasks(self, split: SplitJob, rows: StagedRows, shards: Sequence[_PlannedShard]) -> Iterator[PackTask]:
        archives, shared = rows.archive_column(), sharing_rows(rows)
        for shard in shards:
            staged = zip(shard.decisions, rows.take([one.row for one in shard.decisions]), strict=True)
            samples = tuple(
                PackSample(
                    sample_metadata(decision, row, split.release, split.name),
                    split.ids[archives[decision.row]],
                    StagedBytes(row["part_offset"], row["size_bytes"], row["crc32"]),
                    _staged_sound(row),
                    split.annotations_of(decision.name),
                    decision.row in shared,
                )
                for decision, row in staged
            )
            kind = split.read.encoding.audio.member
            labels = split.release.labels
            yield PackTask(shard.number, shard.path, split.out, split.journal, self.format.name, samples, kind, labels)

    def _made(self, split: SplitJob, shard: _PlannedShard) -> MadeShard:
        receipt = split.journal.shard_receipt(shard.number)
        assert receipt is not None
        decisions = shard.decisions
        labels = [str(split.release.labelled(one.label)["label"]) for one in decisions]
        files = [
            self.format.video_path(receipt.path, split.name, safe_name(one.name), label)
            for one, label in zip(decisions, labels, strict=True)
        ]
        return MadeShard(receipt, decisions, files)


@dataclass
class _State:
    """How far the way through the windows of a split is."""

    account: Account
    """Of all windows so far."""
    rows: StagedRows = field(default_factory=lambda: StagedRows.read({}))
    """Of the replacement archive and all windows so far, in this order: decisions name them by their indexes."""
    shards: list[_PlannedShard] = field(default_factory=list)
    """Of all windows so far; all are packed."""

    def add_replacements(self, rows: StagedRows) -> None:
        self.rows = rows
        self.account.add_replacements(rows)

    def admit(self, rows: StagedRows) -> Sequence[Decision]:
        """The decisions on the clips of a window."""
        self.rows = self.rows.followed_by(rows)
        return self.account.admit(rows)


@dataclass(frozen=True)
class _PlannedShard:
    """A shard as it is to be."""

    number: int
    """In its split, from 0."""
    path: str
    """Below the output folder."""
    decisions: Sequence[Decision]
    """On its clips, in the order of its samples."""


class _OtherRowsError(Exception):
    """An archive that was read once more holds other clips than before."""

    def __init__(self, archive: str) -> None:
        super().__init__(archive)
        self.archive = archive


def _unread(names: Sequence[str], split: SplitJob) -> list[str]:
    """Those of these archives that are not read yet."""
    read = split.receipts(names)
    return [name for name in names if name not in read]


def _read_again(names: Sequence[str], split: SplitJob, parts: StagedParts, tasks: Tasks) -> None:
    """Ingests archives that were read before. Raises `_OtherRowsError` if they are not what they were."""
    tasks.note(f"reads {len(names):,} archive(s) again, as clips that are to be packed are staged no more")
    before = split.receipts(names)
    parts.read(names)
    split.read_archives(names, ingest, tasks)
    after = split.receipts(names)
    for name in names:
        if name not in before or name not in after or before[name].rows_sha256 != after[name].rows_sha256:
            raise _OtherRowsError(name)


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


def _one_or_none(size: int | None) -> list[int]:
    return [] if size is None else [size]


def _known(value: Number | None, unknown: Number) -> Number:
    return unknown if value is None else value
