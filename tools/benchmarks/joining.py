"""AVA-Kinetics at the size of k700-2020's train, made up: 536,000 clips, 3 million boxes; and the finding of frames.

The join is what `--with ava` does once all clips are in place, but for the frames of videos, of which some are looked
for in clips of the size of official ones.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from smoke import parse

from benchmarks.machine import existing_folder
from benchmarks.material import encode
from kconvert.catalog.shelf import load_release
from kconvert.columns.column import Column
from kconvert.conversion.moments import MomentsTask, frames_at
from kconvert.dataset.supplements.open import open_supplement
from kconvert.dataset.supplements.supplement import Material, Moments
from kconvert.dataset.table import TABLE, FinalTable, columns_at, write_table
from kconvert.sources.supplements import SupplementFiles
from kconvert.storage.folders import local
from kconvert.video.process import prepare

_ROWS = "kinetics_train_v1.0.csv"
_BOXES_OF_KEYFRAME = 6
_ACTIONS_OF_BOX = 2
_SEED = 24


def _id(number: int) -> str:
    return f"{number:09d}ab"


def _annotations(num_clips: int, num_boxes: int) -> bytes:
    """A keyframe in every clip, as far as there are boxes; the others have nobody on them."""
    draw = random.Random(_SEED)
    lines: list[str] = []
    for number in range(num_clips):
        at = f"{_id(number)},{number % 300 + 1 + number % 9:06f}"
        if number * _BOXES_OF_KEYFRAME >= num_boxes:
            lines.append(at)
            continue
        for _ in range(_BOXES_OF_KEYFRAME):
            left, top = draw.random() / 2, draw.random() / 2
            box = f"{left:.6f},{top:.6f},{left + 0.4:.6f},{top + 0.5:.6f}"
            lines += [f"{at},{box},{action}" for action in draw.sample(range(1, 81), _ACTIONS_OF_BOX)]
    return ("\n".join(lines) + "\n").encode()


def _table(num_clips: int) -> dict[str, Column]:
    columns = {name: Column.constant(None, num_clips, "index") for name in TABLE.names}
    starts = [number % 300 for number in range(num_clips)]
    names = [f"{_id(number)}_{start:06d}_{start + 10:06d}" for number, start in enumerate(starts)]
    columns |= {
        "key": Column.of(f"train_{name}" for name in names),
        "split": Column.constant("train", num_clips),
        "youtube_id": Column.of(map(_id, range(num_clips))),
        "start_seconds": Column.of(starts, "index"),
        "end_seconds": Column.of((start + 10 for start in starts), "index"),
        "status": Column.constant("written", num_clips),
    }
    return columns


def _join(folder: Path) -> None:
    """In a process of its own, whose memory is measured."""
    start = time.perf_counter()
    files = SupplementFiles({_ROWS: (folder / "rows").read_bytes()})
    tables = {"train": FinalTable.read(local(folder / "train.parquet"))}

    def nothing(split: str, moments: Moments) -> Mapping[str, Sequence[int]]:
        return {key: [0] * len(times) for key, times in moments.items()}

    out = local(folder / "out")
    out.make_folder()
    written = open_supplement("ava").write(out, Material(load_release("k700-2020"), files, tables), nothing)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "peak": peak, **written.counts["train"]}))


def _frames(folder: Path, num_clips: int) -> float:
    """Clips a second whose frames are found, by one process."""
    clip = encode(folder)
    out = local(folder / "videos")
    out.make_folder()
    (folder / "videos/shard").write_bytes(clip)
    row = {"shard": "shard", "member": "", "offset_bytes": 0, "size_bytes": len(clip)}
    rows = tuple({**row, "key": str(number)} for number in range(num_clips))
    prepare()
    start = time.perf_counter()
    found = frames_at(MomentsTask("", out, "webdataset", rows, ((5_000_000,),) * num_clips), lambda event: None)
    assert set(found.values()) == {(150,)}
    return num_clips / (time.perf_counter() - start)


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools/bench join", description=__doc__)
    parser.add_argument("--folder", type=existing_folder, default=Path("/dev/shm"))
    parser.add_argument("--clips", type=int, default=536_000)
    parser.add_argument("--boxes", type=int, default=3_000_000)
    parser.add_argument("--frames", type=int, default=5_000, help="clips in which frames are looked for")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parse(parser, words, clips=1000, boxes=1200, frames=10)
    if options.one:
        _join(options.folder)
        return 0
    print("| clips | boxes | seconds | peak memory | clips a second whose frames are found, a process |")
    print("|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        (folder / "rows").write_bytes(_annotations(options.clips, options.boxes))
        columns = _table(options.clips)
        write_table(local(folder / "train.parquet"), columns["key"], columns_at(columns))
        command = [sys.executable, "-m", "benchmarks", "join", "--folder", name, "--one"]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rate = _frames(folder, options.frames)
    counts = f"{found['num_keyframes']:,} | {found['num_boxes']:,} | {found['seconds']:.1f}"
    print(f"| {counts} | {found['peak'] / 1e6:,.0f} MB | {rate:,.0f} |")
    return 0
