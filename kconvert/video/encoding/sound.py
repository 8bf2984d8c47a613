"""The sound of a clip: its packets are copied where mp4 holds their codec and nothing is wrong with them, else it is
encoded as AAC. Either way it is as far from the picture as it was."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.codec.context import CodecContext, Flags
from av.container import InputContainer
from av.packet import Packet

from kconvert.video.encoding.mux import Mp4Writer, moved, starts
from kconvert.video.encoding.options import AAC_RATES, AudioOptions

_COPIED = frozenset(("aac", "mp3", "opus", "flac", "ac3", "eac3", "alac"))
"""Codecs that mp4 holds (mp4ra.org), as libavcodec calls them."""
MAX_HOLE_SECONDS = Fraction(1, 10)
"""What libswresample mends by silence; less is evened out (`min_hard_comp`)."""
_LEAST_MP3_RATE = 16_000
"""In an mp4, as libavformat writes it (libavformat/movenc.c)."""
_INTEGER_PCM = ("pcm_s", "pcm_u", "pcm_alaw", "pcm_mulaw")
_LOSSLESS = frozenset(("flac", "alac"))
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
    rate: int = 0
    """Samples a second; 0 without sound."""
    num_channels: int = 0
    """0 without sound."""
    is_inexact: bool = False
    """Whether it comes out otherwise with another instruction set."""


def best_audio(container: InputContainer) -> AudioStream | None:
    """The stream that libavformat calls the best, if its codec is known; `None` if there is none."""
    best = container.streams.best("audio")
    return best if isinstance(best, AudioStream) and best.codec_context is not None else None


def is_copied(container: InputContainer, audio: AudioStream, options: AudioOptions) -> bool:
    """Whether the packets of the sound can stay as they are."""
    return options.track == "keep" and not SoundSource(container, audio).why_not_copied()


def add_sound(writer: Mp4Writer, source: SoundSource, options: AudioOptions, origin: Fraction) -> Sound:
    """Adds the sound to a file that is written; `origin` is when the first picture is shown, in seconds on the timeline
    of the source.

    Raises: `av.FFmpegError` if it cannot be read or encoded.
    """
    why = source.why_not_copied() if options.track == "keep" else "resampled"
    if not why:
        return _copied(writer, source, origin)
    return _encoded(writer, source, SoundTarget.of(source.audio, options), origin, why)


class SoundSource:
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
        limit = MAX_HOLE_SECONDS / self.tick
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

    def frames(self, sound: Sound, context: AudioCodecContext | None = None) -> Iterator[AudioFrame]:
        """What decodes, from the beginning, by a decoder of its own perhaps."""
        if context is None:
            context = self.audio.codec_context
            if context.is_open:
                context.flush_buffers()
            else:
                context.thread_count = 1
        for packet in [*self.packets, None]:
            try:
                frames = context.decode(packet)
            except av.FFmpegError as error:
                sound.problem = sound.problem or f"sound: {error.strerror or error}"
                continue
            yield from frames

    def exact_decoder(self) -> AudioCodecContext | None:
        """A decoder whose samples are the same on every processor; `None` where there is none for the sound."""
        if self._codec != "aac":
            return None
        context = CodecContext.create("aac_fixed", "r")
        assert isinstance(context, AudioCodecContext)
        context.thread_count = 1
        context.extradata = self.audio.codec_context.extradata
        context.sample_rate, context.layout = self.audio.codec_context.sample_rate, self.audio.codec_context.layout
        try:
            context.open()
        except av.FFmpegError:
            # It knows fewer kinds of AAC than the other decoder.
            return None
        return context

    @property
    def is_lossless(self) -> bool:
        """Whether it decodes by integers, to the same samples everywhere."""
        return self._codec.startswith(_INTEGER_PCM) or self._codec in _LOSSLESS

    @property
    def first_heard(self) -> Fraction:
        """When the sound begins, in seconds on the timeline of the source."""
        first = self.packets[0] if self.packets else None
        return Fraction(0) if first is None else starts(first) + self.priming


def _copied(writer: Mp4Writer, source: SoundSource, origin: Fraction) -> Sound:
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
    sound.rate, sound.num_channels = audio.codec_context.sample_rate, audio.codec_context.channels
    shift = -round(origin / source.tick)
    sound.packets = [moved(packet, shift, stream) for packet in source.packets]
    return sound


@dataclass(frozen=True)
class SoundTarget:
    """What sound is brought to."""

    rate: int
    """Samples a second."""
    layout: str
    """As libavutil calls it: `mono`, `stereo` and others."""
    format: str = "fltp"
    """Of a sample, as libavutil calls it; `s16` is the same on every processor, as far as decoders are."""

    @property
    def num_channels(self) -> int:
        return len(AudioLayout(self.layout).channels)

    @classmethod
    def of(cls, audio: AudioStream, options: AudioOptions) -> SoundTarget:
        """What the options ask for, as AAC can be."""
        context = audio.codec_context
        rate = options.rate or context.sample_rate or 48_000
        channels = options.channels or (1 if context.channels == 1 else 2)
        return cls(min(AAC_RATES, key=lambda one: (abs(one - rate), -one)), "mono" if channels == 1 else "stereo")


def _encoded(writer: Mp4Writer, source: SoundSource, target: SoundTarget, origin: Fraction, why: str) -> Sound:
    sound = Sound(notes=[f"sound encoded ({why})"], is_inexact=True)
    frames = list(resampled(source.frames(sound), source.tick, target, origin))
    if not frames:
        return Sound(notes=["no sound decodes"], problem=sound.problem)
    stream = add_aac(writer, target)
    context = stream.codec_context
    sound.rate, sound.num_channels = target.rate, target.num_channels
    sound.starts = Fraction(frames[0].pts or 0, target.rate)
    for frame in [*frames, None]:
        sound.packets += context.encode(frame)
    for packet in sound.packets:
        packet.stream = stream
    return sound


def add_aac(writer: Mp4Writer, target: SoundTarget) -> Any:
    """Adds a track of AAC that is to be encoded."""
    stream = writer.add_encoder("aac")
    context = stream.codec_context
    context.sample_rate, context.layout, context.format = target.rate, target.layout, target.format
    context.bit_rate = _AAC_BITS_A_CHANNEL * target.num_channels
    context.time_base = Fraction(1, target.rate)
    context.thread_count = 1
    context.flags |= Flags.bitexact
    return stream


def resampled(
    frames: Iterable[AudioFrame], tick: Fraction, target: SoundTarget, origin: Fraction
) -> Iterator[AudioFrame]:
    """The sound as it is encoded, with silence where there is a hole; times in samples after the first picture. `tick`
    is the unit of the times of frames that do not say it, in seconds."""
    resampler: AudioResampler | None = None
    kind: tuple[str, str, int] | None = None
    next_time = Fraction(0)
    shift = round(origin * target.rate)
    for frame in frames:
        tick = frame.time_base or tick
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


def _resampler(target: SoundTarget) -> AudioResampler:
    options = {"async": "1", "rematrix_maxval": "1.0"}
    if target.format == "s16":
        options["internal_sample_fmt"] = "s16p"
    return AudioResampler(format=target.format, layout=target.layout, rate=target.rate, options=options)


def _shifted(frames: Sequence[AudioFrame], target: SoundTarget, shift: int) -> Iterator[AudioFrame]:
    for frame in frames:
        if frame.pts is not None and frame.time_base:
            frame.pts = round(frame.pts * frame.time_base * target.rate) - shift
            frame.time_base = Fraction(1, target.rate)
        yield frame
