"""Shapes: how pictures are stored, how they are shown, and how large they come out.

One rule: the shown size in square pixels (a ratio above 1 widens, below 1 heightens, so that nothing is lost), turned
upright; if its shorter side is no longer than asked, both sides are floored to even; else it is scaled so that the
shorter side is as asked, and the other is rounded to the nearest even number, ties up.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from av.codec.context import Flags
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

_SAYING_NOTHING = frozenset(("mpegts", "mpeg", "mpegvideo", "m4v", "h264", "hevc", "vvc", "obu", "ivf", "flv"))
"""Containers that have no word for the shape of pixels, as libavformat calls them."""
_MAX_RATIO = 16
"""A pixel that is longer than that is a mistake."""


@dataclass(frozen=True)
class Orientation:
    """How a stored picture is turned to be shown: first mirrored at its diagonal, then left-right, then top-bottom."""

    is_transposed: bool = False
    """Whether rows become columns."""
    is_mirrored: bool = False
    """Whether left becomes right."""
    is_flipped: bool = False
    """Whether top becomes bottom."""
    is_exact: bool = True
    """Whether the picture is turned by quarters; else this is the nearest."""

    @property
    def is_upright(self) -> bool:
        """Whether nothing is to be done."""
        return not (self.is_transposed or self.is_mirrored or self.is_flipped)


def orientation_of(frame: VideoFrame) -> Orientation:
    """What the display matrix of a frame asks for, nine 32-bit numbers (libavutil/display.h: x' = a·x + c·y, y' = b·x +
    d·y), in quarter turns."""
    side_data: Any = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return Orientation()
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(side_data))
    is_exact = (a == 0 and d == 0) if abs(b) > abs(a) else (b == 0 and c == 0)
    if abs(b) > abs(a):
        return Orientation(True, c < 0, b < 0, is_exact)
    return Orientation(False, a < 0, d < 0, is_exact)


@dataclass(frozen=True)
class Shape:
    """A stored picture's."""

    width: int
    """In pixels, as stored."""
    height: int
    """In pixels, as stored."""
    ratio: Fraction = Fraction(1)
    """Of a pixel's width to its height."""
    orientation: Orientation = Orientation()
    """How it is turned to be shown."""

    def shown(self) -> tuple[Fraction, Fraction]:
        """Width and height in square pixels, upright."""
        width = self.width * max(self.ratio, Fraction(1))
        height = self.height / min(self.ratio, Fraction(1))
        return (height, width) if self.orientation.is_transposed else (width, height)


def pixel_ratio(video: VideoStream) -> Fraction:
    """Of a pixel's width to its height: what the container says counts before what the codec says."""
    return usable_ratio(video.sample_aspect_ratio or video.codec_context.sample_aspect_ratio)


class PixelRatios:
    """Of a video's frames, as they are decoded one after the other. Where the container says nothing, the codec may say
    something else later on than it said first. Frames do not say it, but bring what their packets were given."""

    def __init__(self, container: InputContainer, video: VideoStream) -> None:
        self._context = video.codec_context
        self._stated = None if container.format.name in _SAYING_NOTHING else pixel_ratio(video)
        if self._stated is None:
            self._context.flags |= Flags.copy_opaque

    def decoded(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        """The frames that come out with a packet. Raises as decoding does."""
        if self._stated is not None:
            return packet.decode()
        ratio: list[Fraction] = []
        packet.opaque = ratio
        try:
            return packet.decode()
        finally:
            ratio.append(usable_ratio(self._context.sample_aspect_ratio))

    def of(self, frame: VideoFrame) -> Fraction:
        """Of a frame that came out."""
        if self._stated is not None:
            return self._stated
        given: Any = frame.opaque
        return given[0] if given else usable_ratio(self._context.sample_aspect_ratio)


def usable_ratio(ratio: Fraction | None) -> Fraction:
    """Of a pixel's width to its height; 1 where nobody says it, or nobody can mean it."""
    if not ratio or not Fraction(1, _MAX_RATIO) <= ratio <= _MAX_RATIO:
        return Fraction(1)
    return Fraction(ratio)


def target_size(shape: Shape, short_side: int | None) -> tuple[int, int]:
    """Width and height of what is written, upright; 0 where a side has less than two pixels."""
    width, height = shape.shown()
    shorter = min(width, height)
    if short_side is None or shorter <= short_side:
        return int(width // 2 * 2), int(height // 2 * 2)
    scale = short_side / shorter
    return (short_side, _even(height * scale)) if width <= height else (_even(width * scale), short_side)


def fitting_size(shape: Shape, width: int, height: int) -> tuple[int, int]:
    """The largest size of a picture, whole and in shape, that fits into these sides; even."""
    own_width, own_height = shape.shown()
    scale = min(width / own_width, height / own_height)
    return min(width, max(2, _even(own_width * scale))), min(height, max(2, _even(own_height * scale)))


def _even(length: Fraction) -> int:
    """The nearest even number, ties up."""
    return int((length / 2 + Fraction(1, 2)) // 1) * 2
