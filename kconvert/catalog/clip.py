"""The clip: one trimmed video of a release, and the names it goes by.

The form of a clip's file name is measured on the official archives: `{youtube_id:11}_{start:06d}_{end:06d}.mp4`,
where the id may hold and begin with `-` and `_`, so that it is taken apart from the right.
The id alone identifies nothing: in k600 and k700-2020 one video may give several clips.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

_NAME = re.compile(r"([A-Za-z0-9_-]{11})_([0-9]{6})_([0-9]{6})")
YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
_ID_CHARS = 11
MAX_SECONDS = 999_999
"""The largest time that fits the six digits of a clip's name."""


@dataclass(frozen=True, order=True)
class Clip:
    """A clip's identity. Raises `ValueError` when built from values that no clip can have."""

    youtube_id: str
    """The eleven characters that YouTube identifies the video with."""
    start_seconds: int
    """Where the clip starts in the YouTube video, whole seconds."""
    end_seconds: int
    """Where it ends; usually, but not always, 10 s later."""

    def __post_init__(self) -> None:
        if not YOUTUBE_ID.fullmatch(self.youtube_id):
            raise ValueError(f"youtube id {self.youtube_id!r}: expected 11 of A-Z a-z 0-9 _ -")
        if not 0 <= self.start_seconds < self.end_seconds <= MAX_SECONDS:
            raise ValueError(
                f"times {self.start_seconds} to {self.end_seconds}: expected 0 <= start < end <= {MAX_SECONDS}"
            )

    @property
    def name(self) -> str:
        """The official file name without its extension; unique within a split."""
        return f"{self.youtube_id}_{self.start_seconds:06d}_{self.end_seconds:06d}"

    def key(self, split: str) -> str:
        """See `sample_key`."""
        return sample_key(split, self.name)

    @classmethod
    def from_name(cls, name: str) -> Clip:
        """The clip that an official name, with or without `.mp4`, stands for. Raises `ValueError` if none."""
        match = _NAME.fullmatch(name.removesuffix(".mp4"))
        if match is None:
            raise ValueError(f"clip name {name!r}: expected YOUTUBEID11_000000_000010.mp4")
        return cls(match[1], int(match[2]), int(match[3]))


class NameParts(NamedTuple):
    """What the name of a clip says."""

    youtube_id: str
    """Of its video."""
    start_seconds: int
    """Where it starts there; -1 if the name does not say."""
    end_seconds: int
    """Where it ends there; -1 if the name does not say."""


def name_parts(name: str) -> NameParts:
    """What the name of a clip says, which is an official one, or the id of its video alone."""
    if len(name) == _ID_CHARS:
        return NameParts(name, -1, -1)
    return NameParts(name[:11], int(name[12:18]), int(name[19:25]))


def file_clip_name(file_name: str) -> str:
    """The name of the clip that a file of any video format is: an official one, or the id of its video alone, as some
    extractors leave it. Raises `ValueError` if it is none."""
    stem, dot, _ = file_name.rpartition(".")
    if dot and (_NAME.fullmatch(stem) or YOUTUBE_ID.fullmatch(stem)):
        return stem
    raise ValueError(f"clip name {file_name!r}: expected YOUTUBEID11_000000_000010.mp4, or YOUTUBEID11.mp4")


def sample_key(split: str, name: str) -> str:
    """The sample key of a clip's name: unique over all splits, and never beginning with `-`, `.` or `__`."""
    return f"{split}_{name}"


def letters(label: str) -> str:
    """What labels are compared by, as tools write them in many ways: no two labels of the releases agree in that."""
    return "".join(char for char in label.lower() if char.isalnum())


def name_columns(names: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    """The columns that names are made of, one at a time: `youtube_id`, `start_seconds`, `end_seconds`.

    The names are those of clips (see `name_parts`): taking 650,000 of them apart one by one would take seconds.
    """
    yield "youtube_id", [name[:11] for name in names]
    yield "start_seconds", [int(name[12:18] or -1) for name in names]
    yield "end_seconds", [int(name[19:25] or -1) for name in names]
