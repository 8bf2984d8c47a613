"""The journal: what is done so far of a conversion, in `DIR/.kconvert/`.

    lock                            held by the run that works on the folder
    snapshot.json                   how far the run is that works on the folder
    number                          which conversion this is: what another one left late is nothing to it
    identity.json                   release, format and every option that changes bytes
    instruction_set                 which makes the sound that comes out otherwise by others (see `claim`)
    supplements/ava/…               files of further annotations, as they were read
    supplements/ava.json            their digests, written after them
    train/inputs.json               the archives and the annotation file this split is made from
    train/annotations               that file
    train/listing                   which files its bundles are, where that is not in their names
    train/selection.txt             the clips that `--classes` selects, or leaves out, a name a line
    train/archives/000012.rows      what archive 12 holds (Parquet)
    train/archives/000012.part      its clips, until they are packed; elsewhere if there is a staging folder
    train/archives/000012.json      its receipt, written after both
    train/archives/000012.failed    why it failed, until it succeeds
    train/shards/000003.json        the receipt of shard 3, written after the shard
    train/listings.json             what a person may want to look at: replacements that match nothing, …
    train/record.json               what the manifest will say of the split, once its shards and its table are written

A receipt says that something is done. Nothing in the journal is needed once the manifest is there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from kconvert.catalog.release import AnnotationFile
from kconvert.dataset.manifest import JOURNAL_FOLDER, DamageHandling, SplitRecord
from kconvert.errors import BusyError, LostLockError, UsageError
from kconvert.events import Advance, Emit, Snapshot
from kconvert.staging.claim import Claim
from kconvert.storage.records import LATER, Record, build
from kconvert.storage.store import StorePath
from kconvert.storage.threads import at_once

_REFUSAL_NAME = "refused"
_LOCK_NAME = "lock"
_NUMBER_NAME = "number"
_BATCH_LINES = 1 << 16
"""Of a long file, written at a time."""
_LOOK_SECONDS = 10.0
"""How long a task works on before it looks again whether its conversion has the folder."""
_BESIDE_THE_WORK = {_REFUSAL_NAME, _LOCK_NAME, f"{_LOCK_NAME}.lease"}
"""What a run leaves that has begun nothing."""
_PROGRESS_NAME = "snapshot.json"
LISTING_NAME = "listing"
"""Of what the origin needs to find the bundles of a split again; empty if their names are enough."""
REPLACEMENT_ID = "replacement"
"""What the replacement archive goes by instead of a number."""


@dataclass(frozen=True)
class Inputs:
    """What a split is made from, fixed when its first run was planned."""

    archives: tuple[str, ...]
    """Official paths, in the order of the path list; only those that this conversion reads."""
    num_listed: int
    """Archives that the split has."""
    replacement: str | None
    """The official path of the replacement archive."""
    annotations: AnnotationFile
    """The file that `train/annotations` is a copy of."""
    number: int = field(default=0, metadata=LATER)
    """Of the split among those of its release."""
    holds_others: bool = field(default=False, metadata=LATER)
    """Whether clips of other splits are in the archives, too: those that are annotated are the split's."""

    @property
    def are_selected_read(self) -> bool:
        """Whether the clips that `--classes`, or the annotations, select are read, or those that they leave out are
        not."""
        return self.holds_others or self.annotations.is_complete

    def ids(self) -> dict[str, str]:
        """From archive name to the number, or word, that its files go by."""
        ids = {name: f"{number:06d}" for number, name in enumerate(self.archives)}
        return ids if self.replacement is None else ids | {self.replacement: REPLACEMENT_ID}


@dataclass(frozen=True)
class Damage:
    """What was made of an archive that is damaged for good."""

    handling: DamageHandling
    """What was made of it."""
    problem: str
    """What is wrong with it, and where."""


@dataclass(frozen=True)
class ArchiveReceipt:
    """A read archive."""

    archive: str
    """Its official path."""
    size_bytes: int | None
    """Of the archive, compressed; `None` where the server did not say."""
    etag: str
    """The version that was read."""
    num_members: int
    """Of any kind; the sum of the three kinds below, and of the clips."""
    num_ignored_members: int
    """Folders, links, AppleDouble files and other members that are no clips."""
    num_unparsed_members: int
    """Videos whose name is not a clip's."""
    num_unselected_members: int
    """Clips that `--classes` left out."""
    num_clips: int
    """That have a row."""
    refused: tuple[str, ...]
    """Members that are no clips but should perhaps be, with the reason; at most `MAX_LISTED` of them."""
    notes: tuple[str, ...]
    """What is odd about the archive, and harmless."""
    part_bytes: int
    """Of its part; 0 if nothing was staged."""
    rows_sha256: str
    """Of the file of its rows, hexadecimal."""
    damage: Damage | None = None
    """`None` if it is whole."""


@dataclass(frozen=True)
class ShardReceipt:
    """A packed shard."""

    path: str
    """Below the output folder."""
    num_samples: int
    """1 or more."""
    size_bytes: int
    """Of the shard."""
    sha256: str
    """Of the shard, hexadecimal."""
    offsets: tuple[int | None, ...]
    """Where each sample's video begins in its file, in the order of the samples; `None` if that cannot be said."""
    plan_sha256: str
    """Of what was planned for it: each sample's key, digest and source."""


@dataclass(frozen=True)
class ProgressRecord:
    """How far a run is, for whoever asks meanwhile."""

    snapshot: Snapshot
    """Of the step."""
    num_tasks_done: int
    """Of this step."""
    running: tuple[str, ...]
    """Archives, or shards, that are worked on, or are about to be."""
    unix_seconds: float
    """When this was written."""


@dataclass(frozen=True)
class _Listings:
    names: Mapping[str, tuple[str, ...]]
    """By kind."""


@dataclass(frozen=True)
class _KeptFiles:
    sha256: Mapping[str, str]
    """Of each, by name."""


MAX_LISTED = 1000
"""Names listed of one archive; more are counted only."""


class Journal:
    """The journal of one output folder; parts are staged in it, or in a folder of their own below `staging`."""

    def __init__(self, out: StorePath, staging: StorePath | None = None) -> None:
        self.out = out
        self.folder = out / JOURNAL_FOLDER
        # Of this output folder alone: a scratch disk is used by many.
        own = f"kconvert-{hashlib.sha256(os.fsencode(str(out))).hexdigest()[:16]}"
        self.staging = self.folder if staging is None else staging / own

    def exists(self) -> bool:
        return self.folder.is_dir()

    def is_begun(self) -> bool:
        """Whether a run has begun something, other than to look and to be refused."""
        return bool(self.folder.children() - _BESIDE_THE_WORK)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other runs off the folder.

        Raises `BusyError` if another run holds it, `LostLockError` at the end if the lock was lost.
        """
        with (self.folder / _LOCK_NAME).lock() as is_ours:
            if not is_ours:
                raise BusyError(f"{self.out}: another kconvert is working on this folder; wait for it or stop it")
            yield

    def is_locked(self) -> bool:
        """Whether a run works on the folder now."""
        return (self.folder / _LOCK_NAME).is_locked()

    def identity(self) -> Mapping[str, Any] | None:
        """What was written by `set_identity`; `None` if nothing was."""
        path = self.folder / "identity.json"
        identity: Mapping[str, Any] | None = _read(path)
        if not isinstance(identity, Mapping | None):
            raise _changed_by_hand(path, ValueError("expected an object"))
        return identity

    def set_identity(self, identity: Mapping[str, Any]) -> None:
        """Writes down what is being converted; if nothing was until now, this is a conversion with a new number."""
        if self.identity() is None:
            (self.folder / _NUMBER_NAME).write_bytes(uuid.uuid4().hex.encode())
        _write(self.folder / "identity.json", identity)

    def progress(self) -> ProgressRecord | None:
        """How far the run is that works on the folder; `None` if there is none yet."""
        try:
            return _read_record(self.folder / _PROGRESS_NAME, ProgressRecord)
        except UsageError:
            return None

    def set_progress(self, progress: ProgressRecord) -> None:
        (self.folder / _PROGRESS_NAME).show(_json(dataclasses.asdict(progress)))

    def forget_progress(self) -> None:
        (self.folder / _PROGRESS_NAME).remove()

    def refusal(self) -> str:
        """Why the last run was refused before it began anything; `""` if it was not."""
        return _text(self.folder / _REFUSAL_NAME)

    def set_refusal(self, reason: str) -> None:
        self.folder.make_folder()
        (self.folder / _REFUSAL_NAME).write_bytes(reason.encode("utf-8", "backslashreplace"))

    def forget_refusal(self) -> None:
        (self.folder / _REFUSAL_NAME).remove()

    @property
    def claim(self) -> Claim:
        """Which instruction set makes sound."""
        return Claim(self.folder)

    def forget_identity(self) -> None:
        self.claim.forget()
        (self.folder / _NUMBER_NAME).remove()
        (self.folder / "identity.json").remove()

    def supplement_names(self) -> frozenset[str]:
        """Those whose files are kept."""
        return frozenset(
            name.removesuffix(".json") for name in self.supplements_folder.children() if name.endswith(".json")
        )

    def supplement_files(self, name: str) -> Sequence[str]:
        """The names of the files that are kept of it; nothing if none are."""
        kept = _read_record(self.supplements_folder / f"{name}.json", _KeptFiles)
        return [] if kept is None else list(kept.sha256)

    def supplement(self, name: str) -> Mapping[str, bytes] | None:
        """The kept files of further annotations, by name; `None` if there are none, or they are not what they were."""
        kept = _read_record(self.supplements_folder / f"{name}.json", _KeptFiles)
        if kept is None:
            return None
        found = {file: _content(self.supplements_folder / name / file) for file in kept.sha256}
        contents = {file: data for file, data in found.items() if data is not None}
        digests = {file: hashlib.sha256(data).hexdigest() for file, data in contents.items()}
        return contents if digests == kept.sha256 else None

    def set_supplement(self, name: str, files: Mapping[str, bytes]) -> None:
        """Keeps the files of further annotations, instead of those that were kept before."""
        (self.supplements_folder / f"{name}.json").remove()
        (self.supplements_folder / name).remove_tree()
        (self.supplements_folder / name).make_folder()
        for file, data in files.items():
            (self.supplements_folder / name / file).write_bytes(data)
        digests = {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}
        _write(self.supplements_folder / f"{name}.json", {"sha256": digests})

    def forget_supplements(self) -> None:
        self.supplements_folder.remove_tree()

    @property
    def supplements_folder(self) -> StorePath:
        return self.folder / "supplements"

    def split(self, name: str) -> SplitJournal:
        staging = None if self.staging == self.folder else self.staging / name
        return SplitJournal(self.folder / name, staging, _number(self.folder))

    def splits(self) -> list[SplitJournal]:
        """The splits that have a journal, in the order of the release."""
        folders = [name for name in self.folder.children() if (self.folder / name).is_dir()]
        found = [(journal.inputs(), journal) for journal in map(self.split, folders)]
        begun = [(inputs.number, journal.name, journal) for inputs, journal in found if inputs is not None]
        return [journal for _, _, journal in sorted(begun, key=lambda one: one[:2])]


def selection_line(name: str) -> str:
    """A clip's name as a line of the file of selected clips has it, whatever it holds."""
    if name.isascii() and name.isprintable() and "\\" not in name:
        return name
    return name.encode("unicode_escape", "surrogateescape").decode("ascii")


def _write_lines(path: StorePath, lines: Iterable[str]) -> None:
    """Of a file that may have millions."""
    ended = (f"{line}\n" for line in lines)
    with path.write_whole_undigested() as file:
        while batch := "".join(islice(ended, _BATCH_LINES)):
            file.write(batch.encode())


@dataclass(frozen=True)
class SplitJournal:
    """The journal of one split. Only whole receipts count; any other file may be there or not."""

    folder: StorePath
    """`DIR/.kconvert/SPLIT`."""
    staging: StorePath | None = None
    """Where parts are; beside the receipts if `None`."""
    number: str = ""
    """Of the conversion whose receipts count; `""` while it has none."""

    def require_current(self) -> None:
        """Raises `LostLockError` if another conversion has the folder by now."""
        if _number(self.folder.parent) != self.number:
            raise LostLockError(str(self.folder.parent.parent), "another conversion has begun there")

    @property
    def name(self) -> str:
        return self.folder.name

    def inputs(self) -> Inputs | None:
        return _read_record(self.folder / "inputs.json", Inputs)

    def ids(self) -> dict[str, str]:
        """Of its inputs (see `Inputs.ids`); nothing if there are none, as when another run clears the folder."""
        return {} if (inputs := self.inputs()) is None else inputs.ids()

    def set_inputs(self, inputs: Inputs, annotations: bytes, listed: Iterable[str], listing: bytes = b"") -> None:
        """Fixes what the split is made from, with what finds it again, and the names that `--classes` reads or not."""
        for folder in (self.folder / "archives", self.folder / "shards", self.parts_folder):
            folder.make_folder()
        self.annotations_path.write_bytes(annotations)
        if listing:
            (self.folder / LISTING_NAME).write_bytes(listing)
        _write_lines(self.selection_path, map(selection_line, listed))
        _write(self.folder / "inputs.json", dataclasses.asdict(inputs))

    @property
    def parts_folder(self) -> StorePath:
        return self.folder / "archives" if self.staging is None else self.staging

    @property
    def annotations_path(self) -> StorePath:
        return self.folder / "annotations"

    @property
    def selection_path(self) -> StorePath:
        return self.folder / "selection.txt"

    def rows_path(self, archive_id: str) -> StorePath:
        return self.folder / "archives" / f"{archive_id}.rows"

    def part_path(self, archive_id: str) -> StorePath:
        return self.parts_folder / f"{archive_id}.part"

    def archive_receipt(self, archive_id: str) -> ArchiveReceipt | None:
        """The receipt of a read archive; `None` if it is not read, or its rows are not what the receipt says."""
        receipt = self._receipt(self.folder / "archives" / f"{archive_id}.json", ArchiveReceipt)
        if receipt is None:
            return None
        rows = _content(self.rows_path(archive_id))
        return receipt if rows is not None and hashlib.sha256(rows).hexdigest() == receipt.rows_sha256 else None

    def set_archive_receipt(self, archive_id: str, receipt: ArchiveReceipt) -> None:
        self.require_current()
        # In this order: what is done is never reported as failed.
        self._failure_path(archive_id).remove()
        _write(self.folder / "archives" / f"{archive_id}.json", self._numbered(receipt))

    def _numbered(self, receipt: ArchiveReceipt | ShardReceipt) -> dict[str, Any]:
        return {"number": self.number, **dataclasses.asdict(receipt)}

    def _receipt(self, path: StorePath, kind: type[Record]) -> Record | None:
        """A receipt of this conversion; `None` if there is none."""
        content = _read(path)
        # One that a task of another conversion wrote, when this one had begun, is of other options.
        if isinstance(content, dict) and content.pop("number", "") != self.number:
            return None
        return _record(path, content, kind)

    def archive_receipts(self, ids: Mapping[str, str]) -> dict[str, ArchiveReceipt]:
        """The receipts of the archives that are read, by name."""
        found = at_once(self.archive_receipt, ids.values(), self.folder.store.max_requests)
        return {name: receipt for name, receipt in zip(ids, found, strict=True) if receipt is not None}

    def staged(self, receipts: Mapping[str, ArchiveReceipt]) -> set[str]:
        """Those read archives, given by their number, whose clips are still there to be packed."""
        sizes = at_once(
            lambda number: self.part_path(number).size_bytes(), receipts, self.parts_folder.store.max_requests
        )
        found = zip(receipts.items(), sizes, strict=True)
        return {number for (number, receipt), size in found if size == receipt.part_bytes}

    def failure(self, archive_id: str) -> str:
        """Why reading an archive failed the last time; `""` if it did not."""
        return _text(self._failure_path(archive_id))

    def forget_failure(self, archive_id: str) -> None:
        self._failure_path(archive_id).remove()

    def set_failure(self, archive_id: str, reason: str) -> None:
        self._failure_path(archive_id).write_bytes(reason.encode("utf-8", "backslashreplace"))

    def _failure_path(self, archive_id: str) -> StorePath:
        return self.folder / "archives" / f"{archive_id}.failed"

    def shard_receipt(self, number: int) -> ShardReceipt | None:
        return self._receipt(self._shard_receipt_path(number), ShardReceipt)

    def set_shard_receipt(self, number: int, receipt: ShardReceipt) -> None:
        self.require_current()
        _write(self._shard_receipt_path(number), self._numbered(receipt))

    def forget_shards_from(self, number: int) -> list[str]:
        """Removes the receipts of the shards from this number on; returns the paths of the shards."""
        paths = []
        for found in self._shard_numbers():
            if found >= number:
                if (receipt := self.shard_receipt(found)) is not None:
                    paths.append(receipt.path)
                self._shard_receipt_path(found).remove()
        return paths

    def _shard_receipt_path(self, number: int) -> StorePath:
        return self.folder / "shards" / f"{number:06d}.json"

    def _shard_numbers(self) -> list[int]:
        """Of the shards that have a receipt, in order."""
        names = (self.folder / "shards").children()
        return sorted(int(name.removesuffix(".json")) for name in names if re.fullmatch("[0-9]{6,}.json", name))

    def num_shard_receipts(self) -> int:
        return len(self._shard_numbers())

    def record(self) -> SplitRecord | None:
        """The split as the manifest will have it; `None` while it is not finished."""
        return _read_record(self.folder / "record.json", SplitRecord)

    def set_record(self, record: SplitRecord) -> None:
        _write(self.folder / "record.json", dataclasses.asdict(record))

    def forget_record(self) -> None:
        (self.folder / "record.json").remove()

    def listings(self) -> Mapping[str, Sequence[str]]:
        """What a person may want to look at in a finished split, by kind."""
        found = _read_record(self.folder / "listings.json", _Listings)
        return {} if found is None else found.names

    def set_listings(self, listings: Mapping[str, Sequence[str]]) -> None:
        _write(self.folder / "listings.json", {"names": listings})


def guarded(journal: SplitJournal, emit: Emit) -> Emit:
    """Passes on what a task reports, and now and then makes sure that its conversion still has the folder: one
    that lost it, and does not know, is at work no longer than that.

    What it makes raises `LostLockError`.
    """
    next_look = time.monotonic() + _LOOK_SECONDS

    def guarded_emit(event: Advance) -> None:
        nonlocal next_look
        if time.monotonic() > next_look:
            journal.require_current()
            next_look = time.monotonic() + _LOOK_SECONDS
        emit(event)

    return guarded_emit


def _number(folder: StorePath) -> str:
    """Of the conversion that a journal is of; `""` if it has none."""
    return _text(folder / _NUMBER_NAME)


def _text(path: StorePath) -> str:
    """The content of a file of text; `""` if it is not there."""
    return (_content(path) or b"").decode("utf-8", "replace")


def _content(path: StorePath) -> bytes | None:
    """The content of a file; `None` if it is not there."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _read(path: StorePath) -> Any:
    """The content of a JSON file; `None` if it is not there. Raises `UsageError` if it was changed."""
    content = _content(path)
    try:
        return None if content is None else json.loads(content.decode())
    except ValueError as error:
        raise _changed_by_hand(path, error) from error


def _read_record(path: StorePath, kind: type[Record]) -> Record | None:
    """A record from its file; `None` if it is not there. Raises `UsageError` if it was changed."""
    return _record(path, _read(path), kind)


def _record(path: StorePath, content: Any, kind: type[Record]) -> Record | None:
    try:
        return None if content is None else build(kind, content)
    except ValueError as error:
        raise _changed_by_hand(path, error) from error


def _changed_by_hand(path: StorePath, error: ValueError) -> UsageError:
    return UsageError(f"{path}: was changed by hand ({error}); remove it to have that step done again")


def _write(path: StorePath, content: Mapping[str, Any]) -> None:
    path.write_bytes(_json(content))


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=True) + "\n").encode()
