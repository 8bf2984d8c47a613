"""Conforming: whether a clip is already as it is asked for, and keeps its bytes.

What the index says is looked at first, then the first picture, which is all that is decoded.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from kconvert.video.boxes import has_index, is_index_first, video_tracks
from kconvert.video.child import Clip
from kconvert.video.encoding.colour import FULL_RANGE, UNSPECIFIED, colour_of
from kconvert.video.encoding.options import AudioOptions, VideoSettings
from kconvert.video.encoding.pictures import Conformer, StoredPicture
from kconvert.video.encoding.sound import best_audio, is_copied
from kconvert.video.nal_units import HEADER, IDR, length_bytes, units
from kconvert.video.opening import decode_as_shown
from kconvert.video.shape import pixel_ratio, usable_ratio
from kconvert.video.shown_times import indexed_times, track_times
from kconvert.video.streams import has_no_shown_times

_HELD = frozenset(("h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video", "vvc"))
_PROGRESSIVE = (0, 1)
"""Unknown counts as progressive: a first picture that is not says so itself."""


def why_encoded(clip: Clip, container: InputContainer, video: VideoStream, settings: VideoSettings) -> tuple[str, ...]:
    """Why the video cannot keep its packets; nothing if it can. Raises: `av.FFmpegError`, `UnknownColourError`."""
    found = list(_by_container(clip, video, settings))
    if "container" not in found:
        found += by_index(clip, video, settings, best_audio(container) is not None)
    return tuple(found or by_picture(_first_frame(container, video), video, settings))


def why_remuxed(clip: Clip, container: InputContainer, video: VideoStream, audio: AudioOptions) -> tuple[str, ...]:
    """Why the file cannot stay as it is, if its video can; nothing if it can."""
    sound = best_audio(container)
    kept = {video.index} if audio.track == "drop" or sound is None else {video.index, sound.index}
    has_unwanted = any(stream.index not in kept for stream in container.streams)
    checks = {
        "container": not has_index(clip),
        "tracks": has_unwanted,
        "index_last": has_index(clip) and not is_index_first(clip),
        "sound": sound is not None and sound.index in kept and not is_copied(container, sound, audio),
    }
    return tuple(reason for reason, is_true in checks.items() if is_true)


def why_not_remuxed(clip: Clip, container: InputContainer, video: VideoStream) -> tuple[str, ...]:
    """Why packets of the video cannot stand in another file as they are; nothing if they can."""
    context = video.codec_context
    inner = context.sample_aspect_ratio
    checks = {
        # mp4ra.org
        "codec": context.codec.canonical_name not in _HELD,
        # Packets that are not shown would be.
        "edits": has_index(clip) and indexed_times(clip) is None,
        "times": has_no_shown_times(container, video),
        # That of the container is lost.
        "pixel_aspect": pixel_ratio(video) != usable_ratio(inner),
    }
    return tuple(reason for reason, is_true in checks.items() if is_true)


def _by_container(clip: Clip, video: VideoStream, settings: VideoSettings) -> Iterator[str]:
    context = video.codec_context
    if not has_index(clip):
        yield "container"
    if context.codec.canonical_name != settings.codec:
        yield "codec"
    if context.pix_fmt != settings.pix_fmt:
        yield "pixel_format"


def by_index(clip: Clip, video: VideoStream, settings: VideoSettings, has_sound: bool) -> Iterator[str]:
    """Why the video of an ISO file cannot keep its packets, by what its index says."""
    tracks = list(video_tracks(clip))
    times = track_times(tracks[0]) if len(tracks) == 1 else None
    if times is None:
        yield "edits"
        return
    if tracks[0].num_descriptions != 1:
        yield "descriptions"
    entries = list(video.index_entries)
    keys = [number for number, entry in enumerate(entries) if entry.is_keyframe]
    if keys != list(range(0, len(entries), settings.keyframes)):
        yield "keyframes"
    else:
        groups = [units(clip, entries[number], settings.codec, length_bytes(video)) for number in keys]
        if settings.codec in IDR and not all(IDR[settings.codec] & group.keys() for group in groups):
            yield "open_gop"
        headers = {group[HEADER[settings.codec]] for group in groups if HEADER.get(settings.codec) in group}
        if len(headers) > 1:
            yield "descriptions"
    edits = tracks[0].edits
    # Where the sound begins first, the picture is delayed by an empty edit.
    is_delayed = bool(edits) and edits[0].media_time < 0 and has_sound
    start = times.ticks[0] if is_delayed else 0
    yield from _by_times([tick - start for tick in times.ticks], times.tick_seconds, settings.fps)


def _by_times(ticks: Sequence[int], tick_seconds: Fraction, fps: Fraction | None) -> Iterator[str]:
    if ticks[0] != 0 or any(later <= earlier for earlier, later in itertools.pairwise(ticks)):
        yield "times"
    elif fps is not None and any(round(number / fps / tick_seconds) != tick for number, tick in enumerate(ticks)):
        yield "rate"


def by_picture(frame: VideoFrame | None, video: VideoStream, settings: VideoSettings) -> Iterator[str]:
    """The same by the first frame, which may be `None` if none decodes. Raises `UnknownColourError`."""
    if frame is None:
        yield "undecodable"
        return
    ratio = pixel_ratio(video)
    conformer = Conformer(StoredPicture(frame, ratio), settings.short_side, settings.pix_fmt)
    checks = {
        "rotation": not conformer.orientation.is_upright,
        "pixel_aspect": ratio != 1,
        "size": (frame.width, frame.height) != (conformer.width, conformer.height),
        "range": colour_of(frame).range == FULL_RANGE,
        "colour": conformer.source_colour.is_hdr or conformer.colour.matrix != conformer.source_colour.matrix,
        "colour_tags": _lacks_tags(frame),
        "interlaced": frame.interlaced_frame or getattr(video.codec_context, "field_order", 0) not in _PROGRESSIVE,
    }
    yield from (reason for reason, is_true in checks.items() if is_true)


def _lacks_tags(frame: VideoFrame) -> bool:
    tags = (frame.colorspace, frame.color_primaries, frame.color_trc)
    return UNSPECIFIED in map(int, tags) or not frame.color_range


def _first_frame(container: InputContainer, video: VideoStream) -> VideoFrame | None:
    """The first frame that decodes, as it is cropped by the codec; `None` if none does."""
    decode_as_shown(video)
    for packet in container.demux(video):
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            continue
        if frames:
            return frames[0]
    return None
