"""What the bytes of a clip say of it, without a library: for all probers alike."""

from __future__ import annotations

from kconvert.video.boxes import (
    Bytes,
    has_cutting_edits,
    has_tracks,
    is_encrypted,
    is_fragmented,
    major_brand,
    video_seconds,
)
from kconvert.video.containers import is_picture_brand
from kconvert.video.metadata import MediaMetadata
from kconvert.video.stated_size import missing_end
from kconvert.video.verdict import Fault

_NEARLY_ALL = 0.95
"""Of what is stated: some muxers count a frame that is not there."""


_MAX_STRETCH = 2.0
"""Of the stated time: of 201 tracks of real files, none lasts more than 1.07 times that."""


def no_video_fault(data: Bytes, num_samples: int) -> Fault | None:
    """Why there is no video in an ISO file, although a stream says so; `None` if there is. `num_samples` are those that
    the libraries find in its index for that stream."""
    brand = major_brand(data)
    if not brand:
        return None
    if is_picture_brand(brand) and not has_tracks(data):
        return Fault("no_video", f"is a picture ({brand.decode('latin-1')})")
    if not num_samples and not is_fragmented(data):
        return Fault("no_video", "the video track has no samples")
    return None


def index_fault(data: Bytes, num_entries: int, num_stated: int) -> Fault | None:
    """What is wrong with the index of an ISO file from which the libraries made so many entries for its video."""
    if not major_brand(data) or num_entries >= num_stated or is_fragmented(data) or has_cutting_edits(data):
        return None
    return Fault("truncated", f"the index states {num_stated:,} samples, of which {num_entries:,} can be found")


def decoded_fault(metadata: MediaMetadata, num_frames: int, seconds: float | None) -> Fault | None:
    """What is wrong with a video that gave so many frames without an error; from the first frame of all streams to the
    end of the last there are so many seconds (`None` if they have no times)."""
    if not num_frames:
        return Fault("undecodable", "no frame was decoded")
    duration = metadata.duration_seconds
    if fault := frames_fault(num_frames, metadata.num_frames or 0):
        return fault
    if duration is not None and seconds is not None and seconds < _NEARLY_ALL * duration:
        return Fault("undecodable", f"what decodes ends after {seconds:.3f} of {duration:.3f} s")
    return None


def frames_fault(num_frames: int, num_stated: int) -> Fault | None:
    """What is wrong with a video that gave so many frames of those that are stated, 0 if none are."""
    if num_frames >= _NEARLY_ALL * num_stated:
        return None
    return Fault("undecodable", f"{num_frames:,} of {num_stated:,} frames decode")


def times_fault(data: Bytes) -> Fault | None:
    """What is wrong with the times of the index of an ISO file: those that make no sense lie beyond the edit list,
    which then shows fewer frames than there are."""
    for indexed, stated in video_seconds(data):
        if indexed > _MAX_STRETCH * stated > 0:
            return Fault("undecodable", f"the video's samples last {indexed:.3f} s, where {stated:.3f} s are stated")
    return None


def structure_fault(data: Bytes) -> Fault | None:
    """What is wrong with a file that opens, as its own structure states it; `None` if nothing is."""
    if detail := missing_end(data):
        return Fault("truncated", detail)
    if is_encrypted(data):
        return Fault("encrypted", "the video track is encrypted")
    return None
