"""The sound of a clip as a file of its own, which begins when the first picture is shown, or with the sound if that is
earlier.

FLAC and WAV have every sample once, in 16 bits; those of AAC are the same on every processor. An m4a has the packets of
AAC as they are, and is encoded otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec.context import Flags
from av.container import InputContainer

from kconvert.video.encoding.encoded import SoundFacts
from kconvert.video.encoding.mux import KeptBytes, Mp4Writer, moved
from kconvert.video.encoding.options import AudioOptions
from kconvert.video.encoding.sound import (
    MAX_HOLE_SECONDS,
    Sound,
    SoundSource,
    SoundTarget,
    add_aac,
    add_sound,
    best_audio,
    resampled,
)

_EMPTY_RATE, _EMPTY_LAYOUT = 48_000, "mono"
"""Of a file without a sample, unless something else is asked for."""
_LAYOUTS = {1: "mono", 2: "stereo"}
_MAX_CHANNELS = 8
"""That FLAC takes."""
_SAMPLE_BYTES = 2
_FRAME_SAMPLES = 4096
_OPTIONS = {"fflags": "+bitexact", "metadata_header_padding": "0"}
_ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    # The encoder's other way to predict is found by floating-point numbers, which processors add up differently.
    "flac": ("flac", {"lpc_type": "fixed"}),
    "wav": ("pcm_s16le", {}),
}


@dataclass(frozen=True)
class SoundFile:
    """A file of sound."""

    facts: SoundFacts
    """What is in it."""
    data: bytes
    """The file."""
    problem: str = ""
    """What of the sound does not decode; `""` if all does."""
    notes: tuple[str, ...] = ()
    """What was done to it, and why."""
    is_inexact: bool = False
    """Whether it comes out otherwise with another instruction set."""


def sound_file(container: InputContainer, options: AudioOptions, origin: Fraction) -> SoundFile:
    """The sound of a clip, as `options.member` says; `origin` is when its first picture is shown, in seconds on its own
    timeline.

    Raises: `av.FFmpegError` if it cannot be read or encoded.
    """
    assert options.member is not None
    audio = best_audio(container)
    if options.member == "m4a":
        return _m4a(container, audio, options, origin)
    target, sound = _target(audio, options), Sound()
    frames = [] if audio is None else list(_frames(SoundSource(container, audio), target, origin, sound))
    start = (frames[0].pts or 0) if frames else 0
    data = b"".join(_samples(frames, target))
    file = _encoded(options.member, target, data)
    facts = SoundFacts(
        size_bytes=len(file),
        rate=target.rate,
        num_channels=target.num_channels,
        num_samples=len(data) // _block(target),
        lead_seconds=max(0, -start) / target.rate,
        is_silent=not any(data),
    )
    return SoundFile(facts, file, sound.problem, tuple(sound.notes), sound.is_inexact)


def _target(audio: AudioStream | None, options: AudioOptions) -> SoundTarget:
    context = None if audio is None else audio.codec_context
    rate, layout = (_EMPTY_RATE, _EMPTY_LAYOUT) if context is None else (context.sample_rate, context.layout.name)
    num_channels = options.channels or (0 if context is None else context.channels)
    if num_channels > _MAX_CHANNELS:
        num_channels = 2
    # What has two channels need not say which they are.
    return SoundTarget(options.rate or rate or _EMPTY_RATE, _LAYOUTS.get(num_channels, layout), "s16")


def _frames(source: SoundSource, target: SoundTarget, origin: Fraction, sound: Sound) -> Iterator[AudioFrame]:
    """The samples, with silence where there is a hole, at times from the first picture on."""
    decoder = source.exact_decoder()
    frames = source.frames(sound, decoder)
    if decoder is None:
        sound.notes.append(f"sound decoded ({source.audio.codec_context.name})")
        sound.is_inexact = not source.is_lossless
    else:
        frames = _from_the_first_heard(frames, source)
    return resampled(frames, source.tick, target, origin)


def _from_the_first_heard(frames: Iterator[AudioFrame], source: SoundSource) -> Iterator[AudioFrame]:
    """The same; a decoder that is opened alone leaves out the priming, and does not move the time of what is left."""
    for number, frame in enumerate(frames):
        if number == 0 and frame.pts is not None:
            frame.pts = max(frame.pts, round(source.first_heard / (frame.time_base or source.tick)))
        yield frame


def _samples(frames: Iterable[AudioFrame], target: SoundTarget) -> Iterator[bytes]:
    """The bytes of samples, with silence before the first if that is heard late, and where they go on late."""
    now, limit = 0, 0
    for frame in frames:
        time = frame.pts if frame.pts is not None else now
        if time - now > limit:
            yield bytes((time - now) * _block(target))
        yield bytes(frame.planes[0])[: frame.samples * _block(target)]
        now, limit = time + frame.samples, int(MAX_HOLE_SECONDS * target.rate)


def _encoded(kind: str, target: SoundTarget, data: bytes) -> bytes:
    """A file of samples."""
    codec, options = _ENCODERS[kind]
    file = KeptBytes()
    with av.open(file, "w", format=kind, container_options=dict(_OPTIONS)) as container:
        stream: Any = container.add_stream(codec, options=dict(options))
        context = stream.codec_context
        context.sample_rate, context.layout, context.format = target.rate, target.layout, target.format
        context.time_base, context.thread_count = Fraction(1, target.rate), 1
        context.flags |= Flags.bitexact
        # Even where no sample follows.
        container.start_encoding()
        for frame in (*_cut(target, data), *([None] if data else [])):
            for packet in context.encode(frame):
                packet.stream = stream
                container.mux_one(packet)
    return file.getvalue()


def _cut(target: SoundTarget, data: bytes) -> Iterator[AudioFrame]:
    """Samples as frames."""
    size = _FRAME_SAMPLES * _block(target)
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        frame = AudioFrame(target.format, target.layout, len(piece) // _block(target), align=1)
        frame.planes[0].update(piece)
        frame.pts, frame.sample_rate = start // _block(target), target.rate
        frame.time_base = Fraction(1, target.rate)
        yield frame


def _block(target: SoundTarget) -> int:
    """The bytes of a sample of all channels."""
    return _SAMPLE_BYTES * target.num_channels


def _m4a(container: InputContainer, audio: AudioStream | None, options: AudioOptions, origin: Fraction) -> SoundFile:
    """The packets of AAC as they are, or AAC that is encoded anew."""
    writer, sound, is_silent = Mp4Writer("ipod"), Sound(), True
    is_asked = options.rate is not None or options.channels is not None
    target = _target(audio, options)
    if audio is not None:
        is_aac = audio.codec_context.codec.canonical_name == "aac"
        track = AudioOptions("resample" if is_asked or not is_aac else "keep", options.rate, options.channels)
        source = SoundSource(container, audio)
        is_silent = not any(map(any, _samples(_frames(source, target, origin, Sound()), target)))
        sound = add_sound(writer, source, track, origin)
    lead = max(Fraction(0), -sound.starts)
    for packet in sound.packets if lead else ():
        moved(packet, round(lead / packet.time_base))
    if not sound.packets:
        # A file has a track, if an empty one, which then has nothing of it but the kind of file.
        add_aac(writer, SoundTarget(_EMPTY_RATE, _EMPTY_LAYOUT))
    file = writer.write(sound.packets)
    rate, num_channels = (sound.rate, sound.num_channels) if sound.packets else (target.rate, target.num_channels)
    facts = SoundFacts(len(file), rate, num_channels, None, float(lead), is_silent)
    return SoundFile(facts, file, sound.problem, tuple(sound.notes), sound.is_inexact)
