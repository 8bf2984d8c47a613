"""The default prober: PyAV, that is the libraries that ffprobe is a shell of. For the video process (see `process`), as
a clip may crash the libraries, or hang them.

Nothing is read twice: the container is opened from memory, `truncated` compares the container's sample index, which
opening has built already, with the size of the file, and only depth `decode` goes through the packets.

Opening decodes the first picture and the first sound to learn the pixel format, which takes three quarters of its
time. So clips as they should be (mp4 of H.264 and AAC) are opened without decoders first, and the head of the first
slice gives the format. At the first oddity all is done again, the usual way, so that both give the same answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import av.logging
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.index import IndexEntry
from av.packet import Packet
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from kconvert.video.boxes import has_index, is_fragmented, major_brand
from kconvert.video.child import Clip
from kconvert.video.containers import is_picture_format
from kconvert.video.messages import MAX_MESSAGES, Messages, captured, explain, with_last
from kconvert.video.metadata import MediaMetadata, is_variable
from kconvert.video.opening import BUFFER_BYTES, MP4, glanced, opened
from kconvert.video.streams import best_video
from kconvert.video.structure import decoded_fault, index_fault, no_video_fault, structure_fault, times_fault
from kconvert.video.verdict import CheckOptions, Fault, Probed

_CLOSED = re.compile("not on whitelist 'none'")
"""What is said of each decoder that is kept closed."""
_TOO_LARGE = re.compile("Sample size [0-9]+ is too large")
_STREAM = re.compile(r"^  Stream #0:([0-9]+)", re.MULTILINE)
_ROTATION = re.compile(
    r"^ {6}(?:displaymatrix|Display Matrix): rotation of (-?[0-9]{1,3}(?:\.[0-9]+)?) degrees$", re.MULTILINE
)
"""As `av_dump_format` prints them, older and newer: what metadata say stands behind a padded key, each line of it."""
_FULL_TURN = 360
_GLANCED_CODECS = ("h264", "aac")
_SLICES = (1, 5)
"""NAL units that begin a picture."""
_HEAD_BYTES = 64
"""The head of a slice takes some twenty at most before the first bit of its pictures, but for weights."""
_UNFILTERED = {"skip_loop_filter": "all"}
"""Pictures without their last filter, a third of the work: whether they can be decoded does not depend on it."""
_NOTHING = MediaMetadata()


def versions() -> dict[str, str]:
    """Names and versions of what judges."""
    return {"pyav": av.__version__, "ffmpeg_libraries": str(av.ffmpeg_version_info)}


class LibavProber:
    """Probes with PyAV."""

    def __init__(self, options: CheckOptions) -> None:
        self._options = options

    def probe(self, data: Clip, report: Callable[[object], None]) -> Probed:
        """As a `Prober` does; the metadata are reported before anything is decoded. Raises `MemoryError`."""
        with captured() as messages:
            return self._open(data, messages, report)

    def _open(self, data: Clip, messages: Messages, report: Callable[[object], None]) -> Probed:
        if self._options.depth != "decode" and (probed := self._glance(data, messages)):
            return probed
        messages.clear()
        try:
            container = _opened(data)
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError) as error:
            return Probed(_NOTHING, Fault("unreadable", explain(error, messages)))
        with container:
            if is_picture_format(container.format.name):
                return Probed(_NOTHING, Fault("no_video", f"is a picture ({container.format.name})"))
            # ffprobe opens every stream's decoder. One that will not open has complained by now.
            if messages and (fault := _closed_decoder(container, messages)):
                return Probed(_NOTHING, fault)
            return self._look(container, data, messages, report)

    def _glance(self, data: Clip, messages: Messages) -> Probed | None:
        """What `_open` finds, without decoding anything; `None` if that takes decoding."""
        if data[4:8] != b"ftyp":
            return None
        try:
            with glanced(data) as container:
                videos = container.streams.video
                # What is odd enough to be complained of is looked at in full; so is what there is a choice of.
                is_odd = any(not _CLOSED.search(text) for _, _, text in messages)
                if is_odd or len(videos) != 1 or not all(_opens(stream) for stream in container.streams):
                    return None
                video = videos[0]
                _decode_head(data, video.index_entries[0], video.codec_context)
                if not video.codec_context.pix_fmt:
                    return None
                # Where the index is wrong, the libraries find less in what it points to; deeper ones look there anyway.
                if self._options.depth == "header" and _index_fault(container, video, data, []):
                    return None
                probed = self._look(container, data, [], _nobody)
                return None if probed.fault else probed
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError, IndexError):
            return None

    def _look(
        self, container: InputContainer, data: Clip, messages: Messages, report: Callable[[object], None]
    ) -> Probed:
        video = best_video(container)
        if video is None:
            kinds = ", ".join(stream.type for stream in container.streams) or "nothing"
            return Probed(_NOTHING, Fault("no_video", f"no video stream, only {kinds}"))
        # What is cut from the index is there nevertheless.
        if fault := no_video_fault(data, max(len(video.index_entries), len(_too_large(messages)))):
            return Probed(_NOTHING, fault)
        metadata = _metadata(container, video)
        if self._options.depth == "header":
            return Probed(metadata)
        if fault := _index_fault(container, video, data, messages):
            return Probed(metadata, fault)
        metadata = replace(
            metadata, num_frames=_num_shown(video, data), is_variable_frame_rate=_is_variable(video, data)
        )
        if self._options.depth != "decode":
            return Probed(metadata)
        report(metadata)
        probed = _decode(container, video, metadata, messages)
        return Probed(probed.metadata, probed.fault or times_fault(data))


def _nobody(what: object) -> None:
    """Nobody wants to know."""


def _opened(data: Clip) -> InputContainer:
    # Given the format, the library need not ask all its 350 demuxers.
    kind = MP4 if data[4:8] == b"ftyp" else None
    return opened(data, format=kind, buffer_size=BUFFER_BYTES)


def _opens(stream: Stream) -> bool:
    """Whether this is a stream as official clips have it, and its decoder opens; that reads the stream's headers."""
    context = stream.codec_context
    if context is None or context.name not in _GLANCED_CODECS or not context.extradata:
        return False
    context.thread_count = 1
    # A picture of which only the head is decoded would be made up from nothing.
    context.options = {"ec": "0"}
    context.open()
    return True


def _decode_head(data: Clip, first: IndexEntry, context: VideoCodecContext) -> None:
    """Has the decoder see the head of the first picture's first slice, from which it learns the pixel format.

    An H.264 sample is NAL units with their lengths before them, in as many bytes as the fifth of the `avcC` record says
    (ISO/IEC 14496-15, 5.3.3); the type of a unit is in the five lowest bits of its first byte (H.264, 7.3.1).
    Raises `ValueError` or `IndexError` if these are not such units.
    """
    length_bytes = ((context.extradata or b"")[4] & 3) + 1
    head = bytearray()
    offset, end = first.pos, first.pos + first.size
    has_slice = False
    if end > len(data):
        raise IndexError(f"the first sample ends at byte {end:,} of {len(data):,}")
    while offset < end:
        unit = offset + length_bytes
        size = int.from_bytes(data[offset:unit], "big")
        if not size:
            raise ValueError(f"an empty unit at byte {offset:,}")
        if not has_slice:
            has_slice = data[unit] & 0x1F in _SLICES
            kept = min(size, _HEAD_BYTES) if has_slice else size
            head += kept.to_bytes(length_bytes, "big") + data[unit : unit + kept]
        offset = unit + size
    if offset != end:
        # The decoder refuses such a sample whole.
        raise ValueError(f"the units of the first sample end at byte {offset:,}, expected {end:,}")
    with suppress(av.FFmpegError):
        # It complains of the missing rest. Nothing is made of the picture.
        context.decode(av.Packet(bytes(head)))


def _closed_decoder(container: InputContainer, messages: Messages) -> Fault | None:
    """The fault of a stream whose decoder does not open, as its headers are damaged."""
    for stream in container.streams:
        if stream.type not in ("audio", "video") or stream.codec_context is None:
            continue
        try:
            stream.codec_context.thread_count = 1
            stream.codec_context.open()
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError) as error:
            return Fault("unreadable", explain(error, messages))
    return None


def _metadata(container: InputContainer, video: VideoStream) -> MediaMetadata:
    # There is no context for a codec that the libraries do not know.
    context: VideoCodecContext | None = video.codec_context
    audio = next(iter(container.streams.audio), None)
    return MediaMetadata(
        duration_seconds=_duration(container, video),
        num_frames=video.frames or None,
        fps=float(video.average_rate) if video.average_rate else None,
        width=(context.width or None) if context else None,
        height=(context.height or None) if context else None,
        pix_fmt=(context.pix_fmt or "") if context else "",
        video_codec=_codec_name(video),
        audio_codec=_codec_name(audio) if audio else "",
        rotation_degrees=_rotation(container, video),
        bit_rate=(context.bit_rate if context else None) or container.bit_rate or None,
        sample_aspect_ratio=_sample_aspect_ratio(video, context),
    )


def _sample_aspect_ratio(video: VideoStream, context: VideoCodecContext | None) -> str:
    """What the container says, else what the video's headers say."""
    ratio = video.sample_aspect_ratio or (context.sample_aspect_ratio if context else None)
    return f"{ratio.numerator}:{ratio.denominator}" if ratio else ""


def _is_variable(video: VideoStream, data: Clip) -> bool | None:
    """By the index of an ISO file; `None` where there is none of all frames."""
    return is_variable(entry.timestamp for entry in video.index_entries) if has_index(data) else None


def _num_shown(video: VideoStream, data: Clip) -> int | None:
    """The frames that the index states, without those that the edit list leaves out; `None` if it does not state
    all."""
    if is_fragmented(data):
        return None
    entries = video.index_entries
    if not video.frames or not major_brand(data) or not len(entries):
        return video.frames or None
    return sum(not entry.is_discard for entry in entries)


def _duration(container: InputContainer, video: VideoStream) -> float | None:
    if video.duration is not None and video.time_base is not None:
        return float(round(video.duration * video.time_base, 6))
    if container.duration is not None:
        return float(Fraction(container.duration, av.time_base))
    return None


def _codec_name(stream: Stream) -> str:
    codec = getattr(stream.codec_context, "codec", None)
    return codec.canonical_name if codec is not None else ""


def _rotation(container: InputContainer, video: VideoStream) -> int:
    """The display matrix is only to be had from the text that `ffmpeg -i` prints: PyAV 18 does not expose it."""
    av.logging.set_level(av.logging.INFO)
    try:
        text: str = container.dumps_format()  # type: ignore[attr-defined]
    finally:
        av.logging.set_level(av.logging.ERROR)
    if "rotation of" not in text:
        return 0
    # What stands before the first stream, then of each its number and what is said of it.
    _, *pieces = _STREAM.split(text)
    said = dict(zip(pieces[::2], pieces[1::2], strict=True))
    found = _ROTATION.search(said.get(str(video.index), ""))
    degrees = round(float(found[1])) if found else 0
    return degrees if -_FULL_TURN <= degrees <= _FULL_TURN else 0


def _too_large(messages: Messages) -> str:
    """What the libraries say of a sample that is too large to be one; `""` if nothing."""
    return next((text.strip() for _, _, text in messages if _TOO_LARGE.search(text)), "")


def _index_fault(container: InputContainer, video: VideoStream, data: Clip, messages: Messages) -> Fault | None:
    """What is wrong with the index, and with what else says where the clip's bytes are."""
    if detail := _cut_index(container, len(data), messages):
        return Fault("truncated", detail)
    return structure_fault(data) or index_fault(data, len(video.index_entries), video.frames)


def _cut_index(container: InputContainer, size: int, messages: Messages) -> str:
    """What the container's index promises that a file of that size does not have; `""` if it has everything.

    libavformat keeps the size of a sample in 30 bits with a sign (`AVIndexEntry`), so that a damaged one may come back
    negative; at one that is larger still, it complains and leaves that sample and all later ones out.
    """
    if too_large := _too_large(messages):
        return f"the index is cut short: {too_large}"
    entries = [entry for stream in container.streams for entry in stream.index_entries]
    # Lists are a third faster than generators; there are hundreds of entries.
    if min([entry.size for entry in entries], default=0) < 0 or min([entry.pos for entry in entries], default=0) < 0:
        return "the index has a sample of a negative size or place"
    end = max([entry.pos + entry.size for entry in entries], default=0)
    return f"the index points to byte {end:,}, the file has {size:,}" if end > size else ""


class _Seen:
    """What was decoded."""

    def __init__(self) -> None:
        self.num_frames = 0
        """Of the video."""
        self._times: list[int] = []
        self._start: Fraction | None = None
        self._end: Fraction | None = None

    def add(self, frame: VideoFrame | AudioFrame) -> None:
        """Takes in when a frame is shown, or heard."""
        if frame.pts is None or frame.time_base is None:
            return
        start = frame.pts * frame.time_base
        if isinstance(frame, VideoFrame):
            self._times.append(frame.pts)
            end = start + (frame.duration or 0) * frame.time_base
        else:
            end = start + Fraction(frame.samples, frame.sample_rate or 1)
        self._start = start if self._start is None else min(self._start, start)
        self._end = end if self._end is None else max(self._end, end)

    @property
    def is_variable(self) -> bool | None:
        """See `metadata.is_variable`."""
        return is_variable(self._times)

    @property
    def seconds(self) -> float | None:
        """From the first frame of all streams to the end of the last; `None` if none has a time."""
        return None if self._start is None or self._end is None else float(self._end - self._start)


def _decode(container: InputContainer, video: VideoStream, metadata: MediaMetadata, messages: Messages) -> Probed:
    """Decodes the video and all audio; what `ffmpeg -xerror` ends at is a fault, and so is what is far from what was
    stated."""
    streams = [video, *container.streams.audio]
    if unknown := [stream.index for stream in streams if stream.codec_context is None]:
        return Probed(metadata, Fault("undecodable", f"no decoder for the codec of stream {unknown[0]}"))
    for stream in streams:
        if not stream.codec_context.is_open:
            stream.codec_context.thread_count = 1
            stream.codec_context.options = _UNFILTERED
    seen = _Seen()
    try:
        for packet in container.demux(*streams):
            if detail := _corrupt(packet, video.index, seen, messages):
                return Probed(metadata, Fault("undecodable", detail))
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError) as error:
        return Probed(metadata, Fault("undecodable", explain(error, messages)))
    fault = decoded_fault(metadata, seen.num_frames, seen.seconds)
    is_variable = metadata.is_variable_frame_rate
    metadata = replace(
        metadata,
        num_decoded_frames=seen.num_frames,
        is_variable_frame_rate=seen.is_variable if is_variable is None else is_variable,
    )
    return Probed(metadata, fault and Fault(fault.defect, with_last(fault.detail, messages)))


def _corrupt(packet: Packet[Any], video: int, seen: _Seen, messages: Messages) -> str:
    """Decodes a packet; what is corrupt of it, `""` if nothing is. `video` is the number of the video's stream."""
    if packet.is_corrupt:
        return f"corrupt packet in stream {packet.stream.index} at byte {packet.pos}"
    for frame in packet.decode():
        seen.num_frames += packet.stream.index == video
        if isinstance(frame, VideoFrame | AudioFrame):
            seen.add(frame)
        # Some decoders complain of every frame; the last words are enough.
        del messages[:-MAX_MESSAGES]
        if getattr(frame, "is_corrupt", False):
            return with_last(f"corrupt frame in stream {packet.stream.index}", messages)
    return ""
