"""The ways to packed shards, side by side: the official one, video2dataset, kconvert, and the copying ceiling."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from smoke import parse

from benchmarks.machine import Measured, Server, describe, run, serving
from benchmarks.material import Material, chosen_clip, clip_parser, make

ROOT = Path(__file__).resolve().parents[2]
COMMAND = ROOT / ".venv/bin/kconvert"
PYTHON = ROOT / ".venv/bin/python"
VIDEO2DATASET = ROOT / ".venv/video2dataset"
_MB = 1_000_000
_RESERVE = 3
"""Times the archives: more than any way writes."""

# What the official scripts do (https://github.com/cvdfoundation/kinetics-dataset: one wget, one tar after the other),
# and what people put after them: ffprobe on every clip, here two at a time, and webdataset's ShardWriter.
_OFFICIAL = """
set -euo pipefail
wget -q -c -i urls.txt -P archives
mkdir clips shards
for archive in archives/*; do tar -C clips -zxf "$archive"; done
find clips -name '*.mp4' | shuf --random-source="$archive" > clips.txt
xargs -P 2 -n 1 ffprobe -v error -show_entries format=duration -of csv=p=0 < clips.txt > durations.txt
[ "$(wc -l < durations.txt)" = "$(wc -l < clips.txt)" ]
"$PYTHON" pack.py
"""
_PACK = """
import webdataset
with webdataset.ShardWriter("shards/%06d.tar", maxsize=1e9, verbose=0) as sink:
    for number, path in enumerate(open("clips.txt").read().split()):
        with open(path, "rb") as file:
            sink.write({"__key__": f"{number:06d}", "mp4": file.read(), "cls": 1})
"""
_VIDEO2DATASET = """
import sys
from pathlib import Path
from video2dataset import video2dataset
if __name__ == "__main__":
    Path("list.csv").write_text("path\\n" + Path("clips.txt").read_text())
    video2dataset(
        url_list="list.csv", input_format="csv", url_col="path", output_format="webdataset", output_folder="shards",
        encode_formats={"video": "mp4"},
        config={
            "subsampling": {"FFProbeSubsampler": {"args": {"extract_keyframes": False}}},
            "reading": {"yt_args": {}, "timeout": 60, "sampler": None},
            "storage": {"number_sample_per_shard": 250, "captions_are_subtitles": False, "oom_shard_count": 5},
            "distribution": {
                "processes_count": 2, "thread_count": 4, "subjob_size": 1000, "distributor": "multiprocessing"
            },
        },
    )
"""
_CEILING = """
set -euo pipefail
mkdir -p tars
xargs -P 2 -n 1 sh -c 'curl -sf "$0" | igzip -d > tars/$(basename "$0" .gz)' < urls.txt
"""


def official(material: Material, server: Server, folder: Path) -> Measured:
    _urls(material, server, folder)
    (folder / "pack.py").write_text(_PACK, "utf-8")
    env = {"PYTHON": str(PYTHON), "PATH": "/usr/bin:/bin"}
    return _run(["bash", "-c", _OFFICIAL], material, folder, server, env=env)


def video2dataset(material: Material, server: Server, folder: Path) -> Measured:
    """From files that are unpacked already: it reads no archives."""
    clips = folder / "clips"
    clips.mkdir()
    for archive in material.archives:
        subprocess.run(["tar", "-C", clips, "-xzf", material.origin / archive], check=True)
    (folder / "clips.txt").write_text("".join(f"{path}\n" for path in sorted(clips.iterdir())), "utf-8")
    (folder / "convert.py").write_text(_VIDEO2DATASET, "utf-8")
    measured = _run([VIDEO2DATASET / "bin/python", "convert.py"], material, folder)
    packed = sum(json.loads(path.read_text("utf-8"))["successes"] for path in folder.glob("shards/*_stats.json"))
    assert packed == material.num_clips, f"video2dataset packed {packed} of {material.num_clips}"
    return measured


def ceiling(material: Material, server: Server, folder: Path) -> Measured:
    _urls(material, server, folder)
    return _run(["bash", "-c", _CEILING], material, folder, server)


def kconvert(material: Material, server: Server, folder: Path) -> Measured:
    out = folder / "out"
    words = (
        "k400",
        "--split",
        "val",
        "--origin",
        server.url,
        "--out",
        out,
    )
    measured = _run([COMMAND, *words], material, folder, server)
    written = json.loads((out / "manifest.json").read_text("utf-8"))["splits"]["val"]["num_written"]
    assert written == material.num_clips, f"kconvert wrote {written} of {material.num_clips}"
    return measured


def _run(
    command: Sequence[object], material: Material, folder: Path, server: Server | None = None, **options: object
) -> Measured:
    return run(command, folder, server, reserve_bytes=_RESERVE * material.num_bytes, cwd=folder, **options)


def _urls(material: Material, server: Server, folder: Path) -> None:
    (folder / "urls.txt").write_text("".join(f"{server.url}{name}\n" for name in material.archives), "utf-8")


Way = Callable[[Material, Server, Path], Measured]
WAYS: Mapping[str, Way] = {
    "official": official,
    "video2dataset": video2dataset,
    "ceiling": ceiling,
    "kconvert": kconvert,
}
_SLOW = ("official", "video2dataset")
_NAMES = {
    "official": "wget, tar, ffprobe, ShardWriter",
    "video2dataset": "video2dataset with its ffprobe step, from unpacked files",
    "ceiling": "`curl \\| igzip -d > file`: copying, nothing else",
    "kconvert": "**kconvert**, default options",
}


def main(words: Sequence[str]) -> int:
    parser = clip_parser("ways", __doc__)
    parser.add_argument("--archives", type=int, default=40)
    parser.add_argument("--clips", type=int, default=75, help="clips in an archive")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--slow_archives", type=int, default=10, help="what the slow ways get; it takes them minutes")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    # video2dataset needs an environment of its own, which takes minutes to make.
    fast = [way for way in WAYS if way != "video2dataset"]
    options = parse(parser, words, archives=1, clips=2, repeats=1, slow_archives=1, ways=fast)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        folder.chmod(0o755)
        clip = chosen_clip(options, folder)
        material = make(folder / "origin", clip, options.archives, options.clips)
        print(f"{material.num_clips:,} clips of {material.clip_bytes:,} bytes in {len(material.archives)} archives")
        print(describe(), flush=True)
        part = material.first(options.slow_archives)
        materials = {way: part if way in _SLOW else material for way in options.ways}
        found: dict[str, list[Measured]] = {way: [] for way in options.ways}
        with serving(material.origin) as server:
            for _ in range(options.repeats):
                for way in options.ways:
                    place = Path(tempfile.mkdtemp(dir=folder))
                    found[way].append(WAYS[way](materials[way], server, place))
                    shutil.rmtree(place)
                    print(f"  {way}: {found[way][-1]}", file=sys.stderr, flush=True)
        _print(found, materials)
    return 0


def _print(found: Mapping[str, Sequence[Measured]], materials: Mapping[str, Material]) -> None:
    print("\n| way | clips | clips/s | × official | MB/s in | CPU ms a clip | memory | disk | × the archives |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    rates = {way: materials[way].num_clips / _median(runs, "seconds") for way, runs in found.items()}
    for way, runs in found.items():
        num_clips, num_bytes = materials[way].num_clips, materials[way].num_bytes
        ratio = f"{rates[way] / rates['official']:.1f}" if "official" in rates else "–"
        disk = _median(runs, "disk_bytes")
        print(
            f"| {_NAMES[way]} | {num_clips:,} | {rates[way]:.0f} | {ratio} "
            f"| {rates[way] * num_bytes / num_clips / _MB:.0f} | {_median(runs, 'cpu_seconds') / num_clips * 1000:.1f} "
            f"| {_median(runs, 'memory_bytes') / _MB:.0f} MB | {disk / _MB:,.0f} MB | {disk / num_bytes:.1f} |"
        )
    if {"kconvert", "ceiling"} <= found.keys():
        print(f"\nkconvert reaches {rates['kconvert'] / rates['ceiling']:.0%} of the copying ceiling.")
    for way, runs in found.items():
        num_clips = materials[way].num_clips
        each = ", ".join(f"{num_clips / measured.seconds:.0f}" for measured in runs)
        server = _median(runs, "server_seconds") / num_clips * 1000
        print(f"{way}: {each} clips/s; the server took {server:.2f} ms of CPU a clip")


def _median(runs: Sequence[Measured], name: str) -> float:
    return statistics.median(float(getattr(run, name)) for run in runs)
