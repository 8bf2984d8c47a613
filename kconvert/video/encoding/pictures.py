"""Pictures: decoded frames become frames as they are encoded: of one size, with one meaning of colours, upright,
progressive.

What the first frame is, all are: a later one of another shape is fitted in, whole and in shape, with black around it;
one of another matrix is converted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from av.filter import Graph
from av.video.format import VideoFormat
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from kconvert.video.encoding.colour import LIMITED_RANGE, Colour, colour_of
from kconvert.video.encoding.timeline import Raw
from kconvert.video.shape import Orientation, Shape, fitting_size, orientation_of, target_size

SCALER = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
"""Equal on every processor; faster ones are not."""
_FULL_CHROMA = Interpolation.FULL_CHR_H_INP | Interpolation.FULL_CHR_H_INT


@dataclass(frozen=True)
class StoredPicture:
    """A frame as it was decoded, and its pixels' shape, which frames do not say."""

    frame: VideoFrame
    """What was decoded."""
    ratio: Fraction
    """Of a pixel's width to its height."""


class Deinterlacer:
    """Takes the combs out of frames that are flagged as interlaced, a frame a frame; others stay as they are."""

    def __init__(self) -> None:
        self.num_frames = 0
        """That were flagged."""
        self._graph: Graph | None = None
        self._kind: tuple[int, int, str] | None = None
        self._inside: deque[Raw[StoredPicture]] = deque()

    def progressive(self, raws: Iterable[Raw[StoredPicture]]) -> Iterator[Raw[StoredPicture]]:
        """The same frames at the same times."""
        for raw in raws:
            frame = raw.picture.frame
            self.num_frames += frame.interlaced_frame
            kind = (frame.width, frame.height, frame.format.name)
            if self._graph is not None and kind != self._kind:
                yield from self._rest()
            if self._graph is None and frame.interlaced_frame:
                self._graph, self._kind = _bwdif(frame), kind
            if self._graph is None:
                yield raw
                continue
            frame.pts, frame.time_base = self.num_frames + len(self._inside), Fraction(1, 25)
            self._inside.append(raw)
            self._graph.vpush(frame)
            yield from self._pulled()
        yield from self._rest()

    def _pulled(self) -> Iterator[Raw[StoredPicture]]:
        assert self._graph is not None
        while True:
            try:
                frame = self._graph.vpull()
            except (BlockingIOError, EOFError):
                return
            raw = self._inside.popleft()
            yield Raw(StoredPicture(frame, raw.picture.ratio), raw.time, raw.duration)

    def _rest(self) -> Iterator[Raw[StoredPicture]]:
        if self._graph is not None:
            self._graph.vpush(None)
            yield from self._pulled()
            self._graph = None


def _bwdif(frame: VideoFrame) -> Graph:
    return _graph(frame, ("bwdif", "mode=send_frame:parity=auto:deint=interlaced"))


def _graph(frame: VideoFrame, *filters: tuple[str, str]) -> Graph:
    """Filters for frames like this one, one after the other."""
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=VideoFormat(frame.format.name, frame.width, frame.height),
        time_base=Fraction(1, 25),
    )
    graph.link_nodes(source, *(graph.add(name, args or None) for name, args in filters), graph.add("buffersink"))
    graph.configure(auto_buffer=False)
    return graph


class Conformer:
    """Makes frames as they are encoded. What it does to the first, all have in common."""

    def __init__(self, first: StoredPicture, short_side: int | None, pix_fmt: str) -> None:
        """Raises `UnknownColourError`."""
        self.orientation = orientation_of(first.frame)
        self.shape = self._shape(first)
        self.width, self.height = target_size(self.shape, short_side)
        self.source_colour = colour_of(first.frame)
        self.colour = self.source_colour.written()
        self._pix_fmt = pix_fmt
        self._ways: dict[tuple[Shape, str, Colour], _Way] = {}

    @property
    def num_kinds(self) -> int:
        """How many kinds of frames there were; one as a rule."""
        return len(self._ways)

    def conform(self, picture: StoredPicture) -> VideoFrame:
        """A frame as it is encoded. Raises `UnknownColourError`."""
        shape, colour = self._shape(picture), colour_of(picture.frame)
        kind = (shape, picture.frame.format.name, colour)
        if kind not in self._ways:
            self._ways[kind] = self._way(shape, colour)
        made = self._ways[kind].go(picture.frame)
        # Else every I frame of the source would be one of the result.
        made.pict_type = PictureType.NONE
        return made

    def _shape(self, picture: StoredPicture) -> Shape:
        return Shape(picture.frame.width, picture.frame.height, picture.ratio, self.orientation)

    def _way(self, shape: Shape, colour: Colour) -> _Way:
        width, height = self.width, self.height
        if shape != self.shape:
            width, height = fitting_size(shape, width, height)
        stored = (height, width) if self.orientation.is_transposed else (width, height)
        return _Way(_Scaling(*stored, self._pix_fmt, colour, self.colour), self.orientation, (self.width, self.height))


@dataclass(frozen=True)
class _Scaling:
    width: int
    """In pixels, before any turn."""
    height: int
    """In pixels, before any turn."""
    pix_fmt: str
    """Of the result."""
    source: Colour
    """What the numbers of the frame mean."""
    target: Colour
    """What those of the result mean."""

    def is_nothing(self, frame: VideoFrame) -> bool:
        """Whether a frame is so already."""
        same = (frame.width, frame.height, frame.format.name) == (self.width, self.height, self.pix_fmt)
        return same and self.source.range == LIMITED_RANGE and self.source.matrix == self.target.matrix

    @property
    def interpolation(self) -> int:
        """How it is scaled."""
        return int(SCALER | _FULL_CHROMA if self.source.is_rgb else SCALER)


class _Way:
    """What is done to frames of one kind: they are scaled, turned and set into the middle of the picture."""

    def __init__(self, scaling: _Scaling, orientation: Orientation, size: tuple[int, int]) -> None:
        self._scaling = scaling
        self._orientation = orientation
        self._size = size
        self._reformatter = VideoReformatter()
        self._graph: Graph | None = None

    def go(self, frame: VideoFrame) -> VideoFrame:
        """A frame as it is encoded."""
        scaled = frame if self._scaling.is_nothing(frame) else self._scaled(frame)
        turned_size = (
            (scaled.height, scaled.width) if self._orientation.is_transposed else (scaled.width, scaled.height)
        )
        if self._orientation.is_upright and turned_size == self._size:
            return scaled
        if self._graph is None:
            self._graph = _graph(scaled, *self._filters(turned_size))
        scaled.pts, scaled.time_base = 0, Fraction(1, 25)
        self._graph.vpush(scaled)
        return self._graph.vpull()

    def _scaled(self, frame: VideoFrame) -> VideoFrame:
        scaling = self._scaling
        is_mapped = scaling.source.is_hdr and not scaling.target.is_hdr
        if is_mapped:
            frame.color_trc, frame.color_primaries = scaling.source.transfer, scaling.source.primaries
        return self._reformatter.reformat(
            frame,
            scaling.width,
            scaling.height,
            scaling.pix_fmt,
            src_colorspace=scaling.source.sws_matrix,
            dst_colorspace=scaling.target.sws_matrix,
            interpolation=scaling.interpolation,
            src_color_range=scaling.source.range,
            dst_color_range=LIMITED_RANGE,
            dst_color_trc=scaling.target.transfer if is_mapped else None,
            dst_color_primaries=scaling.target.primaries if is_mapped else None,
            threads=1,
        )

    def _filters(self, size: tuple[int, int]) -> Iterator[tuple[str, str]]:
        if self._orientation.is_transposed:
            yield "transpose", "dir=cclock_flip"
        if self._orientation.is_mirrored:
            yield "hflip", ""
        if self._orientation.is_flipped:
            yield "vflip", ""
            # It reads rows backwards, which not all who look at a frame can do.
            yield "copy", ""
        if size != self._size:
            yield "pad", f"{self._size[0]}:{self._size[1]}:(ow-iw)/2:(oh-ih)/2"
