"""How long encoding will take, before anything is encoded: by a short measurement on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from fractions import Fraction

from av.filter import Graph
from av.video.frame import VideoFrame

from kconvert.video.child import Clip
from kconvert.video.encoding.colour import BT709, LIMITED_RANGE, Colour
from kconvert.video.encoding.encode import encode
from kconvert.video.encoding.encoded import Known
from kconvert.video.encoding.encoder import PictureFormat, encoder_name, set_up
from kconvert.video.encoding.mux import Mp4Writer
from kconvert.video.encoding.options import Encoding, VideoSettings
from kconvert.video.metadata import MediaMetadata
from kconvert.video.process import VideoProcess

_SECONDS = 2
_RATE = 30
_CLIP_SECONDS = 10
_WIDTH, _HEIGHT = 640, 360
_MAX_SECONDS = 600.0


def seconds_a_clip(process: VideoProcess, encoding: Encoding) -> float:
    """About how long one core of this machine encodes an official clip: ten seconds of 640x360 at 30 frames a second,
    made here, of which some are encoded. Raises `ClipFault` if it cannot."""
    return process.run(_measured, b"nothing", _MAX_SECONDS, encoding)


def _measured(clip: Clip, report: Callable[[object], None], encoding: Encoding) -> float:
    made = Clip(_made())
    # What the process needs for its first clip only is not counted.
    encode(made, report, encoding, Known(MediaMetadata()))
    start = time.perf_counter()
    encode(made, report, encoding, Known(MediaMetadata()))
    return (time.perf_counter() - start) * _CLIP_SECONDS / _SECONDS


def _made() -> bytes:
    """A clip with things that move, and noise, as cameras have it."""
    settings, tick = VideoSettings(keyframes=250), Fraction(1, _RATE)
    writer = Mp4Writer()
    stream = writer.add_encoder(encoder_name(settings))
    context = stream.codec_context
    colour = Colour(BT709, BT709, BT709, LIMITED_RANGE)
    set_up(context, settings, PictureFormat(_WIDTH, _HEIGHT, colour, tick, Fraction(_RATE)))
    packets = []
    for number, frame in enumerate(_frames()):
        frame.pts, frame.time_base = number, tick
        packets += context.encode(frame)
    packets += context.encode(None)
    for packet in packets:
        packet.stream = stream
    return writer.write(packets)


def _frames() -> Iterator[VideoFrame]:
    graph = Graph()
    source = graph.add("testsrc2", f"size={_WIDTH}x{_HEIGHT}:rate={_RATE}:duration={_SECONDS}")
    noise, pixels = graph.add("noise", "alls=4:allf=t:all_seed=1"), graph.add("format", "yuv420p")
    graph.link_nodes(source, noise, pixels, graph.add("buffersink"))
    graph.configure(auto_buffer=False)
    for _ in range(_RATE * _SECONDS):
        yield graph.vpull()
