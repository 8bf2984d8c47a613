"""What there is to be seen in the tables of supplements: in numbers, and in some keyframes that are drawn from them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kconvert.catalog.ava import parse_actions
from kconvert.dataset.manifest import SupplementEntry
from kconvert.storage.store import StorePath


class Box(NamedTuple):
    """A person on a keyframe."""

    x1: float
    """Left, as a share of the width."""
    y1: float
    """Top, as a share of the height."""
    x2: float
    """Right."""
    y2: float
    """Bottom."""
    action_ids: Sequence[int]
    """What the person does."""


class AnnotatedFrame(NamedTuple):
    """A keyframe of a written clip with somebody on it."""

    split: str
    """Of the clip."""
    key: str
    """Of its sample."""
    frame_index: int
    """In the written video."""
    seconds_in_clip: float
    """Of the keyframe."""
    boxes: Sequence[Box]
    """All that it has."""


def action_names(out: StorePath, entry: SupplementEntry) -> dict[int, str]:
    """The names of actions, by id, as the lists of a folder have them."""
    names: dict[int, str] = {}
    for file in entry.files:
        if file.path.endswith(".pbtxt"):
            names |= parse_actions((out / file.path).read_bytes(), file.path)
    return names


def boxes_of_actions(out: StorePath) -> Mapping[str, Counter[int]]:
    """How many boxes there are of each action, by split."""
    table = _read(out, "ava_boxes", ["split", "action_ids"])
    counts: dict[str, Counter[int]] = {}
    for split in pc.unique(table["split"]).to_pylist():
        found = pc.value_counts(pc.list_flatten(table.filter(pc.field("split") == split)["action_ids"]))
        counts[split] = Counter({one["values"]: one["counts"] for one in found.to_pylist()})
    return counts


def frames_to_show(out: StorePath, num: int) -> Iterator[AnnotatedFrame]:
    """Keyframes of written clips with somebody on them: always the same ones, drawn by a digest."""
    names = ["split", "youtube_id", "timestamp_seconds", "key", "frame_index", "seconds_in_clip"]
    is_shown = (pc.field("key") != "") & pc.field("is_primary") & (pc.field("num_boxes") > 0)
    found = _read(out, "ava_keyframes", [*names, "is_primary", "num_boxes"]).filter(is_shown).select(names)
    keys, times = found["key"].to_pylist(), found["seconds_in_clip"].to_pylist()
    digests = [hashlib.sha256(f"{key} {time}".encode()).digest() for key, time in zip(keys, times, strict=True)]
    drawn = sorted(range(len(digests)), key=digests.__getitem__)[:num]
    boxes = _read(out, "ava_boxes", None)
    for row in found.take(pa.array(drawn, pa.int64())).to_pylist():
        own = boxes.filter(
            (pc.field("split") == row["split"])
            & (pc.field("youtube_id") == row["youtube_id"])
            & (pc.field("timestamp_seconds") == row["timestamp_seconds"])
        )
        columns = zip(*(own[name].to_pylist() for name in ("x1", "y1", "x2", "y2", "action_ids")), strict=True)
        shown = [Box(*one) for one in columns]
        yield AnnotatedFrame(row["split"], row["key"], row["frame_index"], row["seconds_in_clip"], shown)


def repetitions_by_count(out: StorePath) -> Mapping[str, Counter[int]]:
    """How many rows of written clips there are of each count, by split."""
    table = _read(out, "countix", ["split", "key", "count"]).filter(pc.field("key") != "")
    rows = zip(table["split"].to_pylist(), table["count"].to_pylist(), strict=True)
    counts: dict[str, Counter[int]] = {}
    for split, count in rows:
        counts.setdefault(split, Counter())[count] += 1
    return counts


def _read(out: StorePath, name: str, columns: list[str] | None) -> pa.Table:
    return pq.ParquetFile(pa.BufferReader((out / f"metadata/{name}.parquet").read_bytes())).read(columns)
