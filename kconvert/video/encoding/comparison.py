"""Comparing what was written with what was encoded, for one clip of sixteen, chosen by its bytes: SSIM of the luma.

The sums are of whole numbers, as in x264's `pixel_ssim` and FFmpeg's filter, so that every processor gets the same; of
its blocks of 8x8 pixels, a quarter of those that do not overlap are looked at, as there are no arrays in workers.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from operator import mul

import av
from av.video.frame import VideoFrame

from kconvert.video.encoding.encoded import Comparison
from kconvert.video.stills import STILL_PIXELS, jpeg

_EVERY = 32
_MAX_FRAMES = 8
_BLOCK = 8
_ONE_BLOCK_OF = 4
_PIXELS = _BLOCK * _BLOCK
_C1 = int(0.01 * 0.01 * 255 * 255 * _PIXELS + 0.5)
_C2 = int(0.03 * 0.03 * 255 * 255 * _PIXELS * (_PIXELS - 1) + 0.5)
_DIGITS = 4


class Comparing:
    """Keeps some of the frames that are encoded."""

    def __init__(self) -> None:
        self._lumas: dict[int, _Luma] = {}
        self._stills: dict[int, bytes] = {}

    def take(self, index: int, frame: VideoFrame) -> None:
        """Looks at a frame that is encoded."""
        if index % _EVERY == 0 and len(self._lumas) < _MAX_FRAMES:
            self._lumas[index] = _Luma.of(frame)
            self._stills[index] = jpeg(frame, STILL_PIXELS)

    def compared(self, data: bytes) -> Comparison:
        """Compares them with those of the file that was written."""
        found = []
        with av.open(io.BytesIO(data), "r") as container:
            container.streams.video[0].codec_context.thread_count = 1
            for index, frame in enumerate(container.decode(video=0)):
                if index in self._lumas:
                    found.append(_ssim(self._lumas[index], _Luma.of(frame), index // _EVERY))
        middle = sorted(self._stills)[len(self._stills) // 2]
        still = base64.b64encode(self._stills[middle]).decode()
        return Comparison(round(math.fsum(found) / len(found), _DIGITS), middle, still)


@dataclass(frozen=True)
class _Luma:
    """How light the pixels of a frame are."""

    rows: tuple[bytes, ...]
    """From the top, 8 bits a pixel."""

    @classmethod
    def of(cls, frame: VideoFrame) -> _Luma:
        plane, width = bytes(frame.planes[0]), frame.width
        stride = len(plane) // frame.height
        starts = range(0, stride * frame.height, stride)
        if not frame.format.name.endswith("10le"):
            return cls(tuple(plane[at : at + width] for at in starts))
        # What stands behind a row may be anything.
        wide = (memoryview(plane)[at : at + 2 * width].cast("H") for at in starts)
        return cls(tuple(bytes(value >> 2 for value in row) for row in wide))

    def blocks(self, first: int) -> Iterator[bytes]:
        """One block of four, another one of them in each row of blocks; what is left of rows and columns is in none."""
        width = len(self.rows[0])
        for number, top in enumerate(range(0, len(self.rows) - _BLOCK + 1, _BLOCK)):
            rows = self.rows[top : top + _BLOCK]
            start = (first + number) % _ONE_BLOCK_OF * _BLOCK
            for left in range(start, width - _BLOCK + 1, _ONE_BLOCK_OF * _BLOCK):
                yield b"".join(row[left : left + _BLOCK] for row in rows)


def _ssim(one: _Luma, other: _Luma, first: int) -> float:
    found = [_block_ssim(*pair) for pair in zip(one.blocks(first), other.blocks(first), strict=True)]
    return math.fsum(found) / len(found) if found else 1.0


def _block_ssim(one: bytes, other: bytes) -> float:
    s1, s2 = sum(one), sum(other)
    squares: int = sum(map(mul, one, one)) + sum(map(mul, other, other))
    products: int = sum(map(mul, one, other))
    covariance = products * _PIXELS - s1 * s2
    variances = squares * _PIXELS - s1 * s1 - s2 * s2
    above = float((2 * s1 * s2 + _C1) * (2 * covariance + _C2))
    return above / ((s1 * s1 + s2 * s2 + _C1) * (variances + _C2))
