"""Clip lists: which clips, or only which videos, a split of a release has, to be compared with others.

The annotations of a release are one, and so is a file that a person has: csv with a header, DeepMind's JSON, the text
of `ls -R`, or a name or an id a line, as other tools write them.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kconvert.catalog.clip import YOUTUBE_ID
from kconvert.catalog.names import Names
from kconvert.catalog.rows import csv_rows, lines_of
from kconvert.errors import AnnotationError, Problem

_TIME_COLUMNS = (("time_start", "start_seconds"), ("time_end", "end_seconds"))
_TIMES = r"_([0-9]{6})_([0-9]{6})"
_BEFORE, _AFTER, _ENDING = r"(?:^|[/\s,'\"])", r"(?=$|[\s,'\"])", r"\.(?:mp4|mkv|webm|avi)"
_IN_LINES = (
    re.compile(
        rf"(?:^|[,\t\"])\s*({YOUTUBE_ID.pattern})\"?\s*[,\t]\s*([0-9]+(?:\.0)?)\s*[,\t]\s*([0-9]+(?:\.0)?)(?=$|[,\t\s])"
    ),
    re.compile(rf"{_BEFORE}({YOUTUBE_ID.pattern}){_TIMES}(?:{_ENDING})?{_AFTER}"),
    re.compile(rf"{_BEFORE}({YOUTUBE_ID.pattern}){_ENDING}{_AFTER}"),
    re.compile(rf"{_BEFORE}({YOUTUBE_ID.pattern}){_AFTER}"),
)
"""An id with times beside it, a clip's name, a file that is named by an id, an id: what is looked for in a line, in
this order."""


class ListedClip(NamedTuple):
    """A clip as a list names it."""

    youtube_id: str
    """Of its video."""
    start_seconds: int | None
    """Where it starts there; `None` if the list does not say."""
    end_seconds: int | None
    """Where it ends there; `None` if the list does not say."""


@dataclass(frozen=True)
class ClipList:
    """The clips of one split, each once."""

    name: str
    """What it goes by, as `k400:val`."""
    clips: Sequence[ListedClip]
    """In the order of the list."""

    @classmethod
    def of_names(cls, name: str, names: Iterable[str], form: Names) -> ClipList:
        """A list of clips by their names, which are of that form."""
        parts = map(form.parts, dict.fromkeys(names))
        return cls(name, [ListedClip(one[0], *(one[1:] if one.end_seconds >= 0 else (None, None))) for one in parts])

    @functools.cached_property
    def has_times(self) -> bool:
        """Whether it says of each clip where it is in its video."""
        return all(clip.start_seconds is not None for clip in self.clips)

    @functools.cached_property
    def by_id(self) -> Mapping[str, Sequence[ListedClip]]:
        """Its clips, by the id of their video."""
        found: dict[str, list[ListedClip]] = {}
        for clip in self.clips:
            found.setdefault(clip.youtube_id, []).append(clip)
        return found

    @functools.cached_property
    def sha256(self) -> str:
        """Of what it says, whatever the form and the order in which it was written."""
        lines = sorted(f"{one.youtube_id} {one.start_seconds} {one.end_seconds}\n" for one in self.clips)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def parse_clip_list(data: bytes, name: str, path: str) -> ClipList:
    """The clips that a file lists, in whatever form; `path` is what messages name it by.

    Raises: `AnnotationError` with every row that cannot be read, or if it lists no clip.
    """
    text = data.decode("utf-8-sig", "surrogateescape")
    problems: list[Problem] = []
    lines = [line.strip() for line in lines_of(text)]
    header = next(filter(None, lines), "")
    if header.startswith(("{", "[")):
        clips = list(_parse_json(text, problems))
    elif "youtube_id" in header:
        clips = list(_parse_csv(lines, problems))
    else:
        clips = list(_parse_lines(lines, problems))
    if not clips and not problems:
        problems.append(Problem("line 1", text[:60], "a clip or a video at least"))
    if problems:
        raise AnnotationError(path, tuple(problems), "")
    return ClipList(name, list(dict.fromkeys(clips)))


def _parse_csv(lines: Sequence[str], problems: list[Problem]) -> Iterator[ListedClip]:
    """Rows below a header; the columns of kconvert's own tables are known, too."""
    rows = csv_rows(lines, lambda *what: problems.append(_problem(*what)), skipinitialspace=True)
    columns = [one.strip() for one in next(rows, ("", []))[1]]
    for line, row in rows:
        values = dict(zip(columns, row, strict=False))
        start, end = (next((values[one] for one in names if one in values), "") for names in _TIME_COLUMNS)
        yield from _listed(line, values.get("youtube_id", ""), (start, end), problems)


def _problem(where: str, got: str, expected: str) -> Problem:
    return Problem(where, got[:60], expected)


def _parse_json(text: str, problems: list[Problem]) -> Iterator[ListedClip]:
    """DeepMind's objects by id, or a list of names or ids."""
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        problems.append(Problem("line 1", text[:40], f"JSON ({type(error).__name__})"))
        return
    if isinstance(entries, list):
        yield from _parse_lines([str(one) for one in entries], problems)
        return
    for youtube_id, entry in entries.items():
        try:
            times = tuple(map(str, entry["annotations"]["segment"]))
        except (KeyError, TypeError):
            times = ("", "")
        start, end = times if len(times) == 2 else ("", "")
        yield from _listed(f"entry {youtube_id!r}", youtube_id, (start, end), problems)


def _parse_lines(lines: Sequence[str], problems: list[Problem]) -> Iterator[ListedClip]:
    """A name or an id a line, with folders before it, and a label or times beside it, perhaps; the lines that `ls -R`
    adds are passed over, among them the names of folders, some of which could be ids."""
    is_listing = any(line.endswith(":") for line in lines)
    for number, line in enumerate(lines, start=1):
        if not line or line.endswith(":") or line.startswith(("#", "total ")):
            continue
        found = next((match for pattern in _IN_LINES if (match := pattern.search(line))), None)
        if is_listing and (found is None or found.re is _IN_LINES[-1]):
            continue
        if found is not None and found.re is _IN_LINES[-1]:
            # Some labels have as many letters as an id.
            matches = list(found.re.finditer(line))
            found = next((match for match in matches if not _is_word(match[1])), found)
            is_one = sum(not _is_word(match[1]) for match in matches) <= 1
        else:
            is_one = found is None or found.re.search(line, found.end()) is None
        if not is_one:
            problems.append(Problem(f"line {number}", line[:60], "one clip or video a line"))
            continue
        youtube_id, *times = found.groups() if found else (line,)
        yield from _listed(f"line {number}", youtube_id, (times[0], times[1]) if times else ("", ""), problems)


def _is_word(text: str) -> bool:
    """Whether it is more likely a word than an id, of which one in 20,000 has small letters only."""
    return text.isalpha() and text.islower()


def _listed(where: str, youtube_id: str, times: tuple[str, str], problems: list[Problem]) -> Iterator[ListedClip]:
    """The clip of a row, if it can be read."""
    youtube_id = youtube_id.strip()
    start, end = (one.strip().removesuffix(".0") for one in times)
    are_numbers = all(one.isascii() and one.isdecimal() and len(one) <= 9 for one in (start, end))
    if not YOUTUBE_ID.fullmatch(youtube_id):
        problems.append(Problem(where, youtube_id[:60], "the id of a video, 11 of A-Z a-z 0-9 _ -, or a clip's name"))
    elif not start and not end:
        yield ListedClip(youtube_id, None, None)
    elif are_numbers and int(start) < int(end):
        yield ListedClip(youtube_id, int(start), int(end))
    else:
        problems.append(Problem(where, f"{youtube_id},{start},{end}"[:60], "whole seconds, the start before the end"))
