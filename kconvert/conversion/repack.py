"""Repacking: window by window, the archives of a split are ingested, accounted for, shuffled, cut and packed.

Everything with a receipt is skipped. The plan of the shards is made anew from the staged rows each time; it comes out
the same, as it depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kconvert.catalog.many_names import safe_names, sample_keys
from kconvert.columns.column import BATCH_ROWS, Column
from kconvert.columns.combining import shifted
from kconvert.conversion.account import Account
from kconvert.conversion.cutting import SampleSize, ShardOptions, cut
from kconvert.conversion.damaged import DamagedPolicy
from kconvert.conversion.ingest import ingest
from kconvert.conversion.members import max_bytes
from kconvert.conversion.pack import PackTask, is_packed, pack, plan_digest
from kconvert.conversion.record import MadeShard, MadeSplit, record_split
from kconvert.conversion.samples import STAGED_COLUMNS, ShardSamples
from kconvert.conversion.shuffle import ShuffleOptions, windows
from kconvert.conversion.shuffled import shuffled
from kconvert.conversion.split_job import SplitJob
from kconvert.conversion.staged import StagedParts, sharing_rows
from kconvert.conversion.strategy import Strategy
from kconvert.conversion.tasks import Tasks
from kconvert.dataset.formats.format import Format
from kconvert.dataset.manifest import SplitRecord
from kconvert.dataset.staged_rows import StagedRows
from kconvert.errors import StagingError, UsageError
from kconvert.events import Step
from kconvert.sources.access import ArchiveAccess, Streamed
from kconvert.sources.archive_cache import ArchiveCache
from kconvert.staging.journal import Inputs
from kconvert.storage.store import StorePath


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
        return record_split(split, self.format, self._made_split(split, tasks))

    def _made_split(self, split: SplitJob, tasks: Tasks) -> MadeSplit:
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

    def _walk(self, split: SplitJob, parts: StagedParts, tasks: Tasks) -> MadeSplit:
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
            first = state.account.num_decisions
            state.admit(split.rows(group))
            if number == len(groups) - 1:
                state.account.close(split.reason_for_missing())
            planned = self._plan(split, state, first, is_only=len(groups) == 1)
            self._pack(split, state, planned, parts, tasks)
            state.shards += planned
            parts.remove(group)
        parts.remove(split.replacements)
        shards = [self._made(split, state, shard) for shard in state.shards]
        return MadeSplit.of(self.format, state.account, state.rows, shards)

    def _plan(self, split: SplitJob, state: _State, first: int, is_only: bool) -> list[_PlannedShard]:
        """The shards of a window, whose decisions begin at `first`; how many the split has is known in time if it is
        the only one."""
        written = shifted(state.account.decisions.slice(first).are_written.indexes(), first)
        names = state.account.decisions.name.take(written)
        order = written.take(shuffled(names, self.shuffle, split.name))
        self.shard.require_enough(split.name, len(order))
        sizes = _sample_sizes(split, state, order)
        cuts = list(cut(sizes, len(order), self.shard, self.format, len(state.shards)))
        num_shards = len(cuts) if is_only else None
        return [
            _PlannedShard(
                one.number,
                self.format.shard_path(split.release.name, split.name, one.number, num_shards),
                indexes := order.slice(one.start, one.stop),
                _plan_sha256(split, state, indexes),
            )
            for one in cuts
        ]

    def _pack(
        self, split: SplitJob, state: _State, planned: Sequence[_PlannedShard], parts: StagedParts, tasks: Tasks
    ) -> None:
        """Packs the shards of a window that are not in place yet; archives whose clips are staged no more are read once
        more for that."""
        is_packed = {shard.number: self._is_packed(split, shard) for shard in planned}
        unpacked = [shard for shard in planned if not is_packed[shard.number]]
        if not unpacked:
            return
        rows = state.rows_of(unpacked)
        if lacking := parts.lacking(rows, state.rows):
            _read_again(lacking, split, parts, tasks)
        are_shared = sharing_rows(state.rows)
        parts.free(state.rows_of([shard for shard in planned if is_packed[shard.number]]), state.rows, are_shared)
        text = f"{split.name}: packing {len(unpacked):,} shard{'s' * (len(unpacked) != 1)}"
        step = Step(split.name, "packing", text, None, len(rows))
        tasks.run(step, pack, self._pack_tasks(split, state, unpacked, are_shared))

    def _is_packed(self, split: SplitJob, shard: _PlannedShard) -> bool:
        """Whether a shard is in place."""
        receipt = split.journal.shard_receipt(shard.number)
        return is_packed(receipt, split.out, shard.path, self.format, shard.plan_sha256)

    def _pack_tasks(
        self, split: SplitJob, state: _State, shards: Sequence[_PlannedShard], are_shared: Column
    ) -> Iterator[PackTask]:
        for shard in shards:
            decisions = state.account.decisions.take(shard.indexes)
            rows = state.rows.take(decisions.row, STAGED_COLUMNS)
            yield PackTask(
                number=shard.number,
                path=shard.path,
                out=split.out,
                journal=split.journal,
                format=self.format.name,
                samples=ShardSamples(
                    release=split.release,
                    split=split.name,
                    decisions=decisions,
                    rows=rows,
                    archive_ids=rows.archives.each(split.ids.__getitem__),
                    are_shared=are_shared.take(decisions.row),
                    annotations=list(map(split.annotations_of, decisions.name)),
                ),
                plan_sha256=shard.plan_sha256,
                sound_kind=split.read.encoding.audio.member,
                labels=split.release.labels,
            )

    def _made(self, split: SplitJob, state: _State, shard: _PlannedShard) -> MadeShard:
        receipt = split.journal.shard_receipt(shard.number)
        assert receipt is not None
        decisions = state.account.decisions
        names = safe_names(decisions.name.take(shard.indexes))
        labels = decisions.label.take(shard.indexes).each(lambda text: str(split.release.labelled(text)["label"]))
        files = self.format.video_paths(receipt.path, split.name, names, labels)
        return MadeShard.of(receipt, split.name, shard.indexes, files)


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

    def admit(self, rows: StagedRows) -> None:
        """Decides on the clips of a window."""
        self.account.admit(rows)
        self.rows = self.rows.followed_by(rows)

    def rows_of(self, shards: Sequence[_PlannedShard]) -> Column:
        """The staged rows of the clips of these shards."""
        return self.account.decisions.row.take(Column.joined([shard.indexes for shard in shards], "index"))


@dataclass(frozen=True)
class _PlannedShard:
    """A shard as it is to be."""

    number: int
    """In its split, from 0."""
    path: str
    """Below the output folder."""
    indexes: Column
    """Of the decisions on its clips, in the order of its samples."""
    plan_sha256: str
    """See `plan_digest`."""


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


def _sample_sizes(split: SplitJob, state: _State, indexes: Column) -> Iterator[SampleSize]:
    """Of the clips of these decisions: their video, and their sound and further annotations, if they have any."""
    decisions = state.account.decisions
    for start in range(0, len(indexes), BATCH_ROWS):
        some = indexes.slice(start, start + BATCH_ROWS)
        rows, names = decisions.row.take(some), decisions.name.take(some)
        videos, sounds = (state.rows.column(name).take(rows) for name in ("size_bytes", "sound_size_bytes"))
        for video, sound, name in zip(videos, sounds, names, strict=True):
            further = max_bytes(split.annotations_of(name))
            yield video, further if sound is None else [sound, *further]


def _plan_sha256(split: SplitJob, state: _State, indexes: Column) -> str:
    decisions = state.account.decisions
    names = ("sha256",) if split.read.encoding.audio.member is None else ("sha256", "sound_sha256")
    rows, keys = decisions.row.take(indexes), sample_keys(split.name, decisions.name.take(indexes))
    return plan_digest(keys, [state.rows.column(name).take(rows) for name in names], decisions.source.take(indexes))
