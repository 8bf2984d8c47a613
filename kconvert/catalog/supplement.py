"""Supplements: further official annotations of the clips of a release, and what of it they are joined with."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any, NamedTuple


class TableClip(NamedTuple):
    """A clip of a split, as its table has it."""

    name: str
    """The official one."""
    start_seconds: int
    """Where it starts in its video."""
    end_seconds: int
    """Where it ends there."""
    key: str
    """Of its sample; `""` if it is not written."""
    reason: str
    """Why it is not: that for which it was rejected, or may be missing, or else `missing`; `""` if it is."""

    @property
    def is_written(self) -> bool:
        return self.key != ""


def clips_by_id(split: str, rows: Iterable[tuple[Any, ...]], wanted: Container[str]) -> Mapping[str, list[TableClip]]:
    """The clips of the wanted videos of a split, each once, in the order of their times; from rows of `youtube_id`,
    `start_seconds`, `end_seconds`, `key`, `status` and `reason`.

    A clip that is hosted twice has several rows: the one that is written counts, else the one that is no duplicate.
    """
    found: dict[str, list[TableClip]] = {}
    for youtube_id, start, end, key, status, reason in rows:
        if youtube_id not in wanted:
            continue
        is_written = status == "written"
        clip = TableClip(
            key.removeprefix(f"{split}_"), start, end, key if is_written else "", "" if is_written else reason or status
        )
        clips = found.setdefault(youtube_id, [])
        place = next((place for place, one in enumerate(clips) if one[1:3] == (start, end)), None)
        if place is None:
            clips.append(clip)
        elif is_written or (clips[place].reason == "duplicate" and not clips[place].is_written):
            clips[place] = clip
    for clips in found.values():
        clips.sort(key=lambda clip: clip[1:3])
    return found
