"""AVA-Kinetics as it is written: a table of keyframes, one of boxes, and the official rows of what is there."""

from __future__ import annotations

import itertools
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from kconvert.catalog.ava import (
    AvaRows,
    Boxes,
    Keyframe,
    PlacedKeyframe,
    boxes_of,
    lines_of,
    parse_actions,
    parse_ava,
    place_keyframes,
)
from kconvert.catalog.clip import Clip
from kconvert.catalog.release import Release
from kconvert.dataset.manifest import FileEntry
from kconvert.dataset.supplements.supplement import (
    FrameFinder,
    Material,
    RowsOfClip,
    Supplement,
    WrittenSupplement,
    clips_of,
    from_array,
    table_writer,
)
from kconvert.dataset.table import FinalTable
from kconvert.sources.supplements import SupplementFiles
from kconvert.storage.store import StorePath

_SECOND = 1_000_000
_KEYFRAMES_PATH, _BOXES_PATH = "metadata/ava_keyframes.parquet", "metadata/ava_boxes.parquet"
_LINES_AT_ONCE = 10_000
_CORNERS = [(name, pa.float64()) for name in ("x1", "y1", "x2", "y2")]
KEYFRAMES = pa.schema(
    [
        ("split", pa.string()),
        ("youtube_id", pa.string()),
        ("timestamp_seconds", pa.float64()),
        ("name", pa.string()),
        ("key", pa.string()),
        ("reason", pa.string()),
        ("seconds_in_clip", pa.float64()),
        ("num_boxes", pa.int32()),
        ("is_primary", pa.bool_()),
        ("frame_index", pa.int32()),
    ]
)
"""The columns of `metadata/ava_keyframes.parquet`."""
BOXES = pa.schema(
    [
        ("split", pa.string()),
        ("youtube_id", pa.string()),
        ("timestamp_seconds", pa.float64()),
        *_CORNERS,
        ("action_ids", pa.list_(pa.int32())),
    ]
)
"""The columns of `metadata/ava_boxes.parquet`."""


class Ava(Supplement):
    """Both tables are sorted by split, video and time, then by the start of the clip, or by the corners of the box."""

    name = "ava"
    row_type = pa.struct(
        [
            ("timestamp_seconds", pa.float64()),
            ("seconds_in_clip", pa.float64()),
            ("frame_index", pa.int64()),
            ("boxes", pa.list_(pa.struct([*_CORNERS, ("action_ids", pa.list_(pa.int64()))]))),
        ]
    )
    tables: Mapping[str, pa.Schema] = {_KEYFRAMES_PATH: KEYFRAMES, _BOXES_PATH: BOXES}
    paths = (_KEYFRAMES_PATH, _BOXES_PATH, *(f"ava_{split}.csv" for split in ("train", "val", "test")))

    def require(self, files: SupplementFiles, splits: Iterable[str], release: Release) -> None:
        for split in splits:
            _parsed(files, split, release)
        for name in _action_lists(files):
            parse_actions(files.by_name[name], name)

    def rows_of(self, files: SupplementFiles, split: str, release: Release) -> RowsOfClip:
        rows = _parsed(files, split, release)
        order = sorted(range(len(rows.keyframes)), key=rows.keyframes.__getitem__)
        return _RowsOfClip(rows.keyframes, order, boxes_of(rows, order))

    def write(self, out: StorePath, material: Material, find_frames: FrameFinder) -> WrittenSupplement:
        entries: list[FileEntry] = []
        rows_files: list[FileEntry] = []
        counts = {}
        with (
            table_writer(out, _BOXES_PATH, BOXES, entries) as boxes_writer,
            table_writer(out, _KEYFRAMES_PATH, KEYFRAMES, entries) as keyframes_writer,
        ):
            for split, table in material.tables.items():
                joined = _joined(split, material, table)
                frames = find_frames(split, joined.moments())
                keyframes_writer.write(joined.keyframe_columns(frames))
                boxes_writer.write(joined.box_columns())
                counts[split] = joined.counts()
                lines = lines_of(_data(material.files, split, material.release), joined.rows, joined.written())
                rows_files.append(_write(out, f"ava_{split}.csv", lines))
        for name in _action_lists(material.files):
            rows_files.append(_write(out, name, iter(material.files.by_name[name].splitlines(keepends=True))))
        return WrittenSupplement((*entries, *rows_files), counts)


SUPPLEMENT = Ava()


class _RowsOfClip:
    """The keyframes in a clip, in the order of their times."""

    def __init__(self, keyframes: Sequence[Keyframe], order: Sequence[int], boxes: Boxes) -> None:
        self._keyframes = keyframes
        self._boxes = boxes
        self._of_video: dict[str, list[int]] = {}
        for number in order:
            self._of_video.setdefault(keyframes[number].youtube_id, []).append(number)
        self._first_box = array("i", bytes(4 * (len(keyframes) + 1)))
        """Of each keyframe; they are numbered in another order than the boxes."""
        self._num_boxes = Counter(boxes.keyframes)
        for place in range(len(boxes.keyframes) - 1, -1, -1):
            self._first_box[boxes.keyframes[place]] = place

    def __call__(self, clip: Clip) -> list[dict[str, Any]]:
        found = []
        for number in self._of_video.get(clip.youtube_id, ()):
            time = self._keyframes[number].microseconds
            if clip.start_seconds * _SECOND <= time <= clip.end_seconds * _SECOND:
                first = self._first_box[number]
                found.append(
                    {
                        "timestamp_seconds": time / _SECOND,
                        "seconds_in_clip": (time - clip.start_seconds * _SECOND) / _SECOND,
                        "frame_index": -1,
                        "boxes": [self._box(place) for place in range(first, first + self._num_boxes[number])],
                    }
                )
        return found

    def _box(self, place: int) -> dict[str, Any]:
        boxes = self._boxes
        x1, y1, x2, y2 = (column[place] for column in boxes.corners)
        actions = list(boxes.action_ids[boxes.ends[place - 1] if place else 0 : boxes.ends[place]])
        return {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "action_ids": actions}


@dataclass(frozen=True)
class _Joined:
    """The annotations of a split, and the clips that they are in."""

    split: str
    """Its name."""
    rows: AvaRows
    """As the file has them."""
    placed: Sequence[PlacedKeyframe]
    """In the order of the table."""
    boxes: Boxes
    """In the order of the table."""

    def written(self) -> list[bool]:
        """Whether some clip is written that holds it, by the number of the keyframe."""
        found = [False] * len(self.rows.keyframes)
        for one in self.placed:
            if one.clip is not None and one.clip.is_written:
                found[one.keyframe] = True
        return found

    def moments(self) -> Mapping[str, Sequence[int]]:
        """Of the keyframes in each written clip, in the order of the table."""
        found: dict[str, list[int]] = {}
        for one in self.placed:
            time = one.microseconds_in_clip(self.rows.keyframes)
            if one.clip is not None and one.clip.is_written and time is not None:
                found.setdefault(one.clip.key, []).append(time)
        return found

    def keyframe_columns(self, frames: Mapping[str, Sequence[int]]) -> dict[str, Any]:
        """Of all rows; `frames` are those at the moments."""
        keyframes, placed = self.rows.keyframes, self.placed
        num_boxes = Counter(self.boxes.keyframes)
        left = {key: iter(found) for key, found in frames.items()}
        times = (one.microseconds_in_clip(keyframes) for one in placed)
        return {
            "split": [self.split] * len(placed),
            "youtube_id": [keyframes[one.keyframe].youtube_id for one in placed],
            "timestamp_seconds": [keyframes[one.keyframe].microseconds / _SECOND for one in placed],
            "name": ["" if one.clip is None else one.clip.name for one in placed],
            "key": ["" if one.clip is None else one.clip.key for one in placed],
            "reason": ["no_clip" if one.clip is None else one.clip.reason for one in placed],
            "seconds_in_clip": [None if time is None else time / _SECOND for time in times],
            "num_boxes": [num_boxes[one.keyframe] for one in placed],
            "is_primary": [one.is_primary for one in placed],
            "frame_index": [next(left[one.clip.key]) if one.clip and one.clip.key else -1 for one in placed],
        }

    def box_columns(self) -> dict[str, Any]:
        """Of all rows."""
        boxes, keyframes = self.boxes, self.rows.keyframes
        owners = boxes.keyframes
        offsets = array("i", [0, *boxes.ends])
        x1, y1, x2, y2 = boxes.corners
        return {
            "split": [self.split] * len(owners),
            "youtube_id": [keyframes[number].youtube_id for number in owners],
            "timestamp_seconds": [keyframes[number].microseconds / _SECOND for number in owners],
            "x1": x1,
            "y1": y1,
            "x2": x2,
            "y2": y2,
            "action_ids": pa.ListArray.from_arrays(from_array(offsets), from_array(boxes.action_ids)),
        }

    def counts(self) -> dict[str, int]:
        """What they came to."""
        return {
            "num_keyframes": len(self.rows.keyframes),
            "num_written": sum(self.written()),
            "num_unmatched": sum(one.clip is None for one in self.placed),
            "num_boxes": len(self.boxes.keyframes),
        }


def _joined(split: str, material: Material, table: FinalTable) -> _Joined:
    rows = _parsed(material.files, split, material.release)
    keyframes = rows.keyframes
    order = sorted(range(len(keyframes)), key=keyframes.__getitem__)
    clips = clips_of(table, split, {keyframe.youtube_id for keyframe in keyframes})
    return _Joined(split, rows, list(place_keyframes(keyframes, order, clips)), boxes_of(rows, order))


def _data(files: SupplementFiles, split: str, release: Release) -> bytes:
    return files.by_name[release.supplements["ava"].rows.format(split=split)]


def _parsed(files: SupplementFiles, split: str, release: Release) -> AvaRows:
    return parse_ava(_data(files, split, release), release.supplements["ava"].rows.format(split=split))


def _action_lists(files: SupplementFiles) -> list[str]:
    return sorted(name for name in files.by_name if name.endswith(".pbtxt"))


def _write(out: StorePath, name: str, lines: Iterator[bytes]) -> FileEntry:
    """Writes a file of lines that end as they are."""
    num_rows = 0
    with (out / name).write_whole() as file:
        while some := list(itertools.islice(lines, _LINES_AT_ONCE)):
            file.write(b"".join(some))
            num_rows += len(some)
    return FileEntry(name, num_rows, file.size_bytes, file.sha256)
