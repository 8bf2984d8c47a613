"""Conforming: whether a clip is already as it is asked for, and keeps its bytes.

What the index says is looked at first, then the first picture, which is all that is decoded.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av
from av.codec.context import Flags
from av.container import InputContainer
from av.index import IndexEntry
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from kconvert.video.boxes import has_index, is_index_first, num_descriptions, video_tracks
from kconvert.video.child import Clip
from kconvert.video.encoding.colour import FULL_RANGE, UNSPECIFIED, colour_of
from kconvert.video.encoding.options import AudioOptions, VideoSettings
from kconvert.video.encoding.pictures import Conformer
from kconvert.video.encoding.shape import usable_ratio
from kconvert.video.encoding.sound import best_audio, is_copied
from kconvert.video.shown_times import indexed_times

_CODECS = {"h264": "h264", "hevc": "hevc", "av1": "av1"}
_HELD = frozenset(("h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video", "vvc"))
_IDR = {"h264": (5,), "hevc": (19, 20)}
"""Types of NAL units after which nothing refers to what was before (H.264, table 7-1; H.265, table 7-1)."""
_PROGRESSIVE = (0, 1)
"""Unknown counts as progressive: a first picture that is not says so itself."""


def why_encoded(clip: Clip, container: InputContainer, video: VideoStream, settings: VideoSettings) -> tuple[str, ...]:
    """Why the video cannot keep its packets; nothing if it can. Raises: `av.FFmpegError`, `UnknownColourError`."""
    found = list(_by_container(clip, video, settings))
    if "container" not in found:
        found += _by_index(clip, video, settings)
    return tuple(found or _by_picture(container, video, settings))


def why_remuxed(clip: Clip, container: InputContainer, video: VideoStream, audio: AudioOptions) -> tuple[str, ...]:
    """Why the file cannot stay as it is, if its video can; nothing if it can."""
    sound = best_audio(container)
    kept = {video.index} if audio.track == "drop" or sound is None else {video.index, sound.index}
    has_stray = any(stream.index not in kept for stream in container.streams)
    checks = {
        "container": not has_index(clip),
        "tracks": has_stray,
        "index_last": has_index(clip) and not is_index_first(clip),
        "sound": sound is not None and sound.index in kept and not is_copied(container, sound, audio),
    }
    return tuple(reason for reason, is_true in checks.items() if is_true)


def is_held(video: VideoStream) -> bool:
    """Whether packets of that codec can be in an mp4 (mp4ra.org)."""
    return video.codec_context.codec.canonical_name in _HELD


def _by_container(clip: Clip, video: VideoStream, settings: VideoSettings) -> Iterator[str]:
    context = video.codec_context
    if not has_index(clip):
        yield "container"
    if context.codec.canonical_name != _CODECS[settings.codec]:
        yield "codec"
    if context.pix_fmt != settings.pix_fmt:
        yield "pixel_format"


def _by_index(clip: Clip, video: VideoStream, settings: VideoSettings) -> Iterator[str]:
    tracks = list(video_tracks(clip))
    times = indexed_times(clip)
    if times is None or len(tracks) != 1:
        yield "edits"
        return
    if num_descriptions(clip) != 1:
        yield "descriptions"
    entries = list(video.index_entries)
    keys = [number for number, entry in enumerate(entries) if entry.is_keyframe]
    if keys != list(range(0, len(entries), settings.keyframes)):
        yield "keyframes"
    elif not all(_is_closed(clip, entries[number], settings.codec, _length_bytes(video)) for number in keys):
        yield "open_gop"
    yield from _by_times(times.ticks, times.tick_seconds, settings.fps)


def _by_times(ticks: Sequence[int], tick_seconds: Fraction, fps: Fraction | None) -> Iterator[str]:
    if ticks[0] != 0 or any(later <= earlier for earlier, later in itertools.pairwise(ticks)):
        yield "times"
    elif fps is not None and any(round(number / fps / tick_seconds) != tick for number, tick in enumerate(ticks)):
        yield "rate"


def _length_bytes(video: VideoStream) -> int:
    """The bytes of the length before each NAL unit, as `avcC` (14496-15, 5.3.3) and `hvcC` (8.3.3) have it."""
    extradata = video.codec_context.extradata or b""
    at = 4 if video.codec_context.codec.canonical_name == "h264" else 21
    return (extradata[at] & 3) + 1 if len(extradata) > at else 4


def _is_closed(clip: Clip, entry: IndexEntry, codec: str, length_bytes: int) -> bool:
    """Whether nothing after this keyframe needs what was before it."""
    if codec not in _IDR:
        return True
    at, end = entry.pos, entry.pos + entry.size
    while at + length_bytes < end:
        size = int.from_bytes(clip[at : at + length_bytes], "big")
        head = clip[at + length_bytes]
        kind = head & 0x1F if codec == "h264" else head >> 1 & 0x3F
        if kind in _IDR[codec]:
            return True
        at += length_bytes + size
    return False


def _by_picture(container: InputContainer, video: VideoStream, settings: VideoSettings) -> Iterator[str]:
    frame = first_frame(container, video)
    if frame is None:
        yield "undecodable"
        return
    context = video.codec_context
    ratio = usable_ratio(video.sample_aspect_ratio or context.sample_aspect_ratio)
    conformer = Conformer(frame, ratio, settings.short_side, settings.pix_fmt)
    checks = {
        "rotation": not conformer.orientation.is_upright,
        "pixel_aspect": ratio != 1,
        "size": (frame.width, frame.height) != (conformer.width, conformer.height),
        "range": colour_of(frame).range == FULL_RANGE,
        "colour": conformer.colour.matrix != conformer.source_colour.matrix,
        "colour_tags": _lacks_tags(frame),
        "interlaced": frame.interlaced_frame or getattr(context, "field_order", 0) not in _PROGRESSIVE,
    }
    yield from (reason for reason, is_true in checks.items() if is_true)


def _lacks_tags(frame: VideoFrame) -> bool:
    tags = (frame.colorspace, frame.color_primaries, frame.color_trc)
    return UNSPECIFIED in map(int, tags) or not frame.color_range


def first_frame(container: InputContainer, video: VideoStream) -> VideoFrame | None:
    """The first frame that decodes, as it is cropped by the codec; `None` if none does."""
    context = video.codec_context
    context.thread_count = 1
    context.flags |= Flags.unaligned
    for packet in container.demux(video):
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            continue
        if frames:
            return frames[0]
    return None
