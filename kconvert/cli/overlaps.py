"""`kconvert overlap`: which clips the splits of releases share, as a table, as JSON, and pair by pair."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass

from kconvert.catalog.clip_list import ClipList, ListedClip
from kconvert.catalog.overlap import Overlap, overlap, pairs
from kconvert.cli.printing import aligned
from kconvert.storage.store import StorePath

_PAIR_COLUMNS = ("a", "youtube_id", "a_start_seconds", "a_end_seconds", "b", "b_start_seconds", "b_end_seconds", "by")


@dataclass(frozen=True)
class Matrix:
    """Each of some lists against each other."""

    num_clips: dict[str, int]
    """Of each list, by what it goes by."""
    overlaps: Sequence[Overlap]
    """Of each list with each other, both ways."""

    @classmethod
    def of(cls, lists: Sequence[ClipList]) -> Matrix:
        """Counts them."""
        overlaps = [overlap(a, b) for a, b in itertools.permutations(lists, 2)]
        return cls({one.name: len(one.clips) for one in lists}, overlaps)

    @property
    def warnings(self) -> list[str]:
        """The splits of one release that share videos: what is tested on one of them has seen the other."""
        found = [one for one in self.overlaps if one.num_id and one.a < one.b and _release(one.a) == _release(one.b)]
        return [f"{one.a} and {one.b} are of one release and share videos: {one.num_id:,} clips" for one in found]

    def text(self) -> str:
        """For people: a line for each pair that shares something."""
        shared = [one for one in self.overlaps if one.num_id]
        header = ["clips of", "in all", "that are also in", "same video", "time in common", "same times"]
        rows = [
            [one.a, f"{self.num_clips[one.a]:,}", one.b, *map(_number, (one.num_id, one.num_overlap, one.num_exact))]
            for one in shared
        ]
        lines = aligned(header, rows) if rows else [f"{', '.join(self.num_clips)}: nothing in common"]
        return "\n".join([*lines, *(f"note: {warning}" for warning in self.warnings)])

    def json(self) -> str:
        """For programs."""
        overlaps = [dataclasses.asdict(one) for one in self.overlaps]
        content = {"num_clips": self.num_clips, "overlaps": overlaps, "warnings": self.warnings}
        return json.dumps(content, indent=2)


def write_pairs(path: StorePath, lists: Sequence[ClipList]) -> None:
    """Writes a csv with a row for each two clips, of two lists, that are of one video."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_PAIR_COLUMNS)
    for a, b in itertools.combinations(lists, 2):
        for clip, other, by in pairs(a, b):
            rows.writerow([a.name, clip.youtube_id, *_times(clip), b.name, *_times(other), by])
    path.write_bytes(text.getvalue().encode())


def _times(clip: ListedClip) -> tuple[int | str, int | str]:
    if clip.start_seconds is None or clip.end_seconds is None:
        return "", ""
    return clip.start_seconds, clip.end_seconds


def _release(name: str) -> str:
    """Of a list of the catalogue; any other is one of its own."""
    release, colon, _ = name.partition(":")
    return release if colon else name


def _number(number: int | None) -> str:
    return "no times" if number is None else f"{number:,}"
