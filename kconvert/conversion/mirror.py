"""Mirroring: the archives of a split are fetched, checked clip by clip and kept as they are.

An archive that holds a written clip is a shard; what is kept of it beside its file is its digest.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from kconvert.catalog.clip import sample_key
from kconvert.conversion.account import Decision
from kconvert.conversion.damaged import DamagedPolicy
from kconvert.conversion.ingest import IngestTask, read_archive
from kconvert.conversion.pack import is_packed, plan_digest
from kconvert.conversion.record import MadeShard, MadeSplit, record_split
from kconvert.conversion.split_job import SplitJob
from kconvert.conversion.strategy import Strategy
from kconvert.conversion.tasks import Tasks
from kconvert.dataset.archives import LAYOUT
from kconvert.dataset.layout import Layout
from kconvert.dataset.manifest import SplitRecord
from kconvert.dataset.table import StagedRows
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
        digests = list(_digest_tasks(split, account.decisions, rows))
        _digest([task for task in digests if not task.is_done], split.name, tasks)
        made = MadeSplit(account, rows, [_made(split, task) for task in digests])
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
    decisions: tuple[Decision, ...]
    """On its written clips, in the order of the archive."""
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
    num_samples = len(task.decisions)
    receipt = ShardReceipt(
        path=task.path,
        num_samples=num_samples,
        size_bytes=archive.size_bytes() or 0,
        sha256=archive.sha256(),
        offsets=(None,) * num_samples,
        plan_sha256=task.plan_sha256,
    )
    guarded(task.journal, emit)(Advance(num_clips=num_samples))
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


def _digest_tasks(split: SplitJob, decisions: Iterable[Decision], rows: StagedRows) -> Iterator[DigestTask]:
    """A task for each archive that holds written clips, in the order of the archives."""
    archives, digests = rows.archive_column(), rows.column("sha256")
    written = sorted((one for one in decisions if one.status == "written"), key=lambda one: one.row)
    for number, (archive, group) in enumerate(itertools.groupby(written, lambda one: archives[one.row])):
        clips = tuple(group)
        planned = plan_digest((sample_key(split.name, one.name), digests[one.row], one.source) for one in clips)
        yield DigestTask(number, archive, split.out, split.journal, clips, planned)


def _digest(unknown: Sequence[DigestTask], split: str, tasks: Tasks) -> None:
    if unknown:
        text = f"{split}: digesting {len(unknown):,} archive{'s' * (len(unknown) != 1)}"
        num_clips = sum(len(task.decisions) for task in unknown)
        tasks.run(Step(split, "packing", text, None, num_clips), digest_archive, unknown)


def _made(split: SplitJob, task: DigestTask) -> MadeShard:
    receipt = split.journal.shard_receipt(task.number)
    assert receipt is not None
    return MadeShard(receipt, task.decisions, [task.path] * len(task.decisions))
