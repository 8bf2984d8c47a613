"""The sound of a clip: its packets are copied where mp4 holds their codec and nothing is wrong with them, else it is
encoded as AAC. Either way it is as far from the picture as it was."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.codec.context import Flags
from av.container import InputContainer
from av.packet import Packet

from kconvert.video.encoding.mux import Mp4Writer, moved, starts
from kconvert.video.encoding.options import AAC_RATES, AudioOptions

_COPIED = frozenset(("aac", "mp3", "opus", "flac", "ac3", "eac3", "alac"))
"""Codecs that mp4 holds (mp4ra.org), as libavcodec calls them."""
_MAX_HOLE_SECONDS = Fraction(1, 10)
"""What libswresample mends by silence; less is evened out (`min_hard_comp`)."""
_LEAST_MP3_RATE = 16_000
"""In an mp4, as libavformat writes it (libavformat/movenc.c)."""
_AAC_BITS_A_CHANNEL = 64_000
_MP3_KIND = (1, 0b0001_1000, 2, 0b0000_1100)
"""Where the version and the rate are in the head of an MPEG audio frame (ISO/IEC 11172-3, 2.4.1.3): byte, bits."""


@dataclass
class Sound:
    """The sound as it is written."""

    packets: list[Packet[Any]] = field(default_factory=list)
    """On the timeline of the picture."""
    starts: Fraction = Fraction(0)
    """When it is first heard, in seconds after the first picture; less than 0 if before it."""
    notes: list[str] = field(default_factory=list)
    """What was done to it, and why."""
    problem: str = ""
    """What does not decode; `""` if all does."""


def best_audio(container: InputContainer) -> AudioStream | None:
    """The stream that libavformat calls the best, if its codec is known; `None` if there is none."""
    best = container.streams.best("audio")
    return best if isinstance(best, AudioStream) and best.codec_context is not None else None


def is_copied(container: InputContainer, audio: AudioStream, options: AudioOptions) -> bool:
    """Whether the packets of the sound can stay as they are."""
    return options.track == "keep" and not _Source(container, audio).why_not_copied()


def add_sound(
    writer: Mp4Writer, container: InputContainer, audio: AudioStream, options: AudioOptions, origin: Fraction
) -> Sound:
    """Adds the sound to a file that is written; `origin` is when the first picture is shown, in seconds on the timeline
    of the source.

    Raises: `av.FFmpegError` if it cannot be read or encoded.
    """
    source = _Source(container, audio)
    why = source.why_not_copied() if options.track == "keep" else "resampled"
    if not why:
        return _copied(writer, source, origin)
    return _encoded(writer, source, _Target.of(audio, options), origin, why)


class _Source:
    """The packets of a track of sound."""

    def __init__(self, container: InputContainer, audio: AudioStream) -> None:
        self.audio = audio
        self.tick = audio.time_base or Fraction(1)
        """The unit of its times, in seconds."""
        self.packets = [packet for packet in container.demux(audio) if packet.size]

    def why_not_copied(self) -> str:
        """Why packets cannot stay as they are; `""` if they can."""
        if self.audio.codec_context.name not in _COPIED and self._codec not in _COPIED:
            return "codec"
        if self._codec == "mp3" and self.audio.codec_context.sample_rate < _LEAST_MP3_RATE:
            return "codec"
        times = [packet.dts for packet in self.packets if packet.pts is not None and packet.dts is not None]
        if len(times) < len(self.packets) or any(later <= earlier for earlier, later in itertools.pairwise(times)):
            return "times"
        if self._changes():
            return "change"
        limit = _MAX_HOLE_SECONDS / self.tick
        gaps = (
            (later.pts or 0) - (earlier.pts or 0) - (earlier.duration or 0)
            for earlier, later in itertools.pairwise(self.packets)
        )
        return "hole" if any(not -limit < gap < limit for gap in gaps) else ""

    @property
    def _codec(self) -> str:
        return self.audio.codec_context.codec.canonical_name

    def _changes(self) -> bool:
        """Whether the sound is another kind of sound later on."""
        if any(packet.has_sidedata("new_extradata") for packet in self.packets[1:]):
            return True
        if self._codec != "mp3":
            return False
        first, bits, second, more = _MP3_KIND
        heads = (bytes(packet)[:4] for packet in self.packets if packet.size >= 4)
        return len({(head[first] & bits, head[second] & more) for head in heads}) > 1

    @property
    def priming(self) -> Fraction:
        """What of the beginning is not heard, in seconds (`AV_PKT_DATA_SKIP_SAMPLES`: the first four bytes)."""
        if not self.packets or not self.packets[0].has_sidedata("skip_samples"):
            return Fraction(0)
        samples = int.from_bytes(bytes(self.packets[0].get_sidedata("skip_samples"))[:4], "little")
        return Fraction(samples, self.audio.codec_context.sample_rate or 1)

    def frames(self, sound: Sound) -> Iterator[AudioFrame]:
        """What decodes."""
        context = self.audio.codec_context
        context.thread_count = 1
        for packet in [*self.packets, None]:
            try:
                frames = context.decode(packet)
            except av.FFmpegError as error:
                sound.problem = sound.problem or f"sound: {error.strerror or error}"
                continue
            yield from frames


def _copied(writer: Mp4Writer, source: _Source, origin: Fraction) -> Sound:
    sound = Sound()
    audio = source.audio
    if not source.packets:
        return sound
    first = source.packets[0]
    # A file that names its priming begins before what is heard.
    sound.starts = starts(first) - origin + (source.priming if (first.pts or 0) < 0 else 0)
    for _ in source.frames(sound):
        pass
    stream = writer.add_copy(audio)
    shift = -round(origin / source.tick)
    sound.packets = [moved(packet, shift, stream) for packet in source.packets]
    return sound


@dataclass(frozen=True)
class _Target:
    rate: int
    """Samples a second."""
    layout: str
    """`mono` or `stereo`."""

    @classmethod
    def of(cls, audio: AudioStream, options: AudioOptions) -> _Target:
        """What the options ask for."""
        context = audio.codec_context
        rate = options.rate or context.sample_rate or 48_000
        channels = options.channels or (1 if context.channels == 1 else 2)
        return cls(min(AAC_RATES, key=lambda one: (abs(one - rate), -one)), "mono" if channels == 1 else "stereo")


def _encoded(writer: Mp4Writer, source: _Source, target: _Target, origin: Fraction, why: str) -> Sound:
    sound = Sound(notes=[f"sound encoded ({why})"])
    frames = list(_resampled(source, target, origin, sound))
    if not frames:
        return Sound(notes=["no sound decodes"], problem=sound.problem)
    stream = writer.add_encoder("aac")
    context = stream.codec_context
    context.sample_rate, context.layout, context.format = target.rate, target.layout, "fltp"
    context.bit_rate = _AAC_BITS_A_CHANNEL * (1 if target.layout == "mono" else 2)
    context.time_base = Fraction(1, target.rate)
    context.thread_count = 1
    context.flags |= Flags.bitexact
    sound.starts = Fraction(frames[0].pts or 0, target.rate)
    for frame in [*frames, None]:
        sound.packets += context.encode(frame)
    for packet in sound.packets:
        packet.stream = stream
    return sound


def _resampled(source: _Source, target: _Target, origin: Fraction, sound: Sound) -> Iterator[AudioFrame]:
    """The sound as it is encoded, with silence where there is a hole; times in samples after the first picture."""
    resampler: AudioResampler | None = None
    kind: tuple[str, str, int] | None = None
    next_time = Fraction(0)
    shift = round(origin * target.rate)
    for frame in source.frames(sound):
        tick = frame.time_base or source.tick
        if frame.pts is None:
            frame.pts, frame.time_base = round(next_time / tick), tick
        next_time = frame.pts * tick + Fraction(frame.samples, frame.sample_rate)
        if (found := (frame.format.name, frame.layout.name, frame.sample_rate)) != kind:
            if resampler is not None:
                yield from _shifted(resampler.resample(None), target, shift)
            resampler, kind = _resampler(target), found
        assert resampler is not None
        yield from _shifted(resampler.resample(frame), target, shift)
    if resampler is not None:
        yield from _shifted(resampler.resample(None), target, shift)


def _resampler(target: _Target) -> AudioResampler:
    options = {"async": "1", "rematrix_maxval": "1.0"}
    return AudioResampler(format="fltp", layout=target.layout, rate=target.rate, options=options)


def _shifted(frames: Sequence[AudioFrame], target: _Target, shift: int) -> Iterator[AudioFrame]:
    for frame in frames:
        if frame.pts is not None and frame.time_base:
            frame.pts = round(frame.pts * frame.time_base * target.rate) - shift
            frame.time_base = Fraction(1, target.rate)
        yield frame
