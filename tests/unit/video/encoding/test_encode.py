"""What becomes of odd clips, each made for one thing that once went wrong."""

import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from seeing import stream, video

from kconvert.video.child import Clip
from kconvert.video.encoding.comparison import Comparing
from kconvert.video.encoding.encode import encode
from kconvert.video.encoding.encoded import EncodedClip, Known
from kconvert.video.encoding.options import AudioOptions, Encoding, VideoOptions, VideoSettings, encoding_of
from kconvert.video.metadata import MediaMetadata

SMALL = VideoSettings(short_side=64)
PICTURE = "testsrc2=size=160x96:rate=25:duration=2"


def ffmpeg(*words: str | Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *words], check=True)


def made(path: Path, *options: str, source: str = PICTURE) -> Path:
    ffmpeg("-f", "lavfi", "-i", source, *options, path)
    return path


def encoded(path: Path, encoding: Encoding, out: Path | None = None, *, is_compared: bool = False) -> EncodedClip:
    data = path.read_bytes()
    clip = encode(Clip(data), lambda what: None, encoding, Known(MediaMetadata(), is_compared))
    if out is not None:
        assert clip.data, clip.about
        out.write_bytes(clip.data)
    return clip


@pytest.mark.parametrize("width", [86, 342, 456])
def test_ten_bits_are_compared_without_what_stands_behind_a_row(width: int) -> None:
    comparing = Comparing()
    frame = av.VideoFrame(width, 64, "yuv420p10le")
    for plane in frame.planes:
        # 0xFFFF is no value of ten bits; rows hold 512.
        row = b"\x00\x02" * plane.width
        plane.update((row + b"\xff" * (plane.line_size - len(row))) * plane.height)
    comparing.take(0, frame)
    assert comparing._lumas[0].rows == (b"\x80" * width,) * 64


@pytest.mark.parametrize("num_frames", [1, 2, 3])
@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_few_frames_come_out_the_same_each_time(codec: Any, num_frames: int, tmp_path: Path) -> None:
    path = made(tmp_path / "few.mp4", "-frames:v", str(num_frames))
    encoding = encoding_of(VideoOptions(short_side=64, codec=codec), AudioOptions())
    found = {encoded(path, encoding, tmp_path / "out.mp4").data for _ in range(3)}
    assert len(found) == 1
    assert len(video(tmp_path / "out.mp4").packets) == num_frames


@pytest.mark.parametrize(
    ("fps", "rate"), [(29.97, (2997, 100)), (23.976023976, (24000, 1001)), (30, (30, 1)), (0.5, (1, 2))]
)
def test_a_rate_is_the_one_that_is_meant(fps: float, rate: tuple[int, int]) -> None:
    settings = encoding_of(VideoOptions(fps=fps), AudioOptions()).video
    assert settings is not None
    assert settings.fps == Fraction(*rate)


def test_what_an_edit_list_leaves_out_does_not_come_back_with_the_sound_gone(tmp_path: Path) -> None:
    whole = tmp_path / "whole.mp4"
    ffmpeg("-f", "lavfi", "-i", PICTURE, "-f", "lavfi", "-i", "sine=d=2", "-g", "25", "-shortest", whole)
    cut = tmp_path / "cut.mp4"
    ffmpeg("-ss", "0.5", "-i", whole, "-c", "copy", cut)
    shown = [one for one in video(cut).packets if "D" not in one["flags"]]
    clip = encoded(cut, Encoding(None, AudioOptions("drop")), tmp_path / "out.mp4")
    assert clip.about.reasons == ("edits",)
    assert len(video(tmp_path / "out.mp4").packets) == len(shown) < 50


@pytest.mark.parametrize(
    ("codec", "ratios", "num_first", "num_b"),
    [
        ("libx264", ("1/1", "16/9"), 12, 2),
        ("libx264", ("4/3", "1/1"), 12, 2),
        ("libx264", ("1/1", "1/2"), 12, 2),
        # What probes the file reads into the second part.
        ("libx264", ("1/2", "1/1"), 2, 0),
        ("libx265", ("16/11", "1/1"), 3, 0),
        ("mpeg2video", ("1/1", "16/9"), 12, 2),
        ("mpeg2video", ("4/3", "1/1"), 12, 2),
    ],
)
def test_pixels_that_change_their_shape_are_fitted_into_the_first_one(
    codec: str, ratios: tuple[str, str], num_first: int, num_b: int, tmp_path: Path
) -> None:
    """White frames: what is black stands around them; by ffmpeg's own reckoning of each frame's aspect ratio."""
    whole = joined(tmp_path / "whole.ts", codec, ratios, num_first, num_b)
    probe: list[str | Path] = ["ffprobe", "-v", "error", "-show_entries", "frame=sample_aspect_ratio", "-of", "csv=p=0"]
    lines = subprocess.run([*probe, whole], check=True, capture_output=True, text=True).stdout.splitlines()
    said = [Fraction(line.strip(",").replace(":", "/")) for line in lines if ":" in line]
    assert len(set(said)) == 2
    clip = encoded(whole, Encoding(VideoSettings(), AudioOptions()), tmp_path / "out.mp4")
    assert "changing" in clip.about.notes
    found = grey(tmp_path / "out.mp4")
    assert [bool((picture > 100).all()) for picture in found] == [True] * num_first + [False] * 12
    assert (found[-1] < 100).mean() == pytest.approx(float(1 - min(said) / max(said)), abs=0.05)
    height, width = found[0].shape
    assert width / height == pytest.approx(float(said[0]), abs=0.04)


def test_what_a_container_says_of_pixels_holds_for_all_of_them(tmp_path: Path) -> None:
    whole = joined(tmp_path / "whole.ts", "libx264", ("4/3", "1/1"), 12, 2)
    ffmpeg("-i", whole, "-c", "copy", tmp_path / "whole.mkv")
    clip = encoded(tmp_path / "whole.mkv", Encoding(VideoSettings(), AudioOptions()), tmp_path / "out.mp4")
    assert "changing" not in clip.about.notes
    assert all((picture > 100).all() for picture in grey(tmp_path / "out.mp4"))


def joined(path: Path, codec: str, ratios: tuple[str, str], num_first: int, num_b: int) -> Path:
    """White frames with pixels of one shape, and twelve more with another one."""
    parts = [path.with_name(f"{number}.ts") for number in range(2)]
    for part, ratio, num in zip(parts, ratios, (num_first, 12), strict=True):
        white = "color=white:size=64x64:rate=25"
        bframes = ("-x265-params", f"bframes={num_b}:log-level=none") if codec == "libx265" else ("-bf", str(num_b))
        made(part, "-frames:v", str(num), "-vf", f"setsar={ratio}", "-c:v", codec, *bframes, source=white)
    ffmpeg("-i", f"concat:{parts[0]}|{parts[1]}", "-c", "copy", path)
    return path


def grey(path: Path) -> list[Any]:
    with av.open(path) as container:
        return [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]


@pytest.mark.parametrize("audio", [AudioOptions(), AudioOptions("drop")])
def test_frames_of_an_avi_follow_each_other_evenly_although_it_has_times_of_decoding_only(
    audio: AudioOptions, tmp_path: Path
) -> None:
    path = made(tmp_path / "clip.avi", "-c:v", "libx264", "-bf", "3")
    for encoding in (Encoding(SMALL, audio), Encoding(None, AudioOptions("drop"))):
        encoded(path, encoding, tmp_path / "out.mp4")
        times = video(tmp_path / "out.mp4").times
        assert times == pytest.approx([number / 25 for number in range(50)], abs=1e-6)


@pytest.mark.parametrize("fps", [None, 1, 5, 8, 15])
def test_a_rate_leaves_the_sound_as_far_from_the_picture(fps: int | None, tmp_path: Path) -> None:
    path = tmp_path / "early.mp4"
    sound = ("-f", "lavfi", "-i", "sine=d=2:r=48000")
    ffmpeg("-itsoffset", "0.3", "-f", "lavfi", "-i", PICTURE, *sound, "-c:a", "aac", path)
    before = stream(path, "a:0")
    assert before is not None
    rate = None if fps is None else Fraction(fps)
    encoded(path, Encoding(VideoSettings(short_side=64, fps=rate)), tmp_path / "out.mp4")
    after, picture = stream(tmp_path / "out.mp4", "a:0"), video(tmp_path / "out.mp4")
    assert after is not None
    distance = video(path).starts - before.starts
    assert picture.starts - after.starts == pytest.approx(distance, abs=0.001)
    # Such a result conforms.
    asked = Encoding(VideoSettings(short_side=64, fps=rate))
    assert encoded(tmp_path / "out.mp4", asked).about.how == "unchanged"


def test_what_changes_inside_does_not_conform(tmp_path: Path) -> None:
    parts = []
    for number, size in enumerate(("160x96", "224x128")):
        part = made(tmp_path / f"{number}.264", source=f"testsrc2=size={size}:rate=25:duration=1")
        parts.append(part.read_bytes())
    raw = tmp_path / "both.264"
    raw.write_bytes(b"".join(parts))
    both = tmp_path / "both.mp4"
    # The headers of the second part stay among its pictures.
    ffmpeg("-r", "25", "-i", raw, "-c", "copy", "-tag:v", "avc3", "-movflags", "+faststart", both)
    assert encoded(both, Encoding(VideoSettings(keyframes=25))).about.how == "encoded"


@pytest.mark.parametrize("rate", ["8000", "11025"])
def test_sound_that_mp4_does_not_take_is_encoded(rate: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    ffmpeg("-f", "lavfi", "-i", PICTURE, "-f", "lavfi", "-i", "sine=d=2", "-c:a", "mp3", "-ar", rate, path)
    clip = encoded(path, Encoding(SMALL), tmp_path / "out.mp4")
    assert "sound encoded (codec)" in clip.about.notes
    found = stream(tmp_path / "out.mp4", "a:0")
    assert found is not None
    assert (found.facts["codec_name"], found.facts["sample_rate"]) == ("aac", rate)
