"""What encodes, for the manifest: whoever has the same gives the same bytes."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path

from kconvert.video.encoding.options import Encoding

_CPU = Path("/proc/cpuinfo")
_LEVELS = ("avx512f", "avx2", "avx", "sse4_2", "sse2", "asimd")
"""Instruction sets of which libavcodec's decoders and encoders of sound have versions of their own, the best first."""


def encoding_tools(encoding: Encoding) -> Mapping[str, str]:
    """Names, versions and options of what encodes; nothing where nothing is encoded."""
    found: dict[str, str] = {}
    if not encoding.is_any:
        return found
    import av

    found["pyav"], found["ffmpeg_libraries"] = av.__version__, str(av.ffmpeg_version_info)
    if encoding.video is not None:
        from kconvert.video.encoding.encoder import encoder_name, encoder_options

        options = " ".join(f"{name}={value}" for name, value in encoder_options(encoding.video).items())
        found["video_encoder"] = f"{encoder_name(encoding.video)} {options}"
    if encoding.audio.track == "resample" or encoding.audio.member == "m4a":
        # Decoding and encoding AAC come out otherwise with other instructions.
        found["audio_encoder"] = f"aac on {instruction_set()}"
    return found


def instruction_set() -> str:
    """What this machine encodes sound with, and decodes most of it."""
    try:
        text = _CPU.read_text("ascii", "replace")
    except OSError:
        return platform.machine()
    flags = {word for line in text.splitlines() if line.startswith(("flags", "Features")) for word in line.split()}
    return " ".join([platform.machine(), *[level for level in _LEVELS if level in flags][:1]])
