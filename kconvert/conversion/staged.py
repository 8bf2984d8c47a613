"""What is staged of a split: the parts of its archives, and what of them is still to be packed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kconvert.conversion.account import Decision
from kconvert.conversion.split_job import SplitJob
from kconvert.dataset.table import StagedRows
from kconvert.staging.part import StagedBytes, free_staged, is_freed
from kconvert.storage.store import StorePath


class StagedParts:
    """The parts of one split, in one run."""

    def __init__(self, split: SplitJob) -> None:
        self._split = split
        self._read_now: set[str] = set()
        """Archives that this run has read, of whose parts nothing was freed before."""

    def read(self, names: Iterable[str]) -> None:
        """Takes in that this run has read these archives."""
        self._read_now.update(names)

    def lacking(self, decisions: Sequence[Decision], rows: StagedRows) -> list[str]:
        """The archives some of whose clips are to be packed, and are staged no more; their parts are removed."""
        archives = rows.archive_column()
        needed = dict.fromkeys(archives[decision.row] for decision in decisions)
        ids = self._split.ids
        receipts = self._split.receipts(needed)
        staged = self._split.journal.staged({ids[name]: receipt for name, receipt in receipts.items()})
        lacking = [name for name in needed if ids[name] not in staged]
        # Some disks take zeros for space that was given back: what was just staged is not asked about.
        earlier = [name for name in needed if ids[name] in staged and name not in self._read_now]
        return lacking + self._freed(earlier, decisions, rows)

    def _freed(self, names: Sequence[str], decisions: Sequence[Decision], rows: StagedRows) -> list[str]:
        """Those archives of whose clips some were freed once they were in a shard that is gone by now."""
        if not names:
            return []
        clips = _clips_by_archive(decisions, rows)
        freed = [name for name in names if is_freed(self._path(name), clips[name])]
        self.remove(freed)
        return freed

    def free(self, decisions: Sequence[Decision], rows: StagedRows) -> None:
        """Gives back the space of clips that are in a shard, as a run that was killed may not have come to do."""
        shared = sharing_rows(rows)
        own = [decision for decision in decisions if decision.row not in shared]
        for name, clips in _clips_by_archive(own, rows).items():
            free_staged(self._path(name), clips)

    def remove(self, names: Iterable[str]) -> None:
        """Removes the parts of these archives."""
        for name in names:
            self._path(name).remove()

    def _path(self, name: str) -> StorePath:
        return self._split.journal.part_path(self._split.ids[name])


def sharing_rows(rows: StagedRows) -> frozenset[int]:
    """The rows whose staged bytes another row has as well, as clips do that are hard links to each other."""
    first: dict[tuple[str, int], int] = {}
    shared: set[int] = set()
    for row, where in enumerate(zip(rows.archive_column(), rows.column("part_offset"), strict=True)):
        if where[1] >= 0 and (other := first.setdefault(where, row)) != row:
            shared |= {row, other}
    return frozenset(shared)


def _clips_by_archive(decisions: Iterable[Decision], rows: StagedRows) -> dict[str, list[StagedBytes]]:
    """Where clips are staged, by archive."""
    archives, offsets, sizes = rows.archive_column(), rows.column("part_offset"), rows.sample_sizes()
    clips: dict[str, list[StagedBytes]] = {}
    for row in (decision.row for decision in decisions):
        clips.setdefault(archives[row], []).append(StagedBytes(offsets[row], sizes[row], 0))
    return clips
