"""Verifying: reads a whole output folder again and lists everything that differs from what it says of itself.

Checked are every digest and size of the manifest, every sample against its row (key, place, metadata, video digest),
every row against its sample, the counts of the manifest against the rows, the labels, the card, and that no file is
missing or stands where only shards and tables belong.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from kconvert.catalog.release import SPLITS, load_release
from kconvert.conversion.finish import labels_entry, whole_files
from kconvert.dataset.formats.format import Format, StoredSample
from kconvert.dataset.formats.open import open_format
from kconvert.dataset.manifest import MANIFEST_NAME, REPORT_NAME, Manifest, ShardEntry, TableEntry, table_path
from kconvert.dataset.table import FinalTable
from kconvert.engines.engine import Engine, Failed
from kconvert.engines.imports import with_arrays
from kconvert.events import Advance, Emit, Observer, Step
from kconvert.storage.digests import DigestedReader
from kconvert.storage.store import StorePath


@dataclass(frozen=True)
class Difference:
    """Something that is not as it should be."""

    path: str
    """The file, below the output folder."""
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


def verify(out: StorePath, manifest: Manifest, engine: Engine, observer: Observer) -> list[Difference]:
    """Everything in the folder that differs from its manifest and its tables, by path."""
    found = list(folder_differences(out, manifest))
    num_bytes = sum(shard.size_bytes for shard in manifest.shards)
    num_samples = sum(shard.num_samples for shard in manifest.shards)
    observer.begin(Step("", "verifying", f"verifying {len(manifest.shards):,} shards", num_bytes, num_samples))
    unreadable = {difference.path for difference in found}
    for outcome in engine.run(verify_shard, shard_tasks(out, manifest, unreadable), observer.advance):
        if isinstance(outcome, Failed):
            found.append(Difference(outcome.task.entry.path, f"could not be read: {outcome.error}"))
        else:
            found.extend(outcome.result)
    observer.end()
    return sorted(found, key=lambda difference: (difference.path, difference.problem))


@dataclass(frozen=True)
class ShardTask:
    """One shard to be verified."""

    out: StorePath
    entry: ShardEntry
    format: str
    rows: tuple[Mapping[str, Any], ...] | None
    """Of its samples in the table, in their order; `None` if the table cannot be read."""

    @property
    def name(self) -> str:
        return self.entry.path


def shard_tasks(out: StorePath, manifest: Manifest, unreadable: set[str]) -> Iterator[ShardTask]:
    """A task for each shard of the manifest, with its rows unless its table is `unreadable`."""
    for split in SPLITS:
        shards = [entry for entry in manifest.shards if entry.split == split]
        is_readable = split in manifest.splits and table_path(split) not in unreadable
        table = FinalTable.read(out / table_path(split)) if is_readable else None
        places = table.places_by_file() if table is not None else {}
        for entry in shards:
            rows = None
            if table is not None:
                names = _video_files(out, manifest, entry)
                rows = tuple(table.take([place for name in names for place in places.get(name, ())]))
            yield ShardTask(out, entry, manifest.format, rows)


def verify_shard(task: ShardTask, emit: Emit) -> tuple[Difference, ...]:
    """Everything that differs in one shard, which is read once."""
    path, entry = task.out / task.entry.path, task.entry
    if not path.is_file():
        return (Difference(entry.path, "is missing"),)
    with path.digested() as file:
        inside = tuple(_sample_differences(task, file, emit))
        sha256 = file.finish()
    emit(Advance(num_bytes=entry.size_bytes))
    return (*_whole_differences(entry.path, path, (entry.size_bytes, entry.sha256), sha256), *inside)


def _sample_differences(task: ShardTask, file: DigestedReader, emit: Emit) -> Iterator[Difference]:
    name, num_samples = task.entry.path, 0
    try:
        layout = open_format(task.format)
        if layout.keeps_archives:
            # Its digest is that of all its clips; their rows say what is in it.
            return
        if layout.library is not None:
            with_arrays()
        for index, stored in enumerate(layout.read(task.out, task.entry.path, file)):
            num_samples += 1
            emit(Advance(num_clips=1))
            if task.rows is None:
                continue
            row = task.rows[index] if index < len(task.rows) else None
            # Videos that are files of their own are numbered through the whole split.
            first = (task.rows[0]["sample_index"] or 0) if layout.has_own_files and task.rows else 0
            if problem := _sample_problem(stored, first + index, row):
                yield Difference(name, f"sample {index} ({stored.sample.key}): {problem}")
    except (ValueError, KeyError, TypeError) as error:
        yield Difference(name, f"after {num_samples} samples: {error}")
    num_rows = num_samples if task.rows is None else len(task.rows)
    for number, what in ((task.entry.num_samples, "manifest"), (num_rows, "table")):
        if number != num_samples:
            yield Difference(name, f"{num_samples} samples, the {what} says {number}")


def _sample_problem(stored: StoredSample, index: int, row: Mapping[str, Any] | None) -> str:
    """How a sample differs from its row; `""` if it does not."""
    if row is None:
        return "has no row in the table"
    sample = stored.sample
    found: dict[str, Any] = {
        **sample.metadata,
        "sample_index": index,
        "offset_bytes": stored.offset_bytes,
        "label_id": sample.label_id,
        "sha256": hashlib.sha256(sample.video).hexdigest(),
        "size_bytes": len(sample.video),
    }
    expected = {name: row[name] for name in found if name in row}
    expected = {name: type(found[name])() if value is None else value for name, value in expected.items()}
    expected |= {"release": found.get("release"), "short": "short" in row["defects"]}
    if row["key"] != sample.key:
        return f"the row there is of {row['key']}"
    wrong = sorted(name for name in found if found[name] != expected[name])
    own = {name: sample.metadata[name] for name in ("sha256", "label_id") if name in sample.metadata}
    if any(found[name] != value for name, value in own.items()):
        wrong.append("its own JSON")
    return f"differs from its row in {', '.join(wrong)}" if wrong else ""


def folder_differences(out: StorePath, manifest: Manifest) -> Iterator[Difference]:
    """Everything that differs outside the shards."""
    release = load_release(manifest.release)
    contents = {MANIFEST_NAME: manifest.to_json().encode(), **whole_files(out, manifest)}
    for name, content in contents.items():
        yield from _content_differences(out, name, content)
    if manifest.labels != labels_entry(release):
        yield Difference(MANIFEST_NAME, "its labels are not those of the release")
    archives: set[str] = set()
    for entry in manifest.tables:
        differences = list(_file_differences(out / entry.path, entry.path, entry.size_bytes, entry.sha256))
        yield from differences
        # What is not what was written may be anything; it is not read on.
        if not differences:
            try:
                table = FinalTable.read(out / entry.path)
            except ValueError as error:
                yield Difference(entry.path, str(error))
            else:
                yield from _table_differences(out, entry, table, manifest)
                archives |= set(table.column("archive")) - {""}
    for split, counts in manifest.splits.items():
        yield from (Difference(MANIFEST_NAME, f"{split}: {problem}") for problem in counts.contradictions())
    layout = open_format(manifest.format)
    known = {*contents, REPORT_NAME, *(table.path for table in manifest.tables)}
    if layout.keeps_archives:
        # Those without a good clip are no shards, which would be looked for anyway.
        others = sorted(archives - {shard.path for shard in manifest.shards})
        yield from (Difference(name, "is missing") for name in others if not (out / name).is_file())
        known |= archives
    for shard in manifest.shards:
        known |= {shard.path, *layout.companion_paths(shard.path), *_video_files(out, manifest, shard)}
    yield from _unexpected_files(out, layout, known)


def _content_differences(out: StorePath, name: str, expected: bytes) -> Iterator[Difference]:
    path = out / name
    if not path.is_file():
        yield Difference(name, "is missing")
    elif path.read_bytes() != expected:
        yield Difference(name, "differs from what was written")


def _file_differences(path: StorePath, name: str, size_bytes: int, sha256: str) -> Iterator[Difference]:
    if path.is_file():
        yield from _whole_differences(name, path, (size_bytes, sha256), path.sha256())
    else:
        yield Difference(name, "is missing")


def _whole_differences(name: str, path: StorePath, expected: tuple[int, str], sha256: str) -> Iterator[Difference]:
    """How size and digest of a file differ from those in the manifest."""
    size = path.size_bytes()
    if size != expected[0]:
        yield Difference(name, f"{size or 0:,} bytes, the manifest says {expected[0]:,}")
    elif sha256 != expected[1]:
        yield Difference(name, f"sha256 {sha256}, the manifest says {expected[1]}")


def _table_differences(
    out: StorePath, entry: TableEntry, table: FinalTable, manifest: Manifest
) -> Iterator[Difference]:
    """How the rows of a split differ from what the manifest says of them."""
    if len(table) != entry.num_rows:
        yield Difference(entry.path, f"{len(table):,} rows, the manifest says {entry.num_rows:,}")
    split = PurePosixPath(entry.path).stem
    counts = manifest.splits[split]
    entries = [shard for shard in manifest.shards if shard.split == split]
    in_file = Counter(shard for shard in table.column("shard") if shard)
    in_shard = {
        shard.path: sum(in_file.pop(name, 0) for name in _video_files(out, manifest, shard)) for shard in entries
    }
    statuses = Counter(table.column("status"))
    columns = zip(*(table.column(name) for name in ("status", "source", "defects", "size_bytes")), strict=True)
    written = [rest for status, *rest in columns if status == "written"]
    num_bytes = sum(shard.size_bytes for shard in entries)
    if open_format(manifest.format).has_own_files:
        num_bytes += sum(size for _, _, size in written)
    found = {
        "num_written": statuses["written"],
        "num_short": sum("short" in defects for _, defects, _ in written),
        "num_replaced": sum(source == "replacement" for source, _, _ in written),
        "num_rejected": dict(Counter(reason for reason in table.column("reason") if reason)),
        "num_missing": statuses["missing"],
        "samples of the shards": in_shard | dict(in_file),
        "num_shards": len({shard.path for shard in entries}),
        "num_bytes": num_bytes,
    }
    expected = dataclasses.asdict(counts) | {
        "samples of the shards": {shard.path: shard.num_samples for shard in entries}
    }
    for name, one in found.items():
        if one != expected[name]:
            yield Difference(entry.path, f"{name}: the rows say {one}, the manifest {expected[name]}")
    keys = table.column("key")
    if any(first > second for first, second in itertools.pairwise(keys)):
        yield Difference(entry.path, "its rows are not sorted by key")


def _video_files(out: StorePath, manifest: Manifest, shard: ShardEntry) -> Sequence[str]:
    """The files that hold the videos of a shard; none if it cannot be read, which reading it will tell."""
    try:
        return open_format(manifest.format).video_files(out, shard.path)
    except (OSError, ValueError):
        return ()


def _unexpected_files(out: StorePath, layout: Format, known: set[str]) -> Iterator[Difference]:
    """What nobody wrote, the journal apart; a reader that globs might take it in."""
    known = known | {str(parent) for name in known for parent in PurePosixPath(name).parents}
    for path, kind in out.walk():
        name = path.relative_to(out)
        if name.parts[0].startswith("."):
            # The journal, and what readers keep there; nobody globs it. What is ours in it was looked at.
            continue
        if kind == "link":
            yield Difference(name.as_posix(), "is a link")
        elif name.as_posix() not in known and not layout.is_foreign(name.as_posix()):
            yield Difference(name.as_posix(), "is not in the manifest")
