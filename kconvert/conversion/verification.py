"""Verifying: reads a whole output folder again and lists everything that differs from what it says of itself.

Checked are every digest and size of the manifest, every sample against its row (key, offset, metadata, video digest),
every row against its sample, the counts of the manifest against the rows, the labels, the dataset card, and that no
file is missing or stands where only shards and tables belong.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from kconvert.columns.column import Column
from kconvert.columns.combining import are_sorted, counts, joined_lists, side_by_side, values_of
from kconvert.conversion.finish import labels_entry, whole_files
from kconvert.conversion.flags import flag_counts
from kconvert.dataset.layout import ExpectedSamples, Layout
from kconvert.dataset.manifest import (
    MANIFEST_NAME,
    REPORT_NAME,
    Manifest,
    ShardEntry,
    TableEntry,
    release_of,
    table_path,
)
from kconvert.dataset.open import open_layout
from kconvert.dataset.table import FinalTable
from kconvert.engines.engine import Engine, Failed
from kconvert.engines.imports import with_arrays
from kconvert.events import Advance, Emit, Observer, Step
from kconvert.storage.store import StorePath


@dataclass(frozen=True)
class Difference:
    """Something that is not as it should be."""

    path: str
    """The file, below the output folder."""
    problem: str
    """In one line."""

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
    """The output folder."""
    entry: ShardEntry
    """What the manifest says of it."""
    format: str
    """What `--to` calls it."""
    rows: FinalTable | None
    """Of its samples, in their order; `None` if the table cannot be read."""
    num_before: int
    """How many samples the shards of the split have that come before this one."""

    @property
    def name(self) -> str:
        return self.entry.path


def shard_tasks(out: StorePath, manifest: Manifest, unreadable: set[str]) -> Iterator[ShardTask]:
    """A task for each shard of the manifest, with its rows unless its table is `unreadable`."""
    for split in manifest.splits:
        is_readable = table_path(split) not in unreadable
        table = FinalTable.read(out / table_path(split)) if is_readable else None
        places = {} if table is None else table.indexes_by_file()
        num_before = 0
        for entry in (shard for shard in manifest.shards if shard.split == split):
            rows = None
            if table is not None:
                found = [places[name] for name in _video_files(out, manifest, entry) if name in places]
                rows = table.take(Column.joined(found, "index"))
            yield ShardTask(out, entry, manifest.format, rows, num_before)
            num_before += entry.num_samples


def verify_shard(task: ShardTask, emit: Emit) -> tuple[Difference, ...]:
    """Everything that differs in one shard, which is read once."""
    path, entry, layout = task.out / task.entry.path, task.entry, open_layout(task.format)
    if not path.is_file():
        return (Difference(entry.path, "is missing"),)
    if layout.library is not None:
        with_arrays()
    rows = None if task.rows is None else tuple(task.rows.dicts())
    expected = ExpectedSamples(rows, entry.num_samples, task.num_before)
    with path.digested() as file:
        problems = layout.sample_problems(task.out, entry.path, file, expected, lambda: emit(Advance(num_clips=1)))
        inside = tuple(Difference(entry.path, problem) for problem in problems)
        sha256 = file.finish()
    emit(Advance(num_bytes=entry.size_bytes))
    return (*_whole_differences(entry.path, path, (entry.size_bytes, entry.sha256), sha256), *inside)


def folder_differences(out: StorePath, manifest: Manifest) -> Iterator[Difference]:
    """Everything that differs outside the shards."""
    release = release_of(manifest)
    contents = {MANIFEST_NAME: manifest.to_json().encode(), **whole_files(out, manifest)}
    for name, content in contents.items():
        yield from _content_differences(out, name, content)
    if manifest.labels != labels_entry(release):
        yield Difference(MANIFEST_NAME, "its labels are not those of the release")
    archives: set[str] = set()
    sounds: set[str] = set()
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
                archives |= set(table.column("archive").distinct()) - {""}
                sounds |= _sound_files(table, manifest)
    for file in (file for entry in manifest.supplements for file in entry.files):
        yield from _file_differences(out / file.path, file.path, file.size_bytes, file.sha256)
    for split, found in manifest.splits.items():
        yield from (Difference(MANIFEST_NAME, f"{split}: {problem}") for problem in found.contradictions())
    layout = open_layout(manifest.format)
    kept = layout.archive_files(archives)
    # Those that are shards are looked for anyway.
    others = sorted(kept - {shard.path for shard in manifest.shards})
    yield from (Difference(name, "is missing") for name in others if not (out / name).is_file())
    known = {*contents, *kept, *sounds, REPORT_NAME, *(table.path for table in manifest.tables)}
    known |= {file.path for entry in manifest.supplements for file in entry.files}
    for shard in manifest.shards:
        known |= {shard.path, *layout.sidecar_paths(shard.path), *_video_files(out, manifest, shard)}
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
    expected_counts = manifest.splits[split]
    entries = [shard for shard in manifest.shards if shard.split == split]
    in_file = {shard: number for shard, number in counts(table.column("shard")).items() if shard}
    in_shard = {
        shard.path: sum(in_file.pop(name, 0) for name in _video_files(out, manifest, shard)) for shard in entries
    }
    written_bytes = table.sample_sizes().where(table.column("status").equals("written")).sum()
    found = _counts(table) | {
        "samples of the shards": in_shard | in_file,
        "num_shards": len({shard.path for shard in entries}),
        "num_bytes": open_layout(manifest.format).split_bytes(
            sum(shard.size_bytes for shard in entries), written_bytes
        ),
    }
    expected = dataclasses.asdict(expected_counts) | {
        "samples of the shards": {shard.path: shard.num_samples for shard in entries}
    }
    for name, one in found.items():
        if one != expected[name]:
            yield Difference(entry.path, f"{name}: the rows say {one}, the manifest {expected[name]}")
    if not are_sorted(table.column("key")):
        yield Difference(entry.path, "its rows are not sorted by key")


def _counts(table: FinalTable) -> dict[str, Any]:
    """What the rows of a split say of what became of its clips, by the names that the manifest has."""
    status, source, defects = (table.column(name) for name in ("status", "source", "defects"))
    reasons = counts(side_by_side(status, table.column("reason")))
    are_written = status.equals("written")
    num_missing = status.equals("missing").sum()
    rejected = {key.removeprefix("rejected "): num for key, num in reasons.items() if key.startswith("rejected ")}
    return {
        "num_written": are_written.sum(),
        **flag_counts(joined_lists(defects.where(are_written))),
        "num_replaced": (are_written & source.equals("replacement")).sum(),
        "num_rejected": rejected,
        "num_excluded_by": counts(values_of(table.column("excluded_by"))),
        "num_missing": num_missing,
        "num_missing_in_damaged": num_missing - reasons.get("missing ", 0),
    }


def _video_files(out: StorePath, manifest: Manifest, shard: ShardEntry) -> Sequence[str]:
    """The files that hold the videos of a shard; none if it cannot be read, as reading it will show."""
    try:
        return open_layout(manifest.format).video_files(out, shard.path)
    except (OSError, ValueError):
        return ()


def _sound_files(table: FinalTable, manifest: Manifest) -> set[str]:
    """The files that hold the sound of clips, where it is a member of its own."""
    kind, layout = manifest.sound_kind, open_layout(manifest.format)
    if kind is None:
        return set()
    names = ("status", "shard", "offset_bytes", "size_bytes")
    rows = (dict(zip(names, row, strict=True)) for row in table.rows(names) if row[0] == "written")
    return {found[0] for row in rows if (found := layout.sound_at(row, kind)) is not None}


def _unexpected_files(out: StorePath, layout: Layout, known: set[str]) -> Iterator[Difference]:
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
