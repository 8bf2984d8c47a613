"""AVA-Kinetics: keyframes of clips, the people on them in boxes, and what these do.

A file has no header, and rows of `video_id,timestamp,x1,y1,x2,y2,action_id`, one for each action of a box, or of
`video_id,timestamp`: a keyframe that was looked at, without anybody; some of these have boxes nevertheless. Times count
from the start of the video, and boxes are shares of width and height, from the top left. A file of train has millions
of rows, so that they are kept in columns.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kconvert.catalog.clip import MAX_SECONDS, YOUTUBE_ID
from kconvert.catalog.supplement import TableClip
from kconvert.errors import AnnotationError, Problem

_SECOND = 1_000_000
"""Microseconds: the official evaluation tells times apart to six decimals."""
_MAX_ACTION_ID = 9999
_BOM = b"\xef\xbb\xbf"
_EXPECTED = "video_id,timestamp or video_id,timestamp,x1,y1,x2,y2,action_id"


class Keyframe(NamedTuple):
    """A moment of a video."""

    youtube_id: str
    """Of the video."""
    microseconds: int
    """From its start."""


@dataclass(frozen=True)
class AvaRows:
    """The rows of a file, in columns of equal length, and what they are of."""

    keyframes: Sequence[Keyframe]
    """Each once, in the order of the file."""
    keyframe_of_line: Sequence[int]
    """The number of the keyframe of each line; -1 for a line that is no row."""
    keyframe_of_box: array[int]
    """The number of the keyframe of each row with a box."""
    corners: tuple[array[float], array[float], array[float], array[float]]
    """Of each row with a box: `x1`, `y1`, `x2`, `y2`, 0 to 1."""
    action_ids: array[int]
    """Of each row with a box."""


class _Collector:
    """Gathers the rows and problems of a file."""

    def __init__(self) -> None:
        self.numbers: dict[Keyframe, int] = {}
        self._by_text: dict[tuple[bytes, bytes], int] = {}
        """The numbers of keyframes by how they are written; -1 for what is none."""
        self.keyframe_of_line = array("i")
        self.keyframe_of_box = array("i")
        self.corners = (array("d"), array("d"), array("d"), array("d"))
        self.action_ids = array("i")
        self.problems: list[Problem] = []

    def problem(self, line: int, got: bytes, expected: str) -> None:
        self.problems.append(Problem(f"line {line}", got[:80].decode("utf-8", "replace").strip(), expected))

    def keyframe(self, youtube_id: bytes, timestamp: bytes) -> int:
        """Its number; -1 if it cannot be one."""
        found = self._by_text.get((youtube_id, timestamp))
        if found is None:
            keyframe = _keyframe(youtube_id, timestamp)
            found = -1 if keyframe is None else self.numbers.setdefault(keyframe, len(self.numbers))
            self._by_text[youtube_id, timestamp] = found
        return found

    def add_box(self, keyframe: int, corners: Sequence[float], action_id: int) -> None:
        self.keyframe_of_box.append(keyframe)
        for column, value in zip(self.corners, corners, strict=True):
            column.append(value)
        self.action_ids.append(action_id)


def parse_ava(data: bytes, path: str) -> AvaRows:
    """The rows of a split; `path` is what messages name the file by.

    Raises: `AnnotationError` with every row that cannot be read, or if there is none.
    """
    collector = _Collector()
    for number, line in enumerate(_lines(data), start=1):
        collector.keyframe_of_line.append(_add_row(collector, number, line))
    if not collector.numbers and not collector.problems:
        collector.problem(1, data[:60], _EXPECTED)
    if collector.problems:
        raise AnnotationError(path, tuple(collector.problems), "")
    return AvaRows(
        keyframes=tuple(collector.numbers),
        keyframe_of_line=collector.keyframe_of_line,
        keyframe_of_box=collector.keyframe_of_box,
        corners=collector.corners,
        action_ids=collector.action_ids,
    )


def _lines(data: bytes) -> Iterator[bytes]:
    """The lines of a file, with what ends them."""
    if b"\n" not in data:
        # As old systems wrote them.
        return iter(data.removeprefix(_BOM).splitlines(keepends=True))
    return iter(io.BytesIO(data.removeprefix(_BOM)))


def _add_row(collector: _Collector, number: int, line: bytes) -> int:
    """Takes in a line; returns the number of its keyframe, -1 for none."""
    fields = line.strip().split(b",") if b'"' not in line else _unquoted(line)
    if fields in ([b""], []) or (number == 1 and fields[0] == b"video_id"):
        return -1
    if len(fields) not in (2, 7):
        collector.problem(number, line, _EXPECTED)
        return -1
    # Python takes 1_0 for a number.
    keyframe = -1 if line.find(b"_", line.find(b",")) >= 0 else collector.keyframe(fields[0], fields[1])
    if keyframe < 0:
        expected = f"an id of 11 of A-Z a-z 0-9 _ -, and 0 to {MAX_SECONDS} seconds"
        collector.problem(number, line, expected)
    elif len(fields) == 7:
        try:
            x1, y1, x2, y2 = corners = tuple(map(float, fields[2:6]))
            action_id = int(fields[6])
        except ValueError:
            collector.problem(number, line, "five numbers after the timestamp")
            return -1
        if not (0 <= x1 <= x2 <= 1 and 0 <= y1 <= y2 <= 1 and 1 <= action_id <= _MAX_ACTION_ID):
            collector.problem(number, line, "0 <= x1 <= x2 <= 1, 0 <= y1 <= y2 <= 1, and an action's id")
            return -1
        collector.add_box(keyframe, corners, action_id)
    return keyframe


def _unquoted(line: bytes) -> list[bytes]:
    try:
        rows = list(csv.reader([line.decode("utf-8", "replace").strip()], strict=True))
    except csv.Error:
        return [line]
    return [one.encode() for one in rows[0]] if rows else []


def _keyframe(youtube_id: bytes, timestamp: bytes) -> Keyframe | None:
    """`None` if it cannot be one."""
    text = youtube_id.strip().decode("ascii", "replace")
    try:
        seconds = float(timestamp)
    except ValueError:
        return None
    if not YOUTUBE_ID.fullmatch(text) or not 0 <= seconds <= MAX_SECONDS:
        return None
    # As the official evaluation writes it, to six decimals.
    return Keyframe(text, int(f"{seconds:.6f}".replace(".", "")))


@dataclass(frozen=True)
class Boxes:
    """Different boxes in columns, in the order of keyframes and then of their corners."""

    keyframes: array[int]
    """The number of the keyframe of each."""
    corners: tuple[array[float], array[float], array[float], array[float]]
    """Of each: `x1`, `y1`, `x2`, `y2`."""
    action_ids: array[int]
    """Of all, one after the other; those of one box are different, and sorted."""
    ends: array[int]
    """Where the actions of each end there."""


def boxes_of(rows: AvaRows, order: Sequence[int]) -> Boxes:
    """The different boxes of the keyframes, which are given by their numbers, in that order."""
    found = Boxes(array("i"), (array("d"), array("d"), array("d"), array("d")), array("i"), array("i"))
    ends, lines = _by_keyframe(rows)
    for number in order:
        _add_boxes(found, number, rows, lines[ends[number - 1] if number else 0 : ends[number]])
    return found


def _by_keyframe(rows: AvaRows) -> tuple[array[int], array[int]]:
    """Where the rows with boxes of each keyframe end, and the rows in the order of the keyframes."""
    counts = array("i", bytes(4 * len(rows.keyframes)))
    for number in rows.keyframe_of_box:
        counts[number] += 1
    starts = array("i", itertools.accumulate(counts, initial=0))
    lines = array("i", bytes(4 * len(rows.keyframe_of_box)))
    for line, number in enumerate(rows.keyframe_of_box):
        lines[starts[number]] = line
        starts[number] += 1
    # Each start has come to be the end.
    return starts, lines


def _add_boxes(boxes: Boxes, keyframe: int, rows: AvaRows, lines: Iterable[int]) -> None:
    """Takes in the boxes of one keyframe, which are on these rows."""
    actions: dict[tuple[float, ...], set[int]] = {}
    x1, y1, x2, y2 = rows.corners
    for line in lines:
        actions.setdefault((x1[line], y1[line], x2[line], y2[line]), set()).add(rows.action_ids[line])
    for corners in sorted(actions):
        boxes.keyframes.append(keyframe)
        for column, value in zip(boxes.corners, corners, strict=True):
            column.append(value)
        boxes.action_ids.extend(sorted(actions[corners]))
        boxes.ends.append(len(boxes.action_ids))


class PlacedKeyframe(NamedTuple):
    """A keyframe in a clip that holds it."""

    keyframe: int
    """Its number."""
    clip: TableClip | None
    """`None` if no clip holds it."""
    is_primary: bool
    """Whether this is the clip in which it is, of all that hold it."""

    def microseconds_in_clip(self, keyframes: Sequence[Keyframe]) -> int | None:
        """From the start of the clip; `None` without one."""
        if self.clip is None:
            return None
        return keyframes[self.keyframe].microseconds - self.clip.start_seconds * _SECOND


def place_keyframes(
    keyframes: Sequence[Keyframe], order: Iterable[int], clips: Mapping[str, Sequence[TableClip]]
) -> Iterator[PlacedKeyframe]:
    """Each keyframe, given by its number, in each clip that holds it, from its start to its end, both included.

    Of several, the primary one is, among those that are written, or among all if none is, the one whose middle is
    nearer; of two that are equally near, the earlier.
    """
    for number in order:
        youtube_id, time = keyframes[number]
        holding = [
            clip
            for clip in clips.get(youtube_id, ())
            if clip.start_seconds * _SECOND <= time <= clip.end_seconds * _SECOND
        ]
        if not holding:
            yield PlacedKeyframe(number, None, is_primary=True)
            continue
        primary = min(
            [clip for clip in holding if clip.is_written] or holding, key=lambda clip: _off_middle(clip, time)
        )
        yield from (PlacedKeyframe(number, clip, clip is primary) for clip in holding)


def _off_middle(clip: TableClip, time: int) -> tuple[int, int]:
    """Twice how far it is from the middle of the clip, and which clip is earlier."""
    return abs(2 * time - (clip.start_seconds + clip.end_seconds) * _SECOND), clip.start_seconds


def lines_of(data: bytes, rows: AvaRows, wanted: Sequence[bool]) -> Iterator[bytes]:
    """The lines of a file as they are, of those keyframes that are wanted, by number."""
    for line, number in zip(_lines(data), rows.keyframe_of_line, strict=True):
        if number >= 0 and wanted[number]:
            yield line


_TOKEN = re.compile(r"""#[^\n]*|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[A-Za-z_][A-Za-z_0-9]*|[0-9]+|[{}]|[^\s:;,]""")
_MAX_ITEMS = 10_000


def parse_actions(data: bytes, path: str) -> Mapping[int, str]:
    """The names of actions by id, of a text in the form of protocol buffers: `item { name: "sit" id: 11 }`.

    Raises: `AnnotationError` with every item that cannot be read, or if there is none.
    """
    text = data.decode("utf-8-sig", "replace")
    actions: dict[int, str] = {}
    problems: list[Problem] = []
    for line, tokens in itertools.islice(_items(text), _MAX_ITEMS):
        fields = dict(zip(tokens[::2], tokens[1::2], strict=False))
        name, number = fields.get("name", ""), fields.get("id", fields.get("label_id", ""))
        is_one = name[:1] in ("'", '"') and number.isdecimal() and len(number) <= 4 and len(tokens) % 2 == 0
        if not is_one or actions.setdefault(int(number), name[1:-1]) != name[1:-1]:
            problems.append(Problem(f"line {line}", " ".join(tokens)[:80], "a name and an id, each once"))
    if not actions and not problems:
        problems.append(Problem("line 1", text[:60], 'item { name: "..." id: 1 }'))
    if problems:
        raise AnnotationError(path, tuple(problems), "")
    return dict(sorted(actions.items()))


def _items(text: str) -> Iterator[tuple[int, list[str]]]:
    """The line that each item begins in, and what stands between its braces; one that another begins in ends there."""
    line, at, begun = 1, 0, 0
    tokens: list[str] = []
    for token in _TOKEN.finditer(text):
        line, at = line + text.count("\n", at, token.start()), token.start()
        if token[0].startswith("#"):
            continue
        if token[0] == "{":
            if begun:
                yield begun, tokens
            begun, tokens = line, []
        elif token[0] == "}" and begun:
            yield begun, tokens
            begun = 0
        elif begun:
            tokens.append(token[0])
    if begun:
        yield begun, tokens
