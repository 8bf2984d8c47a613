"""A glance: whether a clip surely stays as it is, for little more than a check of it costs.

Most clips that conform are an mp4 of one track of video and perhaps one of AAC. Of these the index says all but what
the first picture is: nothing is read but that, and no decoder is opened for anything else. Where a glance is not
enough, the packets are looked at (`conforming`), which comes to the same.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from kconvert.video.boxes import IndexedTrack, has_index, is_index_first, sound_tracks
from kconvert.video.child import Clip
from kconvert.video.encoding.colour import UnknownColourError
from kconvert.video.encoding.conforming import by_index, by_picture
from kconvert.video.encoding.options import AudioOptions, Encoding, VideoSettings
from kconvert.video.messages import captured
from kconvert.video.opening import decode_as_shown, glanced
from kconvert.video.streams import best_video

_GLANCED_CODECS = ("h264", "hevc")
"""Of AV1, opening reads more of the headers than decoding does."""
_WHOLE_RATE = 1 << 16
_AAC_LC = 2
_NUM_AAC_RATES = 13
_NUM_AAC_LAYOUTS = 8
_MAX_TICKS = 1 << 31
"""Of a sample's duration: libavformat takes what is more for less than nothing (libavformat/mov.c)."""


def surely_stays(clip: Clip, encoding: Encoding) -> bool:
    """Whether nothing is to be done to a clip; if not, nobody knows yet."""
    settings = encoding.video
    if settings is None or settings.reencode == "always" or settings.codec not in _GLANCED_CODECS:
        return False
    if not has_index(clip) or not is_index_first(clip):
        return False
    try:
        with captured(), glanced(clip) as container:
            video = best_video(container)
            return video is not None and not any(_doubts(clip, container, video, settings, encoding.audio))
    except (av.FFmpegError, UnknownColourError, ValueError, IndexError):
        return False


def _doubts(
    clip: Clip, container: InputContainer, video: VideoStream, settings: VideoSettings, audio: AudioOptions
) -> Iterator[str]:
    """Why it may be that something is to be done."""
    if video.codec_context is None or video.codec_context.codec.canonical_name != settings.codec:
        yield "codec"
        return
    has_sound = len(container.streams) > 1
    if has_sound and (audio.track != "keep" or not _has_one_plain_sound(clip, container)):
        yield "sound"
        return
    yield from by_index(clip, video, settings, has_sound)
    frame = _first_frame(container, video)
    if frame is None or frame.format.name != settings.pix_fmt:
        yield "pixel_format"
    yield from by_picture(frame, video, settings)


def _has_one_plain_sound(clip: Clip, container: InputContainer) -> bool:
    """Whether beside the video there is AAC alone, one sample after the other, of one kind."""
    if [stream.type for stream in container.streams if stream.type != "video"] != ["audio"] or len(
        container.streams
    ) != 2:
        return False
    audio, tracks = container.streams.audio[0], list(sound_tracks(clip))
    if audio.codec_context is None or audio.codec_context.name != "aac" or len(tracks) != 1:
        return False
    if not _is_plain_aac(audio.codec_context.extradata or b""):
        return False
    ends = [entry.pos + entry.size for entry in audio.index_entries]
    return len(ends) == tracks[0].num_samples and max(ends, default=0) <= len(clip) and _is_plain(tracks[0])


def _is_plain_aac(config: bytes) -> bool:
    """Whether a decoder is told of AAC LC, at a rate and for channels that are listed (AudioSpecificConfig, ISO/IEC
    14496-3, 1.6.2.1): five bits for the kind of object, four for the rate, four for the channels, three that are 0."""
    bits = int.from_bytes(config[:2], "big")
    kind, rate, channels, more = bits >> 11, bits >> 7 & 0xF, bits >> 3 & 0xF, bits & 0x7
    return (
        len(config) > 1 and kind == _AAC_LC and rate < _NUM_AAC_RATES and 0 < channels < _NUM_AAC_LAYOUTS and not more
    )


def _is_plain(track: IndexedTrack) -> bool:
    delays = [edit for edit in track.edits if edit.media_time < 0]
    shown = [edit for edit in track.edits if edit.media_time >= 0]
    if len(shown) > 1 or track.edits[len(delays) :] != shown or any(edit.rate != _WHOLE_RATE for edit in shown):
        return False
    runs = list(struct.iter_unpack(">II", track.durations))
    rises = all(0 < duration < _MAX_TICKS for _, duration in runs) and sum(num for num, _ in runs) == track.num_samples
    return rises and track.num_descriptions == 1 and not track.offsets and track.has_all_samples


def _first_frame(container: InputContainer, video: VideoStream) -> VideoFrame | None:
    """The first frame, by its own packet alone; `None` if that does not give it."""
    decode_as_shown(video)
    packet = next(iter(container.demux(video)))
    frames = [*packet.decode(), *video.codec_context.decode(None)]
    return frames[0] if frames else None
