"""How large clips become that are encoded."""

from __future__ import annotations

from collections.abc import Mapping

from kconvert.video.encoding.options import DEFAULT_CRF, Encoding

_EXPANSION = 3.0
"""The most that clips grew together, of real files at the default quality, with keyframes every 16 frames, and some."""
_SOUND_EXPANSION: Mapping[str, float] = {"wav": 6.0, "flac": 4.0, "m4a": 1.0}
"""The most that files of sound take beside a clip: 16 bits at 48 kHz and two channels are twelve times 128 kbit/s, of
which a clip has as many bytes again, at least, for its video."""
_USUAL_KEYFRAMES = 16
_CRF_STEP = 6
"""So much less crf doubles the size (x264's and x265's scale; SVT-AV1's rises slower)."""


def max_expansion(encoding: Encoding) -> float:
    """How many times as large as the official clips the written ones are at most, all together; 1 where they are not
    encoded. By experience: no encoder promises a size."""
    sound = _SOUND_EXPANSION.get(encoding.audio.member or "", 0.0)
    settings = encoding.video
    if settings is None:
        return 1.0 + sound
    finer = max(0.0, (DEFAULT_CRF[settings.codec] - settings.crf) / _CRF_STEP)
    denser = max(1.0, (_USUAL_KEYFRAMES / settings.keyframes) ** 0.5)
    return float(_EXPANSION * 2**finer * denser) + sound
