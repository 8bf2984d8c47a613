"""Peak memory and peak disk of runs over releases of growing size, beside what `plan` predicts."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from harness import kconvert
from measuring import clips_origin, measured
from smoke import parse

_MB = 1_000_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/campaign bounds", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder without")
    parser.add_argument("--factors", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--archives", type=int, default=4, help="archives at factor 1")
    parser.add_argument("--clips", type=int, default=10, help="clips in an archive")
    parser.add_argument("--clip_bytes", type=int, default=1_300_000)
    options = parse(parser, None, factors=[1], archives=1, clips=2)
    print(
        "  size  window  shards MB  archives  clips  driver MB  worker MB  staging MB  disk MB  of predicted  seconds"
    )
    is_held = True
    for factor in options.factors:
        folder = Path(tempfile.mkdtemp(dir=options.folder))
        num_archives = options.archives * factor
        clips_origin(folder / "origin", num_archives, options.clips, options.clip_bytes)
        for window, shard_bytes in ((0, 1000 * _MB), (0, 20 * _MB), (options.archives, 1000 * _MB)):
            sizes_of = ("--shuffle.window", window, "--shard.max_bytes", shard_bytes)
            words = ("k400", "--split", "val", "--origin", folder / "origin", *sizes_of)
            plan = json.loads(kconvert("plan", *words, "--out", folder / "none", "--json").out)
            peaks = measured(words, folder / "out")
            assert peaks.code == 0, peaks.err
            share = peaks.disk_bytes / plan["max_disk_bytes"]
            is_held = is_held and share <= 1
            sizes = (peaks.driver_bytes, peaks.worker_bytes, peaks.staging_bytes, peaks.disk_bytes)
            row = "  ".join(f"{size / _MB:9.1f}" for size in sizes)
            num_clips = num_archives * options.clips
            head = f"{factor:5}x {window:7} {shard_bytes // _MB:10} {num_archives:9} {num_clips:6}"
            print(f"{head} {row}  {share:12.1%} {peaks.seconds:8.1f}", flush=True)
            shutil.rmtree(folder / "out")
        shutil.rmtree(folder)
    print("the disk that plan predicts was never exceeded" if is_held else "MORE DISK THAN PREDICTED")
    return 0 if is_held else 1


if __name__ == "__main__":
    sys.exit(main())
