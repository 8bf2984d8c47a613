"""Boxes: the structure of ISO files (mp4, mov), as far as a check has to know more than the libraries say.

ISO/IEC 14496-12: a box is its size in four bytes, its type in four, perhaps its size in eight more (4.2); a size of 0
is to the end of what holds it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol


class Bytes(Protocol):
    """The bytes of a file, wherever they are; a slice is `bytes`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice[Any, Any, Any], /) -> bytes: ...


_HEADER_BYTES = 8
_LONG_HEADER_BYTES = 16
_MAX_BOXES = 100_000
"""Of one level: a file that has more is looked at no further."""
_MAX_ENTRIES = 1_000_000
"""Of a table: no more of it are looked at."""
_SAMPLE_ENTRIES_OFFSET = 8
"""Of the entries of an `stsd` box, after its version, flags and count (8.5.2)."""
_NEARLY_ALL = 0.95
_TO_TABLES = (b"mdia", b"minf", b"stbl")


class Box(NamedTuple):
    """A box of a file."""

    kind: bytes
    """Its type, four bytes."""
    start: int
    """Of its content, in the file."""
    end: int
    """As the box states it; it may lie beyond the end of the file."""


def boxes(data: Bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes between two offsets, one after the other, as far as there are headers."""
    limit = len(data) if end is None else min(end, len(data))
    for _ in range(_MAX_BOXES):
        if start + _HEADER_BYTES > limit:
            return
        size, kind, header = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], _HEADER_BYTES
        if size == 1:
            if start + _LONG_HEADER_BYTES > limit:
                return
            size, header = int.from_bytes(data[start + 8 : start + 16], "big"), _LONG_HEADER_BYTES
        if size == 0:
            size = limit - start
        if size < header:
            return
        yield Box(kind, start + header, start + size)
        start += size


def major_brand(data: Bytes) -> bytes:
    """The major brand of an ISO file (4.3); `b""` if it is none."""
    return data[8:12] if data[4:8] == b"ftyp" else b""


def has_tracks(data: Bytes) -> bool:
    """Whether the file has a movie box with a track in it."""
    return any(True for _ in _tracks(data))


def has_index(data: Bytes) -> bool:
    """Whether it is an ISO file whose head has an index of all samples."""
    return bool(major_brand(data)) and not is_fragmented(data)


def is_fragmented(data: Bytes) -> bool:
    """Whether samples stand in fragments of the movie, beside those of its index (8.8.4)."""
    return any(box.kind == b"moof" for box in boxes(data))


def is_encrypted(data: Bytes) -> bool:
    """Whether a video track's samples are encrypted: their entry is called `encv` (ISO/IEC 23001-7, 4.1)."""
    entries = (
        entry
        for track in _tracks(data)
        for box in _tables(data, track)
        if box.kind == b"stsd"
        for entry in boxes(data, box.start + _SAMPLE_ENTRIES_OFFSET, box.end)
    )
    return any(entry.kind == b"encv" for entry in entries)


def has_cutting_edits(data: Bytes) -> bool:
    """Whether the edit list of a track leaves out some of it (8.6.6): several edits, or one that is shorter than what
    the track has. An empty edit in front only delays it."""
    timescale = next((_timescale_and_duration(data, box)[0] for box in _movie_boxes(data, b"mvhd")), 0)
    for track in _tracks(data):
        edits = [
            edit
            for box in _below(data, track, (b"edts", b"elst"))
            for edit in _edits(data, box)
            if edit.media_time != -1
        ]
        media = [_timescale_and_duration(data, box) for box in _below(data, track, (b"mdia", b"mdhd"))]
        if len(edits) > 1:
            return True
        for scale, duration in media if edits and timescale else ():
            if scale and edits[0].duration / timescale < _NEARLY_ALL * duration / scale:
                return True
    return False


def video_seconds(data: Bytes) -> Iterator[tuple[float, float]]:
    """How long each video track lasts by its samples' times (`stts`, 8.6.1.2), and how long it states (`mdhd`)."""
    for track in filter(lambda track: _is_handled_by(data, track, b"vide"), _tracks(data)):
        stated = [_timescale_and_duration(data, box) for box in _below(data, track, (b"mdia", b"mdhd"))]
        indexed = sum(_indexed_duration(data, box) for box in _tables(data, track) if box.kind == b"stts")
        for scale, duration in stated:
            if scale:
                yield indexed / scale, duration / scale


def is_index_first(data: Bytes) -> bool:
    """Whether the movie box stands before the media, so that a reader of ranges finds it at once."""
    kinds = [box.kind for box in boxes(data)]
    return b"moov" in kinds and b"moov" in kinds[: kinds.index(b"mdat") if b"mdat" in kinds else None]


class Edit(NamedTuple):
    """An entry of an edit list (`elst`, 8.6.6)."""

    duration: int
    """In units of the movie."""
    media_time: int
    """Where in the media it starts, in units of the media; -1 if it shows nothing."""
    rate: int
    """In 65,536ths."""


@dataclass(frozen=True)
class IndexedTrack:
    """A track as the index of its file has it."""

    timescale: int
    """Units of the media a second; 0 if it states none."""
    movie_timescale: int
    """Units of the movie a second; 0 if it states none."""
    num_samples: int
    """As the table of sizes has it (`stsz`, 8.7.3); -1 without one."""
    durations: bytes
    """The runs of `stts`."""
    offsets: bytes
    """The runs of `ctts`; nothing without one."""
    edits: Sequence[Edit]
    """In their order."""
    num_descriptions: int
    """As `stsd` counts them (8.5.2): more than one where what is coded changes on the way."""
    has_all_samples: bool
    """Whether each sample has some bytes, and the file is long enough for all of them."""


def video_tracks(data: Bytes) -> Iterator[IndexedTrack]:
    """The video tracks of an ISO file."""
    return _indexed_tracks(data, b"vide")


def sound_tracks(data: Bytes) -> Iterator[IndexedTrack]:
    """The tracks of sound of an ISO file."""
    return _indexed_tracks(data, b"soun")


def _indexed_tracks(data: Bytes, handler: bytes) -> Iterator[IndexedTrack]:
    movie = next((_timescale_and_duration(data, box)[0] for box in _movie_boxes(data, b"mvhd")), 0)
    for track in filter(lambda track: _is_handled_by(data, track, handler), _tracks(data)):
        media = _below(data, track, (b"mdia", b"mdhd"))
        tables = {box.kind: box for box in _tables(data, track)}
        sizes = tables.get(b"stsz")
        yield IndexedTrack(
            timescale=_timescale_and_duration(data, media[0])[0] if media else 0,
            movie_timescale=movie,
            num_samples=-1 if sizes is None else int.from_bytes(data[sizes.start + 8 : sizes.start + 12], "big"),
            durations=_entries(data, tables.get(b"stts"), 8),
            offsets=_entries(data, tables.get(b"ctts"), 8),
            edits=[edit for box in _below(data, track, (b"edts", b"elst")) for edit in _edits(data, box)],
            num_descriptions=sum(
                int.from_bytes(data[box.start + 4 : box.start + 8], "big")
                for box in _tables(data, track)
                if box.kind == b"stsd"
            ),
            has_all_samples=sizes is not None and _has_all_samples(data, tables, sizes),
        )


def _has_all_samples(data: Bytes, tables: Mapping[bytes, Box], sizes: Box) -> bool:
    """By the sizes of the samples (`stsz`) and by where their chunks begin (`stco`, `co64`, 8.7.5)."""
    common, num = (int.from_bytes(data[sizes.start + at : sizes.start + at + 4], "big") for at in (4, 8))
    content = data[sizes.start + 12 : min(sizes.start + 12 + 4 * min(num, _MAX_ENTRIES), sizes.end)]
    found = [common] if common else [size for (size,) in struct.iter_unpack(">I", content[: len(content) // 4 * 4])]
    total = common * num if common else sum(found)
    short, long = _entries(data, tables.get(b"stco"), 4), _entries(data, tables.get(b"co64"), 8)
    chunks = [at for (at,) in struct.iter_unpack(">I", short)] + [at for (at,) in struct.iter_unpack(">Q", long)]
    return min(found, default=0) > 0 and total <= len(data) and 0 < max(chunks, default=0) < len(data)


def _entries(data: Bytes, box: Box | None, entry_bytes: int) -> bytes:
    """The whole entries of a table, after its version, flags and count; nothing without one."""
    if box is None:
        return b""
    num = min(int.from_bytes(data[box.start + 4 : box.start + 8], "big"), _MAX_ENTRIES)
    content = data[box.start + 8 : min(box.start + 8 + entry_bytes * num, box.end)]
    return content[: len(content) // entry_bytes * entry_bytes]


def _edits(data: Bytes, box: Box) -> Iterator[Edit]:
    width = 4 if data[box.start : box.start + 1] == b"\0" else 8
    content = _entries(data, box, 2 * width + 4)
    for at in range(0, len(content) - 2 * width - 3, 2 * width + 4):
        duration = int.from_bytes(content[at : at + width], "big")
        media_time = int.from_bytes(content[at + width : at + 2 * width], "big", signed=True)
        yield Edit(duration, media_time, int.from_bytes(content[at + 2 * width : at + 2 * width + 4], "big"))


def indexed_end(data: Bytes) -> int:
    """Where the segments end that the file's segment indexes list (`sidx`, 8.16.3); 0 if there is none."""
    return max((_end_of_segments(data, box) for box in boxes(data) if box.kind == b"sidx"), default=0)


def _movie_boxes(data: Bytes, kind: bytes) -> Iterator[Box]:
    movies = (box for box in boxes(data) if box.kind == b"moov")
    return (box for movie in movies for box in _inside(data, movie) if box.kind == kind)


def _tracks(data: Bytes) -> Iterator[Box]:
    return _movie_boxes(data, b"trak")


def _is_handled_by(data: Bytes, track: Box, handler: bytes) -> bool:
    """Whether it is of that kind (`hdlr`, 8.4.3)."""
    handlers = _below(data, track, (b"mdia", b"hdlr"))
    return any(data[box.start + 8 : box.start + 12] == handler for box in handlers)


def _below(data: Bytes, box: Box, kinds: Sequence[bytes]) -> list[Box]:
    """The boxes that stand in a box by way of these kinds, the last of which is theirs."""
    found = [box]
    for kind in kinds:
        found = [one for above in found for one in _inside(data, above) if one.kind == kind]
    return found


def _inside(data: Bytes, above: Box) -> Iterator[Box]:
    """The boxes in a box, which end with it."""
    return (Box(one.kind, one.start, min(one.end, above.end)) for one in boxes(data, above.start, above.end))


def _tables(data: Bytes, track: Box) -> Iterator[Box]:
    """The boxes of a track's sample table (8.5.1)."""
    return (box for table in _below(data, track, _TO_TABLES) for box in _inside(data, table))


def _timescale_and_duration(data: Bytes, box: Box) -> tuple[int, int]:
    """Of an `mvhd` or `mdhd` box (8.2.2, 8.4.2): units a second, and how many."""
    width = 4 if data[box.start : box.start + 1] == b"\0" else 8
    at = box.start + 4 + 2 * width
    return int.from_bytes(data[at : at + 4], "big"), int.from_bytes(data[at + 4 : at + 4 + width], "big")


def _indexed_duration(data: Bytes, box: Box) -> int:
    """How long the samples of an `stts` box last together, in units of the media."""
    content = _entries(data, box, 8)
    entries = (content[place : place + 8] for place in range(0, len(content), 8))
    return sum(int.from_bytes(entry[:4], "big") * int.from_bytes(entry[4:], "big") for entry in entries)


def _end_of_segments(data: Bytes, box: Box) -> int:
    """The offset at which the last segment ends that an index lists; 0 if the index is not whole."""
    content = data[box.start : min(box.end, len(data))]
    # Version and flags; id and time scale; then first time and first offset, of four or eight bytes each.
    width = 4 if content[:1] == b"\0" else 8
    first = 12 + width
    count_at = first + width + 2
    if len(content) < count_at + 2:
        return 0
    end = box.end + int.from_bytes(content[first : first + width], "big")
    num = int.from_bytes(content[count_at : count_at + 2], "big")
    references = content[count_at + 2 : count_at + 2 + 12 * num]
    if len(references) < 12 * num:
        return 0
    # The highest bit of a reference says what it refers to.
    sizes = (
        int.from_bytes(references[start : start + 4], "big") & 0x7FFFFFFF for start in range(0, len(references), 12)
    )
    return end + sum(sizes)
