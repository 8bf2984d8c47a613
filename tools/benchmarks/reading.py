"""Reading the clips back: shards in order, by random access, and the same clips as single files; cold and warm."""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import pyarrow.parquet as pq
import webdataset
from smoke import parse

import kconvert
from benchmarks.machine import describe, existing_folder, run
from benchmarks.material import encode, make, uniques
from benchmarks.ways import COMMAND


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools/bench read", description=__doc__)
    parser.add_argument("--folder", type=existing_folder, default=Path("/var/tmp"), help="on a disk; cold needs root")
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parse(parser, words, clips=10, repeats=1)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        clip = encode(folder)
        material = make(folder / "origin", clip, 10, options.clips // 10)
        out = folder / "out"
        words = ("k400", "--split", "val", "--origin", str(material.origin), "--out", str(out))
        run([COMMAND, *words, "--shard.max_bytes", "200MB"], folder)
        files = folder / "files"
        files.mkdir()
        for number, data in enumerate(uniques(clip, material.num_clips)):
            (files / f"{number:06d}.mp4").write_bytes(data)
        ways: dict[str, Callable[[], int]] = {
            "`webdataset.WebDataset`, in order": lambda: _webdataset(out),
            "`kconvert.open`, in order": lambda: _ours(out, is_random=False),
            "`kconvert.open`, in random order": lambda: _ours(out, is_random=True),
            "by `shard` and `offset_bytes`, in random order": lambda: _random(out),
            "single files, in random order": lambda: _files(files),
        }
        print(f"{describe()}; {material.num_clips} clips of {material.clip_bytes:,} bytes, one process\n")
        print("| | cold, clips/s | warm, clips/s |\n|---|--:|--:|")
        for way, read in ways.items():
            cold = statistics.median(_rate(read, is_cold=True) for _ in range(options.repeats))
            warm = statistics.median(_rate(read, is_cold=False) for _ in range(options.repeats))
            print(f"| {way} | {cold:,.0f} | {warm:,.0f} |", flush=True)
    return 0


def _rate(read: Callable[[], int], is_cold: bool) -> float:
    if is_cold:
        subprocess.run(["sh", "-c", "sync; echo 3 > /proc/sys/vm/drop_caches"], check=True)
    start = time.perf_counter()
    return read() / (time.perf_counter() - start)


def _webdataset(out: Path) -> int:
    shards = sorted(map(str, out.glob("val/*.tar")))
    return sum(len(sample["mp4"]) > 0 for sample in webdataset.WebDataset(shards, shardshuffle=False))


def _ours(out: Path, is_random: bool) -> int:
    clips = kconvert.open(out, "val")
    order = list(range(len(clips)))
    if is_random:
        random.Random(1).shuffle(order)
    return sum(len(clips[number].video) > 0 for number in order)


def _random(out: Path) -> int:
    columns = ["shard", "offset_bytes", "size_bytes"]
    rows = pq.read_table(out / "metadata/val.parquet", columns=columns).to_pylist()
    random.Random(1).shuffle(rows)
    with ExitStack() as stack:
        paths = {row["shard"] for row in rows}
        shards = {path: stack.enter_context(open(out / path, "rb", buffering=0)) for path in paths}
        for row in rows:
            data = os.pread(shards[row["shard"]].fileno(), row["size_bytes"], row["offset_bytes"])
            assert len(data) == row["size_bytes"]
    return len(rows)


def _files(files: Path) -> int:
    paths = sorted(files.iterdir())
    random.Random(1).shuffle(paths)
    return sum(len(path.read_bytes()) > 0 for path in paths)
