"""Assembling one split: window by window its archives are ingested, accounted for, shuffled, cut and packed.

Everything with a receipt is skipped. The plan of the shards is made anew from the staged rows each time; it comes out
the same, as it depends on nothing else.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kconvert.catalog.clip import sample_key
from kconvert.catalog.release import Release
from kconvert.conversion.account import Account, Decision, Policy
from kconvert.conversion.config import Conversion
from kconvert.conversion.disk_space import describe_room
from kconvert.conversion.finish import Placement, sample_metadata, write_split_table
from kconvert.conversion.ingest import IngestTask, ingest
from kconvert.conversion.pack import Cut, PackSample, PackTask, cut, is_packed, pack
from kconvert.conversion.plan import SplitPlan
from kconvert.conversion.shuffle import ShuffleOptions, shuffled, windows
from kconvert.dataset.formats.open import open_format
from kconvert.dataset.manifest import ShardEntry, SplitRecord
from kconvert.dataset.table import StagedRows
from kconvert.engines.engine import Engine, Failed, Outcome, Task
from kconvert.errors import DiskFullError, StagingError, TaskError, UnexpectedError, UnreachableError, disk_error
from kconvert.events import Observer, SplitDone, Step
from kconvert.staging.journal import REPLACEMENT_ID, ArchiveReceipt, SplitJournal
from kconvert.staging.part import StagedBytes, free_staged, is_freed

T = TypeVar("T", bound=Task)
_MAX_REASON_CHARS = 4000
_MAX_UNREACHABLE = 5
"""Archives in a row that nobody answers for, after which none is tried any more: each takes minutes of patience."""
_MEMBER_COUNTS = ("num_members", "num_ignored_members", "num_unparsed_members", "num_unselected_members")


@dataclass(frozen=True)
class Failure:
    """A task that failed; running again tries it again."""

    task: str
    """The archive, or shard."""
    reason: str
    next_step: str
    """What a person does about it."""
    stops_run: bool = False
    """Whether nothing else can succeed before a person has mended it."""


@dataclass
class Assembly:
    """One split being made."""

    conversion: Conversion
    release: Release
    plan: SplitPlan
    journal: SplitJournal
    engine: Engine
    observer: Observer

    def __post_init__(self) -> None:
        self._out = self.conversion.out_path
        self._split = self.plan.info.name
        self._ids = self.plan.inputs.ids()
        self._layout = open_format(self.conversion.to)
        self._selection = self.conversion.selection(self.release)
        self._stop_reason = ""
        """Why all other tasks would fail, too; `""` while they might not."""
        self._num_unreachable = 0
        """Archives that could not be reached since one could."""
        self._num_shards: int | None = None
        """Of the split; `None` while it is not known."""
        self._staged_now: set[str] = set()
        """Archives that this run has read, of whose parts nothing was freed before."""

    def run(self) -> SplitRecord | Sequence[Failure]:
        """Makes the split; the failures, if there were any."""
        while True:
            made = self._try()
            if made is not None:
                return made

    def _try(self) -> SplitRecord | Sequence[Failure] | None:
        """One way through all windows; `None` if clips that are still to be packed had to be staged again."""
        account = Account(self.plan.annotations, self._policy())
        rows = StagedRows.read({})
        cuts: list[Cut[Decision]] = []
        # Archives that are kept as they are are not mixed.
        shuffle = ShuffleOptions() if self._layout.keeps_archives else self.conversion.shuffle
        groups = windows(self.plan.inputs.archives, shuffle, self._split)
        replacement = [name for name in (self.plan.inputs.replacement,) if name is not None]
        for number, group in enumerate(groups):
            names = [*(replacement if number == 0 else []), *group]
            read = self._receipts(names)
            if failures := self._ingest([name for name in names if name not in read]):
                return failures
            if number == 0:
                rows = self._rows(replacement)
                account.add_replacements(rows)
            first = len(rows)
            rows = rows.followed_by(self._rows(group))
            decisions = [*account.admit(rows.since(first)), *(account.close() if number == len(groups) - 1 else [])]
            window_cuts = list(self._cut(decisions, rows, len(cuts)))
            # How many shards there are is known in time if all of them are cut at once.
            self._num_shards = len(window_cuts) if len(groups) == 1 else None
            unpacked = self._unpacked(window_cuts, rows)
            if unstaged := self._unstaged(unpacked, rows):
                return self._ingest(unstaged) or None
            if unpacked:
                missing = {planned.number for planned in unpacked}
                self._free_packed([planned for planned in window_cuts if planned.number not in missing], rows)
            if failures := self._pack(unpacked, rows):
                return failures
            cuts += window_cuts
            self._remove_parts(group)
        self._remove_parts(replacement)
        return self._finish(account, rows, cuts)

    def _policy(self) -> Policy:
        info, inputs = self.plan.info, self.plan.inputs
        covered = self._selection.covered_labels(info, self.release.labels, inputs)
        unlabelled = self.conversion.unlabelled or ("drop" if self.plan.annotations.has_labels else "keep")
        return Policy(self.conversion.check.short, unlabelled, lambda label: covered is None or label in covered)

    def _receipts(self, names: Iterable[str]) -> dict[str, ArchiveReceipt]:
        receipts = self.journal.archive_receipts({name: self._ids[name] for name in names})
        return {name: receipt for name, receipt in receipts.items() if receipt.archive == name}

    def _rows(self, names: Iterable[str]) -> StagedRows:
        return StagedRows.read({name: self.journal.rows_path(self._ids[name]) for name in names})

    def _ingest(self, names: Sequence[str]) -> list[Failure]:
        """Reads archives; returns those that failed."""
        if not names:
            return []
        self._staged_now.update(names)
        sizes = [self.plan.sizes.get(name) for name in names]
        total = None if None in sizes else sum(size or 0 for size in sizes)
        text = f"{self._split}: reading {len(names):,} archive{'s' * (len(names) != 1)}"
        self.observer.begin(Step(self._split, "reading", text, total))
        tasks = [
            IngestTask(
                archive=self.plan.archives[name],
                archive_id=self._ids[name],
                journal=self.journal,
                check=self.conversion.check,
                fetch=self.conversion.fetch,
                keep_folder=Path(str(self._out)) if self._layout.keeps_archives else self.conversion.keep_folder,
                is_staged=not self._layout.keeps_archives,
                is_selective=bool(self._selection.classes),
            )
            for name in names
        ]
        failures = []
        for outcome in self.engine.run(ingest, self._while_worthwhile(tasks), self.observer.advance):
            if failure := self._failure(outcome):
                self._remember(failure)
                failures.append(failure)
        self.observer.end()
        return failures

    def _while_worthwhile(self, tasks: Iterable[T]) -> Iterator[T]:
        """The tasks, until what befell some would befall all others: then they are left for the next run."""
        for task in tasks:
            if self._stop_reason:
                self.observer.note(f"{self._split}: stopped, as {self._stop_reason}; the next run goes on from there")
                return
            self.observer.task_begins(task.name)
            yield task

    def _remember(self, failure: Failure) -> None:
        try:
            self.journal.set_failure(self._ids[failure.task], failure.reason)
        except OSError as error:
            self.observer.note(f"{self._split}: `kconvert status` will not know of it: {disk_error(error)}")

    def _failure(self, outcome: Outcome[Any, Any]) -> Failure | None:
        self.observer.task_ends(outcome.task.name)
        if not isinstance(outcome, Failed):
            self._num_unreachable = 0
            return None
        reason = str(outcome.error)[:_MAX_REASON_CHARS]
        self._num_unreachable = self._num_unreachable + 1 if isinstance(outcome.error, UnreachableError) else 0
        if self._num_unreachable == _MAX_UNREACHABLE:
            self._stop_reason = "the origin does not answer"
        if isinstance(outcome.error, DiskFullError):
            self._stop_reason = "the disk is full"
            reason += f" ({describe_room(self.conversion, [self.plan])})"
        next_step = getattr(outcome.error, "next_step", TaskError.next_step)
        failure = Failure(outcome.task.name, reason, next_step, bool(self._stop_reason))
        self.observer.note(f"failed: {failure.reason}")
        if isinstance(outcome.error, UnexpectedError):
            # Nobody foresaw this, so that whoever reports it needs to know where it came from.
            self.observer.note(outcome.error.traceback)
        return failure

    def _cut(self, decisions: Iterable[Decision], rows: StagedRows, first: int) -> Iterator[Cut[Decision]]:
        sizes = rows.column("size_bytes")
        if self._layout.keeps_archives:
            return self._cut_by_archive(decisions, rows, first)
        order = shuffled(decisions, self.conversion.shuffle, self._split)
        sized = ((decision, sizes[_place(decision)]) for decision in order)
        return cut(sized, self.conversion.shard, self._layout, first)

    def _cut_by_archive(self, decisions: Iterable[Decision], rows: StagedRows, first: int) -> Iterator[Cut[Decision]]:
        """The written clips of each archive, in its own order."""
        archives = rows.archive_column()
        written = sorted((one for one in decisions if one.status == "written"), key=_place)
        groups = itertools.groupby(written, lambda decision: archives[_place(decision)])
        for number, (_, group) in enumerate(groups, start=first):
            yield Cut(number, tuple(group))

    def _unpacked(self, cuts: Iterable[Cut[Decision]], rows: StagedRows) -> list[Cut[Decision]]:
        """The shards that are not in place yet."""
        digests, archives = rows.column("sha256"), rows.archive_column()
        unpacked = []
        for planned in cuts:
            samples = (
                (sample_key(self._split, decision.name), digests[_place(decision)], decision.source)
                for decision in planned.items
            )
            receipt, path = self.journal.shard_receipt(planned.number), self._shard_path(planned, archives)
            if not is_packed(receipt, self._out, path, self._layout, samples):
                unpacked.append(planned)
        return unpacked

    def _unstaged(self, unpacked: Sequence[Cut[Decision]], rows: StagedRows) -> list[str]:
        """Archives whose clips are to be packed, but are staged no more, or not all of them."""
        archives = rows.archive_column()
        needed = dict.fromkeys(archives[_place(decision)] for planned in unpacked for decision in planned.items)
        receipts = self._receipts(needed)
        if self._layout.keeps_archives:
            sizes = {name: (self._out / name).size_bytes() for name in needed}
            return [name for name, size in sizes.items() if name not in receipts or size != receipts[name].size_bytes]
        staged = self.journal.staged({self._ids[name]: receipt for name, receipt in receipts.items()})
        unstaged = [name for name in needed if self._ids[name] not in staged]
        return unstaged + self._freed([name for name in needed if name not in unstaged], unpacked, rows)

    def _freed(self, names: Sequence[str], unpacked: Iterable[Cut[Decision]], rows: StagedRows) -> list[str]:
        """Those archives of whose clips, which are to be packed, some were freed once they were in a shard that is gone
        by now; their parts are removed."""
        # Some disks take zeros for room that was given back: what was just staged is not asked about.
        names = [name for name in names if name not in self._staged_now]
        if not names:
            return []
        clips = self._staged_clips(unpacked, rows)
        paths = {name: self.journal.part_path(self._ids[name]) for name in names}
        freed = [name for name in names if is_freed(paths[name], clips[name])]
        for name in freed:
            paths[name].remove()
        return freed

    def _free_packed(self, packed: Sequence[Cut[Decision]], rows: StagedRows) -> None:
        """Gives back what a run that was killed did not come to give back."""
        if packed and not self._layout.keeps_archives:
            for name, clips in self._staged_clips(packed, rows).items():
                free_staged(self.journal.part_path(self._ids[name]), clips)

    def _staged_clips(self, cuts: Iterable[Cut[Decision]], rows: StagedRows) -> dict[str, list[StagedBytes]]:
        """Where the clips of shards are staged, by archive."""
        archives, offsets, sizes = rows.archive_column(), rows.column("part_offset"), rows.column("size_bytes")
        clips: dict[str, list[StagedBytes]] = {}
        for place in (_place(decision) for planned in cuts for decision in planned.items):
            clips.setdefault(archives[place], []).append(StagedBytes(offsets[place], sizes[place], 0))
        return clips

    def _pack(self, unpacked: Sequence[Cut[Decision]], rows: StagedRows) -> list[Failure]:
        """Packs shards; returns those that failed."""
        if not unpacked:
            return []
        num_clips = sum(len(planned.items) for planned in unpacked)
        text = f"{self._split}: packing {len(unpacked):,} shard{'s' * (len(unpacked) != 1)}"
        self.observer.begin(Step(self._split, "packing", text, None, num_clips))
        archives = rows.archive_column()
        tasks = self._while_worthwhile(self._pack_task(planned, rows, archives) for planned in unpacked)
        outcomes = self.engine.run(pack, tasks, self.observer.advance)
        failures = [failure for outcome in outcomes if (failure := self._failure(outcome))]
        self.observer.end()
        return failures

    def _pack_task(self, planned: Cut[Decision], rows: StagedRows, archives: Sequence[str]) -> PackTask:
        places = [_place(decision) for decision in planned.items]
        staged = zip(planned.items, places, rows.take(places), strict=True)
        samples = tuple(
            PackSample(
                sample_metadata(decision, row, self.release, self._split),
                self._ids[archives[place]],
                StagedBytes(row["part_offset"], row["size_bytes"], row["crc32"]),
            )
            for decision, place, row in staged
        )
        path = self._shard_path(planned, archives)
        return PackTask(planned.number, path, self._out, self.journal, self.conversion.to, samples)

    def _shard_path(self, planned: Cut[Decision], archives: Sequence[str]) -> str:
        if self._layout.keeps_archives:
            return archives[_place(planned.items[0])]
        return self._layout.shard_path(self.release.name, self._split, planned.number, self._num_shards)

    def _remove_parts(self, names: Iterable[str]) -> None:
        for name in names:
            self.journal.part_path(self._ids[name]).remove()

    def _finish(self, account: Account, rows: StagedRows, cuts: Sequence[Cut[Decision]]) -> SplitRecord:
        placements: dict[str, Placement] = {}
        shards: list[ShardEntry] = []
        for planned in cuts:
            receipt = self.journal.shard_receipt(planned.number)
            assert receipt is not None
            shards.append(
                ShardEntry(receipt.path, self._split, receipt.num_samples, receipt.size_bytes, receipt.sha256)
            )
            # Videos that are files of their own are numbered through the whole split.
            first = len(placements) if self._layout.has_own_files else 0
            for index, (decision, offset) in enumerate(zip(planned.items, receipt.offsets, strict=True), start=first):
                path = self._layout.video_path(receipt.path, self._split, decision.name, decision.label)
                placements[decision.name] = Placement(path, index, offset)
        current = {shard.path for shard in shards}
        for path in self.journal.forget_shards_from(len(cuts)):
            for name in (path, *self._layout.companion_paths(path)) if path not in current else ():
                (self._out / name).remove()
        table = write_split_table(self._out, self.release, self._split, rows, account.decisions, placements)
        num_bytes = sum(shard.size_bytes for shard in shards)
        if self._layout.has_own_files:
            sizes = rows.column("size_bytes")
            num_bytes += sum(sizes[_place(decision)] for planned in cuts for decision in planned.items)
            self._remove_strays({placement.shard for placement in placements.values()})
        (self._out / self._split).remove_empty()
        counts = account.counts(self._member_counts(), len(shards), num_bytes)
        if problems := counts.contradictions():
            raise StagingError(
                f"{self._split}: the account does not close ({'; '.join(problems)}): something in "
                f"{self.journal.folder} was changed; remove that folder and run the same command again"
            )
        self.journal.set_listings(
            {
                "unmatched_replacements": account.unmatched_replacements(),
                "repeated_annotations": list(self.plan.annotations.repeated),
            }
        )
        record = SplitRecord(counts, tuple(shards), table)
        self.journal.set_record(record)
        self.observer.split_ends(
            SplitDone(
                split=self._split,
                num_written=counts.num_written,
                num_flagged=counts.num_short,
                num_rejected=sum(counts.num_rejected.values()),
                num_shards=len(shards),
                num_bytes=num_bytes,
            )
        )
        return record

    def _remove_strays(self, known: set[str]) -> None:
        """Removes the videos that an earlier plan of the split had, and this one has not."""
        for path, kind in list((self._out / self._split).walk()):
            if kind == "file" and path.relative_to(self._out).as_posix() not in known:
                path.remove()

    def _member_counts(self) -> Mapping[str, int]:
        """What the receipts of the split's own archives add up to."""
        own = {name: archive_id for name, archive_id in self._ids.items() if archive_id != REPLACEMENT_ID}
        receipts = list(self.journal.archive_receipts(own).values())
        counts = {name: sum(getattr(receipt, name) for receipt in receipts) for name in _MEMBER_COUNTS}
        num_clips = sum(receipt.num_clips for receipt in receipts)
        return {"num_archives": len(receipts), **counts, "num_clip_members": num_clips}


def _place(decision: Decision) -> int:
    """The staged row of a written clip."""
    assert decision.place is not None
    return decision.place
