"""What is staged of a split: the parts of its archives, and what of them is still to be packed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from itertools import groupby

from kconvert.columns.column import Column
from kconvert.columns.combining import are_first, pairs, together
from kconvert.conversion.split_job import SplitJob
from kconvert.dataset.staged_rows import StagedRows
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

    def lacking(self, indexes: Column, rows: StagedRows) -> list[str]:
        """The archives of these rows, which are to be packed, that are not staged whole any more; their parts are
        removed."""
        needed = rows.archives.take(indexes).distinct()
        ids = self._split.ids
        receipts = self._split.receipts(needed)
        staged = self._split.journal.staged({ids[name]: receipt for name, receipt in receipts.items()})
        lacking = [name for name in needed if ids[name] not in staged]
        # Some disks take zeros for space that was given back: what was just staged is not asked about.
        earlier = {name for name in needed if ids[name] in staged and name not in self._read_now}
        return lacking + self._freed(earlier, indexes, rows)

    def _freed(self, names: Set[str], indexes: Column, rows: StagedRows) -> list[str]:
        """Those archives of whose clips some were freed once they were in a shard that is gone by now."""
        if not names:
            return []
        of_names = indexes.where(rows.archives.take(indexes).is_in(Column.of(names)))
        clips = _clips_by_archive(of_names, rows)
        freed = [name for name, staged in clips if is_freed(self._path(name), staged)]
        self.remove(freed)
        return freed

    def free(self, indexes: Column, rows: StagedRows, are_shared: Column) -> None:
        """Gives back the space of clips that are in a shard, as a run that was killed may not have come to do, and are
        not shared."""
        own = indexes.where(~are_shared.take(indexes))
        for name, clips in _clips_by_archive(own, rows):
            free_staged(self._path(name), clips)

    def remove(self, names: Iterable[str]) -> None:
        """Removes the parts of these archives."""
        for name in names:
            self._path(name).remove()

    def _path(self, name: str) -> StorePath:
        return self._split.journal.part_path(self._split.ids[name])


def sharing_rows(rows: StagedRows) -> Column:
    """Whether another row has the staged bytes of each as well, as clips do that are hard links to each other."""
    offsets = rows.column("part_offset")
    places = pairs(rows.archives, offsets)
    return places.is_in(places.where(~are_first(places))) & ~offsets.equals(-1)


def _clips_by_archive(indexes: Column, rows: StagedRows) -> Iterator[tuple[str, list[StagedBytes]]]:
    """Where the clips of these rows are staged, an archive after the other."""
    ordered = indexes.take(together(rows.archives.take(indexes)))
    columns = (rows.archives, rows.column("part_offset"), rows.sample_sizes())
    clips = zip(*(column.take(ordered) for column in columns), strict=True)
    for archive, group in groupby(clips, key=lambda clip: str(clip[0])):
        yield archive, [StagedBytes(offset, size, 0) for _, offset, size in group]
