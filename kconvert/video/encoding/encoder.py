"""Encoders: how each is set so that its bytes depend on the frames and the settings only.

x264 is equal on all processors with `cpu-independent` and one thread; x265 with a fixed number of threads and without
the text that names the processor; SVT-AV1 with one level of parallelism.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext

from kconvert.video.encoding.colour import LIMITED_RANGE, Colour
from kconvert.video.encoding.options import BALANCED, MAX_AV1_FPS, VideoSettings

_ENCODERS: Mapping[str, str] = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1"}
_LEAST_SIDE: Mapping[str, int] = {"h264": 2, "hevc": 16, "av1": 4}
_MOST_SIDE: Mapping[str, int] = {"h264": 16_384, "hevc": 16_384, "av1": 16_384}
_TAGS: Mapping[str, str] = {"h264": "avc1", "hevc": "hvc1", "av1": "av01"}
BALANCED_PRESETS: Mapping[str, tuple[str, str]] = {
    "h264": ("superfast", "mbtree=1:rc-lookahead=16:b-adapt=0"),
    "hevc": ("superfast", ""),
    "av1": ("10", ""),
}
"""The preset of the encoder, and what is different in ours."""


class UnencodableError(Exception):
    """No encoder takes such a video."""


@dataclass(frozen=True)
class PictureFormat:
    """What all frames of a video have in common when they are encoded."""

    width: int
    """In pixels."""
    height: int
    """In pixels."""
    colour: Colour
    """What its numbers mean."""
    time_base: Fraction
    """The unit of its times, in seconds."""
    rate: Fraction | None
    """Frames a second, where it is known; for the encoder's plans only."""


def encoder_name(settings: VideoSettings) -> str:
    """As libavcodec calls it."""
    return _ENCODERS[settings.codec]


def require_size(settings: VideoSettings, width: int, height: int) -> None:
    """Raises `UnencodableError` if the encoder does not take pictures of that size."""
    least, most = _LEAST_SIDE[settings.codec], _MOST_SIDE[settings.codec]
    if not (least <= min(width, height) and max(width, height) <= most):
        raise UnencodableError(f"{width}x{height}: {settings.codec} takes sides of {least} to {most:,} pixels")


def encoder_options(settings: VideoSettings) -> dict[str, str]:
    """The options of the encoder, as libavcodec takes them."""
    preset, params = (settings.preset, "")
    if preset == BALANCED:
        preset, params = BALANCED_PRESETS[settings.codec]
    every = str(settings.keyframes)
    common = {"preset": preset, "crf": f"{settings.crf:g}", "g": every}
    if settings.codec == "h264":
        own = f"cpu-independent=1:threads=1:keyint={every}:min-keyint={every}:scenecut=0:open-gop=0"
        return {**common, "x264-params": ":".join(filter(None, (own, params)))}
    if settings.codec == "hevc":
        own = (
            f"info=0:pools=none:frame-threads=1:wpp=0:keyint={every}:min-keyint={every}:scenecut=0:open-gop=0:"
            "log-level=error"
        )
        return {**common, "x265-params": ":".join(filter(None, (own, params)))}
    own = f"lp=1:keyint={every}:scd=0:irefresh-type=2"
    return {**common, "svtav1-params": ":".join(filter(None, (own, params)))}


def set_up(context: VideoCodecContext, settings: VideoSettings, picture: PictureFormat) -> None:
    """Sets an encoder's context up for a video; it is opened with its first frame."""
    context.width, context.height, context.pix_fmt = picture.width, picture.height, settings.pix_fmt
    context.time_base = picture.time_base
    if picture.rate and (settings.codec != "av1" or picture.rate <= MAX_AV1_FPS):
        context.framerate = picture.rate
    context.gop_size = settings.keyframes
    context.thread_count = 1
    context.sample_aspect_ratio = Fraction(1)
    context.color_range = LIMITED_RANGE
    context.colorspace = picture.colour.matrix
    context.color_primaries = picture.colour.primaries
    context.color_trc = picture.colour.transfer
    context.flags |= Flags.bitexact | Flags.frame_duration | Flags.closed_gop
    context.codec_tag = _TAGS[settings.codec]
    context.options = encoder_options(settings)
