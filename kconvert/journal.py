"""The journal: what is done so far of a conversion, in `DIR/.kconvert/`.

    lock                            held by the run that works on the folder
    identity.json                   release, format and every option that changes bytes
    train/inputs.json               the archives and the annotation file this split is made from
    train/annotations               that file
    train/selection.txt             the clips that `--classes` selects, a name a line
    train/archives/000012.rows      what archive 12 holds (Parquet)
    train/archives/000012.part      its clips, until they are packed
    train/archives/000012.json      its receipt, written after both
    train/archives/000012.failed    why it failed, until it succeeds
    train/shards/000003.json        the receipt of shard 3, written after the shard
    train/listings.json             what a person may want to look at: replacements that match nothing, …
    train/record.json               what the manifest will say of the split, once its shards and its table are written

A receipt says that something is done. Nothing in the journal is needed once the manifest is there.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from kconvert.errors import UsageError
from kconvert.files import make_folder, remove, sha256_of, write_bytes
from kconvert.manifest import SplitRecord
from kconvert.records import Record, build
from kconvert.release import SPLITS, AnnotationFile

JOURNAL_FOLDER = ".kconvert"
_LOCK_ATTEMPTS = 5
_LOCK_PAUSE_SECONDS = 0.1
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

    def ids(self) -> dict[str, str]:
        """From archive name to the number, or word, that its files go by."""
        ids = {name: f"{number:06d}" for number, name in enumerate(self.archives)}
        return ids if self.replacement is None else ids | {self.replacement: REPLACEMENT_ID}


@dataclass(frozen=True)
class ArchiveReceipt:
    """A read archive."""

    archive: str
    size_bytes: int | None
    """Of the archive, compressed; `None` where the server did not say."""
    etag: str
    """The version that was read."""
    num_members: int
    num_ignored_members: int
    num_unparsed_members: int
    num_unselected_members: int
    num_clips: int
    refused: tuple[str, ...]
    """Members that are no clips but should perhaps be, with the reason; at most `MAX_LISTED` of them."""
    part_bytes: int
    rows_sha256: str


@dataclass(frozen=True)
class ShardReceipt:
    """A packed shard."""

    path: str
    """Below the output folder."""
    num_samples: int
    size_bytes: int
    sha256: str
    offsets: tuple[int, ...]
    """Where each sample's video begins in the shard, in the order of the samples."""
    plan_sha256: str
    """Of what was planned for it: each sample's key, digest and source."""


@dataclass(frozen=True)
class _Listings:
    names: Mapping[str, tuple[str, ...]]


MAX_LISTED = 1000
"""Names listed of one archive; more are counted only."""


class Journal:
    """The journal of one output folder."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out / JOURNAL_FOLDER

    def exists(self) -> bool:
        return self.folder.is_dir()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other runs off the folder. The system frees the lock when its process ends, however it ends.

        Raises `UsageError` if another run holds it.
        """
        make_folder(self.folder)
        with open(self.folder / "lock", "a") as file:
            # A glance of `kconvert status` is over in a moment.
            for _ in range(_LOCK_ATTEMPTS):
                if _flock(file, fcntl.LOCK_EX):
                    break
                time.sleep(_LOCK_PAUSE_SECONDS)
            else:
                raise UsageError(f"{self.out}: another kconvert is working on this folder; wait for it or stop it")
            yield

    def is_locked(self) -> bool:
        """Whether a run works on the folder now."""
        if not (self.folder / "lock").is_file():
            return False
        with open(self.folder / "lock") as file:
            return not _flock(file, fcntl.LOCK_SH)

    def identity(self) -> Mapping[str, Any] | None:
        """What was written by `set_identity`; `None` if nothing was."""
        identity: Mapping[str, Any] | None = _read(self.folder / "identity.json")
        return identity

    def set_identity(self, identity: Mapping[str, Any]) -> None:
        _write(self.folder / "identity.json", identity)

    def forget_identity(self) -> None:
        remove(self.folder / "identity.json")

    def split(self, name: str) -> SplitJournal:
        return SplitJournal(self.folder / name)

    def splits(self) -> list[SplitJournal]:
        """The splits that have a journal."""
        return [journal for name in SPLITS if (journal := self.split(name)).inputs() is not None]


class SplitJournal:
    """The journal of one split. Only whole receipts count; any other file may be there or not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name

    def inputs(self) -> Inputs | None:
        return _read_record(self.folder / "inputs.json", Inputs)

    def set_inputs(self, inputs: Inputs, annotations: bytes, selected: Iterable[str]) -> None:
        """Fixes what the split is made from; `selected` are the names of the clips that `--classes` selects."""
        for folder in ("archives", "shards"):
            make_folder(self.folder / folder)
        write_bytes(self.annotations_path, annotations)
        write_bytes(self.selection_path, "".join(f"{name}\n" for name in selected).encode())
        _write(self.folder / "inputs.json", dataclasses.asdict(inputs))

    @property
    def annotations_path(self) -> Path:
        return self.folder / "annotations"

    @property
    def selection_path(self) -> Path:
        return self.folder / "selection.txt"

    def rows_path(self, archive_id: str) -> Path:
        return self.folder / "archives" / f"{archive_id}.rows"

    def part_path(self, archive_id: str) -> Path:
        return self.folder / "archives" / f"{archive_id}.part"

    def archive_receipt(self, archive_id: str) -> ArchiveReceipt | None:
        """The receipt of a read archive; `None` if it is not read, or its rows are not what the receipt says."""
        receipt = _read_record(self.folder / "archives" / f"{archive_id}.json", ArchiveReceipt)
        rows = self.rows_path(archive_id)
        return receipt if receipt is not None and rows.is_file() and sha256_of(rows) == receipt.rows_sha256 else None

    def set_archive_receipt(self, archive_id: str, receipt: ArchiveReceipt) -> None:
        # In this order: what is done is never told as failed.
        remove(self._failure_path(archive_id))
        _write(self.folder / "archives" / f"{archive_id}.json", dataclasses.asdict(receipt))

    def archive_receipts(self, ids: Mapping[str, str]) -> dict[str, ArchiveReceipt]:
        """The receipts of the archives that are read, by name."""
        found = {name: self.archive_receipt(archive_id) for name, archive_id in ids.items()}
        return {name: receipt for name, receipt in found.items() if receipt is not None}

    def is_staged(self, archive_id: str, receipt: ArchiveReceipt) -> bool:
        """Whether the clips of a read archive are still there to be packed."""
        part = self.part_path(archive_id)
        return part.is_file() and part.stat().st_size == receipt.part_bytes

    def failure(self, archive_id: str) -> str:
        """Why reading an archive failed the last time; `""` if it did not."""
        path = self._failure_path(archive_id)
        return path.read_text("utf-8") if path.is_file() else ""

    def set_failure(self, archive_id: str, reason: str) -> None:
        write_bytes(self._failure_path(archive_id), reason.encode("utf-8", "backslashreplace"))

    def _failure_path(self, archive_id: str) -> Path:
        return self.folder / "archives" / f"{archive_id}.failed"

    def shard_receipt(self, number: int) -> ShardReceipt | None:
        return _read_record(self.folder / "shards" / f"{number:06d}.json", ShardReceipt)

    def set_shard_receipt(self, number: int, receipt: ShardReceipt) -> None:
        _write(self.folder / "shards" / f"{number:06d}.json", dataclasses.asdict(receipt))

    def forget_shards_from(self, number: int) -> list[str]:
        """Removes the receipts of the shards from this number on; returns the paths of the shards."""
        paths = []
        for path in sorted((self.folder / "shards").glob("*.json")):
            if path.stem.isdigit() and int(path.stem) >= number:
                if (receipt := self.shard_receipt(int(path.stem))) is not None:
                    paths.append(receipt.path)
                remove(path)
        return paths

    def num_shard_receipts(self) -> int:
        return len(list((self.folder / "shards").glob("*.json")))

    def record(self) -> SplitRecord | None:
        """The split as the manifest will have it; `None` while it is not finished."""
        return _read_record(self.folder / "record.json", SplitRecord)

    def set_record(self, record: SplitRecord) -> None:
        _write(self.folder / "record.json", dataclasses.asdict(record))

    def forget_record(self) -> None:
        remove(self.folder / "record.json")

    def listings(self) -> Mapping[str, Sequence[str]]:
        """What a person may want to look at in a finished split, by kind."""
        found = _read_record(self.folder / "listings.json", _Listings)
        return {} if found is None else found.names

    def set_listings(self, listings: Mapping[str, Sequence[str]]) -> None:
        _write(self.folder / "listings.json", {"names": listings})


def _flock(file: IO[str], kind: int) -> bool:
    """Locks an open file, until it is closed, if that is possible at once."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path) -> Any:
    """The content of a JSON file; `None` if it is not there. Raises `UsageError` if it was spoilt."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _spoilt(path, error) from error


def _read_record(path: Path, kind: type[Record]) -> Record | None:
    """A record from its file; `None` if it is not there. Raises `UsageError` if it was spoilt."""
    content = _read(path)
    try:
        return None if content is None else build(kind, content)
    except ValueError as error:
        raise _spoilt(path, error) from error


def _spoilt(path: Path, error: ValueError) -> UsageError:
    return UsageError(f"{path}: was changed by hand ({error}); remove it to have that step done again")


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_bytes(path, (json.dumps(content, indent=1, ensure_ascii=True) + "\n").encode())


def is_empty(folder: Path) -> bool:
    """Whether a folder has nothing in it, or is not there."""
    return not folder.exists() or not any(os.scandir(folder))
