"""A split that is to be made: what it is made from, and what of that is read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kconvert.catalog.labelling import Labelling
from kconvert.catalog.release import Release
from kconvert.conversion.account import Account
from kconvert.conversion.damaged import DamagedPolicy, is_accepted
from kconvert.conversion.ingest import ClipSelection, IngestTask
from kconvert.conversion.judgement import MissingReason, Policy
from kconvert.conversion.members import Annotations
from kconvert.conversion.plan import SplitPlan
from kconvert.conversion.tasks import Failure, Tasks
from kconvert.conversion.workers import Cores
from kconvert.dataset.manifest import DamagedEntry, DamageHandling
from kconvert.dataset.staged_rows import StagedRows
from kconvert.engines.engine import Work
from kconvert.errors import disk_error
from kconvert.events import Step
from kconvert.sources.access import ArchiveAccess
from kconvert.sources.fetch.stream import FetchOptions
from kconvert.staging.journal import ArchiveReceipt, SplitJournal
from kconvert.storage.store import StorePath
from kconvert.video.encoding.options import Encoding
from kconvert.video.verdict import CheckOptions

_MISSING_REASONS: Mapping[DamageHandling, MissingReason] = {
    "salvaged": "archive_damaged",
    "skipped": "archive_skipped",
}


@dataclass(frozen=True)
class ReadOptions:
    """How archives are read."""

    check: CheckOptions
    """What is looked for in clips."""
    fetch: FetchOptions
    """How their bytes are fetched."""
    access: ArchiveAccess
    """Where their bytes are had from."""
    damaged: DamagedPolicy
    """What is made of those that are damaged for good."""
    encoding: Encoding
    """What becomes of clips."""
    cores: Cores
    """How many cores a task may use."""


@dataclass(frozen=True)
class SplitJob:
    """One split to be made."""

    release: Release
    """That the split is of."""
    plan: SplitPlan
    """What it is made from."""
    out: StorePath
    """The output folder."""
    journal: SplitJournal
    """What is done of it so far."""
    read: ReadOptions
    """How its archives are read."""
    policy: Policy
    """What its clips are judged by."""
    selection: ClipSelection | None
    """The clips that are read; `None` for all."""
    annotations_of: Callable[[str], Annotations]
    """Gives what a sample has of further annotations, by the official name of its clip."""

    @property
    def name(self) -> str:
        """The split's."""
        return self.plan.info.name

    @functools.cached_property
    def ids(self) -> Mapping[str, str]:
        """What the files of each archive go by in the journal, by the archive's name."""
        return self.plan.inputs.ids()

    @property
    def replacements(self) -> Sequence[str]:
        """The replacement archive, if there is one."""
        return [name for name in (self.plan.inputs.replacement,) if name is not None]

    def open_account(self) -> Account:
        """An account that no clip is in yet."""
        plan = self.plan
        labelling = Labelling(
            annotations=plan.annotations,
            file=plan.inputs.annotations,
            info=plan.info,
            labels=self.release.labels,
            names=self.release.names,
            aliases=self.release.label_list.aliases,
        )
        return Account(labelling, self.policy)

    def receipts(self, names: Iterable[str]) -> dict[str, ArchiveReceipt]:
        """The receipts of those of these archives that are read, and not otherwise than is asked for, and
        are as they were, by name."""
        receipts = self.journal.archive_receipts({name: self.ids[name] for name in names})
        return {
            name: receipt
            for name, receipt in receipts.items()
            if receipt.archive == name
            and is_accepted(receipt, self.read.damaged)
            and self.plan.archives[name].version in ("", receipt.etag)
        }

    def damaged(self) -> list[DamagedEntry]:
        """The archives that are read and were damaged, in their order."""
        receipts = self.receipts([*self.plan.inputs.archives, *self.replacements])
        return [
            DamagedEntry(name, self.name, receipt.damage.handling, receipt.num_clips)
            for name, receipt in receipts.items()
            if receipt.damage is not None
        ]

    def reason_for_missing(self) -> Callable[[str], MissingReason]:
        """Why no archive that is read holds a clip with that label, as far as anybody knows."""
        damaged = {self.plan.info.label_of(one.archive, self.release.labels): one.handling for one in self.damaged()}

        def reason(label: str) -> MissingReason:
            # An archive that holds more classes than one may have had any clip.
            handling = damaged.get(label) or damaged.get(None)
            return "" if handling is None else _MISSING_REASONS[handling]

        return reason

    def rows(self, names: Iterable[str]) -> StagedRows:
        """The rows of archives that are read, in this order."""
        return StagedRows.read({name: self.journal.rows_path(self.ids[name]) for name in names})

    def read_archives(self, names: Sequence[str], work: Work[IngestTask, ArchiveReceipt], tasks: Tasks) -> None:
        """Has archives read; nothing if there are none. Raises `FailedTasksError` if some cannot be."""
        if not names:
            return
        sizes = [self.plan.sizes.get(name) for name in names]
        total = None if None in sizes else sum(size or 0 for size in sizes)
        kind = self.plan.archives[names[0]].kind[len(names) != 1]
        text = f"{self.name}: reading {len(names):,} {kind}"
        num_cores = self.read.cores.of_each(len(names))
        given = (self._task(name, num_cores) for name in names)
        tasks.run(Step(self.name, "reading", text, total), work, given, self._remember(tasks))
        for name, receipt in self.receipts(names).items():
            if (damage := receipt.damage) is not None:
                tasks.note(f"{name} is damaged for good, and {damage.handling}: {damage.problem}")

    def remove_parts(self) -> None:
        """Removes what is staged of it."""
        for archive_id in self.ids.values():
            self.journal.part_path(archive_id).remove()

    def _task(self, name: str, num_cores: int) -> IngestTask:
        return IngestTask(
            bundle=self.plan.archives[name],
            archive_id=self.ids[name],
            journal=self.journal,
            check=self.read.check,
            fetch=self.read.fetch,
            access=self.read.access,
            damaged=self.read.damaged,
            encoding=self.read.encoding,
            num_cores=num_cores,
            selection=self.selection,
        )

    def _remember(self, tasks: Tasks) -> Callable[[Failure], None]:
        """Has `kconvert status` say why an archive failed."""

        def remember(failure: Failure) -> None:
            try:
                self.journal.set_failure(self.ids[failure.task], failure.reason)
            except OSError as error:
                tasks.note(f"`kconvert status` will not know of it: {disk_error(error)}")

        return remember
