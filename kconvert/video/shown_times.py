"""When the frames of a video are shown, by its packets' times: nothing is decoded.

An ISO file says so in its index, a few kilobytes; of any other, and of one whose edit list does more than to begin
later, libavformat has to read all packets, in the video process.
"""

from __future__ import annotations

import bisect
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, chain, repeat

from kconvert.video.boxes import Bytes, IndexedTrack, has_index, video_tracks
from kconvert.video.child import Clip
from kconvert.video.process import ClipFault, VideoProcess

_MAX_SAMPLES = 1_000_000
_MAX_SECONDS = 60.0
_MICROSECOND = Fraction(1, 1_000_000)
_WHOLE_RATE = 1 << 16
_LEAST_OFFSET = -(1 << 28)
"""What is less makes no sense, and libavformat leaves it out (libavformat/mov.c)."""


@dataclass(frozen=True)
class ShownTimes:
    """The times of the frames that are shown, on the timeline of the file."""

    ticks: Sequence[int]
    """Sorted."""
    tick_seconds: Fraction
    """How long a tick is."""

    def nearest(self, microseconds: int) -> int:
        """The index of the frame whose time is nearest to this one; of two that are equally near, the earlier. -1 if
        there is no frame."""
        return nearest(self.ticks, microseconds * _MICROSECOND / self.tick_seconds)


def nearest(places: Sequence[int], wanted: Fraction) -> int:
    """The index of the one of these, which are sorted, that is nearest; of several, the first. -1 if there is none."""
    after = bisect.bisect_left(places, wanted)
    around = range(max(0, after - 1), min(after + 1, len(places)))
    found = min(around, key=lambda index: abs(places[index] - wanted), default=-1)
    return bisect.bisect_left(places, places[found]) if found >= 0 else -1


def shown_times(process: VideoProcess, video: Bytes) -> ShownTimes:
    """When the frames of a video are shown. Raises `ValueError` if nobody can say."""
    return indexed_times(video) or _read(process, video[:])


def indexed_times(video: Bytes) -> ShownTimes | None:
    """The same by the index of an ISO file of one video track; `None` if that does not say all, or an edit list leaves
    something out."""
    tracks = list(video_tracks(video)) if has_index(video) else []
    return track_times(tracks[0]) if len(tracks) == 1 else None


def track_times(track: IndexedTrack) -> ShownTimes | None:
    """The same of a track of such a file."""
    try:
        return _times(track)
    except ValueError:
        return None


def _times(track: IndexedTrack) -> ShownTimes | None:
    if not 0 < track.num_samples <= _MAX_SAMPLES or not track.timescale or not track.has_all_samples:
        return None
    durations = list(_runs(track.durations, signed=False))
    offsets = list(_runs(track.offsets, signed=True)) if track.offsets else [0] * len(durations)
    if not len(durations) == len(offsets) == track.num_samples or min(offsets) < _LEAST_OFFSET:
        return None
    decoded = accumulate(chain([0], durations[:-1]))
    times = sorted(time + offset for time, offset in zip(decoded, offsets, strict=True))
    shift = _shift(track, times)
    return None if shift is None else ShownTimes([time + shift for time in times], Fraction(1, track.timescale))


def _runs(table: bytes, signed: bool) -> Iterator[int]:
    """The values of a table of runs (`stts`, 8.6.1.2; `ctts`, 8.6.1.3), one a sample."""
    runs = list(struct.iter_unpack(">Ii" if signed else ">II", table))
    if sum(number for number, _ in runs) > _MAX_SAMPLES:
        raise ValueError("more samples than any clip has")
    return chain.from_iterable(repeat(value, number) for number, value in runs)


def _shift(track: IndexedTrack, times: Sequence[int]) -> int | None:
    """By how much the edit list moves all samples, in ticks; `None` if it leaves out some, or does more than that."""
    edits = list(track.edits)
    if not edits:
        # libavformat moves some tracks that begin later.
        return 0 if times[0] == 0 else None
    delay = edits.pop(0).duration if edits[0].media_time < 0 else 0
    if len(edits) != 1 or not track.movie_timescale:
        return None
    duration, start, rate = edits[0]
    end = start + duration * track.timescale // track.movie_timescale
    # What begins within a tick of the movie before the end may be shown, or not.
    is_all = start == times[0] and times[-1] + track.timescale // track.movie_timescale < end
    if rate != _WHOLE_RATE or not is_all:
        return None
    return round(Fraction(delay * track.timescale, track.movie_timescale)) - start


def _read(process: VideoProcess, video: bytes) -> ShownTimes:
    try:
        ticks, tick_seconds = process.run(_packet_times, video, _MAX_SECONDS)
    except ClipFault as fault:
        raise ValueError(fault.detail) from fault
    return ShownTimes(ticks, tick_seconds)


def _packet_times(clip: Clip, report: Callable[[object], None]) -> tuple[list[int], Fraction]:
    import av

    from kconvert.video.opening import opened
    from kconvert.video.streams import best_video

    try:
        with opened(clip) as container:
            stream = best_video(container)
            if stream is None or not stream.time_base:
                raise ValueError("no video stream with times")
            packets = (packet for packet in container.demux(stream) if packet.size and not packet.is_discard)
            times = (packet.dts if packet.pts is None else packet.pts for packet in packets)
            return sorted(time for time in times if time is not None), stream.time_base
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from error
