"""What becomes of a clip that is encoded."""

from __future__ import annotations

from dataclasses import dataclass, field

from kconvert.storage.records import LATER
from kconvert.video.metadata import MediaMetadata
from kconvert.video.verdict import Defect, Fault

_ONE_OF = 16


@dataclass(frozen=True)
class Known:
    """What is known of a clip before it is encoded."""

    metadata: MediaMetadata
    """What its container states."""
    is_compared: bool = False
    """Whether the result is compared with it."""


def is_compared(sha256: str) -> bool:
    """Whether the clip of that digest is one of those that are compared."""
    return int(sha256[:8], 16) % _ONE_OF == 0


@dataclass(frozen=True)
class Comparison:
    """How near what was written is to what was encoded."""

    ssim: float
    """Mean over some frames, up to 1 for equal; four digits."""
    frame_index: int
    """Of the still, from 0."""
    still: str
    """The frame before it was encoded, a JPEG in base64."""


@dataclass(frozen=True)
class SoundFacts:
    """What is in the file of a clip's sound."""

    size_bytes: int
    """Of the file."""
    rate: int
    """Samples a second."""
    num_channels: int
    """From 1."""
    num_samples: int | None
    """In each channel; `None` for m4a, which does not say it exactly."""
    lead_seconds: float
    """How long before the first picture it begins."""
    is_silent: bool
    """Whether there is no sound, or every sample of 16 bits is 0."""


@dataclass(frozen=True)
class Encoded:
    """What became of a clip."""

    how: str
    """`unchanged`, `remuxed` or `encoded`; `""` where it cannot be encoded."""
    reasons: tuple[str, ...] = ()
    """Why it does not stay as it is."""
    notes: tuple[str, ...] = ()
    """What is odd of it, and what was made of that."""
    num_decoded_frames: int | None = None
    """That the clip shows; `None` if it was not decoded."""
    fault: Fault | None = None
    """What is wrong with it, found on the way."""
    comparison: Comparison | None = None
    """How near the result is; `None` where that was not looked at."""
    sound: SoundFacts | None = None
    """Of the file of its sound; `None` if there is none."""
    is_sound_inexact: bool = field(default=False, metadata=LATER)
    """Whether sound that is written comes out otherwise with another instruction set."""


@dataclass(frozen=True)
class EncodedClip:
    """The same, and the bytes."""

    about: Encoded
    """What became of it."""
    data: bytes = b""
    """What is written; nothing where the clip stays as it is, or cannot be encoded."""
    sound: bytes = b""
    """The file of its sound; nothing where there is none."""


def failed(defect: Defect, detail: str) -> EncodedClip:
    """A clip that cannot be encoded."""
    return EncodedClip(Encoded("", fault=Fault(defect, detail)))
