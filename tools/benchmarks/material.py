"""What the benchmarks run on: an origin of archives of clips that are one real encode, each made unique."""

from __future__ import annotations

import argparse
import gzip
import io
import struct
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from miniature.build import OFFICIAL, write

from benchmarks.machine import existing_folder

CLIP_SECONDS = 10
# As the crawlers of Kinetics cut clips: x264's defaults, the index at the end. Its pictures compress no further, so
# that gzip stores them; audio mixed in makes gzip code it all, at half a per cent less and ten times the work to undo.
_VIDEO = "-f lavfi -i mandelbrot=s={size}:r=30"
_AUDIO = "-f lavfi -i anoisesrc=r=44100:a=0.1:c=pink:s=0"
_ENCODE = (
    "ffmpeg -v error -y {inputs} -t {seconds} -threads 1 -c:v libx264 -pix_fmt yuv420p -b:v {rate}k {audio} {path}"
)


@dataclass(frozen=True)
class Material:
    """An origin of k400's val."""

    origin: Path
    archives: tuple[str, ...]
    """Below the origin."""
    num_clips: int
    clip_bytes: int
    num_bytes: int
    """Of all archives."""

    def first(self, num_archives: int) -> Material:
        """Only so many of the archives."""
        archives = self.archives[:num_archives]
        share = len(archives) / len(self.archives)
        return replace(
            self, archives=archives, num_clips=round(self.num_clips * share), num_bytes=round(self.num_bytes * share)
        )


def encode(folder: Path, has_audio: bool = False, size: str = "340x256") -> bytes:
    """A clip of 10 s and 1.35 MB, the size of an official one; `size` is its width and height in pixels."""
    path = folder / "clip.mp4"
    inputs, rate, audio = (f"{_VIDEO} {_AUDIO}", 960, "-c:a aac -b:a 96k") if has_audio else (_VIDEO, 1060, "")
    command = _ENCODE.format(inputs=inputs.format(size=size), seconds=CLIP_SECONDS, rate=rate, audio=audio, path=path)
    subprocess.run(command.split(), check=True)
    return path.read_bytes()


def clip_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The options of a benchmark that say where it works, and on which clip (see `chosen_clip`)."""
    parser = argparse.ArgumentParser(prog=f"tools/bench {name}", description=description)
    parser.add_argument(
        "--folder", type=existing_folder, default=Path("/dev/shm"), help="where to work; should be a RAM disk"
    )
    parser.add_argument("--clip", type=Path, help="a video to use instead of one that is encoded here")
    parser.add_argument("--audio", action="store_true", help="clips with a sound track")
    return parser


def chosen_clip(options: argparse.Namespace, folder: Path) -> bytes:
    """The clip that these options ask for."""
    return options.clip.read_bytes() if options.clip else encode(folder, options.audio)


def make(folder: Path, clip: bytes, num_archives: int, clips_per_archive: int) -> Material:
    """Archives of that clip, gzipped as `tar -czf` does it."""
    places = ((number, place) for number in range(num_archives) for place in range(clips_per_archive))
    names = [f"{number:05d}-{place:05d}" for number, place in places]
    return make_of(folder, {name: unique(clip, name) for name in names}, num_archives)


def make_of(folder: Path, clips: Mapping[str, bytes], num_archives: int) -> Material:
    """Archives of these clips, by their ids, as many in each; gzipped as `tar -czf` does it."""
    archives = tuple(f"400/val/part_{number}.tar.gz" for number in range(num_archives))
    names, num_bytes, share = list(clips), 0, -(-len(clips) // num_archives)
    for number, archive in enumerate(archives):
        own = {name: clips[name] for name in names[number * share : (number + 1) * share]}
        packed = gzip.compress(_tar(own), compresslevel=6, mtime=0)
        num_bytes += len(packed)
        write(folder / archive, packed)
    write(folder / "400/val/k400_val_path.txt", "".join(f"{OFFICIAL}{name}\n" for name in archives).encode())
    rows = (f"zumba,{name},0,{CLIP_SECONDS},val\n" for name in names)
    write(folder / "400/annotations/val.csv", ("label,youtube_id,time_start,time_end,split\n" + "".join(rows)).encode())
    return Material(folder, archives, len(names), len(next(iter(clips.values()))), num_bytes)


def _tar(clips: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in clips.items():
            info = tarfile.TarInfo(f"./{name}_000000_{CLIP_SECONDS:06d}.mp4")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def unique(clip: bytes, name: str) -> bytes:
    """The clip with a box of type `free` at its end, which every reader skips (ISO/IEC 14496-12, 8.1.2)."""
    return clip + struct.pack(">I4s11s", 19, b"free", name.encode())


def uniques(clip: bytes, num: int) -> Iterator[bytes]:
    """So many different clips."""
    return (unique(clip, str(number)) for number in range(num))
