"""Writing an mp4: what stands in it depends on its tracks only, and its index stands first, for readers of ranges."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
from av.packet import Packet
from av.stream import Stream

_OPTIONS = {
    # Without an edit list for the reordering of frames, which some readers do not know.
    "movflags": "+faststart+negative_cts_offsets",
    "fflags": "+bitexact",
    # Of edit lists, which begin a track later: finer than the milliseconds that they would have.
    "movie_timescale": "90000",
}
_NANOSECONDS = 1_000_000_000


class KeptBytes(io.BytesIO):
    """Keeps its bytes when it is closed: the muxer closes what it was given."""

    def close(self) -> None:
        """Nothing."""


class Mp4Writer:
    """A file in memory. First come its streams, then all packets at once."""

    def __init__(self, brand: str = "mp4") -> None:
        """`brand` is what libavformat calls that kind of mp4."""
        self._file = KeptBytes()
        self._container = av.open(
            self._file, "w", format=brand, container_options=dict(_OPTIONS), io_open=self._opened_again
        )

    def _opened_again(self, url: str, flags: int, options: Any) -> Any:
        """What the muxer reads what it has written by, when it makes room for the index."""
        return io.BytesIO(self._file.getvalue())

    def add_encoder(self, name: str) -> Any:
        """A stream that is encoded, and whose context is to be set up."""
        return self._container.add_stream(name)

    def add_copy(self, template: Stream) -> Any:
        """A stream of packets as they are in another file."""
        copy = self._container.add_stream_from_template(template, opaque=True)
        copy.metadata.clear()
        return copy

    def write(self, packets: Sequence[Packet[Any]]) -> bytes:
        """The file of these packets, each of which knows its stream, with times of 0 and more but for priming."""
        # Even where no packet follows.
        self._container.start_encoding()
        for packet in sorted(packets, key=_when):
            self._container.mux_one(packet)
        self._container.close()
        return self._file.getvalue()


def starts(packet: Packet[Any]) -> Fraction:
    """When what is in a packet is shown, or heard, in seconds."""
    return (packet.pts or 0) * packet.time_base


def moved(packet: Packet[Any], shift: int, stream: Any = None) -> Packet[Any]:
    """The same packet, so many units of its time base later; perhaps of another stream."""
    if packet.pts is not None:
        packet.pts += shift
    if packet.dts is not None:
        packet.dts += shift
    if stream is not None:
        packet.stream = stream
    return packet


def with_decoding_times(packets: Sequence[Packet[Any]]) -> None:
    """Gives packets, which are in the order of decoding, the times of that, whatever an encoder or a file says: the
    times at which frames are shown, in their order, as much earlier as none is decoded after it is shown. All together
    take as long to be decoded as to be shown: some readers take that for the duration."""
    if not packets:
        return
    shown = sorted(packet.pts or 0 for packet in packets)
    delay = 0
    while any(
        packet.pts is not None and packet.pts < time for packet, time in zip(packets[delay:], shown, strict=False)
    ):
        delay += 1
    early = max(delay, shown[-1] - shown[-1 - delay])
    for at, packet in enumerate(packets):
        packet.dts = shown[at - delay] if at >= delay else shown[0] - (delay - at) * early // delay


def _when(packet: Packet[Any]) -> tuple[int, int]:
    """In nanoseconds: there are thousands of packets, and fractions are slow."""
    dts, tick = packet.dts if packet.dts is not None else packet.pts or 0, packet.time_base
    return dts * tick.numerator * _NANOSECONDS // tick.denominator, packet.stream.index
