"""Members: further annotations that samples have themselves, beside those of the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kconvert.catalog.clip import Clip
from kconvert.catalog.release import Release
from kconvert.dataset.formats.format import annotations_text
from kconvert.dataset.supplements.open import open_supplement
from kconvert.sources.supplements import SupplementFiles
from kconvert.video.process import VideoProcess
from kconvert.video.shown_times import shown_times

if TYPE_CHECKING:
    from kconvert.dataset.supplements.supplement import RowsOfClip

Annotations = Mapping[str, Sequence[Mapping[str, Any]]]
"""Those of a clip, by what `--with` calls them."""
_FRAME_INDEX, _MOMENT = "frame_index", "seconds_in_clip"
_SECOND = 1_000_000
_MAX_DIGITS = 9
"""Of the index of a frame: more than any clip has."""


class Members:
    """Gives the further annotations of clips; those of one split are held at a time, as there are millions of rows."""

    def __init__(self, release: Release, files: Mapping[str, SupplementFiles]) -> None:
        """`files` are those of the annotations that samples have; nothing if they have none."""
        self._release = release
        self._files = files
        self._split = ""
        self._rows_of: dict[str, RowsOfClip] = {}

    def digests(self) -> dict[str, str]:
        """Of the files of each, by what `--with` calls them: they decide bytes."""
        return {name: files.sha256 for name, files in self._files.items()}

    def of(self, split: str, name: str) -> Annotations:
        """The annotations of a clip of an official name; lists that are empty where there are none."""
        if not self._files:
            return {}
        if split != self._split:
            self._rows_of = {
                kind: open_supplement(kind).rows_of(files, split, self._release) for kind, files in self._files.items()
            }
            self._split = split
        if self._release.names.parts(name).end_seconds < 0:
            # Of a clip without times, nobody can say what lies in it.
            return {kind: [] for kind in self._rows_of}
        clip = Clip.from_name(name)
        return {kind: rows_of(clip) for kind, rows_of in self._rows_of.items()}


def max_bytes(annotations: Annotations) -> list[int]:
    """At most how long the text of each is, once it is known which frames are meant."""
    return [len(annotations_text(rows)) + _MAX_DIGITS * len(rows) for rows in annotations.values()]


def with_frames(annotations: Annotations, video: bytes, process: VideoProcess) -> Annotations:
    """The same with the frames of a video that are shown nearest to the moments of the rows; -1 if nobody can say."""
    if not any(_FRAME_INDEX in row for rows in annotations.values() for row in rows):
        return annotations
    try:
        times = shown_times(process, video)
    except ValueError:
        return annotations
    return {
        name: [
            {**row, _FRAME_INDEX: times.nearest(round(row[_MOMENT] * _SECOND))} if _FRAME_INDEX in row else row
            for row in rows
        ]
        for name, rows in annotations.items()
    }
