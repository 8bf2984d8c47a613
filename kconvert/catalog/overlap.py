"""Overlaps: which clips of a split are also in another one, of the same release or not.

Kinetics' releases share videos, so that what was trained on one cannot be judged by another as it is; the official page
warns of that (github.com/cvdfoundation/kinetics-dataset).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from kconvert.catalog.clip_list import ClipList, ListedClip

OverlapBy = Literal["id", "overlap", "exact"]
"""When a clip is also in another list: the same video is, with a time in common, or with the same times."""
OVERLAP_BYS: tuple[OverlapBy, ...] = get_args(OverlapBy)


def _is_of_video(clip: ListedClip, other: ListedClip) -> bool:
    return clip.youtube_id == other.youtube_id


def _overlaps(clip: ListedClip, other: ListedClip) -> bool:
    """Ends that touch are no time in common. Of two without times, nobody knows."""
    if clip.start_seconds is None or clip.end_seconds is None:
        return False
    if other.start_seconds is None or other.end_seconds is None:
        return False
    return clip.start_seconds < other.end_seconds and other.start_seconds < clip.end_seconds


def _is_exact(clip: ListedClip, other: ListedClip) -> bool:
    return clip == other and clip.start_seconds is not None


_TESTS: Mapping[OverlapBy, Callable[[ListedClip, ListedClip], bool]] = {
    "id": _is_of_video,
    "overlap": _overlaps,
    "exact": _is_exact,
}


def is_in(clip: ListedClip, clips: ClipList, by: OverlapBy) -> bool:
    """Whether a clip is also in a list."""
    test = _TESTS[by]
    return any(test(clip, other) for other in clips.by_id.get(clip.youtube_id, ()))


@dataclass(frozen=True)
class Overlap:
    """How many clips of one list are also in another."""

    a: str
    """The list whose clips are counted."""
    b: str
    """The one they are looked up in."""
    num_id: int
    """Whose video is there."""
    num_exact: int | None
    """With the same times; `None` where one of the lists has no times."""
    num_overlap: int | None
    """With a time in common; `None` where one of the lists has no times."""


def overlap(a: ClipList, b: ClipList) -> Overlap:
    """Counts the clips of `a` that are also in `b`."""
    shared = [clip for clip in a.clips if clip.youtube_id in b.by_id]
    if not (a.has_times and b.has_times):
        return Overlap(a.name, b.name, len(shared), None, None)
    counts = {by: sum(is_in(clip, b, by) for clip in shared) for by in OVERLAP_BYS}
    return Overlap(a.name, b.name, len(shared), counts["exact"], counts["overlap"])


def pairs(a: ClipList, b: ClipList) -> Iterator[tuple[ListedClip, ListedClip, OverlapBy]]:
    """Each clip of `a` with each of `b` of the same video, and the most that they have in common."""
    for clip in a.clips:
        for other in b.by_id.get(clip.youtube_id, ()):
            yield clip, other, next(by for by in reversed(OVERLAP_BYS) if _TESTS[by](clip, other))
