"""Colours: what the numbers of a picture mean, and what they are turned into.

Numbers are those of ITU-T H.273, as libavutil has them (`AVCOL_SPC_…`, `AVCOL_TRC_…`, `AVCOL_PRI_…`).
"""

from __future__ import annotations

from dataclasses import dataclass

from av.video.frame import VideoFrame

LIMITED_RANGE, FULL_RANGE = 1, 2
BT709 = 1
_RGB = 0
UNSPECIFIED = 2
_BT470BG, _BT601, _SMPTE240M, _BT2020 = 5, 6, 7, 9
_PQ, _HLG = 16, 18
_BT2020_10 = 14
_MATRICES = {BT709: 1, 4: 4, _BT470BG: 5, _BT601: 5, _SMPTE240M: 7, _BT2020: 9}
"""Those that swscale can convert from, with its own numbers for them (libswscale/swscale.h)."""
_NAMES = {8: "ycgco", 10: "bt2020c", 11: "smpte2085", 12: "chroma-derived-nc", 13: "chroma-derived-c", 14: "ictcp"}
_TAGS = {
    BT709: (BT709, BT709),
    _BT470BG: (_BT470BG, _BT601),
    _BT601: (_BT601, _BT601),
    _SMPTE240M: (_SMPTE240M, _SMPTE240M),
    _BT2020: (_BT2020, _BT2020_10),
}
"""The primaries and the transfer that go with a matrix where nothing else is said. Primaries have the number of the
matrix that goes with them."""
_HD_WIDTH, _SD_HEIGHT = 1280, 576


class UnknownColourError(Exception):
    """Nothing here can convert a matrix."""


@dataclass(frozen=True)
class Colour:
    """What the numbers of a picture mean."""

    matrix: int
    """From which RGB comes."""
    primaries: int
    """What red, green and blue are."""
    transfer: int
    """How light they are."""
    range: int
    """`LIMITED_RANGE` or `FULL_RANGE`."""
    is_rgb: bool = False
    """Whether they are red, green and blue themselves."""
    is_guessed: bool = False
    """Whether nothing says it, so that it goes by the size of the picture."""

    @property
    def is_hdr(self) -> bool:
        """Whether its light is more than a usual screen can show."""
        return self.transfer in (_PQ, _HLG)

    @property
    def sws_matrix(self) -> int:
        """The matrix as swscale has it."""
        return _MATRICES[self.matrix]

    def written(self) -> Colour:
        """What is made of it: as it is, of limited range; high dynamic range is mapped to BT.709."""
        if self.is_hdr:
            return Colour(BT709, BT709, BT709, LIMITED_RANGE)
        return Colour(self.matrix, self.primaries, self.transfer, LIMITED_RANGE)


def colour_of(frame: VideoFrame) -> Colour:
    """What the numbers of a frame mean. Raises `UnknownColourError` for a matrix that nothing here can convert."""
    is_rgb = frame.format.is_rgb or frame.format.name.startswith("pal")
    if is_rgb:
        return Colour(BT709, BT709, BT709, FULL_RANGE, is_rgb=True)
    matrix, primaries, transfer = int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc)
    full = frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj")
    is_unsaid = matrix in (UNSPECIFIED, _RGB)
    is_guessed = is_unsaid and primaries not in _TAGS
    if is_unsaid:
        matrix = _by_size(frame) if is_guessed else primaries
    if matrix not in _MATRICES:
        raise UnknownColourError(f"matrix {_NAMES.get(matrix, matrix)}")
    usual = _TAGS.get(matrix, (_BT601, _BT601))
    return Colour(
        matrix=matrix,
        primaries=usual[0] if primaries == UNSPECIFIED else primaries,
        transfer=usual[1] if transfer == UNSPECIFIED else transfer,
        range=FULL_RANGE if full else LIMITED_RANGE,
        is_guessed=is_guessed,
    )


def _by_size(frame: VideoFrame) -> int:
    return BT709 if frame.width >= _HD_WIDTH or frame.height > _SD_HEIGHT else _BT601
