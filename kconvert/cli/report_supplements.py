"""What the report says of supplements: AVA-Kinetics in actions and in boxes on stills, Countix in counts."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kconvert.dataset.manifest import Manifest, SupplementEntry, release_of
from kconvert.dataset.supplements.figures import (
    AnnotatedFrame,
    action_names,
    boxes_of_actions,
    frames_to_show,
    repetitions_by_count,
)
from kconvert.dataset.table import FinalTable
from kconvert.dataset.videos import Videos
from kconvert.storage.store import StorePath
from kconvert.video.process import VideoProcess
from kconvert.video.stills import still_at

_NUM_SHOWN = 12
_STILL_PIXELS = 320
_MAX_COUNT = 40
"""Of repetitions: all above stand together."""

VideoOf = Callable[[str, str], bytes]
"""Gives the video of a sample, by its split and key. Raises `KeyError` where nobody can say where it is."""


def supplements_shown(out: StorePath, manifest: Manifest, written: Mapping[str, FinalTable]) -> list[dict[str, Any]]:
    """What is shown of each supplement, for the script of the page; `written` are the tables of written clips."""
    shown = {"ava": _ava, "countix": _countix}
    titles = release_of(manifest).supplements
    return [
        {
            "name": entry.name,
            "title": titles[entry.name].title,
            "counts": {split: dict(counts) for split, counts in entry.counts.items()},
            **shown[entry.name](out, entry, written),
        }
        for entry in manifest.supplements
    ]


def _ava(out: StorePath, entry: SupplementEntry, written: Mapping[str, FinalTable]) -> dict[str, Any]:
    names, boxes = action_names(out, entry), boxes_of_actions(out)
    total: Counter[int] = Counter()
    for one in boxes.values():
        total.update(one)
    order = [number for number, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))]
    return {
        "bars": {
            "title": "Boxes of each action",
            "names": [names.get(number, f"action {number}") for number in order],
            "splits": {split: [found[number] for number in order] for split, found in boxes.items()},
        },
        "stills": list(_stills(out, written, names)),
    }


def _stills(out: StorePath, written: Mapping[str, FinalTable], names: Mapping[int, str]) -> Iterator[dict[str, Any]]:
    """Stills with their boxes, as long as it is known where in a file a video is."""
    if not all(table.has_offsets() for table in written.values()):
        return
    num_shown = 0
    with VideoProcess() as process:
        for frame in frames_to_show(out, 4 * _NUM_SHOWN):
            video = Videos(out).read(written[frame.split].where({"key": frame.key}).row(0))
            try:
                image = still_at(process, video, frame.frame_index, _STILL_PIXELS)
            except ValueError:
                # The next one takes its place: that it does not decode is for `--check.depth decode` to say.
                continue
            num_shown += 1
            yield {"image": f"data:image/jpeg;base64,{base64.b64encode(image).decode()}", **_shown(frame, names)}
            if num_shown == _NUM_SHOWN:
                return


def _shown(frame: AnnotatedFrame, names: Mapping[int, str]) -> dict[str, Any]:
    boxes = [
        {"corners": box[:4], "actions": [names.get(number, f"action {number}") for number in box.action_ids]}
        for box in frame.boxes
    ]
    return {"key": frame.key, "about": f"frame {frame.frame_index}, at {frame.seconds_in_clip:.2f} s", "boxes": boxes}


def _countix(out: StorePath, entry: SupplementEntry, written: Mapping[str, FinalTable]) -> dict[str, Any]:
    found = repetitions_by_count(out)
    largest = min(_MAX_COUNT, max((count for one in found.values() for count in one), default=0))
    names = [str(count) for count in range(1, largest + 1)]
    if largest == _MAX_COUNT:
        names[-1] = f"{_MAX_COUNT} or more"
    return {
        "bars": {
            "title": "Repetitions by how often something is done",
            "names": names,
            "splits": {
                split: [
                    sum(num for count, num in one.items() if count == shown or (shown == _MAX_COUNT < count))
                    for shown in range(1, largest + 1)
                ]
                for split, one in found.items()
            },
        },
        "stills": [],
    }
