"""Opening a clip that is in memory with libavformat: in the formats that may be, and nothing beside it."""

from __future__ import annotations

from typing import Any

import av
from av.codec.context import Flags
from av.container import InputContainer
from av.video.stream import VideoStream

from kconvert.video.child import Clip
from kconvert.video.containers import FROM_MEMORY

_MAX_GLANCED_STREAMS = 8
_NO_DECODER = {"codec_whitelist": "none"}
"""Has avformat_find_stream_info take the container's word, as it finds no decoder that it may use."""
BUFFER_BYTES = 1 << 16
"""Larger ones cost more to fill than they save."""
MP4 = "mp4"
"""What libavformat calls everything that begins with a box of type `ftyp`, as official clips do."""


def opened(clip: Clip, **options: Any) -> InputContainer:
    """A clip's container, to be closed; `options` are further ones of `av.open`. Raises `av.FFmpegError`, `ValueError`
    if it is none."""
    container: InputContainer = av.open(
        clip.open(), "r", metadata_errors="replace", container_options=dict(FROM_MEMORY), **options
    )
    return container


def glanced(clip: Clip) -> InputContainer:
    """The same of an mp4, as its index has it: no decoder is opened before it is used. Logs each that was not."""
    return opened(clip, format=MP4, buffer_size=BUFFER_BYTES, stream_options=[_NO_DECODER] * _MAX_GLANCED_STREAMS)


def decode_as_shown(video: VideoStream) -> None:
    """Has a stream be decoded by one thread, and cropped by the pixel as its headers say."""
    video.codec_context.thread_count = 1
    video.codec_context.flags |= Flags.unaligned
