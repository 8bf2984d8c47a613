"""What is right to say of a real file, asked of ffprobe and of nothing that belongs to kconvert."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

MIN_SECONDS = 9.0
MIN_FRAMES = 16
_OF_UNKNOWN_KIND = {
    "5d79c5763d03c01b92628bc0afbea9a36305f2537b1d08ea4b175770fab62b5a",
    "a3c65de9c5a3b0446384908d1b787caa07a8ee982b23091e0dbd794ff4547152",
}
"""Digests of libwebm's `invalid_vp9_bitstream-bug_1416.webm` and `…1417.webm`: cut as others are (their segments end at
byte 1,060,962 by the eight bytes after `18 53 80 67`), but of a document type that MediaInfo does not open."""
_OF_UNKNOWN_SIZE = {"285fb7a3e151e9e5ca157b58d03c193fb8254d31e2ab8d0c89178ea6b38f187e"}
"""That of moviepy's `no_duration.webm`, whose segment states no size (all ones after `18 53 80 67`), as live recordings
do; MediaInfo calls that truncated."""


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
    video = next(stream for stream in found["streams"] if stream["codec_type"] == "video")
    if int(video.get("nb_frames", MIN_FRAMES)) < MIN_FRAMES:
        defects.append("few_frames")
    is_cut = "partial file" in messages or "Packet corrupt" in messages
    if is_cut or _digest(path) in _OF_UNKNOWN_KIND or says_truncated(path):
        defects.append("truncated")
    elif is_encrypted(path):
        defects.append("encrypted")
    return tuple(defects)


def num_shown(path: Path, video: dict[str, Any], is_cut: bool) -> int | None:
    """The frames that a video's index states, without those that its edit list leaves out (as ffprobe flags their
    packets); all that are stated where the index is cut."""
    if "nb_frames" not in video:
        return None
    if is_cut:
        return int(video["nb_frames"])
    found, _, _ = ffprobe(path, "-show_packets", "-select_streams", str(video["index"]))
    num_left_out = sum("D" in packet["flags"] for packet in found["packets"])
    return len(found["packets"]) - num_left_out if num_left_out else int(video["nb_frames"])


def says_truncated(path: Path) -> bool:
    """Whether MediaInfo finds a file shorter than its container states."""
    says = any(track.to_data().get("istruncated") == "Yes" for track in _media_info(path).general_tracks)
    return says and _digest(path) not in _OF_UNKNOWN_SIZE


def is_encrypted(path: Path) -> bool:
    """Whether MediaInfo finds the video encrypted."""
    return any(track.to_data().get("encryption") for track in _media_info(path).video_tracks)


def _media_info(path: Path) -> Any:
    # Only tests ask it: `tools/demo` does without what they need.
    from pymediainfo import MediaInfo

    return MediaInfo.parse(path)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
