"""The record of a split: its table, its counts and its entries in the manifest, once its shards are in place."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kconvert.catalog.clip import sample_key
from kconvert.conversion.account import Account, Decision
from kconvert.conversion.split_job import SplitJob
from kconvert.dataset.layout import Layout
from kconvert.dataset.manifest import ShardEntry, SplitCounts, SplitRecord, TableEntry, table_path
from kconvert.dataset.table import CARRIED, SOUND_COLUMNS, SOURCE_COLUMNS, StagedRows, write_table
from kconvert.errors import StagingError
from kconvert.events import SplitDone
from kconvert.staging.journal import ShardReceipt

_STAGED_COLUMNS = (
    "defects", "detail", "member", "size_bytes", "sha256", "duration_seconds", "num_frames", "fps", "width", "height",
    "pix_fmt", "video_codec", "audio_codec", "rotation_degrees", "bit_rate", "sample_aspect_ratio",
    "is_variable_frame_rate", "num_decoded_frames", "encoding_reasons", "encoding_notes", "encoding_ssim",
    *SOURCE_COLUMNS,
)  # fmt: skip
_MEMBER_COUNTS = ("num_members", "num_ignored_members", "num_unparsed_members", "num_unselected_members")


@dataclass(frozen=True)
class MadeShard:
    """A shard that is in place."""

    receipt: ShardReceipt
    """Of the shard."""
    decisions: Sequence[Decision]
    """On its clips, in the order of its samples."""
    files: Sequence[str]
    """The file, below the output folder, that holds the video of each."""


@dataclass(frozen=True)
class MadeSplit:
    """A split whose shards are all in place."""

    account: Account
    """Closed."""
    rows: StagedRows
    """That its decisions are on."""
    shards: Sequence[MadeShard]
    """In their order."""

    @property
    def videos_bytes(self) -> int:
        """Of the written clips, with their sound where that is a member of its own."""
        sizes = self.rows.sample_sizes()
        return sum(sizes[decision.row] for shard in self.shards for decision in shard.decisions)


class Placement(NamedTuple):
    """Where a sample is."""

    shard: str
    """The path, below the output folder, of the file that holds the video; `""` for none."""
    sample_index: int | None
    """From 0, as `Layout.sample_index` counts; `None` for none."""
    offset_bytes: int | None
    """Of the video's first byte in the file; `None` if that cannot be said."""


_NOWHERE = Placement("", None, None)


def record_split(split: SplitJob, layout: Layout, made: MadeSplit) -> SplitRecord:
    """Writes the table of a split, and its record into the journal; what is left of earlier plans of it is removed.

    Raises: `StagingError` if the account does not close.
    """
    placements = _placements(layout, made.shards)
    entries = [_entry(split.name, shard.receipt) for shard in made.shards]
    _remove_obsolete(split, layout, {entry.path for entry in entries}, len(entries))
    layout.remove_orphans(split.out, split.name, {placement.shard for placement in placements.values()})
    (split.out / split.name).remove_empty()
    table = _write_table(split, made, placements)
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
        counts, tuple(entries), table, tuple(split.damaged()), split.plan.origin_title, split.plan.num_unused
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


def _entry(split: str, receipt: ShardReceipt) -> ShardEntry:
    return ShardEntry(receipt.path, split, receipt.num_samples, receipt.size_bytes, receipt.sha256)


def _placements(layout: Layout, shards: Sequence[MadeShard]) -> dict[str, Placement]:
    """Where each written clip is, by name."""
    placements: dict[str, Placement] = {}
    for shard in shards:
        num_before = len(placements)
        found = zip(shard.decisions, shard.files, shard.receipt.offsets, strict=True)
        for index, (decision, file, offset) in enumerate(found):
            placements[decision.name] = Placement(file, layout.sample_index(num_before, index), offset)
    return placements


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


def _write_table(split: SplitJob, made: MadeSplit, placements: Mapping[str, Placement]) -> TableEntry:
    path = split.out / table_path(split.name)
    path.parent.make_folder()
    sha256 = write_table(path, _table_columns(split, made, placements))
    return TableEntry(table_path(split.name), len(made.account.decisions), path.size_bytes() or 0, sha256)


def _table_columns(split: SplitJob, made: MadeSplit, placements: Mapping[str, Placement]) -> Iterator[tuple[str, Any]]:
    """The columns of the table of a split, one at a time: a release has 650,000 rows."""
    rows, decisions, release = made.rows, made.account.decisions, split.release
    sound = () if split.read.encoding.audio.member is None else SOUND_COLUMNS
    yield from rows.gather((decision.row_index for decision in decisions), (*_STAGED_COLUMNS, *sound))
    yield "key", [sample_key(split.name, decision.name) for decision in decisions]
    yield "split", [split.name] * len(decisions)
    yield from release.names.columns([decision.name for decision in decisions])
    if not release.names.are_keys:
        yield "name", [decision.name for decision in decisions]
    carried = split.plan.annotations.carried
    for column in split.plan.inputs.annotations.carry:
        yield f"{CARRIED}{column}", [carried.get(decision.name, {}).get(column, "") for decision in decisions]
    # Of hundreds of labels, each is looked up once.
    labelled = functools.cache(release.labelled)
    for column in release.labelled(""):
        yield column, [labelled(decision.label)[column] for decision in decisions]
    yield "label_source", [decision.label_source for decision in decisions]
    yield "status", [decision.status for decision in decisions]
    yield "reason", [decision.reason for decision in decisions]
    yield "excluded_by", [decision.excluded_by for decision in decisions]
    yield "source", [decision.source for decision in decisions]
    for _, originals in rows.gather((decision.original for decision in decisions), ["defects"]):
        yield "original_defects", originals
    archives = rows.archive_column()
    yield "archive", ["" if decision.row_index is None else archives[decision.row_index] for decision in decisions]
    placed = [placements[decision.name] if decision.status == "written" else _NOWHERE for decision in decisions]
    yield "shard", [placement.shard for placement in placed]
    yield "sample_index", [placement.sample_index for placement in placed]
    yield "offset_bytes", [placement.offset_bytes for placement in placed]
    encodings = rows.column("encoding")
    yield "encoding", [encodings[one.row] if one.status == "written" else "" for one in decisions]
