"""How large clips become that are encoded."""

from __future__ import annotations

from kconvert.video.encoding.options import DEFAULT_CRF, Encoding

_EXPANSION = 3.0
"""The most that clips grew together, of real files at the default quality, with keyframes every 16 frames, and some."""
_USUAL_KEYFRAMES = 16
_CRF_STEP = 6
"""So much less crf doubles the size (x264's and x265's scale; SVT-AV1's rises slower)."""


def max_expansion(encoding: Encoding) -> float:
    """How many times as large as the official clips the written ones are at most, all together; 1 where they are not
    encoded. By experience: no encoder promises a size."""
    settings = encoding.video
    if settings is None:
        return 1.0
    finer = max(0.0, (DEFAULT_CRF[settings.codec] - settings.crf) / _CRF_STEP)
    denser = max(1.0, (_USUAL_KEYFRAMES / settings.keyframes) ** 0.5)
    return float(_EXPANSION * 2**finer * denser)
