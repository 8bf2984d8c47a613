"""Moments: which frames of written videos are shown at some time; the videos are looked into where they stand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kconvert.conversion.tasks import Tasks
from kconvert.dataset.layout import Layout
from kconvert.dataset.open import open_layout
from kconvert.dataset.supplements.supplement import Moments
from kconvert.dataset.table import FinalTable
from kconvert.engines.imports import with_arrays
from kconvert.events import Advance, Emit, Step
from kconvert.storage.store import StorePath
from kconvert.video.process import video_process
from kconvert.video.shown_times import shown_times

_CLIPS_OF_TASK = 1000
"""Unless a single shard has more, that has to be read as a whole."""
_COLUMNS = ("key", "shard", "member", "offset_bytes", "size_bytes")


@dataclass(frozen=True)
class MomentsTask:
    """Some videos to be looked into."""

    name: str
    """Of the split, and where it is in it."""
    out: StorePath
    """The output folder."""
    format: str
    """What `--to` calls it."""
    rows: tuple[Mapping[str, Any], ...]
    """Of the clips in the table, sorted by the files that their videos are in."""
    moments: tuple[Sequence[int], ...]
    """Of each clip: microseconds from its start."""


def frames_at(task: MomentsTask, emit: Emit) -> dict[str, tuple[int, ...]]:
    """The index of the frame that is shown nearest to each moment of each clip, by key; -1 if nobody can say."""
    layout = open_layout(task.format)
    if layout.library is not None:
        with_arrays()
    wanted = {row["key"]: moments for row, moments in zip(task.rows, task.moments, strict=True)}
    found = {key: (-1,) * len(moments) for key, moments in wanted.items()}
    for shard, rows in itertools.groupby(task.rows, lambda row: row["shard"]):
        for key, video in layout.videos(task.out, shard, list(rows)):
            try:
                times = shown_times(video_process(), video)
            except ValueError:
                continue
            found[key] = tuple(times.nearest(moment) for moment in wanted[key])
            emit(Advance(num_clips=1))
    return found


def find_frames(
    out: StorePath, layout: Layout, table: FinalTable, moments: Moments, tasks: Tasks
) -> dict[str, tuple[int, ...]]:
    """The same for a whole split, whose table that is. Raises: `FailedTasksError`."""
    if not moments:
        return {}
    wanted = table.where({"key": list(moments), "status": "written"})
    rows = sorted(wanted.rows(_COLUMNS), key=lambda row: (row[1], row[3] or 0, row[0]))
    groups = list(_groups([dict(zip(_COLUMNS, row, strict=True)) for row in rows]))
    split = tasks.split
    work = [
        MomentsTask(
            f"{split}: clips {number}", out, layout.name, tuple(group), tuple(moments[row["key"]] for row in group)
        )
        for number, group in enumerate(groups)
    ]
    step = Step(split, "joining", f"{split}: finding the frames of {len(rows):,} clips", None, len(rows))
    found: dict[str, tuple[int, ...]] = {}
    for one in tasks.run(step, frames_at, work):
        found |= one
    return found


def _groups(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The rows of each task: those of one file stay together where it is read as a whole."""
    group: list[dict[str, Any]] = []
    for row in rows:
        is_other = group and (row["offset_bytes"] is not None or row["shard"] != group[-1]["shard"])
        if is_other and len(group) >= _CLIPS_OF_TASK:
            yield group
            group = []
        group.append(row)
    if group:
        yield group
