"""The record of a split: its table, its counts and its entries in the manifest, once its shards are in place."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kconvert.catalog.many_names import name_columns, safe_names, sample_keys
from kconvert.columns.column import Column, Kind, give_back
from kconvert.columns.combining import order, spread
from kconvert.conversion.account import Account
from kconvert.conversion.decisions import Decisions
from kconvert.conversion.split_job import SplitJob
from kconvert.dataset.clip_columns import SOUND_COLUMNS, SOURCE_COLUMNS
from kconvert.dataset.layout import Layout
from kconvert.dataset.manifest import ShardEntry, SplitCounts, SplitRecord, TableEntry, table_path
from kconvert.dataset.staged_rows import StagedRows
from kconvert.dataset.table import CARRIED, write_table
from kconvert.errors import StagingError
from kconvert.events import SplitDone
from kconvert.staging.journal import ShardReceipt

_STAGED_COLUMNS = (
    "defects", "detail", "member", "size_bytes", "sha256", "duration_seconds", "num_frames", "fps", "width", "height",
    "pix_fmt", "video_codec", "audio_codec", "rotation_degrees", "bit_rate", "sample_aspect_ratio",
    "is_variable_frame_rate", "num_decoded_frames", "encoding_reasons", "encoding_notes", "encoding_ssim",
    *SOURCE_COLUMNS,
)  # fmt: skip
_LABEL_KINDS: Mapping[str, Kind] = {"label": "text", "label_id": "index", "label_ids": "indexes"}
_MEMBER_COUNTS = ("num_members", "num_ignored_members", "num_unparsed_members", "num_unselected_members")


@dataclass(frozen=True)
class MadeShard:
    """A shard that is in place."""

    entry: ShardEntry
    """What the manifest says of it."""
    indexes: Column
    """Of the decisions on its clips, in the order of its samples."""
    files: Column
    """The file, below the output folder, that holds the video of each."""
    offsets: Column
    """Where the video of each begins in its file, in bytes; `None` if that cannot be said."""

    @classmethod
    def of(cls, receipt: ShardReceipt, split: str, indexes: Column, files: Column) -> MadeShard:
        """The shard of a receipt."""
        entry = ShardEntry(receipt.path, split, receipt.num_samples, receipt.size_bytes, receipt.sha256)
        return cls(entry, indexes, files, Column.of(receipt.offsets, "number"))


@dataclass(frozen=True)
class Placements:
    """Where the samples of clips are; `None` of clips that are in none."""

    files: Column
    """The path, below the output folder, of the file that holds the video."""
    sample_indexes: Column
    """From 0, as `Layout.sample_index` counts."""
    offsets: Column
    """Of the video's first byte in the file; `None` also if that cannot be said."""

    @classmethod
    def of(cls, layout: Layout, are_written: Column, shards: Sequence[MadeShard]) -> Placements:
        """Of all clips that there are decisions on, in their order."""
        sample_indexes, num_before = [], 0
        for shard in shards:
            found = (layout.sample_index(num_before, index) for index in range(len(shard.indexes)))
            sample_indexes.append(Column.of(found, "index"))
            num_before += len(shard.indexes)
        # From the order of packing to that of the decisions.
        place = order(Column.joined([shard.indexes for shard in shards], "index"))
        columns = (
            Column.joined([shard.files for shard in shards]),
            Column.joined(sample_indexes, "index"),
            Column.joined([shard.offsets for shard in shards], "number"),
        )
        return cls(*(spread(column.take(place), are_written) for column in columns))


@dataclass(frozen=True)
class MadeSplit:
    """A split whose shards are all in place."""

    account: Account
    """Closed."""
    rows: StagedRows
    """That its decisions are on, as far as the table has them."""
    entries: Sequence[ShardEntry]
    """Of its shards, in their order."""
    placements: Placements
    """Of its clips."""

    @classmethod
    def of(cls, layout: Layout, account: Account, rows: StagedRows, shards: Sequence[MadeShard]) -> MadeSplit:
        """The split of these shards."""
        placements = Placements.of(layout, account.decisions.are_written, shards)
        entries = [shard.entry for shard in shards]
        return cls(account, rows.only((*_STAGED_COLUMNS, *SOUND_COLUMNS, "encoding")), entries, placements)

    @property
    def videos_bytes(self) -> int:
        """Of the written clips, with their sound where that is a member of its own."""
        decisions = self.account.decisions
        return self.rows.sample_sizes().take(decisions.row.where(decisions.are_written)).sum()


def record_split(split: SplitJob, layout: Layout, made: MadeSplit) -> SplitRecord:
    """Writes the table of a split, and its record into the journal; what is left of earlier plans of it is removed.

    Raises: `StagingError` if the account does not close.
    """
    entries = made.entries
    _remove_obsolete(split, layout, {entry.path for entry in entries}, len(entries))
    layout.remove_orphans(split.out, split.name, set(made.placements.files.distinct()) - {None})
    (split.out / split.name).remove_empty()
    table = _write_table(split, made)
    num_bytes = layout.split_bytes(sum(entry.size_bytes for entry in entries), made.videos_bytes)
    counts = made.account.counts(_member_counts(split), len(entries), num_bytes)
    _require_closed(split, counts)
    split.journal.set_listings(
        {
            "unmatched_replacements": made.account.unmatched_replacements(),
            "repeated_annotations": list(split.plan.annotations.repeated),
            "malformed_annotations": list(map(str, split.plan.annotations.malformed)),
            "other_times": made.account.other_times(),
            "other_folders": made.account.other_folders,
        }
    )
    record = SplitRecord(
        counts=counts,
        shards=tuple(entries),
        table=table,
        damaged=tuple(split.damaged()),
        extracted=split.plan.origin_title,
        num_unused=split.plan.num_unused,
    )
    split.journal.set_record(record)
    return record


def done_event(split: str, record: SplitRecord) -> SplitDone:
    """What a split came to, for whoever watches."""
    counts = record.counts
    return SplitDone(
        split=split,
        num_written=counts.num_written,
        num_flagged=counts.num_flagged,
        num_rejected=sum(counts.num_rejected.values()),
        num_shards=counts.num_shards,
        num_bytes=counts.num_bytes,
    )


def _remove_obsolete(split: SplitJob, layout: Layout, current: set[str], num_shards: int) -> None:
    """Removes the shards of earlier plans of a split that had more of them."""
    for path in split.journal.forget_shards_from(num_shards):
        for name in (path, *layout.sidecar_paths(path)) if path not in current else ():
            (split.out / name).remove()


def _member_counts(split: SplitJob) -> Mapping[str, int]:
    """What the receipts of the split's own archives add up to."""
    receipts = list(split.receipts(split.plan.inputs.archives).values())
    counts = {name: sum(getattr(receipt, name) for receipt in receipts) for name in _MEMBER_COUNTS}
    num_clips = sum(receipt.num_clips for receipt in receipts)
    return {"num_archives": len(receipts), **counts, "num_clip_members": num_clips}


def _require_closed(split: SplitJob, counts: SplitCounts) -> None:
    if problems := counts.contradictions():
        raise StagingError(
            f"{split.name}: the account does not close ({'; '.join(problems)}): something in {split.journal.folder} "
            "was changed; remove that folder and run the same command again"
        )


def _write_table(split: SplitJob, made: MadeSplit) -> TableEntry:
    path = split.out / table_path(split.name)
    path.parent.make_folder()
    give_back()
    decisions, placements = made.account.decisions, made.placements

    def columns(indexes: Column) -> Iterator[tuple[str, Column]]:
        found = decisions.take(indexes)
        yield from _columns_of_clips(split, found)
        yield from _columns_of_rows(split, made.rows, found)
        yield "shard", placements.files.take(indexes)
        yield "sample_index", placements.sample_indexes.take(indexes)
        yield "offset_bytes", placements.offsets.take(indexes)

    sha256 = write_table(path, safe_names(decisions.name), columns)
    return TableEntry(table_path(split.name), len(decisions), path.size_bytes() or 0, sha256)


def _columns_of_clips(split: SplitJob, decisions: Decisions) -> Iterator[tuple[str, Column]]:
    """What a table says of clips, and of what became of them."""
    names, release = decisions.name, split.release
    yield "key", sample_keys(split.name, names)
    yield "split", Column.constant(split.name, len(names))
    yield from name_columns(release.names, names)
    if not release.names.are_keys:
        yield "name", names
    carried = split.plan.annotations.carried
    for column in split.plan.inputs.annotations.carry:
        yield f"{CARRIED}{column}", Column.of(carried.get(name, {}).get(column, "") for name in names)
    # Of hundreds of labels, each is looked up once.
    labelled = functools.cache(release.labelled)
    for column, kind in _LABEL_KINDS.items():
        if column in labelled(""):
            yield column, decisions.label.each(functools.partial(_value, labelled, column), kind)
    yield "label_source", decisions.label_source
    yield "status", decisions.status
    yield "reason", decisions.reason
    yield "excluded_by", decisions.excluded_by
    yield "source", decisions.source


def _columns_of_rows(split: SplitJob, rows: StagedRows, decisions: Decisions) -> Iterator[tuple[str, Column]]:
    """What a table says of the files of clips."""
    sound = () if split.read.encoding.audio.member is None else SOUND_COLUMNS
    found = rows.take(decisions.row, (*_STAGED_COLUMNS, *sound))
    yield from found.columns()
    yield "archive", found.archives
    yield "original_defects", rows.column("defects").take(decisions.original)
    encoding, none = rows.column("encoding").take(decisions.row), Column.constant("", len(decisions))
    yield "encoding", decisions.are_written.choose(encoding, none)


def _value(labelled: Callable[[str], Mapping[str, Any]], column: str, label: str) -> Any:
    return labelled(label)[column]
