"""Clips made here, good ones and broken ones, each kind with what is wrong with it."""

from __future__ import annotations

import functools
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

KINDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # kind: defects found at depth index, defects found at depth decode
    "good": ((), ()),
    "with_audio": ((), ()),
    "index_at_end": ((), ()),
    "exactly_9s": ((), ()),
    "variable_rate": ((), ()),
    "rotated": ((), ()),
    "short": (("short",), ("short",)),
    "short_video_long_audio": (("short",), ("short",)),
    "cut": (("truncated",), ("truncated",)),
    "cut_index_at_end": (("unreadable",), ("unreadable",)),
    "flipped": ((), ("undecodable",)),
    "no_frames": ((), ("undecodable",)),
    "empty": (("empty",), ("empty",)),
    "html": (("unreadable",), ("unreadable",)),
    "audio_only": (("no_video",), ("no_video",)),
}
_SIZE = (64, 48)


def make_clip(kind: str, name: str) -> bytes:
    """A clip of that kind; clips of different names differ in their bytes where they can."""
    base = _base(kind)
    if kind in ("cut", "cut_index_at_end", "empty"):
        return base
    if kind == "html":
        return base.replace(b"NAME", name.encode())
    # A box of type `free` at the end of an mp4 is skipped by every reader (ISO/IEC 14496-12, 8.1.2).
    return base + struct.pack(">I4s", 8 + len(name), b"free") + name.encode()


@functools.cache
def _base(kind: str) -> bytes:
    makers: dict[str, Callable[[], bytes]] = {
        "good": lambda: encode(100),
        "with_audio": lambda: encode(100, audio_seconds=10),
        "index_at_end": lambda: encode(100, faststart=False),
        "exactly_9s": lambda: encode(90),
        "variable_rate": lambda: encode(70, varying=True),
        "rotated": lambda: _rotate(encode(100)),
        "short": lambda: encode(224, rate=25),
        "short_video_long_audio": lambda: encode(40, audio_seconds=10),
        "cut": lambda: _half(encode(100)),
        "cut_index_at_end": lambda: _half(encode(100, faststart=False)),
        "flipped": lambda: _flip(encode(100)),
        "no_frames": lambda: _blank(encode(100)),
        "empty": lambda: b"",
        "html": lambda: b"<!DOCTYPE html><html><body>NAME is not available</body></html>",
        "audio_only": lambda: encode(0, audio_seconds=10),
    }
    return makers[kind]()


def encode(
    num_frames: int, rate: int = 10, audio_seconds: float = 0, faststart: bool = True, varying: bool = False
) -> bytes:
    """An mp4 with `num_frames` frames of H.264 and some seconds of AAC."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with av.open(str(path), "w", options={"movflags": "+faststart"} if faststart else {}) as container:
            packets: list[av.Packet[Any]] = []
            if num_frames:
                packets += _video(container, num_frames, rate, varying)
            if audio_seconds:
                packets += _audio(container, audio_seconds)
            for packet in sorted(packets, key=lambda packet: (packet.dts or 0) * (packet.time_base or 0)):
                container.mux(packet)
        return path.read_bytes()


def _video(container: av.container.OutputContainer, num_frames: int, rate: int, varying: bool) -> list[av.Packet[Any]]:
    stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "bf": "0", "threads": "1"})
    stream.width, stream.height = _SIZE
    stream.pix_fmt = "yuv420p"
    packets: list[av.Packet[Any]] = []
    place = 0
    for number in range(num_frames):
        pixels = np.fromfunction(
            lambda y, x, c, n=number: (x * 3 + y * 5 + c * 40 + n * 7) % 256, (_SIZE[1], _SIZE[0], 3)
        )
        frame = av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24")
        frame.pts, frame.time_base = place, Fraction(1, rate)
        place += 1 + (number % 3 == 0 if varying else 0) * 1 + (number % 7 == 0 if varying else 0)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _audio(container: av.container.OutputContainer, seconds: float) -> list[av.Packet[Any]]:
    rate = 8000
    stream = container.add_stream("aac", rate=rate, layout="mono")
    times = np.arange(round(seconds * rate)) / rate
    packets: list[av.Packet[Any]] = []
    for start in range(0, len(times), 1024):
        wave = np.sin(2 * np.pi * 440 * times[start : start + 1024]).astype(np.float32)[None, :]
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flip(data: bytes) -> bytes:
    """Spoils the compressed pictures, not the index."""
    spoilt = bytearray(data)
    start = data.index(b"mdat") + 600
    for place in range(start, len(data) - 8, 37):
        spoilt[place] ^= 0x55
    return bytes(spoilt)


def _blank(data: bytes) -> bytes:
    """Sets all compressed pictures to zero (A11: clips that decode to no frame)."""
    start = data.index(b"mdat") + 4
    return data[:start] + bytes(len(data) - start)


def _rotate(data: bytes) -> bytes:
    """Sets the matrix of the video's track header to a quarter turn (ISO/IEC 14496-12, 8.3.2)."""
    place = data.index(b"tkhd") + 4 + 40
    one = 0x00010000
    matrix = struct.pack(">9i", 0, one, 0, -one, 0, 0, _SIZE[1] * one, 0, 0x40000000)
    return data[:place] + matrix + data[place + len(matrix) :]


def made_clips() -> Iterator[tuple[str, bytes]]:
    """Every kind with one clip of it."""
    for kind in KINDS:
        yield kind, make_clip(kind, "AAAAAAAAAAA_000000_000010")
