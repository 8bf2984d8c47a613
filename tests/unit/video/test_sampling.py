"""Samples of frames, compared with those of a full decode, and what is decoded for them."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from miniature.made import make_clip

from kconvert.video.frames import decode, upright
from kconvert.video.sampling import Sampling, TooShort, sample, sample_at, sample_many

Pixels = npt.NDArray[np.uint8]


def made(path: Path, *options: str, source: str = "testsrc2=size=160x96:rate=10:duration=5") -> bytes:
    command: list[str | Path] = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-g", "8", *options, path]
    subprocess.run(command, check=True)
    return path.read_bytes()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """50 frames, with B frames and a keyframe every 8."""
    return made(tmp_path_factory.mktemp("clip") / "clip.mp4")


def whole(video: bytes) -> Pixels:
    return np.stack([upright(frame) for frame in decode(video)])


@pytest.mark.parametrize(
    ("sampling", "indexes"),
    [
        (Sampling(4, 3, "center"), [20, 23, 26, 29]),
        (Sampling(1, 1, 0.0), [0]),
        (Sampling(3, 2, 2.04), [20, 22, 24]),
        (Sampling(2, 4, 4.9), [49, 49]),
        (Sampling(2, 4, 4.9, too_short="wrap"), [49, 3]),
        (Sampling(16, 4, "center"), [*range(0, 49, 4), 49, 49, 49]),
        (Sampling(16, 4, "center", too_short="wrap"), [*range(0, 49, 4), 2, 6, 10]),
    ],
)
def test_the_frames_are_those_of_a_full_decode(clip: bytes, sampling: Sampling, indexes: list[int]) -> None:
    assert np.array_equal(sample(clip, sampling), whole(clip)[indexes])


def test_what_is_random_comes_from_the_generator_alone(clip: bytes) -> None:
    before = str(np.random.get_state())
    options = {"num_frames": 4, "stride": 2, "size": (32, 48), "crop": "random"}
    drawn = [sample(clip, Sampling(**options, generator=np.random.default_rng(seed))) for seed in (1, 1, 2)]  # type: ignore[arg-type]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert str(np.random.get_state()) == before
    starts = {
        int(np.abs(whole(clip).astype(int) - one[0]).mean(axis=(1, 2, 3)).argmin())
        for one in (sample(clip, Sampling(4, 2)) for _ in range(60))
    }
    assert min(starts) >= 0
    assert max(starts) <= 43
    assert len(starts) > 20


def test_decoding_begins_at_the_keyframe_before_and_ends_with_the_last(tmp_path: Path) -> None:
    """Of a long clip, so that time shows it."""
    long = made(tmp_path / "long.mp4", source="testsrc2=size=320x240:rate=30:duration=20")
    seconds = {}
    for start in (1.0, 18.0):
        began = time.process_time()
        for _ in range(5):
            sample(long, Sampling(2, 2, start))
        seconds[start] = time.process_time() - began
    began = time.process_time()
    whole(long)
    assert max(seconds.values()) / 5 < (time.process_time() - began) / 4


def only(index: int) -> Callable[[object], list[int]]:
    return lambda timeline: [index]


WAYS = {
    "b_frames": ("clip.mp4",),
    "no_edit_list": ("clip.mp4", "-use_editlist", "0"),
    "fragmented": ("clip.mp4", "-movflags", "+frag_keyframe+empty_moov"),
    "mpeg4": ("clip.mp4", "-c:v", "mpeg4", "-bf", "2"),
    "mpeg2": ("clip.mp4", "-c:v", "mpeg2video", "-bf", "2"),
    "open_gop": ("clip.mp4", "-x264-params", "open-gop=1"),
    "intra_refresh": ("clip.mp4", "-x264-params", "intra-refresh=1:keyint=24", "-bf", "0"),
    "ts": ("clip.ts",),
    "flv": ("clip.flv",),
    "mkv": ("clip.mkv",),
    "avi": ("clip.avi", "-c:v", "libx264"),
    "webm": ("clip.webm", "-c:v", "libvpx", "-b:v", "200k"),
    "hevc": ("clip.mp4", "-c:v", "libx265", "-x265-params", "log-level=error"),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_frame_is_that_of_a_full_decode_whatever_the_container_and_codec(way: str, tmp_path: Path) -> None:
    name, *options = WAYS[way]
    video = made(tmp_path / name, *options)
    frames = whole(video)
    for index in range(0, len(frames), 3):
        (found,) = sample_at(video, Sampling(1, 1), only(index))
        assert np.array_equal(found[0], frames[index]), index


SPARSE = {
    **{way: WAYS[way] for way in ("b_frames", "no_edit_list", "fragmented", "open_gop", "hevc", "mpeg4", "webm")},
    "dense": ("clip.mp4", "-g", "4", "-bf", "3", "-x264-params", "scenecut=0:b-pyramid=normal:b-adapt=0:ref=4"),
    "one_group": ("clip.mp4", "-g", "250", "-bf", "3", "-x264-params", "b-pyramid=normal:ref=8"),
    "lone_frames": ("clip.mp4", "-g", "1"),
}
"""What is between frames that are wanted need not be decoded there, or must be."""


@pytest.mark.parametrize("way", SPARSE)
def test_frames_far_apart_are_those_of_a_full_decode(way: str, tmp_path: Path) -> None:
    name, *options = SPARSE[way]
    video = made(tmp_path / name, *options)
    frames = whole(video)
    for stride in (2, 3, 4, 5, 9):
        for first in range(0, len(frames) - 3 * stride, 2):
            wanted = [first + number * stride for number in range(4)]
            (found,) = sample_at(video, Sampling(4, stride), lambda timeline, first=first: [first])  # type: ignore[misc]
            assert np.array_equal(found, frames[wanted]), (first, stride)


@pytest.mark.parametrize("size", [(32, 32), (96, 32), (32, 160), (200, 300)])
def test_a_size_is_covered_and_cropped(clip: bytes, size: tuple[int, int]) -> None:
    pixels = sample(clip, Sampling(2, 1, "center", size=size))
    assert pixels.shape == (2, *size, 3)


def test_scaling_keeps_the_shape(tmp_path: Path) -> None:
    """A circle stays one, also where pixels are not square."""
    draw = "geq=lum='if(lt(hypot(X*2-160,Y-80),60),235,16)':cb=128:cr=128"
    source = f"color=black:size=160x160:rate=5:duration=1,{draw}"
    clip = made(tmp_path / "sar.mp4", "-vf", "setsar=2", source=source)
    pixels = sample(clip, Sampling(1, 1, "center", size=(80, 80)))[0, ..., 0] > 128
    rows, columns = np.nonzero(pixels)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=3)


def test_turned_videos_are_upright_in_every_size(clip: bytes, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(clip)
    turned = tmp_path / "turned.mp4"
    command: list[str | Path] = [
        "ffmpeg",
        "-v",
        "error",
        "-display_rotation",
        "90",
        "-i",
        tmp_path / "clip.mp4",
        "-c",
        "copy",
        turned,
    ]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        command = [
            "ffmpeg",
            "-v",
            "error",
            "-i",
            tmp_path / "clip.mp4",
            "-c",
            "copy",
            "-metadata:s:v",
            "rotate=90",
            turned,
        ]
        subprocess.run(command, check=True)
    video = turned.read_bytes()
    full = sample(video, Sampling(1, 1, 0.0))[0]
    assert full.shape == (160, 96, 3)
    small = sample(video, Sampling(1, 1, 0.0, size=(80, 48)))[0]
    shrunk = full.reshape(80, 2, 48, 2, 3).mean(axis=(1, 3))
    assert np.abs(small - shrunk).mean() < 15
    assert np.abs(small[::-1, ::-1] - shrunk).mean() > 40


def test_where_the_rate_varies_the_stride_is_in_time(tmp_path: Path) -> None:
    source = "testsrc2=size=64x48:rate=20:duration=5,select='if(lt(n,40),1,not(mod(n,3)))'"
    clip = made(tmp_path / "vfr.mp4", "-fps_mode", "vfr", source=source)
    times = sorted(float(frame.time) for frame in decode(clip))
    mean = (times[-1] - times[0]) / (len(times) - 1)
    first = next(number for number, time in enumerate(times) if time >= 0.5)
    expected = [min(range(len(times)), key=lambda n: abs(times[n] - times[first] - k * 4 * mean)) for k in range(8)]
    pixels = sample(clip, Sampling(8, 4, 0.5))
    frames = whole(clip)
    assert [int(np.abs(frames.astype(int) - one).mean(axis=(1, 2, 3)).argmin()) for one in pixels] == expected


@pytest.fixture
def late_rush(tmp_path: Path) -> bytes:
    """Ten frames in four seconds, then twenty in one."""
    source = "testsrc2=size=64x48:rate=20:duration=5,select='if(lt(n,80),not(mod(n,8)),1)'"
    return made(tmp_path / "vfr.mp4", "-fps_mode", "vfr", source=source)


def taken(clip: bytes, sampling: Sampling) -> list[int]:
    """Which frames of the whole clip those of a sample are."""
    frames = whole(clip).astype(int)
    return [int(np.abs(frames - one).mean(axis=(1, 2, 3)).argmin()) for one in sample(clip, sampling)]


def test_what_fits_is_by_time_where_the_rate_varies(late_rush: bytes) -> None:
    """Times of frames: 0, 0.4 to 3.6, then 4, 4.05 to 4.95; 4.95 s / 29 is the mean interval."""
    times = sorted(float(frame.time) for frame in decode(late_rush))
    assert len(times) == 30
    assert times[-1] == pytest.approx(4.95)
    fits = [number for number, time in enumerate(times) if time + 8 * 4.95 / 29 <= 4.95]
    starts = {taken(late_rush, Sampling(5, 2))[0] for _ in range(80)}
    assert starts == set(fits) == set(range(9))
    assert taken(late_rush, Sampling(5, 2, "center")) == [4, 5, 6, 7, 7]
    first_of_many = [one[0] for one in sample_many(late_rush, Sampling(5, 2), 3)]
    assert all(np.array_equal(one, whole(late_rush)[n]) for one, n in zip(first_of_many, (0, 4, 8), strict=True))


@pytest.mark.parametrize(
    ("start", "too_short", "expected"),
    [
        (3.2, "repeat_last", [8, 9, 10, 14, 21]),
        (3.2, "wrap", [8, 9, 10, 14, 21]),
        (4.5, "repeat_last", [20, 27, 29, 29, 29]),
        (4.5, "wrap", [20, 27, 0, 1, 2]),
        (4.5, "error", "has 30 frames, 2 steps behind frame 20: expected 8"),
    ],
)
def test_what_is_too_short_is_by_time_where_the_rate_varies(
    late_rush: bytes, start: float, too_short: TooShort, expected: list[int] | str
) -> None:
    """The interval is 4.95 s / 29, so that the steps are 0.3414 s, and it begins anew after 5.1207 s."""
    sampling = Sampling(5, 2, start, too_short=too_short)
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            sample(late_rush, sampling)
    else:
        assert np.array_equal(sample(late_rush, sampling), whole(late_rush)[expected])


def test_many_samples_are_equally_far_apart(clip: bytes) -> None:
    pixels = sample_many(clip, Sampling(4, 2), 3)
    assert np.array_equal(pixels, np.stack([whole(clip)[[s, s + 2, s + 4, s + 6]] for s in (0, 21, 43)]))


@pytest.mark.parametrize("kind", ["good", "rotated", "index_at_end", "with_audio"])
def test_all_kinds_of_clips_give_the_frames_of_a_full_decode(kind: str) -> None:
    video = make_clip(kind, "1")
    assert np.array_equal(sample(video, Sampling(5, 3, "center")), whole(video)[[43, 46, 49, 52, 55]])


def test_what_cannot_be_had_is_a_value_error(clip: bytes) -> None:
    with pytest.raises(ValueError, match="has 50 frames, 49 steps behind frame 0: expected 60"):
        sample(clip, Sampling(16, 4, "center", too_short="error"))
    for video in (b"", b"text", make_clip("audio_only", "1")):
        with pytest.raises(ValueError, match="cannot be decoded|no video stream"):
            sample(video, Sampling())


@pytest.mark.parametrize(
    "options",
    [{"num_frames": 0}, {"stride": 0}, {"start": "middle"}, {"crop": "top"}, {"too_short": "?"}, {"size": (0, 1)}],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Sampling(**options)  # type: ignore[arg-type]
