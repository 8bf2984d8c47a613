"""Countix as it is written: a table of repetitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from kconvert.catalog.clip import Clip
from kconvert.catalog.countix import PlacedRepetition, Repetition, parse_countix, place_repetitions
from kconvert.catalog.release import Release
from kconvert.dataset.manifest import FileEntry
from kconvert.dataset.supplements.supplement import (
    FrameFinder,
    Material,
    RowsOfClip,
    Supplement,
    WrittenSupplement,
    clips_of,
    table_writer,
)
from kconvert.sources.supplements import SupplementFiles
from kconvert.storage.store import StorePath

_PATH = "metadata/countix.parquet"
_TIMES = [
    (name, pa.float64()) for name in ("start_seconds", "end_seconds", "start_seconds_in_clip", "end_seconds_in_clip")
]
REPETITIONS = pa.schema(
    [
        ("split", pa.string()),
        ("youtube_id", pa.string()),
        ("name", pa.string()),
        ("key", pa.string()),
        ("reason", pa.string()),
        ("label", pa.string()),
        ("kinetics_start_seconds", pa.int32()),
        ("kinetics_end_seconds", pa.int32()),
        *_TIMES,
        ("count", pa.int32()),
        ("is_inside", pa.bool_()),
    ]
)
"""The columns of `metadata/countix.parquet`."""
_MICROSECOND_DIGITS = 6


class Countix(Supplement):
    """The table is sorted by split, video and times."""

    name = "countix"
    row_type = pa.struct([*_TIMES, ("count", pa.int64()), ("is_inside", pa.bool_())])
    tables: Mapping[str, pa.Schema] = {_PATH: REPETITIONS}
    paths = (_PATH,)

    def require(self, files: SupplementFiles, splits: Iterable[str], release: Release) -> None:
        for split in splits:
            _parsed(files, split, release)

    def rows_of(self, files: SupplementFiles, split: str, release: Release) -> RowsOfClip:
        found: dict[Clip, list[Repetition]] = {}
        for one in sorted(_parsed(files, split, release), key=lambda one: (one.youtube_id, *one[2:], one.label)):
            clip = Clip(one.youtube_id, one.clip_start_seconds, one.clip_end_seconds)
            found.setdefault(clip, []).append(one)
        return lambda clip: [_row(one, clip) for one in found.get(clip, ())]

    def write(self, out: StorePath, material: Material, find_frames: FrameFinder) -> WrittenSupplement:
        entries: list[FileEntry] = []
        counts = {}
        with table_writer(out, _PATH, REPETITIONS, entries) as writer:
            for split, table in material.tables.items():
                repetitions = _parsed(material.files, split, material.release)
                clips = clips_of(table, split, {one.youtube_id for one in repetitions})
                placed = list(place_repetitions(repetitions, clips))
                writer.write(_columns(split, placed))
                counts[split] = {
                    "num_repetitions": len(placed),
                    "num_written": sum(not one.reason for one in placed),
                    "num_unmatched": sum(one.clip is None for one in placed),
                }
        return WrittenSupplement(tuple(entries), counts)


SUPPLEMENT = Countix()


def _parsed(files: SupplementFiles, split: str, release: Release) -> list[Repetition]:
    name = release.supplements["countix"].rows.format(split=split)
    return parse_countix(files.by_name[name], name, release.label_ids)


def _row(one: Repetition, clip: Clip) -> dict[str, Any]:
    return {
        "start_seconds": one.start_seconds,
        "end_seconds": one.end_seconds,
        "start_seconds_in_clip": round(one.start_seconds - clip.start_seconds, _MICROSECOND_DIGITS),
        "end_seconds_in_clip": round(one.end_seconds - clip.start_seconds, _MICROSECOND_DIGITS),
        "count": one.num_times,
        "is_inside": clip.start_seconds <= one.start_seconds and one.end_seconds <= clip.end_seconds,
    }


def _columns(split: str, placed: Sequence[PlacedRepetition]) -> dict[str, Any]:
    found = [(one.repetition, one.clip) for one in placed]
    return {
        "split": [split] * len(placed),
        "youtube_id": [one.youtube_id for one, _ in found],
        "name": ["" if clip is None else clip.name for _, clip in found],
        "key": ["" if clip is None else clip.key for _, clip in found],
        "reason": [one.reason for one in placed],
        "label": [one.label for one, _ in found],
        "kinetics_start_seconds": [one.clip_start_seconds for one, _ in found],
        "kinetics_end_seconds": [one.clip_end_seconds for one, _ in found],
        "start_seconds": [one.start_seconds for one, _ in found],
        "end_seconds": [one.end_seconds for one, _ in found],
        "start_seconds_in_clip": [
            None if clip is None else round(one.start_seconds - clip.start_seconds, _MICROSECOND_DIGITS)
            for one, clip in found
        ],
        "end_seconds_in_clip": [
            None if clip is None else round(one.end_seconds - clip.start_seconds, _MICROSECOND_DIGITS)
            for one, clip in found
        ],
        "count": [one.num_times for one, _ in found],
        "is_inside": [one.is_inside for one in placed],
    }
