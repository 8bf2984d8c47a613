"""Finishing: the tables, the labels, the dataset card and, last of all, the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from kconvert.catalog.clip import Clip, sample_key
from kconvert.catalog.release import SPLITS, Release, load_release
from kconvert.conversion.account import Decision
from kconvert.dataset.formats.open import open_format
from kconvert.dataset.manifest import MANIFEST_NAME, LabelsEntry, Manifest, TableEntry, table_path
from kconvert.dataset.table import StagedRows, write_table
from kconvert.engines.imports import with_arrays
from kconvert.storage.store import StorePath

LABELS_NAME = "labels.txt"
CARD_NAME = "README.md"
_DIGEST_WORDS = "The sha256 of the manifest is "
_STAGED_COLUMNS = (
    "defects", "detail", "member", "size_bytes", "sha256", "duration_seconds", "num_frames", "fps", "width", "height",
    "pix_fmt", "video_codec", "audio_codec", "rotation_degrees", "bit_rate",
)  # fmt: skip


class Placement(NamedTuple):
    """Where a sample is."""

    shard: str
    """The path, below the output folder, of the file that holds the video; `""` for none."""
    sample_index: int | None
    offset_bytes: int | None
    """Of the video's first byte in it."""


def sample_metadata(decision: Decision, row: Mapping[str, Any], release: Release, split: str) -> dict[str, Any]:
    """The JSON of a sample: the same keys and types in all of them, never `None`; `row` is its staged row."""
    clip = Clip.from_name(decision.name)
    return {
        "key": clip.key(split),
        "release": release.name,
        "split": split,
        "youtube_id": clip.youtube_id,
        "start_seconds": clip.start_seconds,
        "end_seconds": clip.end_seconds,
        "label": decision.label,
        "label_id": release.label_ids.get(decision.label, -1),
        "duration_seconds": row["duration_seconds"] or 0.0,
        "num_frames": row["num_frames"] or 0,
        "fps": row["fps"] or 0.0,
        "width": row["width"] or 0,
        "height": row["height"] or 0,
        "video_codec": row["video_codec"] or "",
        "audio_codec": row["audio_codec"] or "",
        "size_bytes": row["size_bytes"],
        "sha256": row["sha256"],
        "source": decision.source,
        "short": "short" in row["defects"],
    }


def write_split_table(
    out: StorePath,
    release: Release,
    split: str,
    rows: StagedRows,
    decisions: Sequence[Decision],
    placements: Mapping[str, Placement],
) -> TableEntry:
    """Writes the table of a split; `placements` are those of the written clips, by name."""
    path = table_path(split)
    (out / path).parent.make_folder()
    sha256 = write_table(out / path, _table_columns(release, split, rows, decisions, placements))
    return TableEntry(path, len(decisions), (out / path).size_bytes() or 0, sha256)


def _table_columns(
    release: Release,
    split: str,
    rows: StagedRows,
    decisions: Sequence[Decision],
    placements: Mapping[str, Placement],
) -> Iterator[tuple[str, Any]]:
    """The columns of the table of a split, one at a time: a release has 650,000 rows."""
    yield from rows.gather((decision.place for decision in decisions), _STAGED_COLUMNS)
    yield "key", [sample_key(split, decision.name) for decision in decisions]
    yield "split", [split] * len(decisions)
    yield "youtube_id", [decision.name[:11] for decision in decisions]
    yield "start_seconds", [int(decision.name[12:18]) for decision in decisions]
    yield "end_seconds", [int(decision.name[19:25]) for decision in decisions]
    yield "label", [decision.label for decision in decisions]
    yield "label_id", [release.label_ids.get(decision.label, -1) for decision in decisions]
    yield "status", [decision.status for decision in decisions]
    yield "reason", [decision.reason for decision in decisions]
    yield "source", [decision.source for decision in decisions]
    for _, originals in rows.gather((decision.original for decision in decisions), ["defects"]):
        yield "original_defects", originals
    archives = rows.archive_column()
    yield "archive", ["" if decision.place is None else archives[decision.place] for decision in decisions]
    nowhere = Placement("", None, None)
    placed = [placements[decision.name] if decision.status == "written" else nowhere for decision in decisions]
    yield "shard", [placement.shard for placement in placed]
    yield "sample_index", [placement.sample_index for placement in placed]
    yield "offset_bytes", [placement.offset_bytes for placement in placed]


def _digest_line(manifest: Manifest) -> str:
    return f"{_DIGEST_WORDS}`{hashlib.sha256(manifest.to_json().encode()).hexdigest()}`."


def names_other_manifest(out: StorePath, manifest: Manifest) -> bool:
    """Whether the card of a folder has the digest of another manifest; a card without any says nothing."""
    path = out / CARD_NAME
    text = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
    return _DIGEST_WORDS in text and _digest_line(manifest) not in text


def labels_text(release: Release) -> bytes:
    """The content of `labels.txt`."""
    return "".join(f"{label}\n" for label in release.labels).encode()


def labels_entry(release: Release) -> LabelsEntry:
    """What the manifest says of the labels."""
    return LabelsEntry(len(release.labels), hashlib.sha256(labels_text(release)).hexdigest())


def finish(out: StorePath, manifest: Manifest) -> None:
    """Writes what belongs to all splits; the manifest last, as it says that everything else is there."""
    for name, data in whole_files(out, manifest).items():
        (out / name).parent.make_folder()
        (out / name).write_bytes(data)
    layout = open_format(manifest.format)
    if layout.library is not None:
        with_arrays()
    layout.commit(out, manifest)
    (out / MANIFEST_NAME).write_bytes(manifest.to_json().encode())


def is_finished(out: StorePath, manifest: Manifest) -> bool:
    """Whether `finish` has nothing to do."""
    contents = {**whole_files(out, manifest), MANIFEST_NAME: manifest.to_json().encode()}.items()
    return all((out / name).is_file() and (out / name).read_bytes() == data for name, data in contents)


def whole_files(out: StorePath, manifest: Manifest) -> dict[str, bytes]:
    """The files that belong to all splits, by path. The manifest names none of them, but all can be made again from it
    and from what it names; the card has its digest, so that a change of either is found."""
    return {
        LABELS_NAME: labels_text(load_release(manifest.release)),
        **open_format(manifest.format).index_files(out, manifest),
        CARD_NAME: _card_text(manifest).encode(),
    }


def _card_text(manifest: Manifest) -> str:
    release = load_release(manifest.release)
    packed = [split for split in SPLITS if split in manifest.splits and manifest.splits[split].num_shards]
    front = {
        "pretty_name": f"{release.title}, packed by kconvert",
        "task_categories": ["video-classification"],
        **open_format(manifest.format).card_config(packed),
    }
    lines = ["---", yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip(), "---", ""]
    lines += [f"# {release.title}", "", *_card_body(manifest), ""]
    return "\n".join(lines)


def _card_body(manifest: Manifest) -> list[str]:
    layout = open_format(manifest.format)
    rows = ["| split | written | short | replaced | rejected | missing | shards |", "|---|--:|--:|--:|--:|--:|--:|"]
    for split in SPLITS:
        if split in manifest.splits:
            counts = manifest.splits[split]
            numbers = (
                counts.num_written, counts.num_short, counts.num_replaced, sum(counts.num_rejected.values()),
                counts.num_missing, counts.num_shards,
            )  # fmt: skip
            rows.append(f"| {split} | " + " | ".join(f"{number:,}" for number in numbers) + " |")
    return [
        f"{layout.title} of {manifest.labels.num} classes, made by kconvert {manifest.kconvert_version} "
        f"(format {manifest.format_version}).",
        "",
        *rows,
        "",
        *layout.card_text(),
        "",
        "`metadata/SPLIT.parquet` has a row for every clip, written or not, with the reason; `shard` and",
        "`offset_bytes` give random access with one read. `labels.txt` names the label ids.",
        "`manifest.json` has counts and digests; `kconvert verify` checks them.",
        _digest_line(manifest),
    ]
