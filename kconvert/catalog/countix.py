"""Countix: how often the action of a clip is repeated, and from when to when.

A file has rows of `video_id,class,kinetics_start,kinetics_end,repetition_start,repetition_end,count`, without `class`
where labels are not given out, several for some clips; times count from the start of the video.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from kconvert.catalog.clip import MAX_SECONDS, YOUTUBE_ID
from kconvert.catalog.rows import LINE_END, csv_rows
from kconvert.catalog.supplement import TableClip
from kconvert.errors import AnnotationError, Problem

_COLUMNS = ("video_id", "class", "kinetics_start", "kinetics_end", "repetition_start", "repetition_end", "count")
_NUMBERS = _COLUMNS[2:]
_MAX_TIMES = 1_000_000
"""More than anything is repeated in ten seconds."""


class Repetition(NamedTuple):
    """Something that is done again and again."""

    youtube_id: str
    """Of the video."""
    label: str
    """`""` where it is not given out."""
    clip_start_seconds: int
    """Where its clip starts in the video."""
    clip_end_seconds: int
    """Where it ends there."""
    start_seconds: float
    """When it begins, from the start of the video."""
    end_seconds: float
    """When it ends."""
    num_times: int
    """How often; 1 or more."""


def parse_countix(data: bytes, path: str, labels: Collection[str]) -> list[Repetition]:
    """The rows of a split, in order; `path` is what messages name the file by, `labels` are those of the release.

    A file without a header has the columns above, in their order. Raises: `AnnotationError` with every row that cannot
    be read, or if there is none.
    """
    problems: list[Problem] = []

    def problem(line: str, got: str, expected: str) -> None:
        problems.append(Problem(line, got[:80], expected))

    lines = LINE_END.split(data.decode("utf-8-sig", "surrogateescape"))
    rows = [(line, [value.strip() for value in row]) for line, row in csv_rows(lines, problem)]
    columns = _columns(rows[0][1]) if rows else _COLUMNS
    found: list[Repetition] = []
    for line, row in rows[1:] if rows and rows[0][1] == columns else rows:
        repetition = _repetition(dict(zip(columns, row, strict=False))) if len(row) == len(columns) else None
        if repetition is None:
            problem(line, ",".join(row), f"{','.join(columns)}: an id, start before end in seconds, 1 or more times")
        elif repetition.label and repetition.label not in labels:
            problem(line, repetition.label, "a label of the release")
        else:
            found.append(repetition)
    if not found and not problems:
        problem("line 1", lines[0], ",".join(_COLUMNS))
    if problems:
        raise AnnotationError(path, tuple(problems), "")
    return found


def _columns(first: Sequence[str]) -> Sequence[str]:
    """The columns of a file whose first row that is."""
    if "video_id" in first:
        return first
    return [name for name in _COLUMNS if name != "class" or len(first) == len(_COLUMNS)]


def _repetition(row: Mapping[str, str]) -> Repetition | None:
    """`None` if it cannot be one."""
    try:
        if any("_" in row[name] for name in _NUMBERS):
            return None
        numbers = [float(row[name]) for name in _NUMBERS]
    except (ValueError, KeyError):
        return None
    clip_start, clip_end, start, end, count = numbers
    are_whole = all(number.is_integer() for number in (clip_start, clip_end, count))
    are_in_order = (
        0 <= clip_start < clip_end <= MAX_SECONDS and 0 <= start <= end <= MAX_SECONDS and 1 <= count <= _MAX_TIMES
    )
    if not are_whole or not are_in_order or not YOUTUBE_ID.fullmatch(row["video_id"]):
        return None
    label = row.get("class", "")
    return Repetition(row["video_id"], label, int(clip_start), int(clip_end), start, end, int(count))


class PlacedRepetition(NamedTuple):
    """A repetition and its clip."""

    repetition: Repetition
    """As the file has it."""
    clip: TableClip | None
    """`None` if the split has none of these times."""
    reason: str
    """Why its clip has no sample: that of the clip, `other_times` or `no_clip`; `""` if it has one."""

    @property
    def is_inside(self) -> bool:
        """Whether all of it is in its clip."""
        clip, repetition = self.clip, self.repetition
        if clip is None:
            return False
        return clip.start_seconds <= repetition.start_seconds and repetition.end_seconds <= clip.end_seconds


def place_repetitions(
    repetitions: Sequence[Repetition], clips: Mapping[str, Sequence[TableClip]]
) -> Iterator[PlacedRepetition]:
    """Each repetition with the clip of exactly its times, in the order of videos and of times."""
    for one in sorted(repetitions, key=lambda one: (one.youtube_id, *one[2:], one.label)):
        there = clips.get(one.youtube_id, ())
        wanted = (one.clip_start_seconds, one.clip_end_seconds)
        clip = next((clip for clip in there if (clip.start_seconds, clip.end_seconds) == wanted), None)
        reason = clip.reason if clip is not None else "other_times" if there else "no_clip"
        yield PlacedRepetition(one, clip, reason)
