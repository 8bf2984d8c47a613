"""Encoding for training on the way, beside what people do with the clips once they are unpacked."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from smoke import parse

from benchmarks.machine import describe, run
from benchmarks.material import clip_parser, encode, make_of, unique
from benchmarks.ways import COMMAND, VIDEO2DATASET
from kconvert.video.encoding.encoder import encoder_options
from kconvert.video.encoding.options import VideoSettings

_SHORT = 256
_SCALE = f"scale='if(gt(iw,ih),-2,{_SHORT})':'if(gt(iw,ih),{_SHORT},-2)'"
_OUT = "OUT/$(basename PATH)"
# https://github.com/open-mmlab/mmaction2/blob/main/tools/data/resize_videos.py, with --dense, without --remove-dup.
_MMACTION2 = f'ffmpeg -y -loglevel error -i PATH -vf "{_SCALE}" -c:v libx264 -g 16 -an {_OUT}'
# Its subsampler lacks an attribute that it is asked for.
_V2D = """
from pathlib import Path
from video2dataset.subsamplers import ResolutionSubsampler
ResolutionSubsampler.encode_formats = {"video": "mp4"}
from video2dataset import video2dataset
if __name__ == "__main__":
    Path("list.csv").write_text("path\\n" + "".join(f"{path}\\n" for path in sorted(Path("clips").resolve().iterdir())))
    video2dataset(
        url_list="list.csv", input_format="csv", url_col="path", output_format="webdataset", output_folder="shards",
        encode_formats={"video": "mp4"},
        config={
            "subsampling": {"ResolutionSubsampler": {"args": {"height": 256, "width": -2, "resize_mode": ["scale"]}}},
            "reading": {"yt_args": {}, "timeout": 60, "sampler": None},
            "storage": {"number_sample_per_shard": 250, "captions_are_subtitles": False, "oom_shard_count": 5},
            "distribution": {
                "processes_count": CORES, "thread_count": 1, "subjob_size": 1000, "distributor": "multiprocessing"
            },
        },
    )
"""


@dataclass
class Way:
    """One way to encode all clips."""

    command: Callable[[Path], Sequence[object]]
    """Gives the command, for an empty folder."""
    results: Callable[[Path], dict[str, bytes]]
    """Gives the videos that it made there, by the names of their clips."""


def main(words: Sequence[str]) -> int:
    parser = clip_parser("encode", __doc__)
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sources", type=Path, nargs="*", help="videos to use instead of those that are made here")
    options = parse(parser, words, clips=1, repeats=1)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        sources = [path.read_bytes() for path in options.sources or ()] or made_clips(folder, options.smoke)
        clips = {f"clip{number:07d}": sources[number % len(sources)] for number in range(options.clips)}
        print(f"{describe()}; {len(clips)} clips, {sum(map(len, clips.values())):,} bytes, short side {_SHORT}\n")
        _compare(
            folder,
            clips,
            options.repeats,
            without=("video2dataset", "ffmpeg -threads 1 with our settings") if options.smoke else (),
        )
        _conforming(folder, options.repeats)
    return 0


def made_clips(folder: Path, is_smoke: bool) -> list[bytes]:
    """Clips of the sizes that people have."""
    sizes = ("340x256",) if is_smoke else ("340x256", "640x360", "1280x720")
    return [encode(folder, has_audio=True, size=size) for size in sizes]


def _compare(folder: Path, clips: dict[str, bytes], repeats: int, without: Sequence[str]) -> None:
    """All ways but some on the same clips, one after the other, several times."""
    material = make_of(folder / "origin", {name: unique(data, name) for name, data in clips.items()}, 4)
    (folder / "clips").mkdir()
    for name, data in clips.items():
        (folder / "clips" / f"{name}.mp4").write_bytes(unique(data, name))
    references = {name: reference(folder, name) for name in list(clips)[: len(set(clips.values()))]}
    ways = {name: way for name, way in _ways(material.origin).items() if name.partition(",")[0] not in without}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    results: dict[str, dict[str, bytes]] = {}
    for _ in range(repeats):
        for name, way in ways.items():
            work = folder / "work"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            (work / "clips").symlink_to(folder / "clips")
            measured = run(way.command(work), work, cwd=work)
            found[name].append((measured.seconds, measured.cpu_seconds))
            results[name] = way.results(work)
    base = next(iter(ways))
    print("| way | clips/s | x MMAction2 | CPU s a clip | x its bytes | SSIM |\n|---|--:|--:|--:|--:|--:|")
    for name, times in found.items():
        seconds, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        videos = results[name]
        assert len(videos) == len(clips), f"{name}: {len(videos)} of {len(clips)} clips"
        size = sum(map(len, videos.values())) / sum(map(len, results[base].values()))
        similar = statistics.mean(ssim(folder, videos[clip], path) for clip, path in references.items())
        ratio = statistics.median(one for one, _ in found[base]) / seconds
        figures = (len(clips) / seconds, ratio, cpu / len(clips), size)
        print(f"| {name} | {' | '.join(f'{figure:.2f}' for figure in figures)} | {similar:.4f} |")
    (folder / "encoded").mkdir()
    for clip, data in results["kconvert, without sound"].items():
        (folder / "encoded" / f"{clip}.mp4").write_bytes(data)


def _ways(origin: Path) -> dict[str, Way]:
    cores, settings = len(os.sched_getaffinity(0)), VideoSettings(short_side=_SHORT)
    ours = " ".join(f"-{name} {value}" for name, value in encoder_options(settings).items())
    scale = f"{_SCALE}:flags=bicubic+accurate_rnd+bitexact"
    bare = f'ffmpeg -y -loglevel error -threads 1 -i PATH -vf "{scale}" -c:v libx264 {ours} -threads 1 -an {_OUT}'
    common = (COMMAND, "k400", "--split", "val", "--origin", origin, "--check.min_duration", 0)
    asked = ("--video.short_side", _SHORT, "--video.reencode", "always")
    return {
        "MMAction2's command, a process a core": Way(lambda work: _loop(_MMACTION2, work, cores), _files),
        "ffmpeg -threads 1 with our settings": Way(lambda work: _loop(bare, work, cores), _files),
        "video2dataset, ResolutionSubsampler": Way(lambda work: _video2dataset(work, cores), _shards),
        "kconvert, without sound": Way(
            lambda work: [*common, *asked, "--audio", "drop", "--out", work / "out"], _shards
        ),
        "kconvert, with the sound kept": Way(lambda work: [*common, *asked, "--out", work / "out"], _shards),
    }


def _loop(command: str, work: Path, cores: int) -> Sequence[object]:
    (work / "out").mkdir()
    (work / "one.sh").write_text(command.replace("OUT", str(work / "out")).replace("PATH", "$1"), "utf-8")
    return ["bash", "-c", f"ls -d {work}/clips/* | xargs -P {cores} -n 1 bash {work}/one.sh"]


def _video2dataset(work: Path, cores: int) -> Sequence[object]:
    (work / "convert.py").write_text(_V2D.replace("CORES", str(cores)), "utf-8")
    return [VIDEO2DATASET / "bin/python", "convert.py"]


def _files(work: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in (work / "out").iterdir()}


def _shards(work: Path) -> dict[str, bytes]:
    """The videos of shards, ours or others', in the order of their clips."""
    found = {}
    for path in sorted(work.rglob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".mp4"):
                    file = tar.extractfile(member)
                    assert file is not None
                    found[re.sub(r"^val_|_\d{6}_\d{6}$", "", Path(member.name).stem)] = file.read()
    # video2dataset calls clips by their place in the list.
    names = sorted(path.stem for path in (work / "clips").iterdir())
    return found if set(found) == set(names) else dict(zip(names, (found[key] for key in sorted(found)), strict=False))


def reference(folder: Path, clip: str) -> Path:
    """The clip, scaled and stored without loss."""
    path = folder / f"{clip}.mkv"
    source = folder / "clips" / f"{clip}.mp4"
    command = ["ffmpeg", "-v", "error", "-y", "-i", source, "-vf", f"{_SCALE}:flags=bicubic", "-an", "-c:v", "ffv1"]
    subprocess.run([*map(str, command), "-fps_mode", "passthrough", str(path)], check=True)
    return path


def ssim(folder: Path, video: bytes, reference: Path) -> float:
    """Of a video to its reference."""
    path = folder / "compared.mp4"
    path.write_bytes(video)
    fit = "[0:v][1:v]scale2ref=flags=bicubic[a][b];[a][b]ssim"
    command = [
        "ffmpeg",
        "-hide_banner",
        "-nostdin",
        "-i",
        str(path),
        "-i",
        str(reference),
        "-lavfi",
        fit,
        "-f",
        "null",
        "-",
    ]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return float(said.rpartition("All:")[2].split()[0])


def _conforming(folder: Path, repeats: int) -> None:
    """What clips cost that are as they are asked for already, beside clips that nothing is asked of."""
    clips = {path.stem: path.read_bytes() for path in (folder / "encoded").iterdir()}
    many = {f"conf{number:07d}": data for number, data in enumerate(list(clips.values()) * (4 if repeats > 1 else 1))}
    material = make_of(folder / "conforming-origin", {name: unique(data, name) for name, data in many.items()}, 4)
    words = (COMMAND, "k400", "--split", "val", "--origin", material.origin, "--overwrite", "--check.min_duration", 0)
    ways = {"unchanged": (), "conforming": ("--video.short_side", _SHORT)}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, more in ways.items():
            times[name].append(run([*words, *more, "--out", folder / name], folder).seconds)
    plain, asked = (statistics.median(times[name]) for name in ways)
    print(
        f"\n{len(many)} clips that conform: {asked:.2f} s, where nothing is asked {plain:.2f} s ({asked / plain:.2f})"
    )
