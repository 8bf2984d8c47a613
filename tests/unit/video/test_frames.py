"""Frames as people see them, compared with what ffmpeg shows."""

import subprocess
from pathlib import Path

import av
import numpy
import pytest
from miniature.made import make_clip

from kconvert.video.frames import decode, upright
from kconvert.video.streams import best_video

TURNS = {"90": (90, False), "180": (180, False), "270": (270, False), "mirrored": (0, True), "both": (90, True)}


def shown_by_ffmpeg(path: Path) -> numpy.ndarray:
    """The first frame, as `ffmpeg` turns it by itself: height × width × 3."""
    probe: list[str | Path] = [
        "ffmpeg",
        "-v",
        "error",
        "-i",
        path,
        "-frames:v",
        "1",
        "-f",
        "image2pipe",
        "-c:v",
        "ppm",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    data = subprocess.run(probe, capture_output=True, check=True).stdout
    _, size, _, pixels = data.split(b"\n", 3)
    width, height = map(int, size.split())
    return numpy.frombuffer(pixels, numpy.uint8).reshape(height, width, 3)


def first(data: bytes) -> numpy.ndarray:
    return upright(next(decode(data)))


def assert_alike(found: numpy.ndarray, expected: numpy.ndarray) -> None:
    assert found.shape == expected.shape
    assert found.flags["C_CONTIGUOUS"]
    # Two versions of the libraries round colours a little differently.
    assert numpy.abs(found.astype(int) - expected.astype(int)).mean() < 4


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of which no turned or mirrored picture looks like another."""
    path: Path = tmp_path_factory.mktemp("plain") / "plain.mp4"
    source = "testsrc=size=160x96:rate=5:duration=1"
    command: list[str | Path] = [
        "ffmpeg",
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        source,
        "-pix_fmt",
        "yuv420p",
        "-c:v",
        "libx264",
        path,
    ]
    subprocess.run(command, check=True)
    return path


@pytest.mark.parametrize("turn", TURNS)
def test_frames_are_upright(plain: Path, tmp_path: Path, turn: str) -> None:
    degrees, is_mirrored = TURNS[turn]
    path = tmp_path / "turned.mp4"
    with av.open(str(plain)) as source, av.open(str(path), "w") as sink:
        stream = source.streams.video[0]
        copied = sink.add_stream_from_template(stream)
        copied.set_display_rotation(degrees, hflip=is_mirrored)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copied
                sink.mux(packet)
    assert_alike(first(path.read_bytes()), shown_by_ffmpeg(path))


@pytest.mark.parametrize(
    "name",
    [
        "androidx-media__mp4_sample_rotate_and_reflect.mp4",
        "androidx-media__mp4_sample_with_color_info.mp4",
        "torchcodec__nasa_13013.mp4",
        "androidx-media__mp4_bt601.mov",
    ],
)
def test_frames_of_real_files_are_those_that_ffmpeg_shows(shared_data: Path, name: str) -> None:
    path = shared_data / "odd" / name
    found = first(path.read_bytes())
    expected = shown_by_ffmpeg(path)
    assert found.shape == expected.shape


def test_of_two_videos_the_best_is_shown(shared_data: Path) -> None:
    path = shared_data / "odd" / "torchcodec__nasa_13013.mp4"
    assert first(path.read_bytes()).shape == (270, 480, 3)
    with av.open(str(path)) as container:
        best, theirs = best_video(container), container.streams.best("video")
        assert best is not None
        assert theirs is not None
        assert best.index == theirs.index == 3


@pytest.mark.parametrize("text", ["ffconcat version 1.0\nfile other.mp4\n", "#EXTM3U\n#EXTINF:1,\nother.mp4\n"])
def test_a_text_makes_no_other_file_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "other.mp4").write_bytes(make_clip("good", "x"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="cannot be decoded"):
        next(decode(text.encode()))
