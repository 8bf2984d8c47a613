"""Names: what the clips of a release are called, how they are found in the paths of members, what they say."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import NamedTuple

from kconvert.catalog.patterns import checked_pattern

VIDEO_ENDINGS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".3gp", ".flv", ".mpg", ".mpeg", ".wmv")
"""Of what may be a clip, in small letters."""
_ENDING = "|".join(ending[1:] for ending in VIDEO_ENDINGS)


def is_video(leaf: str) -> bool:
    """Whether a file of that name, without folders, is taken for a clip; what a Mac adds (`._`) is none."""
    return leaf.lower().endswith(VIDEO_ENDINGS) and not leaf.startswith("._")


class NameParts(NamedTuple):
    """What the name of a clip says."""

    youtube_id: str
    """Of its video; `""` if the name does not say."""
    start_seconds: int
    """Where it starts there; -1 if the name does not say."""
    end_seconds: int
    """Where it ends there; -1 if the name does not say."""


_MAX_DIGITS = 9
_NOTHING = NameParts("", -1, -1)


class FoundName(NamedTuple):
    """What the path of a member says."""

    name: str
    """Of the clip."""
    label: str
    """`""` if it does not say."""
    split: str
    """`""` if it does not say."""


@dataclass(frozen=True)
class Names:
    """How the clips of a release are called. Raises `ValueError` when built from what is no pattern."""

    member: str = rf"(?:.*/)?(?P<name>[^/]+)\.(?i:{_ENDING})"
    """A pattern of the whole path of a member that is a clip, with groups `name` and perhaps `label` and `split`."""
    extracted: str = ""
    """The same of a file that was extracted; `""` if that is called alike."""
    source: str = ""
    """A pattern of the whole name, with groups `id`, perhaps `start` and `end`, of the video that it is from; `""` if
    names say nothing of it."""
    example: str = "NAME.mp4"
    """A name as messages show it."""
    are_keys: bool = False
    """Whether names are unique keys as they are, and have no column of their own."""

    def __post_init__(self) -> None:
        for field, group in (("member", "name"), ("extracted", "name"), ("source", "id")):
            pattern = getattr(self, field)
            if group not in checked_pattern(pattern, field).groupindex and pattern:
                raise ValueError(f"{field}: expected a group named {group}, as (?P<{group}>.+)")

    def of_member(self, path: str) -> FoundName:
        """What the path of a member of an archive says. Raises `ValueError` if it is no clip's."""
        return self._found(self._member, path)

    def of_file(self, path: str) -> FoundName:
        """What the path of an extracted file says. Raises `ValueError` if it is no clip's."""
        return self._found(self._extracted, path)

    def _found(self, pattern: re.Pattern[str], path: str) -> FoundName:
        match = pattern.fullmatch(path)
        if match is None or not match["name"]:
            raise ValueError(f"clip name {path.rpartition('/')[2]!r}: expected {self.example}")
        found = match.groupdict(default="")
        return FoundName(found["name"], found.get("label", ""), found.get("split", ""))

    def label_of(self, path: str) -> str:
        """The label that the path of a member or a file says; `""` if it does not."""
        if not self._says_labels:
            return ""
        match = self._extracted.fullmatch(path)
        return "" if match is None else match["label"] or ""

    def parts(self, name: str) -> NameParts:
        """What a name says."""
        match = self._source.fullmatch(name) if self._source is not None else None
        if match is None:
            return _NOTHING
        of_id, start, end = self._places
        return NameParts(
            match[of_id] or "", _seconds(match[start] if start else None), _seconds(match[end] if end else None)
        )

    @functools.cached_property
    def _member(self) -> re.Pattern[str]:
        return re.compile(self.member, re.DOTALL)

    @functools.cached_property
    def _extracted(self) -> re.Pattern[str]:
        return re.compile(self.extracted or self.member, re.DOTALL)

    @functools.cached_property
    def _says_labels(self) -> bool:
        return "label" in self._extracted.groupindex

    @functools.cached_property
    def _places(self) -> tuple[int, int, int]:
        """The numbers of the groups of `source`; 0 for one that is not there."""
        groups = {} if self._source is None else self._source.groupindex
        return groups.get("id", 0), groups.get("start", 0), groups.get("end", 0)

    @functools.cached_property
    def _source(self) -> re.Pattern[str] | None:
        return re.compile(self.source) if self.source else None


@functools.lru_cache(maxsize=1 << 14)
def _seconds(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) <= _MAX_DIGITS else -1
