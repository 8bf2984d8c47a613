"""`--check.depth decode` beside a loop of ffmpeg over the same clips."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from smoke import parse

from benchmarks.machine import describe, run
from benchmarks.material import chosen_clip, clip_parser, make, unique
from benchmarks.ways import COMMAND

_LOOP = "-v error -xerror -threads 1 -i {} -f null -"


def main(words: Sequence[str]) -> int:
    parser = clip_parser("decode", __doc__)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    options = parse(parser, words, clips=4, repeats=1)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        clip = chosen_clip(options, folder)
        material = make(folder / "origin", clip, 4, options.clips // 4)
        clips = folder / "clips"
        clips.mkdir()
        for number in range(material.num_clips):
            (clips / f"{number}.mp4").write_bytes(unique(clip, str(number)))
        words = ("k400", "--split", "val", "--origin", str(material.origin), "--check.depth", "decode", "--overwrite")
        commands: dict[str, Sequence[object]] = {
            "kconvert --check.depth decode, all of it": [COMMAND, *words, "--out", folder / "out"],
            "a loop of ffmpeg": ["sh", "-c", f"for path in {clips}/*; do ffmpeg {_LOOP.format('$path')}; done"],
            "ffmpeg, two at a time": ["sh", "-c", f"ls {clips}/* | xargs -P 2 -I PATH ffmpeg {_LOOP.format('PATH')}"],
        }
        found: dict[str, list[float]] = {way: [] for way in commands}
        for _ in range(options.repeats):
            for way, command in commands.items():
                found[way].append(run(command, folder).seconds)
        print(f"{describe()}; {material.num_clips} clips of 10 s\n\n| | clips/s | × the loop |\n|---|--:|--:|")
        loop = statistics.median(found["a loop of ffmpeg"])
        for way, times in found.items():
            seconds = statistics.median(times)
            print(f"| {way} | {material.num_clips / seconds:.1f} | {loop / seconds:.1f} |")
    return 0
