"""Containers: which formats may open a clip, and which of them hold no video.

A text may name other files or addresses, and some demuxers open them: ffconcat, HLS, DASH, SDP and more. So only the
formats below are ever opened, and no protocol but the one that the clip itself comes by, be it here or by a program.
The names are those of libavformat's demuxers; pictures have demuxers of their own there (libavformat/img2dec.c).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

_VIDEOS = (
    "mov", "mp4", "matroska", "webm", "avi", "flv", "mpegts", "mpeg", "mpegvideo", "asf", "ogg", "rm", "mxf", "nut",
    "dv", "ivf", "h264", "hevc", "vvc", "av1", "obu", "m4v", "vc1", "swf", "wtv", "gxf", "nsv", "live_flv",
)  # fmt: skip
_SOUNDS = ("mp3", "wav", "aac", "flac", "ac3", "eac3", "amr", "aiff", "au", "ape", "caf", "w64", "opus", "dts", "loas")
_PICTURES = (
    "image2", "gif", "apng", "bmp_pipe", "cri_pipe", "dds_pipe", "dpx_pipe", "exr_pipe", "gem_pipe", "gif_pipe",
    "hdr_pipe", "ico", "j2k_pipe", "jpeg_pipe", "jpegls_pipe", "jpegxl_pipe", "jpegxl_anim", "jpegxs_pipe", "pam_pipe",
    "pbm_pipe", "pcx_pipe", "pfm_pipe", "pgm_pipe", "pgmyuv_pipe", "pgx_pipe", "phm_pipe", "photocd_pipe",
    "pictor_pipe", "png_pipe", "ppm_pipe", "psd_pipe", "qdraw_pipe", "qoi_pipe", "sgi_pipe", "sunrast_pipe",
    "svg_pipe", "tiff_pipe", "vbn_pipe", "webp", "webp_pipe", "webp_anim", "xbm_pipe", "xpm_pipe", "xwd_pipe",
)  # fmt: skip
"""Animated ones too: a picture that moves is no clip."""
FORMATS = ",".join((*_VIDEOS, *_SOUNDS, *_PICTURES))
"""As libavformat's option `format_whitelist` takes them."""
FROM_MEMORY: Mapping[str, str] = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
"""The options of what opens a clip that is in memory: it needs no protocol."""
FROM_FILE = ("-format_whitelist", FORMATS, "-protocol_whitelist", "file")
"""Those of a program that is given a file."""
_PICTURE_BRANDS = frozenset((b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"miaf"))
"""Of files whose primary item is a picture (ISO/IEC 23008-12, Annex B; AV1 Image File Format, 6)."""


@functools.lru_cache(maxsize=64)
def is_picture_format(name: str) -> bool:
    """Whether a demuxer, by its name (or names, with commas), is one of still or moving pictures."""
    return any(one in _PICTURES for one in name.split(","))


def is_picture_brand(brand: bytes) -> bool:
    """Whether a file of that major brand is a picture, unless it has tracks as well."""
    return brand in _PICTURE_BRANDS
