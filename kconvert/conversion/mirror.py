"""Mirroring: the archives of a split are fetched, checked clip by clip and kept as they are.

An archive that holds a written clip is a shard; what is kept of it beside its file is its digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from kconvert.catalog.many_names import sample_keys
from kconvert.columns.column import Column
from kconvert.columns.combining import order
from kconvert.conversion.damaged import DamagedPolicy
from kconvert.conversion.decisions import Decisions
from kconvert.conversion.ingest import IngestTask, read_archive
from kconvert.conversion.pack import is_packed, plan_digest
from kconvert.conversion.record import MadeShard, MadeSplit, record_split
from kconvert.conversion.split_job import SplitJob
from kconvert.conversion.strategy import Strategy
from kconvert.conversion.tasks import Tasks
from kconvert.dataset.archives import LAYOUT
from kconvert.dataset.layout import Layout
from kconvert.dataset.manifest import SplitRecord
from kconvert.dataset.staged_rows import StagedRows
from kconvert.errors import UsageError
from kconvert.events import Advance, Emit, Step
from kconvert.sources.access import ArchiveAccess
from kconvert.sources.archive_cache import ArchiveCopies
from kconvert.staging.journal import ArchiveReceipt, Inputs, ShardReceipt, SplitJournal, guarded
from kconvert.staging.part import NoPart
from kconvert.storage.store import StorePath


@dataclass(frozen=True)
class Mirror(Strategy):
    """Keeps the archives themselves: nothing is staged, mixed or packed."""

    @property
    def layout(self) -> Layout:
        return LAYOUT

    def require(self, out: StorePath, cache: Path | None, damaged: DamagedPolicy) -> None:
        if cache is not None:
            raise UsageError(f"--archives {cache}: --to archives keeps them in --out; leave it out")
        if damaged == "salvage":
            raise UsageError(
                "--damaged salvage: --to archives keeps archives whole; use --damaged skip, or another --to"
            )
        LAYOUT.require(out)

    def require_archives(self, cache: Path | None, title: str) -> None:
        raise UsageError(f"--to archives: the origin has no archives, but {title}; choose another --to")

    def access(self, out: StorePath, cache: Path | None) -> ArchiveAccess:
        folder = out.local_path
        assert folder is not None
        return ArchiveCopies(folder)

    def staged(self, inputs: Inputs) -> frozenset[str]:
        return frozenset()

    def read(self, names: Sequence[str], split: SplitJob, tasks: Tasks) -> None:
        kept = _kept(split, names)
        split.read_archives([name for name in names if name not in kept], check_archive, tasks)

    def make(self, split: SplitJob, tasks: Tasks) -> SplitRecord:
        self.read([*split.replacements, *split.plan.inputs.archives], split, tasks)
        replacements = split.rows(split.replacements)
        own = split.rows(split.plan.inputs.archives)
        account = split.open_account()
        account.add_replacements(replacements)
        account.admit(own)
        account.close(split.reason_for_missing())
        rows = replacements.followed_by(own)
        kept = list(_kept_archives(split, account.decisions, rows))
        _digest([archive.task for archive in kept if not archive.task.is_done], split.name, tasks)
        made = MadeSplit.of(LAYOUT, account, rows, [_made(split, archive) for archive in kept])
        return record_split(split, LAYOUT, made)


def check_archive(task: IngestTask, emit: Emit) -> ArchiveReceipt:
    """Copies an archive to where it is kept, and checks its clips; its rows, then its receipt, are in the journal when
    this returns.

    Raises: as `read_archive`.
    """
    return read_archive(task, emit, lambda: nullcontext(NoPart()))


@dataclass(frozen=True)
class DigestTask:
    """One kept archive to be digested."""

    number: int
    """Among the shards of its split, from 0."""
    path: str
    """Of the archive, below the output folder."""
    out: StorePath
    """The output folder."""
    journal: SplitJournal
    """Where the receipt goes."""
    num_samples: int
    """Its written clips."""
    plan_sha256: str
    """See `plan_digest`."""

    @property
    def name(self) -> str:
        return self.path

    @property
    def is_done(self) -> bool:
        """Whether the journal has the receipt of the archive as it is."""
        receipt = self.journal.shard_receipt(self.number)
        return is_packed(receipt, self.out, self.path, LAYOUT, self.plan_sha256)


def digest_archive(task: DigestTask, emit: Emit) -> ShardReceipt:
    """Digests a kept archive; its receipt is in the journal when this returns."""
    archive = task.out / task.path
    receipt = ShardReceipt(
        path=task.path,
        num_samples=task.num_samples,
        size_bytes=archive.size_bytes() or 0,
        sha256=archive.sha256(),
        offsets=(None,) * task.num_samples,
        plan_sha256=task.plan_sha256,
    )
    guarded(task.journal, emit)(Advance(num_clips=task.num_samples))
    task.journal.set_shard_receipt(task.number, receipt)
    return receipt


def _kept(split: SplitJob, names: Iterable[str]) -> set[str]:
    """Those archives that are read, and stand there as they were read, or were skipped."""
    receipts = split.receipts(names)
    return {
        name
        for name, receipt in receipts.items()
        if receipt.damage is not None or (split.out / name).size_bytes() == receipt.size_bytes
    }


@dataclass(frozen=True)
class _KeptArchive:
    """A kept archive that holds written clips."""

    task: DigestTask
    """Has it digested."""
    indexes: Column
    """Of the decisions on its written clips, in the order of the archive."""


def _kept_archives(split: SplitJob, decisions: Decisions, rows: StagedRows) -> Iterator[_KeptArchive]:
    """Each archive that holds written clips, in the order of the archives."""
    written = decisions.are_written.indexes()
    written = written.take(order(decisions.row.take(written)))
    start = 0
    for number, (archive, group) in enumerate(groupby(rows.archives.take(decisions.row.take(written)))):
        indexes = written.slice(start, start + sum(1 for _ in group))
        start += len(indexes)
        found = decisions.take(indexes)
        digests = rows.take(found.row, ["sha256"]).column("sha256")
        planned = plan_digest(sample_keys(split.name, found.name), [digests], found.source)
        task = DigestTask(number, archive, split.out, split.journal, len(indexes), planned)
        yield _KeptArchive(task, indexes)


def _digest(unknown: Sequence[DigestTask], split: str, tasks: Tasks) -> None:
    if unknown:
        text = f"{split}: digesting {len(unknown):,} archive{'s' * (len(unknown) != 1)}"
        num_clips = sum(task.num_samples for task in unknown)
        tasks.run(Step(split, "packing", text, None, num_clips), digest_archive, unknown)


def _made(split: SplitJob, archive: _KeptArchive) -> MadeShard:
    task = archive.task
    receipt = split.journal.shard_receipt(task.number)
    assert receipt is not None
    return MadeShard.of(receipt, split.name, archive.indexes, Column.constant(task.path, task.num_samples))
