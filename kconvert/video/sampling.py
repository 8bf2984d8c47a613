"""Sampling a video: some of its frames, at a stride, as arrays that can be collated. Decoding begins at the keyframe
before the first of them and ends with the last.

Frames are counted as they are shown. Where they follow each other at differing intervals, the stride is in time: so
many mean intervals, and of each time the nearest frame. What fits, and what is too short, is then by time, too.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import av
import numpy

from kconvert.video.child import Clip
from kconvert.video.frames import upright
from kconvert.video.metadata import is_variable
from kconvert.video.nal_units import IDR, length_bytes, units
from kconvert.video.opening import opened
from kconvert.video.shape import Shape, orientation_of, pixel_ratio
from kconvert.video.shown_times import ShownTimes, indexed_times, nearest
from kconvert.video.streams import best_video, has_no_shown_times

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_USUAL_RATE = 25
"""Frames a second, of what says nothing."""
Pixels = numpy.ndarray[Any, Any]
Start = Literal["random", "center"] | float
Crop = Literal["random", "center"]
TooShort = Literal["repeat_last", "wrap", "error"]


@dataclass(frozen=True)
class Sampling:
    """Which frames are taken, and how large."""

    num_frames: int = 16
    """T, 1 or more."""
    stride: int = 4
    """From one taken frame to the next, in frames, 1 or more."""
    start: Start = "random"
    """Where it begins: anywhere from which it fits, so that the middle is in the middle, or at so many seconds."""
    size: tuple[int, int] | None = None
    """Height and width in pixels: frames are scaled to cover that, and cropped. `None`: they are as they are stored,
    upright."""
    crop: Crop = "center"
    """Where, the same place in all frames."""
    generator: numpy.random.Generator | None = None
    """What is random is drawn from this; `None` for one of its own, so that nobody else's is touched."""
    too_short: TooShort = "repeat_last"
    """Of a video with fewer frames: the last one again and again, all from the start again, or a `ValueError`."""

    def __post_init__(self) -> None:
        if not all(isinstance(one, int) and one >= 1 for one in (self.num_frames, self.stride)):
            raise ValueError(f"num_frames {self.num_frames}, stride {self.stride}: expected 1 or more")
        if self.start not in ("random", "center") and not _is_finite(self.start):
            raise ValueError(f"start {self.start!r}: expected random, center, or seconds")
        if self.crop not in ("random", "center"):
            raise ValueError(f"crop {self.crop!r}: expected random or center")
        if self.too_short not in ("repeat_last", "wrap", "error"):
            raise ValueError(f"too_short {self.too_short!r}: expected repeat_last, wrap or error")
        if self.size is not None and not _is_size(self.size):
            raise ValueError(f"size {self.size}: expected height and width, whole numbers of 1 or more")

    @property
    def span(self) -> int:
        """From the first taken frame to the last, in frames."""
        return (self.num_frames - 1) * self.stride + 1


def _is_finite(start: object) -> bool:
    try:
        return not isinstance(start, str) and math.isfinite(float(start))  # type: ignore[arg-type]
    except TypeError:
        return False


def _is_size(size: object) -> bool:
    return isinstance(size, tuple | list) and len(size) == 2 and all(isinstance(one, int) and one >= 1 for one in size)


class SamplingOptions(TypedDict, total=False):
    """The fields of `Sampling`, as keywords."""

    num_frames: int
    stride: int
    start: Start
    size: tuple[int, int] | None
    crop: Crop
    generator: numpy.random.Generator | None
    too_short: TooShort


def sample(video: bytes, sampling: Sampling) -> Pixels:
    """Frames of a video: T × height × width × 3, RGB, uint8, upright.

    Raises: `ValueError` if there is no video stream, a frame cannot be decoded, or there are too few and that is an
    error.
    """
    return sample_at(video, sampling, lambda timeline: [_first(timeline, sampling)])[0]


def sample_many(video: bytes, sampling: Sampling, num_clips: int) -> Pixels:
    """Several samples, with their starts at equal distances from the first that is possible to the last: num_clips × T
    × height × width × 3. Raises as `sample` does, and `ValueError` for no clips."""

    if num_clips < 1:
        raise ValueError(f"num_clips {num_clips}: expected 1 or more")

    def starts(timeline: _Timeline) -> Sequence[int]:
        shares = (Fraction(number, max(1, num_clips - 1)) for number in range(num_clips))
        return [timeline.scale.start(sampling, share) for share in shares]

    return numpy.stack(sample_at(video, sampling, starts))


def sample_at(video: bytes, sampling: Sampling, starts: Callable[[_Timeline], Sequence[int]]) -> list[Pixels]:
    """The samples that begin at the frames that `starts` gives for a timeline, or `ValueError` as from `sample`."""
    clip = Clip(video)
    try:
        with _opened(clip) as source:
            timeline = _timeline(clip, source)
            wanted = [timeline.scale.taken(first, sampling) for first in starts(timeline)]
            frames = _Frames(clip, source, timeline, sampling)
            return [frames.stacked(indexes) for indexes in wanted]
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"cannot be decoded: {error.strerror or error}") from error


@dataclass(frozen=True)
class _Opened:
    """A video that is opened."""

    container: InputContainer
    """Of it."""
    stream: VideoStream
    """That is its video."""


@contextmanager
def _opened(clip: Clip) -> Iterator[_Opened]:
    with opened(clip) as container:
        stream = best_video(container)
        if stream is None or stream.codec_context is None:
            raise ValueError("no video stream that can be decoded")
        stream.codec_context.thread_count = 1
        yield _Opened(container, stream)


@dataclass(frozen=True)
class _Timeline:
    """The frames of a video as they are shown."""

    ticks: Sequence[int]
    """Their times, sorted."""
    tick_seconds: Fraction
    """How long a tick is."""
    entries: Sequence[int] = ()
    """The frames that decoding can begin with, sorted; none where the times are not those of an index, with which what
    is decoded can be compared."""

    @property
    def num_frames(self) -> int:
        return len(self.ticks)

    @functools.cached_property
    def positions(self) -> Mapping[int | None, int]:
        """The frames by their times; fewer than there are where two have the same."""
        return {tick: index for index, tick in enumerate(self.ticks)}

    @functools.cached_property
    def scale(self) -> _Scale:
        """By time where the rate varies, else counted."""
        if not is_variable(self.ticks):
            return _Scale(range(self.num_frames), Fraction(1))
        return _Scale(self.ticks, Fraction(self.ticks[-1] - self.ticks[0], self.num_frames - 1))


@dataclass(frozen=True)
class _Scale:
    """Frames in places, one step apart: all of them where the rate is constant, in the mean where it varies."""

    places: Sequence[int]
    """Of the frames, sorted."""
    step: Fraction
    """From each to the next."""

    def last_start(self, sampling: Sampling) -> int:
        """The last frame at which a sample can begin and fits, the first if none does."""
        last = self.places[-1] - (sampling.span - 1) * self.step
        return max(0, bisect.bisect_right(self.places, last) - 1)

    def start(self, sampling: Sampling, share: Fraction) -> int:
        """Where a sample begins, between the first start that is possible, 0, and the last, 1."""
        first = self.places[0]
        return nearest(self.places, first + (self.places[self.last_start(sampling)] - first) * share)

    def taken(self, first: int, sampling: Sampling) -> list[int]:
        """The frames of a sample that begins there. Raises `ValueError` if they are too few, and that is an error."""
        begin, end, num = self.places[0], self.places[-1], len(self.places)
        wanted = [self.places[first] + number * sampling.stride * self.step for number in range(sampling.num_frames)]
        if wanted[-1] > end and sampling.too_short == "error":
            behind = math.floor((end - self.places[first]) / self.step)
            raise ValueError(f"has {num} frames, {behind} steps behind frame {first}: expected {sampling.span - 1}")
        if wanted[-1] > end and sampling.too_short == "wrap":
            wanted = [begin + (place - begin) % (num * self.step) for place in wanted]
        return [first, *(nearest(self.places, place) for place in wanted[1:])]


def _first(timeline: _Timeline, sampling: Sampling) -> int:
    if sampling.start == "random":
        return int(_generator(sampling).integers(timeline.scale.last_start(sampling) + 1))
    if sampling.start == "center":
        return timeline.scale.start(sampling, Fraction(1, 2))
    start = timeline.ticks[0] * timeline.tick_seconds + Fraction(float(sampling.start))
    return ShownTimes(timeline.ticks, timeline.tick_seconds).nearest(math.floor(start * 1_000_000))


def _generator(sampling: Sampling) -> numpy.random.Generator:
    return sampling.generator if sampling.generator is not None else numpy.random.default_rng()


def _timeline(clip: Clip, source: _Opened) -> _Timeline:
    """By the index where that says all, else by decoding."""
    stream = source.stream
    if (times := indexed_times(clip)) is not None:
        return _Timeline(times.ticks, times.tick_seconds, _entries(clip, stream))
    frames = source.container.decode(stream)
    if has_no_shown_times(source.container, stream):
        ticks, tick = list(range(sum(1 for _ in frames))), 1 / Fraction(_rate(stream))
    else:
        ticks, tick = _rising(frames), stream.time_base or Fraction(1)
    if not ticks:
        raise ValueError("no frame can be decoded")
    return _Timeline(ticks, tick)


def _rate(stream: VideoStream) -> Fraction | int:
    return stream.guessed_rate or stream.average_rate or _USUAL_RATE


def _rising(frames: Iterable[VideoFrame]) -> list[int]:
    """The times of frames, which are counted as they come: those of some containers fall."""
    ticks: list[int] = []
    for frame in frames:
        before = ticks[-1] if ticks else -1
        ticks.append(before + 1 if frame.pts is None else max(frame.pts, before))
    return ticks


def _entries(clip: Clip, stream: VideoStream) -> list[int]:
    """The frames of an indexed track that decoding can begin with: nothing after them needs what was before, so that as
    many frames are shown before each as are stored before it."""
    codec = stream.codec_context.codec.canonical_name
    if codec not in IDR:
        return [0]
    size = length_bytes(stream)
    keys = [(number, entry) for number, entry in enumerate(stream.index_entries) if entry.is_keyframe]
    return [0, *(number for number, entry in keys if number and IDR[codec] & units(clip, entry, codec, size).keys())]


def _groups(entries: Sequence[int], wanted: Set[int]) -> dict[int, set[int]]:
    """The frames that are wanted, by the entry that they are decoded from."""
    groups: dict[int, set[int]] = {}
    for index in wanted:
        groups.setdefault(entries[bisect.bisect_right(entries, index) - 1], set()).add(index)
    return groups


class _Frames:
    """Decodes frames of one video, and makes them as large as they are wanted."""

    def __init__(self, clip: Clip, source: _Opened, timeline: _Timeline, sampling: Sampling) -> None:
        self._clip = clip
        self._source = source
        self._timeline = timeline
        self._sampling = sampling
        self._window: _Window | None = None

    def stacked(self, indexes: Sequence[int]) -> Pixels:
        """The frames of these indexes."""
        wanted = frozenset(indexes)
        found = self._sought(wanted)
        if found.keys() != wanted:
            # From the start, which is always right.
            with _opened(self._clip) as anew:
                found = dict(self._wanted(enumerate(anew.container.decode(anew.stream)), wanted))
        if missing := sorted(wanted - found.keys()):
            raise ValueError(f"frame {missing[0]} of {self._timeline.num_frames} cannot be decoded")
        return numpy.stack([found[index] for index in indexes])

    def _sought(self, wanted: Set[int]) -> dict[int, Pixels]:
        """Those of these frames that are where they should be, decoded from the last one before them that decoding can
        begin with."""
        timeline, source = self._timeline, self._source
        if not timeline.entries or len(timeline.positions) < timeline.num_frames:
            return {}
        entry = timeline.entries[bisect.bisect_right(timeline.entries, min(wanted)) - 1]
        try:
            source.container.seek(timeline.ticks[entry], stream=source.stream)
        except av.FFmpegError:
            # As where no keyframe is in front.
            return {}
        found: dict[int, Pixels] = {}
        last = -1
        for frame in self._decoded(wanted, entry):
            index = timeline.positions.get(frame.pts, -1)
            if index <= last:
                # It did not begin there, or the times are not in the order of the frames.
                return {}
            last = index
            if index in wanted:
                found[index] = self._pixels(frame)
        return found

    def _decoded(self, wanted: Set[int], entry: int) -> Iterator[VideoFrame]:
        """Frames from an entry on, these among them. What nothing that is wanted needs is not decoded: of a group, what
        is stored after the last that is wanted, and frames that no other refers to."""
        timeline, stream = self._timeline, self._source.stream
        context = stream.codec_context
        knows_references = context.codec.canonical_name in IDR
        groups = _groups(timeline.entries, wanted)
        pending = groups.pop(entry)
        for packet in self._source.container.demux(stream):
            if packet.size:
                index = timeline.positions.get(packet.pts, -1)
                if packet.is_keyframe and index in groups:
                    pending |= groups.pop(index)
                if not (pending or groups):
                    yield from context.decode(None)
                    return
                # What follows is decoded by the parameters that come with a packet where they change.
                if not pending and not packet.has_sidedata("new_extradata"):
                    continue
                is_spared = knows_references and index not in wanted
                context.skip_frame = "NONREF" if is_spared else "DEFAULT"
                pending.discard(index)
            yield from packet.decode()

    def _wanted(self, frames: Iterable[tuple[int, VideoFrame]], wanted: Set[int]) -> Iterator[tuple[int, Pixels]]:
        last = max(wanted)
        for index, frame in frames:
            if index in wanted:
                yield index, self._pixels(frame)
            if index >= last:
                return

    def _pixels(self, frame: VideoFrame) -> Pixels:
        if self._sampling.size is None:
            return upright(frame)
        if self._window is None:
            self._window = _Window.of(frame, pixel_ratio(self._source.stream), self._sampling)
        return self._window.cut(frame)


@dataclass(frozen=True)
class _Window:
    """How frames are scaled to cover a size, and where they are cropped."""

    width: int
    """That stored frames are scaled to, before any turn."""
    height: int
    """That stored frames are scaled to, before any turn."""
    top: int
    """Of the crop, in the upright picture."""
    left: int
    """Of the crop, in the upright picture."""
    size: tuple[int, int]
    """Height and width of the crop."""

    @classmethod
    def of(cls, frame: VideoFrame, ratio: Fraction, sampling: Sampling) -> _Window:
        assert sampling.size is not None
        height, width = sampling.size
        orientation = orientation_of(frame)
        shown_width, shown_height = Shape(frame.width, frame.height, ratio, orientation).shown()
        scale = max(width / shown_width, height / shown_height)
        covered = (max(height, round(shown_height * scale)), max(width, round(shown_width * scale)))
        spare = (covered[0] - height, covered[1] - width)
        if sampling.crop == "center":
            top, left = spare[0] // 2, spare[1] // 2
        else:
            generator = _generator(sampling)
            top, left = int(generator.integers(spare[0] + 1)), int(generator.integers(spare[1] + 1))
        stored = covered if orientation.is_transposed else covered[::-1]
        return cls(stored[0], stored[1], top, left, sampling.size)

    def cut(self, frame: VideoFrame) -> Pixels:
        scaled = upright(frame, self.width, self.height)
        height, width = self.size
        # A copy, so that the rest of the picture does not stay.
        return scaled[self.top : self.top + height, self.left : self.left + width].copy()
