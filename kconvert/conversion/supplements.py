"""Supplements of a folder: further annotations are read before anything big is, kept, and joined once its clips are in
place.

They are no part of a folder's identity: whatever has them from the start, and whatever has them added, ends the same.
Those that a folder has are kept up to date by every later run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from kconvert.catalog.release import SUPPLEMENT_NAMES, Release
from kconvert.conversion.folder import FolderState
from kconvert.conversion.moments import find_frames
from kconvert.conversion.tasks import Tasks
from kconvert.dataset.layout import Layout
from kconvert.dataset.manifest import FileEntry, SupplementEntry
from kconvert.dataset.supplements.open import open_supplement
from kconvert.dataset.supplements.supplement import Material, Moments
from kconvert.dataset.table import read_split_table
from kconvert.errors import AnnotationError, StagingError
from kconvert.sources.fetch.stream import FetchOptions
from kconvert.sources.origins.open import open_origin
from kconvert.sources.supplements import SupplementFiles, read_supplement
from kconvert.staging.journal import Journal
from kconvert.storage.store import StorePath


@dataclass(frozen=True)
class WantedSupplements:
    """Which further annotations a run is asked for, and where they are."""

    release: Release
    """Of the folder."""
    origin: str
    """The URL, or the absolute path."""
    fetch: FetchOptions
    """How they are fetched."""
    names: Sequence[str] = ()
    """Of those that are asked for."""
    locations: Mapping[str, str] = field(default_factory=dict)
    """Where a person says that they are, by name; the others are the origin's."""
    files: Mapping[str, SupplementFiles] = field(default_factory=dict)
    """Of those that samples have themselves, which are read already, by name."""
    is_anew: bool = False
    """Whether what an earlier run has kept counts for nothing."""


@dataclass(frozen=True)
class SupplementJob:
    """What the making of tables is given."""

    release: Release
    """Of the folder."""
    layout: Layout
    """Of the folder."""
    journal: Journal
    """What is kept of the annotations, and where the folder is."""
    splits: Sequence[str]
    """Of the folder, all in place, in their usual order."""
    tasks: Callable[[str], Tasks]
    """What runs the tasks of a split."""


@dataclass(frozen=True)
class ReadSupplements:
    """The further annotations that a folder is to have, as they were read."""

    unchanged: Mapping[str, SupplementEntry]
    """Those that stay as they are, by name."""
    files: Mapping[str, SupplementFiles]
    """What the others are made from, by name: of millions of rows, so that they are not held for long."""

    @property
    def disk_bytes(self) -> int:
        """At most, of the copy in the journal, the rows that are given out, and the tables, which are smaller."""
        return 3 * sum(len(data) for files in self.files.values() for data in files.by_name.values())

    def keep(self, journal: Journal) -> Supplements:
        """Keeps what tables are to be made from in the journal."""
        for name, files in self.files.items():
            journal.set_supplement(name, files.by_name)
        return Supplements(self.unchanged, tuple(self.files))


@dataclass(frozen=True)
class Supplements:
    """The further annotations that a folder is to have."""

    unchanged: Mapping[str, SupplementEntry]
    """Those that stay as they are, by name."""
    lacking: Sequence[str]
    """The names of those that are to be made, from what is kept in the journal."""


def read_supplements(wanted: WantedSupplements, state: FolderState, made: Sequence[str]) -> ReadSupplements:
    """What the folder is to have once these splits of it are made: all that is asked for, or is there already.

    Raises: `OriginError` if something of it cannot be had; `AnnotationError` if it cannot be read.
    """
    splits = [split for split in wanted.release.splits if split in made or split in state.records]
    in_place = {} if made else _in_place(state)
    files: dict[str, SupplementFiles] = {}
    for name in SUPPLEMENT_NAMES:
        is_lacking = name not in in_place and name in {*wanted.names, *state.supplement_names}
        if is_lacking or name in wanted.locations:
            files[name] = read_one(wanted, name, state.journal, splits)
    same = {name for name, entry in in_place.items() if name in files and files[name].sha256 == entry.source_sha256}
    return ReadSupplements(
        {name: entry for name, entry in in_place.items() if name in same or name not in files},
        {name: found for name, found in files.items() if name not in same},
    )


def _in_place(state: FolderState) -> dict[str, SupplementEntry]:
    """The entries of the manifest that are true of the splits that are there, and whose files are, too."""
    manifest = state.manifest
    if manifest is None or any(state.absent.values()) or list(manifest.splits) != list(state.records):
        return {}
    return {
        entry.name: entry
        for entry in manifest.supplements
        if all(_is_in_place(state.out / file.path, file) for file in entry.files)
    }


def _is_in_place(path: StorePath, file: FileEntry) -> bool:
    return path.size_bytes() == file.size_bytes and path.sha256() == file.sha256


def read_one(wanted: WantedSupplements, name: str, journal: Journal, splits: Sequence[str]) -> SupplementFiles:
    """The files of one, as a person gives them, or as they are kept, or else as the origin has them.

    Raises: `OriginError` if they cannot be had, `AnnotationError` if those of these splits cannot be read.
    """
    info, option = wanted.release.supplements[name], f"--with {name}"
    location = wanted.locations.get(name)
    if name in wanted.files and all(info.rows.format(split=split) in wanted.files[name].by_name for split in splits):
        return wanted.files[name]
    if location is None:
        kept = None if wanted.is_anew else journal.supplement(name)
        if kept is not None and all(info.rows.format(split=split) in kept for split in splits):
            return SupplementFiles(kept)
        origin = open_origin(wanted.origin, wanted.release, wanted.fetch)
        location = origin.supplement(info)
    else:
        option = f"--annotations.{name}"
    files = read_supplement(option, info, location, splits, wanted.fetch)
    try:
        open_supplement(name).require(files, splits, wanted.release)
    except AnnotationError as error:
        raise AnnotationError(f"{option}: {location}: {error.path}", error.problems, "") from error
    return files


def make_supplements(supplements: Supplements, job: SupplementJob) -> list[SupplementEntry]:
    """Writes the tables of those that are lacking; the entries of all. Raises: as `make_supplement`."""
    entries = {**supplements.unchanged, **{name: make_supplement(name, job) for name in supplements.lacking}}
    return [entries[name] for name in SUPPLEMENT_NAMES if name in entries]


def make_supplement(name: str, job: SupplementJob) -> SupplementEntry:
    """Writes the tables of one, from what is kept in the journal.

    Raises: `FailedTasksError` if videos could not be looked into, `StagingError` if it is kept no more.
    """
    kept = job.journal.supplement(name)
    if kept is None:
        raise StagingError(
            f"{name}: what was kept of it in {job.journal.folder} was changed; run the same command again"
        )
    out, files = job.journal.out, SupplementFiles(kept)
    tables = {split: read_split_table(out, split) for split in job.splits}

    def find(split: str, moments: Moments) -> Mapping[str, Sequence[int]]:
        return find_frames(out, job.layout, tables[split], moments, job.tasks(split))

    written = open_supplement(name).write(out, Material(job.release, files, tables), find)
    return SupplementEntry(name, files.sha256, written.files, written.counts)
