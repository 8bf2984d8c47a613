"""A split that is to be made: what it is made from, and what of that is read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kconvert.catalog.release import Release
from kconvert.conversion.account import Account, Policy
from kconvert.conversion.ingest import IngestTask
from kconvert.conversion.plan import SplitPlan
from kconvert.conversion.tasks import Failure, Tasks
from kconvert.dataset.table import StagedRows
from kconvert.engines.engine import Work
from kconvert.errors import disk_error
from kconvert.events import Step
from kconvert.sources.access import ArchiveAccess
from kconvert.sources.fetch.stream import FetchOptions
from kconvert.staging.journal import ArchiveReceipt, SplitJournal
from kconvert.storage.store import StorePath
from kconvert.video.verdict import CheckOptions


@dataclass(frozen=True)
class ReadOptions:
    """How archives are read."""

    check: CheckOptions
    """What is looked for in clips."""
    fetch: FetchOptions
    """How their bytes are fetched."""
    access: ArchiveAccess
    """Where their bytes are had from."""


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
    selection: StorePath | None
    """The names of the clips that are read, in a file; `None` for all."""

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
        return Account(self.plan.annotations, self.policy)

    def receipts(self, names: Iterable[str]) -> dict[str, ArchiveReceipt]:
        """The receipts of those of these archives that are read, by name."""
        receipts = self.journal.archive_receipts({name: self.ids[name] for name in names})
        return {name: receipt for name, receipt in receipts.items() if receipt.archive == name}

    def rows(self, names: Iterable[str]) -> StagedRows:
        """The rows of archives that are read, in this order."""
        return StagedRows.read({name: self.journal.rows_path(self.ids[name]) for name in names})

    def read_archives(self, names: Sequence[str], work: Work[IngestTask, ArchiveReceipt], tasks: Tasks) -> None:
        """Has archives read; nothing if there are none. Raises `FailedTasksError` if some cannot be."""
        if not names:
            return
        sizes = [self.plan.sizes.get(name) for name in names]
        total = None if None in sizes else sum(size or 0 for size in sizes)
        text = f"{self.name}: reading {len(names):,} archive{'s' * (len(names) != 1)}"
        tasks.run(Step(self.name, "reading", text, total), work, map(self._task, names), self._remember(tasks))

    def _task(self, name: str) -> IngestTask:
        return IngestTask(
            archive=self.plan.archives[name],
            archive_id=self.ids[name],
            journal=self.journal,
            check=self.read.check,
            fetch=self.read.fetch,
            access=self.read.access,
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
