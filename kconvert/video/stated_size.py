"""What a container states of its own size, against the size that the file has.

Matroska and WebM: the size of the segment (RFC 8794, 4 and 5; RFC 9559, 5.1). AVI: the sizes of its RIFF chunks. FLV:
the sizes of its tags (Adobe's Video File Format Specification, Annex E). ISO files: what their segment indexes list;
their sample index is the libraries' matter.
"""

from __future__ import annotations

from kconvert.video.boxes import Bytes, indexed_end

_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_MAX_ELEMENTS = 16
"""Before the segment there is the header, and perhaps a void element."""
_ID_BYTES = 4
_MAX_TAGS = 1_000_000
_TAG_HEADER_BYTES, _TAG_FOOTER_BYTES = 11, 4
_RIFF_KINDS = (b"AVI ", b"AVIX", b"WAVE")


def missing_end(data: Bytes) -> str:
    """What the container states that the file does not have; `""` if the file has all of it, or nothing is stated."""
    if data[:4] == _EBML:
        end, what = _matroska_end(data), "the segment ends"
    elif data[:4] == b"RIFF" and data[8:12] in _RIFF_KINDS:
        end, what = _riff_end(data), "the RIFF chunk ends"
    elif data[:3] == b"FLV":
        end, what = _flv_end(data), "the last tag ends"
    elif data[4:8] in (b"ftyp", b"styp", b"sidx"):
        end, what = indexed_end(data), "the segment index ends"
    else:
        return ""
    return f"{what} at byte {end:,}, the file has {len(data):,}" if end > len(data) else ""


def _matroska_end(data: Bytes) -> int:
    """Where the segment ends; 0 if that is unknown, as in live streams."""
    offset = 0
    for _ in range(_MAX_ELEMENTS):
        kind, size_at = _element_id(data, offset)
        size, start = _element_size(data, size_at)
        if not kind or size is None:
            return 0
        if kind == _SEGMENT:
            return start + size
        offset = start + size
    return 0


def _element_id(data: Bytes, offset: int) -> tuple[bytes, int]:
    """The id of an element, `b""` for none, and the offset after it; the zeros before its first one say its length."""
    first = data[offset : offset + 1]
    length = 9 - first[0].bit_length() if first and first[0] else 0
    if not 1 <= length <= _ID_BYTES:
        return b"", offset
    return data[offset : offset + length], offset + length


def _element_size(data: Bytes, offset: int) -> tuple[int | None, int]:
    """The size of an element's content, `None` if it is unknown (all ones), and the offset of the content."""
    first = data[offset : offset + 1]
    length = 9 - first[0].bit_length() if first and first[0] else 0
    if not length or len(data) < offset + length:
        return None, offset
    marked = int.from_bytes(data[offset : offset + length], "big")
    size = marked & ((1 << (7 * length)) - 1)
    return (None if size == (1 << (7 * length)) - 1 else size), offset + length


def _riff_end(data: Bytes) -> int:
    """Where the last RIFF chunk ends: files over a gigabyte have several, one after the other (OpenDML)."""
    end = 0
    while data[end : end + 4] == b"RIFF" and data[end + 8 : end + 12] in _RIFF_KINDS:
        size = int.from_bytes(data[end + 4 : end + 8], "little")
        if size in (0, 0xFFFFFFFF):
            # Written as a stream: nobody came back to fill it in.
            return 0
        # Chunks are padded to an even length, the last one often not.
        end += 8 + size
        if end >= len(data):
            return end
        end += size % 2
    return end


def _flv_end(data: Bytes) -> int:
    """Where the last tag ends that begins in the file; each has its size in three bytes."""
    offset = int.from_bytes(data[5:9], "big") + _TAG_FOOTER_BYTES
    for _ in range(_MAX_TAGS):
        if offset >= len(data):
            break
        size = int.from_bytes(data[offset + 1 : offset + 4], "big")
        offset += _TAG_HEADER_BYTES + size + _TAG_FOOTER_BYTES
    return offset
