"""Batches for training, of 16 frames of 224 x 224 each, by two workers: kconvert's loaders and those of other libraries
on the same clips, as they are hosted and as the recipe dense-256 writes them."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from smoke import parse

from benchmarks import loaders
from benchmarks.encoding import made_clips
from benchmarks.machine import describe, run
from benchmarks.material import clip_parser, make_of, unique
from benchmarks.ways import COMMAND

WAYS = {
    "kconvert, `ClipDataset`": ("kconvert_map", "webdataset"),
    "kconvert, `stream`": ("kconvert_stream", "webdataset"),
    "torchcodec on single files": ("torchcodec_files", "folder"),
    "decord on single files": ("decord_files", "folder"),
    "datasets, streaming": ("datasets_streaming", "webdataset"),
    "webdataset by hand": ("webdataset_by_hand", "webdataset"),
    "MosaicML streaming": ("mds", "mds"),
    "LitData": ("litdata", "litdata"),
    "torchvision, `Kinetics`": ("kinetics_class", "folder"),
}
_TORCHVISION = "kinetics_class"
"""Is no part of what the tests install: its torch is a build for GPUs, of several gigabytes."""
RECIPES: dict[str, tuple[str, ...]] = {"originals": (), "dense-256": ("--video.recipe", "dense-256")}
_BATCH = 4
_NUM_SHARDS = 8
"""More than there are workers, or some libraries read nothing."""
_FOLDER = Path(loaders.__file__).parent
_STUBS = Path(__file__).parents[2] / "tests" / "stubs"
"""For what MosaicML streaming imports and does not use."""
_HINTS = ("from __future__", "from collections.abc", "from pathlib", "from typing", '"""')
_MEASURE = """
import importlib, sys, time
from pathlib import Path
if __name__ == "__main__":
    name, folder, size, workers = sys.argv[1:]
    found = importlib.import_module(f"benchmarks.loaders.{name}").batches(Path(folder), int(size), int(workers))
    shape = tuple(next(found).shape)
    assert shape == (int(size), 3, 16, 224, 224), shape
    start, num = time.perf_counter(), sum(len(batch) for batch in found)
    print(num / (time.perf_counter() - start))
"""


def main(words: Sequence[str]) -> int:
    parser = clip_parser("train", __doc__)
    parser.add_argument("--clips", type=int, default=120)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sources", type=Path, nargs="*", help="videos to use instead of those that are made here")
    parser.add_argument("--ways", nargs="*", default=[name for name, _ in WAYS.values() if name != _TORCHVISION])
    parser.add_argument("--torchvision", type=Path, help="a Python that has torchvision and torchcodec: one more way")
    options = parse(parser, words, clips=16, repeats=1, ways=["kconvert_stream", "webdataset_by_hand"])
    pythons = {name: Path(sys.executable) for name in options.ways}
    if options.torchvision is not None:
        pythons[_TORCHVISION] = options.torchvision.absolute()
    ways = {title: way for title, way in WAYS.items() if way[0] in pythons}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        sources = [path.read_bytes() for path in options.sources or ()] or made_clips(folder, options.smoke)
        clips = {
            f"clip{number:07d}": unique(sources[number % len(sources)], f"{number}") for number in range(options.clips)
        }
        material = make_of(folder / "origin", clips, 4)
        converted(material.origin, folder, {layout for _, layout in ways.values()})
        (folder / "measure.py").write_text(_MEASURE, "utf-8")
        rates: dict[tuple[str, str], list[float]] = {(way, recipe): [] for way in ways for recipe in RECIPES}
        for _ in range(options.repeats):
            for (way, recipe), found in rates.items():
                found.append(rate(folder, pythons[ways[way][0]], ways[way][0], recipe))
        print(f"{describe()}; {options.clips} clips of {len(sources)} videos, batches of {_BATCH}, 2 workers\n")
        print(f"| | lines | {', clips/s | '.join(RECIPES)}, clips/s |\n|---|--:|{'--:|' * len(RECIPES)}")
        for way, (module, _) in ways.items():
            medians = " | ".join(f"{statistics.median(rates[way, recipe]):.1f}" for recipe in RECIPES)
            print(f"| {way} | {num_lines(module)} | {medians} |")
    return 0


def converted(origin: Path, folder: Path, layouts: set[str]) -> None:
    """The clips in each layout, by each recipe."""
    for recipe, more in RECIPES.items():
        for layout in sorted(layouts):
            words = [COMMAND, "k400", "--split", "val", "--origin", origin, "--check.min_duration", 0, *more]
            out = folder / recipe / layout
            run([*words, "--to", layout, "--out", out, "--shard.num_shards", _NUM_SHARDS], folder, env=environment())


def rate(folder: Path, python: Path, module: str, recipe: str) -> float:
    """Clips a second, from the first batch on."""
    words = [python, "-W", "ignore", folder / "measure.py", module, folder / recipe, _BATCH, 2]
    env = environment()
    if module == _TORCHVISION:
        env["PYTHONPATH"] = str(_FOLDER.parents[1])
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False, cwd=folder, env=env)
    if done.returncode:
        raise RuntimeError(f"{module}: {done.stderr[-2000:]}")
    return float(done.stdout.splitlines()[-1])


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{_FOLDER.parents[1]}:{_STUBS}", "TOKENIZERS_PARALLELISM": "false"}


def num_lines(module: str) -> int:
    """Of what a user writes, with what is shared by all that do not crop: without blank lines, and what type hints
    need."""
    names = [module] if module.startswith("kconvert") else [module, "pixels"]
    lines = [line for name in names for line in (_FOLDER / f"{name}.py").read_text("utf-8").splitlines()]
    return sum(bool(line.strip()) and not line.startswith(_HINTS) for line in lines)
