"""What becomes of a clip that is encoded."""

from __future__ import annotations

from dataclasses import dataclass

from kconvert.video.verdict import Defect, Fault


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


@dataclass(frozen=True)
class EncodedClip:
    """The same, and the bytes."""

    about: Encoded
    """What became of it."""
    data: bytes = b""
    """What is written; nothing where the clip stays as it is, or cannot be encoded."""


def failed(defect: Defect, detail: str) -> EncodedClip:
    """A clip that cannot be encoded."""
    return EncodedClip(Encoded("", fault=Fault(defect, detail)))
