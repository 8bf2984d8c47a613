"""Opening a clip that is in memory with libavformat: in the formats that may be, and nothing beside it."""

from __future__ import annotations

from typing import Any

import av
from av.codec.context import Flags
from av.container import InputContainer
from av.video.stream import VideoStream

from kconvert.video.child import Clip
from kconvert.video.containers import FROM_MEMORY


def opened(clip: Clip, **options: Any) -> InputContainer:
    """A clip's container, to be closed; `options` are further ones of `av.open`. Raises `av.FFmpegError`, `ValueError`
    if it is none."""
    container: InputContainer = av.open(
        clip.open(), "r", metadata_errors="replace", container_options=dict(FROM_MEMORY), **options
    )
    return container


def decode_as_shown(video: VideoStream) -> None:
    """Has a stream be decoded by one thread, and cropped by the pixel as its headers say."""
    video.codec_context.thread_count = 1
    video.codec_context.flags |= Flags.unaligned
