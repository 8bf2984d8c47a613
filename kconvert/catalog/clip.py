"""The clip: one trimmed video of a release, and the names it goes by.

The form of a clip's file name is measured on the official archives: `{youtube_id:11}_{start:06d}_{end:06d}.mp4`,
where the id may hold and begin with `-` and `_`, so that it is taken apart from the right.
The id alone identifies nothing: in k600 and k700-2020 one video may give several clips.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_NAME = re.compile(r"([A-Za-z0-9_-]{11})_([0-9]{6})_([0-9]{6})")
YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
PLAIN_NAME = "[A-Za-z0-9_-]{1,72}"
"""Of names that are keys as they are; RE2 and Python read it alike."""
_PLAIN = re.compile(PLAIN_NAME)
_ODD = re.compile(rb"[^A-Za-z0-9_-]")
_MAX_ESCAPED_CHARS, _KEPT_CHARS, _DIGEST_CHARS = 72, 54, 16
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
        clip_name(self.youtube_id, self.start_seconds, self.end_seconds)

    @property
    def name(self) -> str:
        """The official file name without its extension; unique within a split."""
        return clip_name(self.youtube_id, self.start_seconds, self.end_seconds)

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


def clip_name(youtube_id: str, start_seconds: int, end_seconds: int) -> str:
    """The name of a clip. Raises `ValueError` if no clip can have these values."""
    if not YOUTUBE_ID.fullmatch(youtube_id):
        raise ValueError(f"youtube id {youtube_id!r}: expected 11 of A-Z a-z 0-9 _ -")
    if not 0 <= start_seconds < end_seconds <= MAX_SECONDS:
        raise ValueError(f"times {start_seconds} to {end_seconds}: expected 0 <= start < end <= {MAX_SECONDS}")
    return f"{youtube_id}_{start_seconds:06d}_{end_seconds:06d}"


def sample_key(split: str, name: str) -> str:
    """The sample key of a clip's name: unique over all splits, and never beginning with `-`, `.` or `__`."""
    return f"{split}_{safe_name(name)}"


def safe_name(name: str) -> str:
    """A clip's name as keys and files have it: of letters, digits, `_`, `-` and `~` alone, and never too long.

    Any other character is `~` and two hexadecimal digits for each of its bytes in UTF-8. Of a name that would be too
    long for the name of a tar's member, the rest is `~~` and digits of its sha256.
    """
    if _PLAIN.fullmatch(name):
        return name
    data = name.encode("utf-8", "surrogateescape")
    escaped = _ODD.sub(lambda match: b"~%02X" % match[0][0], data).decode("ascii")
    if len(escaped) > _MAX_ESCAPED_CHARS:
        escaped = f"{escaped[:_KEPT_CHARS]}~~{hashlib.sha256(data).hexdigest()[:_DIGEST_CHARS]}"
    return escaped


def letters(label: str) -> str:
    """What labels are compared by, as tools write them in many ways: no two labels of the releases agree in that."""
    return "".join(char for char in label.lower() if char.isalnum())
