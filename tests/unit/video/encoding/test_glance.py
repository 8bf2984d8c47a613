"""What a glance says of a clip is what looking at all of its packets says."""

from __future__ import annotations

import itertools
import random
import subprocess
from pathlib import Path

import av
import pytest

from kconvert.video.child import Clip
from kconvert.video.encoding.colour import UnknownColourError
from kconvert.video.encoding.conforming import why_encoded, why_remuxed
from kconvert.video.encoding.encode import encode
from kconvert.video.encoding.encoded import Known
from kconvert.video.encoding.glance import surely_stays
from kconvert.video.encoding.options import AudioOptions, Encoding, VideoSettings
from kconvert.video.metadata import MediaMetadata
from kconvert.video.opening import opened
from kconvert.video.streams import best_video

SMALL = Encoding(VideoSettings(short_side=64), AudioOptions())
NUM_FLIPS = 300


def ffmpeg(*words: str | Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *words], check=True)


def reasons(data: bytes, encoding: Encoding) -> tuple[str, ...]:
    """Why something is to be done to a clip, by its packets."""
    assert encoding.video is not None
    try:
        with opened(Clip(data)) as container:
            video = best_video(container)
            if video is None or video.codec_context is None:
                return ("nothing",)
            encoded = why_encoded(Clip(data), container, video, encoding.video)
            return encoded or why_remuxed(Clip(data), container, video, encoding.audio)
    except (av.FFmpegError, ValueError, UnknownColourError) as error:
        return (repr(error),)


@pytest.fixture(scope="module")
def conforming(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("glance")
    picture, sound = "testsrc2=size=160x96:rate=25:duration=3", "sine=duration=3"
    ffmpeg("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, "-c:a", "aac", folder / "source.mp4")
    made = encode(Clip((folder / "source.mp4").read_bytes()), lambda what: None, SMALL, Known(MediaMetadata()))
    (folder / "clip.mp4").write_bytes(made.data)
    return folder / "clip.mp4"


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_what_was_made_stays(conforming: Path, codec: str) -> None:
    settings = VideoSettings(short_side=64, codec=codec, preset="ultrafast" if codec != "av1" else "12", crf=30)  # type: ignore[arg-type]
    encoding = Encoding(settings, AudioOptions())
    data = encode(Clip(conforming.read_bytes()), lambda what: None, encoding, Known(MediaMetadata())).data
    # Of AV1 nobody is sure at a glance.
    assert surely_stays(Clip(data or conforming.read_bytes()), encoding) == (codec != "av1")
    assert reasons(data or conforming.read_bytes(), encoding) == ()


CHANGED: dict[str, tuple[str, ...]] = {
    "index_last": ("-movflags", "-faststart"),
    "tracks": ("-map", "0:v", "-map", "0:a", "-map", "0:a"),
    "sound_late": ("-map", "0", "-af", "adelay=500", "-c:a", "aac"),
    "mp3": ("-c:a", "libmp3lame"),
    "full_range": ("-bsf:v", "h264_metadata=video_full_range_flag=1"),
    "matrix": ("-bsf:v", "h264_metadata=matrix_coefficients=9"),
    "no_tags": ("-bsf:v", "h264_metadata=colour_primaries=2:transfer_characteristics=2:matrix_coefficients=2"),
    "aspect": ("-aspect", "4:3"),
    "inner_aspect": ("-bsf:v", "h264_metadata=sample_aspect_ratio=2/1"),
    "cropped": ("-bsf:v", "h264_metadata=crop_left=2"),
    "rotated": ("-metadata:s:v", "rotate=90"),
    "cut": ("-ss", "0.5"),
    "fragments": ("-movflags", "frag_keyframe+empty_moov"),
    "interlaced": ("-c:v", "libx264", "-x264-params", "tff=1", "-g", "16"),
    "falsely_interlaced": ("-c:v", "libx264", "-x264-params", "fake-interlaced=1:scenecut=0", "-g", "16"),
    "few_keyframes": ("-c:v", "libx264", "-g", "250"),
    "open_groups": ("-c:v", "libx264", "-x264-params", "open-gop=1:keyint=16:min-keyint=16:scenecut=0"),
    "larger": ("-c:v", "libx264", "-vf", "scale=160:96", "-g", "16"),
    "four_four_four": ("-c:v", "libx264", "-pix_fmt", "yuv444p", "-g", "16"),
    "as_it_was": (),
}


@pytest.mark.parametrize("change", CHANGED)
def test_a_glance_is_as_sure_as_the_packets(conforming: Path, change: str, tmp_path: Path) -> None:
    changed = tmp_path / "changed.mp4"
    copied = () if "-c:v" in CHANGED[change] else ("-c:v", "copy")
    sound = () if "-c:a" in CHANGED[change] else ("-c:a", "copy")
    ffmpeg("-i", conforming, *copied, *sound, "-movflags", "+faststart", *CHANGED[change], changed)
    data = changed.read_bytes()
    for encoding in (SMALL, Encoding(SMALL.video, AudioOptions("drop"))):
        if surely_stays(Clip(data), encoding):
            assert reasons(data, encoding) == ()
    assert surely_stays(Clip(data), SMALL) == (reasons(data, SMALL) == () and change != "mp3")


def test_no_bit_of_what_a_decoder_of_sound_is_told_is_passed_over(conforming: Path) -> None:
    whole = conforming.read_bytes()
    start = whole.index(b"esds")
    end = start - 4 + int.from_bytes(whole[start - 4 : start], "big")
    num_sure = 0
    for at, bit in itertools.product(range(start, end), range(8)):
        data = bytearray(whole)
        data[at] ^= 1 << bit
        if surely_stays(Clip(bytes(data)), SMALL):
            num_sure += 1
            assert reasons(bytes(data), SMALL) == (), (at - start, bit)
    assert num_sure > 100


def test_damage_to_the_index_is_never_passed_over(conforming: Path) -> None:
    whole = conforming.read_bytes()
    start = whole.index(b"moov")
    end = start + int.from_bytes(whole[start - 4 : start], "big")
    generator, num_sure = random.Random(4), 0
    for _ in range(NUM_FLIPS):
        data = bytearray(whole)
        data[generator.randrange(start + 4, end - 4)] ^= 1 << generator.randrange(8)
        if surely_stays(Clip(bytes(data)), SMALL):
            num_sure += 1
            assert reasons(bytes(data), SMALL) == ()
    assert num_sure > NUM_FLIPS // 10
