"""When frames are shown, by the index or by the packets: as ffprobe says of the same file."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kconvert.video.boxes import video_tracks
from kconvert.video.encoding.encode import encode
from kconvert.video.encoding.encoded import Known
from kconvert.video.encoding.options import AudioOptions, VideoOptions, encoding_of
from kconvert.video.metadata import MediaMetadata
from kconvert.video.process import VideoProcess
from kconvert.video.shown_times import ShownTimes, shown_times
from kconvert.video.verdict import Fault

MAKE = "ffmpeg -v error -f lavfi -i testsrc2=s=64x48:r=25:d=4 -c:v libx264 -bf 2 -pix_fmt yuv420p -y"


def starts_at_zero(clip: bytearray) -> None:
    """The edit list begins before the first frame."""
    at = clip.index(b"elst") + 16
    clip[at : at + 4] = bytes(4)


def has_empty_samples(clip: bytearray) -> None:
    """Ten frames were dropped: they have a time, and no bytes."""
    first = clip.index(b"stsz") + 16
    for number in range(20, 30):
        clip[first + 4 * number : first + 4 * number + 4] = bytes(4)


def has_no_edits(clip: bytearray) -> None:
    at = clip.index(b"edts")
    clip[at : at + 4] = b"free"


def overhangs(clip: bytearray) -> None:
    """A box states that it ends long after the one that it is in."""
    at = clip.index(b"mdia") - 4
    clip[at : at + 4] = (1 << 28).to_bytes(4, "big")


def has_half_an_entry(clip: bytearray) -> None:
    """The last of the places of chunks is cut in its middle."""
    at = clip.index(b"stco") - 4
    size = int.from_bytes(clip[at : at + 4], "big")
    clip[at : at + 4] = (size - 2).to_bytes(4, "big")
    # What follows is to be found again.
    clip[at + size - 2 : at + size] = b""
    for kind in (b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        at = clip.index(kind) - 4
        clip[at : at + 4] = (int.from_bytes(clip[at : at + 4], "big") - 2).to_bytes(4, "big")


CHANGES: list[Callable[[bytearray], None]] = [lambda clip: None, starts_at_zero, has_empty_samples, has_no_edits]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    subprocess.run([*MAKE.split(), str(path)], check=True)
    return path.read_bytes()


def by_ffprobe(path: Path) -> list[float]:
    words = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "packet=pts_time,flags,size"]
    said = subprocess.run([*words, "-of", "json", str(path)], capture_output=True, text=True, check=True).stdout
    packets = [one for one in json.loads(said)["packets"] if "D" not in one["flags"] and int(one["size"])]
    return sorted(float(one["pts_time"]) for one in packets)


@pytest.mark.parametrize("change", CHANGES)
def test_times_are_those_of_the_packets(change: Callable[[bytearray], None], clip: bytes, tmp_path: Path) -> None:
    changed = bytearray(clip)
    change(changed)
    (tmp_path / "clip.mp4").write_bytes(changed)
    with VideoProcess() as process:
        found = shown_times(process, bytes(changed))
    assert [round(float(tick * found.tick_seconds), 3) for tick in found.ticks] == [
        round(seconds, 3) for seconds in by_ffprobe(tmp_path / "clip.mp4")
    ]


def test_a_box_that_overhangs_what_it_is_in_is_read_to_the_end_of_that(clip: bytes) -> None:
    changed = bytearray(clip)
    overhangs(changed)
    with VideoProcess() as process:
        assert len(shown_times(process, bytes(changed)).ticks) == 100


def test_of_a_table_that_ends_within_an_entry_the_whole_ones_count(clip: bytes) -> None:
    changed = bytearray(clip)
    has_half_an_entry(changed)
    assert [track.num_samples for track in video_tracks(bytes(changed))] == [100]
    with VideoProcess() as process:
        encoding = encoding_of(VideoOptions(short_side=48), AudioOptions())
        about = process.run(encode, bytes(changed), 60, encoding, Known(MediaMetadata())).about
    assert about.fault == Fault("undecodable", "no frame was decoded")


def test_of_two_frames_that_are_equally_near_the_earlier_counts(clip: bytes) -> None:
    with VideoProcess() as process:
        times: ShownTimes = shown_times(process, clip)
    assert [times.nearest(moment) for moment in (-5, 0, 19_999, 20_000, 20_001, 3_960_000, 99_000_000)] == [
        0, 0, 0, 0, 1, 99, 99,
    ]  # fmt: skip
