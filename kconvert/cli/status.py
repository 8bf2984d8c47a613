"""The status of an output folder: what is done, what is missing, what failed and why. Only looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kconvert.conversion.folder import FolderState
from kconvert.dataset.manifest import MANIFEST_NAME, SplitCounts, SplitRecord
from kconvert.engines.slurm_queue import read_array_tasks
from kconvert.errors import UsageError
from kconvert.staging.journal import Journal, ProgressRecord, SplitJournal
from kconvert.storage.store import StorePath


@dataclass(frozen=True)
class SplitStatus:
    """How far a split is."""

    split: str
    """Its name."""
    is_finished: bool
    """Whether its shards and its table are in place."""
    num_archives: int
    """To be read, the replacement archive among them."""
    num_archives_read: int
    """Of these, with a receipt."""
    num_shards: int
    """Packed so far."""
    failures: Mapping[str, str]
    """Archives that failed the last time, with the reason."""
    counts: SplitCounts | None
    """The account; `None` while the split is not finished."""
    listings: Mapping[str, Sequence[str]]
    """Names that a person may want to look at, by kind."""


@dataclass(frozen=True)
class Status:
    """How far a folder is."""

    is_complete: bool
    """Whether the manifest is there and every split that was begun is in it."""
    is_running: bool
    """Whether a run holds the lock of the folder."""
    splits: Sequence[SplitStatus]
    """Those that were begun, in their usual order."""
    progress: ProgressRecord | None
    """How far that run is; `None` if none is running, or it has written none yet."""
    refusal: str
    """Why the last run was refused before it began anything; `""` if it was not."""
    array_tasks: Mapping[str, str]
    """What the last run gave to Slurm and is not done: from an array task's number there to its archive or shard."""


def read_status(out: StorePath) -> Status:
    """Raises `UsageError` if the folder has nothing of kconvert in it."""
    journal = Journal(out)
    state = FolderState.read(journal)
    manifest = state.manifest
    if not journal.exists() and manifest is None:
        raise UsageError(
            f"{out}: no kconvert run has worked on this folder ({MANIFEST_NAME} and .kconvert not found); "
            "expected the --out of one"
        )
    records = state.finished
    array_tasks = _undone_array_tasks(journal)
    splits = []
    for split_journal in journal.splits():
        record = records.pop(split_journal.name, None)
        absent = state.absent.get(split_journal.name, ())
        splits.append(_split_status(split_journal, record, absent))
    for split, record in records.items():
        counts = record.counts
        splits.append(
            SplitStatus(
                split,
                True,
                counts.num_archives,
                counts.num_archives,
                counts.num_shards,
                {},
                counts,
                {"damaged_archives": list(map(str, record.damaged))},
            )
        )
    is_complete = manifest is not None and all(status.split in manifest.splits for status in splits)
    is_running = journal.is_locked()
    progress = journal.progress() if is_running else None
    is_complete = is_complete and all(status.is_finished for status in splits)
    return Status(is_complete, is_running, splits, progress, journal.refusal(), array_tasks)


def _undone_array_tasks(journal: Journal) -> dict[str, str]:
    found = read_array_tasks(journal.folder / "slurm")
    if not found:
        return {}
    done: set[str] = set()
    for split in journal.splits():
        done |= set(split.archive_receipts(split.ids()))
        receipts = (split.shard_receipt(number) for number in range(split.num_shard_receipts()))
        done |= {receipt.path for receipt in receipts if receipt is not None}
    return {number: name for number, name in found.items() if name not in done}


def _split_status(journal: SplitJournal, record: SplitRecord | None, absent: Sequence[str]) -> SplitStatus:
    ids = journal.ids()
    receipts = journal.archive_receipts(ids)
    failures = {name: reason for name, archive_id in ids.items() if (reason := journal.failure(archive_id))}
    refused = [f"{name}: {text}" for name, receipt in receipts.items() for text in receipt.refused]
    notes = [f"{name}: {text}" for name, receipt in receipts.items() for text in receipt.notes]
    damages = {name: receipt.damage for name, receipt in receipts.items() if receipt.damage is not None}
    damaged = {name: f"{name}: {damage.handling}: {damage.problem}" for name, damage in damages.items()}
    if record is not None:
        # Those that were read again since, as another --damaged was asked for, count as they were packed.
        damaged = {entry.archive: damaged.get(entry.archive, str(entry)) for entry in record.damaged}
    counts = record.counts if record is not None else None
    return SplitStatus(
        split=journal.name,
        is_finished=counts is not None,
        num_archives=len(ids),
        num_archives_read=len(receipts),
        num_shards=counts.num_shards if counts else journal.num_shard_receipts(),
        failures=failures,
        counts=counts,
        listings={
            "refused_members": refused,
            "odd_archives": notes,
            "damaged_archives": list(damaged.values()),
            **journal.listings(),
            "missing_files": list(absent),
        },
    )
