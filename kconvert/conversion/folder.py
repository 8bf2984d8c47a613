"""The output folder: whose it is, what of it is whole, and how it is cleared.

Nothing here is done twice or half: a folder that is not ours is refused, one of other options too, with the exact
differences, and a cleared one keeps its identity until all else is gone.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from kconvert.catalog.release import SUPPLEMENT_NAMES
from kconvert.conversion.dataset_card import CARD_NAME, names_other_manifest
from kconvert.dataset.croissant import CROISSANT_NAME
from kconvert.dataset.layout import Layout
from kconvert.dataset.manifest import (
    FORMAT_NAMES,
    JOURNAL_FOLDER,
    LABELS_NAME,
    MANIFEST_NAME,
    REPORT_NAME,
    Manifest,
    SplitRecord,
    read_manifest,
)
from kconvert.dataset.open import open_layout
from kconvert.dataset.supplements.open import supplement_files
from kconvert.errors import ManifestError, OtherFormatError, UsageError, disk_error
from kconvert.staging.journal import Journal
from kconvert.storage.store import TEMPORARY_SUFFIX, StorePath
from kconvert.storage.threads import at_once

_MAX_SHOWN = 10
_SECOND_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class FolderState:
    """What an output folder holds, read once."""

    journal: Journal
    """Of the folder."""
    manifest: Manifest | None = None
    """`None` while the folder is not finished."""
    identity: Mapping[str, Any] | None = None
    """Of the conversion that the journal is of; `None` if none has begun."""
    records: Mapping[str, SplitRecord] = field(default_factory=dict)
    """The splits that were finished once, as the journal or else the manifest has them, in their usual order."""
    supplement_names: frozenset[str] = frozenset()
    """Of the further annotations that it has, or is to have."""

    @classmethod
    def read(cls, journal: Journal) -> FolderState:
        """Reads it. Raises `UsageError` if something in it was changed by hand, `ManifestError` if its manifest is not
        one."""
        manifest = read_manifest(journal.out)
        records = {split: manifest.record(split) for split in manifest.splits} if manifest is not None else {}
        begun = journal.splits()
        records |= {split.name: record for split in begun if (record := split.record()) is not None}
        # A journal knows the order of its splits; a finished folder has all of them.
        order = {split.name: number for number, split in enumerate(begun)}
        ordered = dict(sorted(records.items(), key=lambda item: order.get(item[0], -1)))
        names = journal.supplement_names() | {entry.name for entry in (manifest.supplements if manifest else ())}
        return cls(journal, manifest, journal.identity() if journal.exists() else None, ordered, names)

    @property
    def out(self) -> StorePath:
        """The folder."""
        return self.journal.out

    @functools.cached_property
    def layout(self) -> Layout:
        """What the folder is, or is being, laid out as; as usual if nobody knows."""
        with suppress(KeyError, TypeError):
            if self.identity is not None and self.identity["options"]["to"] in FORMAT_NAMES:
                return open_layout(self.identity["options"]["to"])
        return open_layout("webdataset" if self.manifest is None else self.manifest.format)

    @functools.cached_property
    def absent(self) -> Mapping[str, Sequence[str]]:
        """Of each recorded split, its shards and tables that are gone, or have another size by now, or lack what stands
        with them."""
        return {split: _files_not_in_place(self.out, record, self.layout) for split, record in self.records.items()}

    @property
    def finished(self) -> dict[str, SplitRecord]:
        """The splits that are whole: recorded, and with every file in place."""
        return {split: record for split, record in self.records.items() if not self.absent[split]}

    def require_same(self, identity: Mapping[str, Any]) -> None:
        """Raises `UsageError` with the differences if the folder is of another conversion. How large shards are may
        still change as long as there is none."""
        there = self.identity
        if there is None and self.manifest is not None:
            there = manifest_identity(self.manifest)
        if there is not None and not self._has_shards:
            there = {**there, "options": {**there["options"], "shard": identity["options"]["shard"]}}
        if there is not None and (found := differences(there, identity)):
            raise UsageError(
                f"--out {self.out}: was made with other options: {'; '.join(found)}; "
                "use the same options, another folder, or --overwrite to start again"
            )

    @property
    def _has_shards(self) -> bool:
        """Whether anything of a split is packed."""
        return bool(self.records) or any(split.num_shard_receipts() for split in self.journal.splits())

    def require_untouched(self) -> None:
        """Raises `UsageError` with the differences if the manifest or a table is not what was written."""
        if self.manifest is not None:
            self._require_untouched(self.manifest)
        for record in self.records.values():
            path = self.out / record.table.path
            if (size := path.size_bytes()) is not None and (sha256 := path.sha256()) != record.table.sha256:
                raise UsageError(
                    f"{path}: was changed since it was written: sha256 was {record.table.sha256} "
                    f"({record.table.size_bytes:,} bytes), is now {sha256} ({size:,} bytes); "
                    "remove it to have it made again, or use --overwrite to start again"
                )

    def _require_untouched(self, manifest: Manifest) -> None:
        found = differences(self.identity, manifest_identity(manifest)) if self.identity else []
        recorded = {split: self.journal.split(split).record() for split in manifest.splits}
        for split, record in recorded.items():
            if record is not None:
                here = dataclasses.asdict(manifest.record(split))
                found += differences(dataclasses.asdict(record), here, f"{split}.")
        if found:
            more = f"; and {len(found) - _MAX_SHOWN} more" if len(found) > _MAX_SHOWN else ""
            raise UsageError(
                f"{self.out / MANIFEST_NAME}: was changed since it was written: {'; '.join(found[:_MAX_SHOWN])}{more}; "
                "remove it to have it written again, or use --overwrite to start again"
            )
        if None in recorded.values() and names_other_manifest(self.out, manifest):
            raise UsageError(
                f"{self.out / MANIFEST_NAME}: is not the one that {CARD_NAME} names by its digest: one of them was "
                "changed since they were written; restore it, or use --overwrite to start again"
            )

    def forget_records(self, splits: Sequence[str]) -> None:
        """Removes what is recorded of these splits, as they are to be made anew: it will not be true of what comes.

        What the manifest says of other splits is kept in their journals.
        """
        manifest = self.manifest
        if manifest is not None and any(split in manifest.splits for split in splits):
            others = {split: manifest.record(split) for split in manifest.splits if split not in splits}
            keep_records(self.journal, others)
            (self.out / MANIFEST_NAME).remove()
        for split in splits:
            self.journal.split(split).forget_record()


def written_layout(journal: Journal) -> Layout:
    """What a folder is laid out as, whatever else is wrong with it; as usual if nobody knows any more."""
    identity = manifest = None
    with suppress(UsageError):
        identity = journal.identity()
    with suppress(ManifestError):
        manifest = read_manifest(journal.out)
    return FolderState(journal, manifest, identity).layout


def _folders(journal: Journal) -> list[str]:
    """What stands in the output folder beside a folder for each split."""
    return ["metadata", *written_layout(journal).folders]


def require_ours(out: StorePath) -> None:
    """Raises `UsageError` if the folder has something in it that kconvert did not make."""
    try:
        if _is_no_folder(out):
            raise UsageError(f"--out {out}: is not a folder; choose another path")
        if _is_foreign(out):
            # Another run that begins there now, or a store that shows what is being written, may have been half-way.
            time.sleep(_SECOND_LOOK_SECONDS)
            if _is_foreign(out):
                raise UsageError(f"--out {out}: is not empty and was not made by kconvert; choose another folder")
    except OSError as error:
        raise UsageError(f"--out: {disk_error(error)}") from error


def _is_no_folder(out: StorePath) -> bool:
    """Whether something stands there that is no folder: a file, or a device."""
    if (here := out.local_path) is not None:
        return here.exists() and not here.is_dir()
    # In this order: in a bucket, what another run tries out comes and goes.
    return out.is_file() and not out.is_dir()


def _is_foreign(out: StorePath) -> bool:
    """Whether a folder has something in it that kconvert did not make, as far as one look shows."""
    return not holds_nothing(out) and not Journal(out).is_begun() and not _has_manifest(out)


def holds_nothing(out: StorePath) -> bool:
    """Whether a folder is empty, but for what a run left that was refused, or that another one tries out."""
    return all(name == JOURNAL_FOLDER or name.endswith(TEMPORARY_SUFFIX) for name in out.children())


def require_writable(folder: StorePath, option: str = "--out") -> None:
    """Makes the folder if it is not there. Raises `UsageError` if it cannot be written to."""
    try:
        folder.make_folder()
        folder.try_writing()
    except OSError as error:
        raise UsageError(
            f"{option} {folder}: cannot be written to ({error.strerror}); make it writable, or choose another"
        ) from error


def differences(there: Mapping[str, Any], asked: Mapping[str, Any], above: str = "") -> list[str]:
    """How two identities, or two records, differ, each difference by its dotted name."""
    found: list[str] = []
    for name in sorted({*there, *asked}):
        one, other = (_by_number(value.get(name)) for value in (there, asked))
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += differences(one, other, f"{above}{name}.")
        elif one != other:
            dotted = f"{above}{name}".removeprefix("options.")
            found.append(f"{dotted} was {one!r}, is now {other!r}")
    return found


def _by_number(value: Any) -> Any:
    """A list of records as a mapping, so that what differs in it is named; any other value as it is."""
    is_records = isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value)
    return {str(number): one for number, one in enumerate(value)} if is_records else value


def manifest_identity(manifest: Manifest) -> dict[str, Any]:
    """The identity of the conversion that wrote a manifest."""
    return {
        "format_version": manifest.format_version,
        "release": manifest.release,
        "options": dict(manifest.options),
        "tools": dict(manifest.tools),
    }


def _has_manifest(out: StorePath) -> bool:
    """Whether there is a manifest of ours: other programs have a file of that name, too.

    Raises `OtherFormatError` for one of another kconvert.
    """
    try:
        return read_manifest(out) is not None
    except OtherFormatError:
        raise
    except ManifestError:
        return False


def _files_not_in_place(out: StorePath, record: SplitRecord, layout: Layout) -> list[str]:
    sizes = {shard.path: shard.size_bytes for shard in record.shards} | {record.table.path: record.table.size_bytes}
    found = at_once(lambda path: (out / path).size_bytes(), sizes, out.store.max_requests)
    gone = [path for path, size in zip(sizes, found, strict=True) if size != sizes[path]]
    there = [shard.path for shard in record.shards if shard.path not in gone]
    are_whole = at_once(lambda path: layout.is_whole(out, path), there, out.store.max_requests)
    return gone + [path for path, is_whole in zip(there, are_whole, strict=True) if not is_whole]


def keep_records(journal: Journal, records: Mapping[str, SplitRecord]) -> None:
    """Puts records into the journal that only a manifest has, which is about to be replaced."""
    for split, record in records.items():
        if journal.split(split).record() is None:
            journal.split(split).folder.make_folder()
            journal.split(split).set_record(record)


def supplement_paths(journal: Journal) -> set[str]:
    """The files of further annotations that the folder has by its manifest, or may have by its journal."""
    found: set[str] = set()
    with suppress(ManifestError):
        manifest = read_manifest(journal.out)
        found |= {file.path for entry in (manifest.supplements if manifest else ()) for file in entry.files}
    for name in SUPPLEMENT_NAMES:
        with suppress(UsageError):
            if kept := journal.supplement_files(name):
                found |= supplement_files(name, kept)
    return found


def clear(journal: Journal, splits: Iterable[str]) -> None:
    """Removes what kconvert made, of these splits and of those that it began: the manifest first, the identity last, so
    that a half-cleared folder is refused to any other conversion. The lock stays."""
    folders, further = _folders(journal), supplement_paths(journal)
    begun = {*splits, *(split.name for split in journal.splits())}
    for name in (MANIFEST_NAME, CARD_NAME, CROISSANT_NAME, LABELS_NAME, REPORT_NAME):
        (journal.out / name).remove()
    for path in further:
        (journal.out / path).remove()
    journal.forget_supplements()
    for name in (*sorted(begun), *folders):
        for folder in (journal.out, journal.staging, journal.folder):
            (folder / name).remove_tree()
    journal.forget_identity()


def clear_temporaries(journal: Journal, splits: Iterable[str]) -> Sequence[str]:
    """Removes what a killed run left half-written of these splits; returns what a person should know of what could not
    be done."""
    out = journal.out
    notes = [note for folder in (out, journal.folder, journal.staging) for note in folder.remove_temporaries()]
    for name in (*splits, *_folders(journal)):
        (out / name).remove_temporaries(is_deep=True)
    journal.supplements_folder.remove_temporaries(is_deep=True)
    for split in splits:
        for folder in (
            journal.staging / split,
            *(journal.folder / split / name for name in ("", "archives", "shards")),
        ):
            folder.remove_temporaries()
    # Of folders in one store, each says the same.
    return notes[:1]
