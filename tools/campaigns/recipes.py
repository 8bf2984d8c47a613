"""Encodes clips by every recipe, and compares what comes out with the clips themselves, by ffprobe and ffmpeg alone:
numbers of frames, times, sizes, tags, keyframes, and the SSIM to a source that is scaled without loss.

Without --clips, the clips are made; with it they are the videos of folders, which should be real ones, odd ones too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from harness import kconvert
from miniature.made import make_clip
from packing import clip_name, origin
from seeing import similarity
from smoke import parse

from kconvert.video.encoding.options import RECIPES

MADE = ("good", "with_audio", "index_at_end", "rotated")
ENDINGS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".3gp", ".ts", ".flv", ".h264")
SHORT_SIDES = {"train-256": 256, "train-320": 320, "dense-256": 256, "mmaction2-256": 256}
MIN_SSIM = 0.85
"""Of a clip whose pictures stay what they are; real ones are nearer, but for noise."""
UNSAID = {"field_order": ("unknown", None), "sample_aspect_ratio": (None,)}
"""What may be left out where packets stay as they are."""
CHANGED = ("tone_mapped", "deinterlaced", "changing", "from_rgb", "nearest_turn", "guessed_colour")
"""Notes of clips that ffmpeg's filters alone do not bring to the same colours and times: their SSIM is told only."""


@dataclass
class Outcome:
    """What was found of one clip."""

    name: str
    how: str
    problems: list[str]
    ssim: float | None = None


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/campaign recipes", description=__doc__)
    parser.add_argument("--folder", type=Path, default=None, help="where to work")
    parser.add_argument("--clips", type=Path, nargs="*", default=None, help="folders of videos")
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES), choices=list(RECIPES))
    options = parse(parser, None, recipes=["train-256"])
    num_wrong = 0
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        clips = {clip_name(number): path for number, path in enumerate(sources(folder, options.clips))}
        root = origin(folder / "origin", {name: path.read_bytes() for name, path in clips.items()})
        for recipe in options.recipes:
            outcomes = list(tried(recipe, root, folder / recipe, clips))
            for one in outcomes:
                for problem in one.problems:
                    num_wrong += 1
                    print(f"{recipe}: {one.name}: {problem}", flush=True)
            print(f"{recipe}: {summary(outcomes)}", flush=True)
    print(f"{num_wrong} problems")
    return int(num_wrong > 0)


def sources(folder: Path, clips: list[Path] | None) -> list[Path]:
    if clips:
        return [path for one in clips for path in sorted(one.rglob("*")) if path.suffix in ENDINGS]
    made = [folder / f"{kind}.mp4" for kind in MADE]
    for path in made:
        path.write_bytes(make_clip(path.stem, "x"))
    return made


def summary(outcomes: list[Outcome]) -> str:
    counts = Counter(one.how for one in outcomes)
    shown = ", ".join(f"{number} {how}" for how, number in sorted(counts.items()))
    near = sorted((one.ssim, one.name) for one in outcomes if one.ssim is not None)
    if not near:
        return shown
    mean, least = statistics.mean(ssim for ssim, _ in near), near[:3]
    return f"{shown}; SSIM {mean:.4f}, least " + ", ".join(f"{ssim:.3f} ({name})" for ssim, name in least)


def tried(recipe: str, root: Path, out: Path, clips: Mapping[str, Path]) -> Iterator[Outcome]:
    """What became of each clip."""
    words = ("k400", "--split", "val", "--to", "folder", "--origin", root, "--out", out, "--check.min_duration", 0)
    ran = kconvert(*words, "--video.recipe", recipe, timeout=3600)
    assert ran.code == 0, ran.err
    for row in pq.read_table(out / "metadata/val.parquet").to_pylist():
        path = clips[row["key"].removeprefix("val_")]
        if row["status"] != "written":
            yield Outcome(path.name, row["reason"], [])
            continue
        problems, ssim = compared(out / row["shard"], path, row, recipe)
        yield Outcome(path.name, row["encoding"], problems, ssim)


def compared(made: Path, source: Path, row: Mapping[str, Any], recipe: str) -> tuple[list[str], float | None]:
    """How a result differs from what it should be, and its SSIM to the source."""
    found, problems = probed(made), []
    width, height = found["width"], found["height"]
    expected = {
        "codec_name": "h264",
        "pix_fmt": "yuv420p",
        "color_range": "tv",
        "sample_aspect_ratio": "1:1",
        "side_data_list": None,
        "field_order": "progressive",
    }
    problems += [
        f"{name}: got {found.get(name)}, expected {value}"
        for name, value in expected.items()
        if found.get(name) not in (value, *UNSAID.get(name, ()))
    ]
    if width % 2 or height % 2 or min(width, height) > SHORT_SIDES[recipe]:
        problems.append(f"{width}x{height}")
    every = 4 if recipe == "dense-256" else 16
    keys = [number for number, packet in enumerate(found["packets"]) if "K" in packet["flags"]]
    if keys != list(range(0, len(found["packets"]), every)):
        problems.append(f"keyframes at {keys[:5]}")
    num_shown = shown(source)
    is_changed = any(note.partition("=")[0] in CHANGED for note in row["encoding_notes"])
    if len(found["packets"]) != num_shown and not row["encoding_notes"]:
        problems.append(f"{len(found['packets'])} frames, ffmpeg shows {num_shown} of the source")
    ssim = similarity(made, source, f"scale={width}:{height}:flags=bicubic,setsar=1,setpts=PTS-STARTPTS,format=yuv420p")
    if ssim < MIN_SSIM and not is_changed:
        problems.append(f"SSIM {ssim:.3f}")
    return problems, ssim


def probed(path: Path) -> dict[str, Any]:
    """What ffprobe says of a video."""
    words = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_streams", "-show_packets", "-of", "json"]
    content = json.loads(subprocess.run([*words, path], check=True, capture_output=True).stdout)
    return {**content["streams"][0], "packets": content["packets"]}


def shown(path: Path) -> int:
    """How many frames ffmpeg shows of a video."""
    words: list[str | Path] = [
        "ffmpeg",
        "-v",
        "quiet",
        "-i",
        path,
        "-map",
        "0:v:0",
        "-fps_mode",
        "passthrough",
        "-f",
        "framecrc",
        "-",
    ]
    lines = subprocess.run(words, check=False, capture_output=True, text=True).stdout.splitlines()
    return sum(not line.startswith("#") for line in lines)


if __name__ == "__main__":
    raise SystemExit(main())
