"""The way of one clip through encoding, in the video process: from its bytes to those that are written instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from kconvert.video.boxes import has_index
from kconvert.video.child import Clip
from kconvert.video.encoding.colour import UnknownColourError
from kconvert.video.encoding.comparison import Comparing
from kconvert.video.encoding.conforming import why_encoded, why_not_remuxed, why_remuxed
from kconvert.video.encoding.encoded import Encoded, EncodedClip, Known, failed
from kconvert.video.encoding.encoder import PictureFormat, UnencodableError, encoder_name, require_size, set_up
from kconvert.video.encoding.glance import surely_stays
from kconvert.video.encoding.mux import Mp4Writer, moved, starts, with_decoding_times
from kconvert.video.encoding.options import AudioOptions, Encoding, VideoSettings
from kconvert.video.encoding.pictures import Conformer, Deinterlacer, StoredPicture
from kconvert.video.encoding.sound import Sound, SoundSource, add_sound, best_audio
from kconvert.video.encoding.sound_file import sound_file
from kconvert.video.encoding.timeline import Raw, Timeline, at_rate
from kconvert.video.encoding.written import Expected, WrittenError, require_written
from kconvert.video.limits import is_near_limit
from kconvert.video.messages import MAX_MESSAGES, Messages, captured, explain
from kconvert.video.opening import decode_as_shown, opened
from kconvert.video.shape import PixelRatios
from kconvert.video.streams import best_video, has_no_shown_times
from kconvert.video.structure import frames_fault
from kconvert.video.verdict import Fault

_LEAST_TICKS = 90_000
"""A second, where a rate is asked for."""


class _NothingDecodesError(Exception):
    """A clip shows no frame."""


def encode(clip: Clip, report: Callable[[object], None], encoding: Encoding, known: Known) -> EncodedClip:
    """What becomes of a clip. For the video process. Raises `MemoryError` if it takes more than is allowed."""
    try:
        if encoding.audio.member is None and surely_stays(clip, encoding):
            return EncodedClip(Encoded("unchanged"))
        with captured() as messages, opened(clip) as container:
            video = best_video(container)
            if video is None or video.codec_context is None:
                return failed("unencodable", "no decoder for the codec of the video")
            work = _Work(clip, encoding.audio, known, messages)
            made = _encode(work, container, video, encoding)
        return made if encoding.audio.member is None else work.with_sound(made)
    except MemoryError:
        raise
    except _NothingDecodesError as error:
        return failed("undecodable", str(error))
    except (UnknownColourError, UnencodableError, WrittenError) as error:
        return failed("unencodable", str(error))
    except (av.FFmpegError, ValueError, OverflowError) as error:
        if is_near_limit():
            raise MemoryError from error
        return failed("unencodable", getattr(error, "strerror", None) or str(error))


def _encode(work: _Work, container: InputContainer, video: VideoStream, encoding: Encoding) -> EncodedClip:
    settings, clip = encoding.video, work.clip
    why = why_encoded(clip, container, video, settings) if settings is not None else ()
    if settings is not None and (why or settings.reencode == "always"):
        return work.encoded(settings, why or ("always",))
    is_wanted = settings is not None or encoding.audio.track != "keep"
    if not is_wanted or not (why := why_remuxed(clip, container, video, encoding.audio)):
        return EncodedClip(Encoded("unchanged"))
    if unfit := why_not_remuxed(clip, container, video):
        # Its packets cannot stand in an mp4 as they are.
        return work.encoded(settings or VideoSettings(), unfit)
    try:
        return work.remuxed(why)
    except (av.FFmpegError, WrittenError):
        return work.encoded(settings or VideoSettings(), (*why, "packets"))


@dataclass
class _Work:
    """How one clip is written anew."""

    clip: Clip
    """Its bytes."""
    audio: AudioOptions
    """What becomes of its sound."""
    known: Known
    """What is known of it."""
    messages: Messages
    """What the libraries log meanwhile."""
    origin: Fraction | None = None
    """When the first picture is shown, in seconds on the timeline of the clip; `None` for when its track begins."""

    def encoded(self, settings: VideoSettings, why: tuple[str, ...]) -> EncodedClip:
        """The clip with its video encoded."""
        writer = Mp4Writer()
        with opened(self.clip) as container:
            pictures = _Pictures(container, settings, self.messages)
            comparing = Comparing() if self.known.is_compared else None
            stream = writer.add_encoder(encoder_name(settings))
            packets = list(pictures.encoded(stream, comparing))
            with_decoding_times(packets)
        self.origin = pictures.origin
        fault = pictures.fault(self.known.metadata.num_frames if has_index(self.clip) else None)
        sound = self._sound(writer, pictures.origin)
        data, lead = _written(writer, packets, sound)
        conformer = pictures.conformer
        assert conformer is not None
        times = pictures.microseconds(lead)
        require_written(data, Expected(conformer.width, conformer.height, times, settings.keyframes))
        if fault is None and sound.problem:
            fault = Fault("undecodable", sound.problem)
        notes = (*pictures.notes(), *sound.notes)
        comparison = comparing.compared(data) if comparing is not None else None
        about = Encoded("encoded", why, notes, pictures.num_shown, fault, comparison, is_sound_inexact=sound.is_inexact)
        return EncodedClip(about, data)

    def remuxed(self, why: tuple[str, ...]) -> EncodedClip:
        """The clip with the packets of its video as they are."""
        writer = Mp4Writer()
        with opened(self.clip) as container:
            video = best_video(container)
            assert video is not None
            stream = writer.add_copy(video)
            packets = [packet for packet in container.demux(video) if packet.size]
            origin = min((packet.pts for packet in packets if packet.pts is not None), default=0)
            packets = [moved(packet, -origin, stream) for packet in packets]
            if any(packet.dts is None for packet in packets):
                with_decoding_times(packets)
            self.origin = origin * _time_base(video)
            sound = self._sound(writer, self.origin)
            width, height = video.codec_context.width, video.codec_context.height
            shown = sorted(map(starts, packets))
            data, lead = _written(writer, packets, sound)
        times = [int((time + lead) * 1_000_000) for time in shown]
        require_written(data, Expected(width, height, times, 0))
        fault = Fault("undecodable", sound.problem) if sound.problem else None
        about = Encoded("remuxed", why, tuple(sound.notes), fault=fault, is_sound_inexact=sound.is_inexact)
        return EncodedClip(about, data)

    def with_sound(self, made: EncodedClip) -> EncodedClip:
        """The same, and its sound in a file of its own."""
        with opened(self.clip) as container:
            video = best_video(container)
            assert video is not None
            start = (video.start_time or 0) * _time_base(video)
            sound = sound_file(container, self.audio, start if self.origin is None else self.origin)
        fault = made.about.fault or (Fault("undecodable", sound.problem) if sound.problem else None)
        notes = tuple(dict.fromkeys((*made.about.notes, *sound.notes)))
        is_inexact = made.about.is_sound_inexact or sound.is_inexact
        about = replace(made.about, notes=notes, fault=fault, sound=sound.facts, is_sound_inexact=is_inexact)
        return EncodedClip(about, made.data, sound.data)

    def _sound(self, writer: Mp4Writer, origin: Fraction) -> Sound:
        if self.audio.track == "drop":
            return Sound()
        with opened(self.clip) as container:
            audio = best_audio(container)
            return Sound() if audio is None else add_sound(writer, SoundSource(container, audio), self.audio, origin)


def _written(writer: Mp4Writer, packets: list[Packet[Any]], sound: Sound) -> tuple[bytes, Fraction]:
    """The file, and when its first picture is shown: later than at 0 where the sound begins before it."""
    lead = max(Fraction(0), -sound.starts)
    for packet in (*packets, *sound.packets) if lead else ():
        moved(packet, round(lead / packet.time_base))
    if packets:
        lead = round(lead / packets[0].time_base) * packets[0].time_base
    return writer.write([*packets, *sound.packets]), lead


class _Pictures:
    """The pictures of a clip, from packets to packets."""

    def __init__(self, container: InputContainer, settings: VideoSettings, messages: Messages) -> None:
        video = best_video(container)
        assert video is not None
        self._container = container
        self._messages = messages
        self._video = video
        self._settings = settings
        self._deinterlacer = Deinterlacer()
        self._timeline = Timeline(_time_base(video), _rate(video))
        self._problem = ""
        self._decoded_at: list[int] = []
        """When packets are decoded, where nothing says when frames are shown: in their order it is the same."""
        self._num_undecoded = 0
        self._num_before_key = 0
        self.conformer: Conformer | None = None
        self.num_shown = 0
        """Frames that the source shows."""
        self._times: list[int] = []
        self._tick = Fraction(1)

    def microseconds(self, lead: Fraction) -> list[int]:
        """When the frames of the result are shown, where the first one is so many seconds after the start."""
        factor, shift = self._tick * 1_000_000, lead * 1_000_000
        above, below = factor.numerator * shift.denominator, factor.denominator * shift.denominator
        added = shift.numerator * factor.denominator
        return [(time * above + added) // below for time in self._times]

    @property
    def origin(self) -> Fraction:
        """When the first frame is shown, in seconds on the timeline of the source."""
        return (self._timeline.start or 0) * self._timeline.time_base

    def encoded(self, stream: Any, comparing: Comparing | None) -> Iterator[Packet[Any]]:
        """Packets of a stream whose encoder is not set up yet; frames are kept to be compared."""
        context: VideoCodecContext = stream.codec_context
        time_base, durations = self._timeline.time_base, {}
        timed = self._timeline.timed(self._deinterlacer.progressive(self._decoded()))
        scale = 1
        if self._settings.fps is not None:
            timed = at_rate(timed, time_base, self._settings.fps)
            # So fine that the distance to the sound can be kept.
            scale = -(-_LEAST_TICKS // self._settings.fps.numerator)
            time_base = 1 / (self._settings.fps * scale)
        self._tick = time_base
        for one in timed:
            conformer = self.conformer or self._set_up(context, one.picture, time_base)
            frame = conformer.conform(one.picture)
            if comparing is not None:
                comparing.take(len(self._times), frame)
            frame.pts, frame.time_base, frame.duration = one.time * scale, time_base, one.duration * scale
            durations[one.time * scale] = one.duration * scale
            self._times.append(one.time * scale)
            yield from _own(context.encode(frame), stream, durations)
        if self.conformer is None:
            raise _NothingDecodesError(self._problem or "no frame was decoded")
        yield from _own(context.encode(None), stream, durations)

    def _decoded(self) -> Iterator[Raw[StoredPicture]]:
        """The frames that are shown, in order."""
        decode_as_shown(self._video)
        ratios = PixelRatios(self._container, self._video)
        has_key, is_guessed = False, has_no_shown_times(self._container, self._video)
        for packet in self._container.demux(self._video):
            has_key |= packet.is_keyframe
            try:
                # What has no bytes asks for the rest.
                frames = ratios.decoded(packet)
            except av.InvalidDataError as error:
                self._num_undecoded += 1
                if has_key:
                    self._problem = self._problem or explain(error, self._messages)
                continue
            # Some decoders complain of every frame.
            del self._messages[:-MAX_MESSAGES]
            self._num_before_key += bool(packet.size) and not has_key
            if packet.size and is_guessed and packet.dts is not None:
                self._decoded_at.append(packet.dts)
            for frame in frames:
                time = frame.pts
                if is_guessed:
                    time = self._decoded_at[self.num_shown] if self.num_shown < len(self._decoded_at) else None
                self.num_shown += 1
                yield Raw(StoredPicture(frame, ratios.of(frame)), time, frame.duration or 0)

    def _set_up(self, context: VideoCodecContext, first: StoredPicture, time_base: Fraction) -> Conformer:
        settings, video = self._settings, self._video
        conformer = Conformer(first, settings.short_side, settings.pix_fmt)
        require_size(settings, conformer.width, conformer.height)
        rate = settings.fps or _rate(video)
        set_up(context, settings, PictureFormat(conformer.width, conformer.height, conformer.colour, time_base, rate))
        self.conformer = conformer
        return conformer

    def fault(self, num_stated: int | None) -> Fault | None:
        """What is wrong with the clip, by what decodes of the frames that its index states; `None` if it has none."""
        if self._problem:
            return Fault("undecodable", self._problem)
        return frames_fault(self.num_shown, (num_stated or 0) - self._num_before_key)

    def notes(self) -> Iterator[str]:
        """What is odd of the clip, and what was made of that."""
        conformer, timeline = self.conformer, self._timeline
        assert conformer is not None
        colour = conformer.source_colour
        found = {
            "guessed_colour": colour.is_guessed,
            "tone_mapped": colour.is_hdr,
            "from_rgb": colour.is_rgb,
            "nearest_turn": not conformer.orientation.is_exact,
            "changing": conformer.num_kinds > 1,
            "guessed_rate": timeline.num_guessed > 0,
        }
        yield from (note for note, is_true in found.items() if is_true)
        counts = {
            "deinterlaced": self._deinterlacer.num_frames,
            "raised_times": timeline.num_raised,
            "undecoded": self._num_undecoded,
            "before_keyframe": self._num_before_key,
        }
        yield from (f"{note}={num}" for note, num in counts.items() if num)


def _time_base(video: VideoStream) -> Fraction:
    return video.time_base or Fraction(1, 90_000)


def _rate(video: VideoStream) -> Fraction | None:
    """Frames a second, as far as the libraries can guess it."""
    return video.guessed_rate or video.average_rate


def _own(packets: list[Packet[Any]], stream: Any, durations: dict[int, int]) -> Iterator[Packet[Any]]:
    """Packets that know their stream, and how long they last: not all encoders say it."""
    for packet in packets:
        packet.stream = stream
        if packet.pts is not None:
            packet.duration = durations.pop(packet.pts, 0)
        yield packet
