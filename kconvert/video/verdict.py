"""The verdict on a clip: which defects it has, and whether they reject it.

A prober reports faults and metadata; `judge` adds what is a matter of options. Nothing here touches a file.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

from kconvert.video.metadata import MediaMetadata

Defect = Literal[
    "empty",
    "unreadable",
    "no_video",
    "short",
    "few_frames",
    "truncated",
    "encrypted",
    "undecodable",
    "unencodable",
    "crashed",
    "timeout",
]
DEFECTS: tuple[Defect, ...] = get_args(Defect)
"""All defects, in the order in which a row lists them."""
_FLAGS: tuple[Defect, ...] = ("short", "few_frames")
"""Those that are a matter of options, and reject a clip only if a person says so."""

Depth = Literal["header", "index", "decode"]

MAX_DETAIL_CHARS = 500
"""A tool's message is cut there: some tools repeat themselves without end."""


@dataclass(frozen=True)
class CheckOptions:
    """How clips are checked."""

    depth: Depth = "index"
    """How deep: header opens the container, index also compares its sample index with the file's size,
    decode also decodes every frame."""
    prober: Literal["libav", "ffprobe"] = "libav"
    """What looks into the clips: libav (PyAV: ffprobe's libraries, in this process) or the ffprobe program,
    which is 50 times slower."""
    min_duration: float = 9.0
    """A video that lasts less than this many seconds is short."""
    short: Literal["keep", "drop"] = "keep"
    """Whether short clips are written (and flagged) or rejected."""
    min_frames: int = 16
    """A video of fewer frames has too few of them; where the container states no number, only decoding shows it."""
    few_frames: Literal["keep", "drop"] = "keep"
    """Whether clips of too few frames are written (and flagged) or rejected."""
    timeout: float = 60.0
    """After this many seconds the check of one clip is given up, and the clip is rejected as `timeout`."""

    def __post_init__(self) -> None:
        if not self.min_duration >= 0:
            raise ValueError(f"--check.min_duration {self.min_duration}: expected 0 or more seconds")
        if self.min_frames < 0:
            raise ValueError(f"--check.min_frames {self.min_frames}: expected 0 or more")
        if not 0 < self.timeout <= 86_400:
            raise ValueError(f"--check.timeout {self.timeout}: expected more than 0 seconds, and at most a day")

    @property
    def dropped(self) -> frozenset[str]:
        """The flags that reject a clip."""
        chosen = {"short": self.short, "few_frames": self.few_frames}
        return frozenset(flag for flag, choice in chosen.items() if choice == "drop")


@dataclass(frozen=True)
class Fault:
    """Something that a prober found wrong."""

    defect: Defect
    """Any but `short` and `few_frames`, which are judged, not found."""
    detail: str
    """The tool's own message."""


@dataclass(frozen=True)
class Probed:
    """What a prober says of one clip."""

    metadata: MediaMetadata
    """What could be read; all unknown if the container did not open."""
    fault: Fault | None = None
    """The first fault found; deeper checks are not made after one."""


@dataclass(frozen=True)
class Verdict:
    """The judgement of one clip."""

    defects: tuple[Defect, ...]
    """In the order of `DEFECTS`."""
    detail: str
    """The message of the tool that found a defect, on one line; `""` if there is none."""


def judge(probed: Probed, options: CheckOptions) -> Verdict:
    """The defects of a clip under these options. A clip of exactly `min_duration` seconds is not short, one of exactly
    `min_frames` has enough."""
    found: set[Defect] = set()
    details: list[str] = []
    if probed.fault is not None:
        found.add(probed.fault.defect)
        details.append(probed.fault.detail)
    duration, is_estimated = _duration(probed.metadata)
    if duration is not None and duration < options.min_duration:
        found.add("short")
        how = " by its frames and their rate" if is_estimated else ""
        details.append(f"lasts {duration:.6f} s{how}, expected at least {options.min_duration:g} s")
    num_frames = _num_frames(probed.metadata)
    if num_frames is not None and num_frames < options.min_frames:
        found.add("few_frames")
        details.append(f"has {num_frames:,} frames, expected at least {options.min_frames:,}")
    detail = clean_detail("; ".join(details))
    return Verdict(tuple(defect for defect in DEFECTS if defect in found), detail)


def _duration(metadata: MediaMetadata) -> tuple[float | None, bool]:
    """How long a video lasts in seconds, and whether that is estimated; `None` if nobody knows."""
    if metadata.duration_seconds is not None:
        return metadata.duration_seconds, False
    num_frames = _num_frames(metadata)
    return (num_frames / metadata.fps, True) if num_frames is not None and metadata.fps else (None, False)


def _num_frames(metadata: MediaMetadata) -> int | None:
    """As stated, else as counted."""
    return metadata.num_decoded_frames if metadata.num_frames is None else metadata.num_frames


def rejecting_defect(defects: Collection[str], dropped: Collection[str]) -> str:
    """The defect that rejects a clip, the gravest first, or `""` if the clip may be written; `dropped` are the flags
    that reject (see `CheckOptions.dropped`)."""
    graver = (defect for defect in DEFECTS if defect not in _FLAGS)
    return next((defect for defect in (*graver, *_FLAGS) if defect in defects and _rejects(defect, dropped)), "")


def _rejects(defect: Defect, dropped: Collection[str]) -> bool:
    return defect not in _FLAGS or defect in dropped


def clean_detail(message: str) -> str:
    """A tool's message on one line, without control characters and of bounded length."""
    printable = "".join(char if char.isprintable() else " " for char in message[: 4 * MAX_DETAIL_CHARS])
    line = " ".join(printable.split())
    return line if len(line) <= MAX_DETAIL_CHARS else line[: MAX_DETAIL_CHARS - 1] + "…"
