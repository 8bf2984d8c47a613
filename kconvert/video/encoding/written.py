"""What was written is read back and compared with what was meant, before anybody relies on it."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av

_MAX_DELAY_MICROSECONDS = 50


class WrittenError(Exception):
    """What was written is not what was meant: a fault of an encoder or a muxer, not of a clip."""


@dataclass(frozen=True)
class Expected:
    """What is meant to be in a file."""

    width: int
    """In pixels."""
    height: int
    """In pixels."""
    times: Sequence[int]
    """Of all frames, in microseconds, rounded down."""
    keyframes: int
    """From one keyframe to the next, in frames; 0 where packets were copied."""


def require_written(data: bytes, expected: Expected) -> None:
    """Looks at the index of a file, and decodes one group of pictures at a place that its bytes choose.

    Raises: `WrittenError`, `av.FFmpegError`.
    """
    with av.open(io.BytesIO(data), "r") as container:
        video = container.streams.video[0]
        context = video.codec_context
        if (context.width, context.height) != (expected.width, expected.height):
            raise WrittenError(f"{context.width}x{context.height}, expected {expected.width}x{expected.height}")
        entries = list(video.index_entries)
        # Frames are shown in another order than they are stored in.
        shown = sorted(packet.pts for packet in container.demux(video) if packet.size and packet.pts is not None)
        tick = video.time_base or Fraction(1)
        times = [time * tick.numerator * 1_000_000 // tick.denominator for time in shown]
        if problem := _times_problem(times, expected.times):
            raise WrittenError(problem)
        if not expected.keyframes:
            return
        keys = [number for number, entry in enumerate(entries) if entry.is_keyframe]
        if keys != list(range(0, len(entries), expected.keyframes)):
            raise WrittenError(f"keyframes at {keys[:5]}…, expected every {expected.keyframes}")
        _require_decodable(container, data, keys, len(entries))


def _times_problem(times: Sequence[int], expected: Sequence[int]) -> str:
    """How times differ from what is expected; `""` if not. Where all of them begin later, that is in coarser units."""
    if len(times) != len(expected):
        return f"{len(times)} frames, expected {len(expected)}"
    delay = times[0] - expected[0] if times else 0
    differing = (
        number for number, pair in enumerate(zip(times, expected, strict=True)) if abs(pair[0] - pair[1] - delay) > 1
    )
    if abs(delay) > _MAX_DELAY_MICROSECONDS:
        return f"the first frame is shown {delay} µs after its time"
    return next(
        (f"frame {number} is shown at {times[number]} µs, expected {expected[number]}" for number in differing), ""
    )


def _require_decodable(container: av.container.InputContainer, data: bytes, keys: Sequence[int], num: int) -> None:
    """Decodes from one keyframe to the next."""
    video = container.streams.video[0]
    chosen = int.from_bytes(hashlib.sha256(data).digest()[:4], "big") % len(keys)
    start, end = keys[chosen], [*keys[1:], num][chosen]
    container.seek(0, stream=video)
    packets = (packet for packet in container.demux(video) if packet.size)
    context = video.codec_context
    context.thread_count = 1
    frames = []
    for packet in itertools.islice(packets, start, end):
        frames += context.decode(packet)
    frames += context.decode(None)
    if len(frames) != end - start or any(frame.is_corrupt for frame in frames):
        raise WrittenError(f"{len(frames)} of the frames {start} to {end - 1} decode")
