"""NAL units of H.264 and H.265: what the first bytes of a sample say of it."""

from __future__ import annotations

from collections.abc import Mapping, Set

from av.index import IndexEntry
from av.video.stream import VideoStream

from kconvert.video.child import Clip

IDR: Mapping[str, Set[int]] = {"h264": {5}, "hevc": {19, 20}}
"""Types of NAL units after which nothing refers to what was before (H.264, table 7-1; H.265, table 7-1)."""
HEADER = {"h264": 7, "hevc": 33}
"""The type of the unit that has size and scan of all pictures after it: where a sample has one that differs, they
change."""
_HEADER_BYTES = 256


def length_bytes(video: VideoStream) -> int:
    """The bytes of the length before each NAL unit, as `avcC` (14496-15, 5.3.3) and `hvcC` (8.3.3) have it."""
    extradata = video.codec_context.extradata or b""
    at = 4 if video.codec_context.codec.canonical_name == "h264" else 21
    return (extradata[at] & 3) + 1 if len(extradata) > at else 4


def units(clip: Clip, entry: IndexEntry, codec: str, length_bytes: int) -> dict[int, bytes]:
    """The NAL units of a sample by their types, one of each; nothing of a codec that has none."""
    found: dict[int, bytes] = {}
    at, end = entry.pos, min(entry.pos + entry.size, len(clip))
    while codec in IDR and at + length_bytes < end:
        size = int.from_bytes(clip[at : at + length_bytes], "big")
        start = at + length_bytes
        head = clip[start]
        kind = head & 0x1F if codec == "h264" else head >> 1 & 0x3F
        found.setdefault(kind, clip[start : start + min(size, _HEADER_BYTES)])
        at = start + size
    return found
