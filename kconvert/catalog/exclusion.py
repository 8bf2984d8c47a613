"""Exclusions: the clips that are left out as they are in other splits too, which something is trained or tested on."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from kconvert.catalog.clip_list import ClipList, ListedClip
from kconvert.catalog.names import Names
from kconvert.catalog.overlap import OverlapBy, is_in


@dataclass(frozen=True)
class Exclusion:
    """What is excluded."""

    lists: Sequence[ClipList] = ()
    """That clips may be in."""
    by: OverlapBy = "id"
    """When one is."""
    names: Names = field(default_factory=Names)
    """How the clips are called."""

    def of(self, name: str) -> tuple[str, ...]:
        """The lists that the clip of an official name is in, by what they go by."""
        if not self.lists:
            return ()
        parts = self.names.parts(name)
        has_times = parts.end_seconds >= 0
        listed = ListedClip(parts.youtube_id, *(parts[1:] if has_times else (None, None)))
        return tuple(one.name for one in self.lists if is_in(listed, one, self.by))

    @functools.cached_property
    def digests(self) -> Mapping[str, str]:
        """The sha256 of what each list says, by what it goes by."""
        return {one.name: one.sha256 for one in self.lists}

    def without(self, name: str) -> Exclusion:
        """The same without the list of that name: nothing is excluded as it is in its own split."""
        return replace(self, lists=[one for one in self.lists if one.name != name])
