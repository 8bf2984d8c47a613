"""What is right to say of a real file, asked of ffprobe and of nothing that belongs to kconvert."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from pymediainfo import MediaInfo

MIN_SECONDS = 9.0
_OF_UNKNOWN_KIND = {
    "libwebm__testing__testdata__invalid__invalid_vp9_bitstream-bug_1416.webm",
    "libwebm__testing__testdata__invalid__invalid_vp9_bitstream-bug_1417.webm",
}
"""Cut as others are (their segments end at byte 1,060,962 by the eight bytes after `18 53 80 67`), but of a document
type that MediaInfo does not open."""


def ffprobe(path: Path, *options: str) -> tuple[dict[str, Any], str, int]:
    """What `ffprobe -of json` prints, its messages and its exit code."""
    command = ["ffprobe", "-v", "warning", "-of", "json", *options, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return {} if done.returncode else json.loads(done.stdout), done.stderr, done.returncode


def duration_seconds(found: dict[str, Any]) -> float | None:
    """The video stream's duration where stated, else the container's."""
    video = next(stream for stream in found["streams"] if stream["codec_type"] == "video")
    text = video.get("duration") or found["format"].get("duration")
    return None if text is None else float(text)


def probe_defects(path: Path) -> tuple[str, ...]:
    """The defects of a file at the default depth."""
    if path.stat().st_size == 0:
        return ("empty",)
    found, messages, code = ffprobe(path, "-show_format", "-show_streams", "-show_packets")
    if code:
        return ("unreadable",)
    if not any(stream["codec_type"] == "video" for stream in found["streams"]):
        return ("no_video",)
    seconds = duration_seconds(found)
    defects = ["short"] if seconds is not None and seconds < MIN_SECONDS else []
    is_cut = "partial file" in messages or "Packet corrupt" in messages
    if is_cut or path.name in _OF_UNKNOWN_KIND or says_truncated(path):
        defects.append("truncated")
    elif is_encrypted(path):
        defects.append("encrypted")
    return tuple(defects)


def says_truncated(path: Path) -> bool:
    """Whether MediaInfo finds a file shorter than its container states."""
    return any(track.to_data().get("istruncated") == "Yes" for track in MediaInfo.parse(path).general_tracks)


def is_encrypted(path: Path) -> bool:
    """Whether MediaInfo finds the video encrypted."""
    return any(track.to_data().get("encryption") for track in MediaInfo.parse(path).video_tracks)
