"""What is in a video, as ffmpeg and ffprobe show and play it: bar codes, colours, times, beeps."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Pictures = npt.NDArray[np.uint8]
"""Frames × height × width × 3, RGB."""
_RATE = 48_000


@dataclass(frozen=True)
class Stream:
    """What ffprobe says of a track."""

    facts: dict[str, Any]
    packets: list[dict[str, Any]]

    @property
    def times(self) -> list[float]:
        """When what is in it is shown, in order."""
        return sorted(float(packet["pts_time"]) for packet in self.packets)

    @property
    def seconds(self) -> float:
        """From the first frame to the end of the last."""
        return float(self.facts["duration"])

    @property
    def keyframes(self) -> list[int]:
        return [number for number, packet in enumerate(self.packets) if "K" in packet["flags"]]

    @property
    def size(self) -> str:
        return f"{self.facts['width']}x{self.facts['height']}"

    @property
    def starts(self) -> float:
        return float(self.facts["start_time"])


def stream(path: Path, kind: str = "v:0") -> Stream | None:
    """A track of a file; `None` if there is none."""
    command: list[str | Path] = [
        "ffprobe",
        "-v",
        "error",
        "-select_streams",
        kind,
        "-show_streams",
        "-show_packets",
        "-of",
        "json",
        path,
    ]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return Stream(found["streams"][0], found["packets"]) if found["streams"] else None


def video(path: Path) -> Stream:
    found = stream(path)
    assert found is not None, path
    return found


def pictures(path: Path, *, size: str = "", options: tuple[str, ...] = ()) -> Pictures:
    """All frames, upright, without those that no frame stands for, perhaps scaled to a size."""
    size = size or video(path).size
    width, height = map(int, size.split("x"))
    scale = ("-vf", f"scale={width}:{height}:flags=bicubic+accurate_rnd")
    command: list[str | Path] = [
        "ffmpeg",
        "-v",
        "fatal",
        "-flags",
        "unaligned",
        *options,
        "-i",
        path,
        "-map",
        "0:V:0",
        *scale,
    ]
    raw = subprocess.run(
        [*command, "-fps_mode", "passthrough", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"],
        check=True,
        capture_output=True,
    ).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


def barcodes(frames: Pictures) -> list[int]:
    """The numbers that made frames carry: eight bits in the top half, bit 0 left."""
    height, width = frames.shape[1:3]
    found = []
    for frame in frames[:, height // 8 : 3 * height // 8].mean(axis=(1, 3)):
        bits = (frame[int((bit + 0.3) * width / 8) : int((bit + 0.7) * width / 8) + 1].mean() > 128 for bit in range(8))
        found.append(sum(int(is_set) << bit for bit, is_set in enumerate(bits)))
    return found


def halves(frames: Pictures) -> tuple[list[int], list[int]]:
    """The mean colours in the middle of the lower half, left and right."""
    height, width = frames.shape[1:3]
    left, right = (frames[:, 3 * height // 4, place].mean(axis=0).round() for place in (width // 4, 3 * width // 4))
    return [int(value) for value in left], [int(value) for value in right]


def sound(path: Path) -> npt.NDArray[np.float32]:
    """All that is heard, mono, 48,000 samples a second, from the start of the file."""
    command: list[str | Path] = [
        "ffmpeg",
        "-v",
        "fatal",
        "-i",
        path,
        "-map",
        "0:a:0",
        "-af",
        f"aresample={_RATE}:async=1:first_pts=0",
    ]
    raw = subprocess.run([*command, "-ac", "1", "-f", "f32le", "-"], check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.float32)


def beeps(path: Path) -> list[float]:
    """When beeps begin, in seconds after the start of the file, after a twentieth of a second of silence."""
    samples = np.abs(sound(path))
    step = _RATE // 1000
    loud = samples[: len(samples) // step * step].reshape(-1, step).max(axis=1) > 0.1
    return [
        at / 1000 for at in range(len(loud)) if loud[at] and not loud[max(0, at - 50) : at].any() and (at or loud[0])
    ]


def interlaced_frames(path: Path) -> int:
    """How many frames ffmpeg's detector takes for interlaced."""
    command: list[str | Path] = ["ffmpeg", "-hide_banner", "-i", path, "-vf", "idet", "-f", "null", "-"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    line = next(line for line in said.splitlines() if "Multi frame detection" in line)
    words = line.replace(":", " ").split()
    return int(words[words.index("TFF") + 1]) + int(words[words.index("BFF") + 1])


def similarity(path: Path, reference: Path, filters: str) -> float:
    """SSIM of a video to a reference that filters make as large, 1 for equal."""
    command: list[str | Path] = [
        "ffmpeg",
        "-hide_banner",
        "-i",
        path,
        "-i",
        reference,
        "-lavfi",
        f"[1:v]{filters}[b];[0:v][b]ssim",
    ]
    said = subprocess.run([*command, "-f", "null", "-"], check=True, capture_output=True, text=True).stderr
    return float(said.rpartition("All:")[2].split()[0])
