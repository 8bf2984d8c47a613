"""Encoding on the way, however a run goes: any number of workers, any engine, killed and resumed, with clips that ruin
what encodes them, on processors that can do less. All on made clips."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from harness import COMMAND, ROOT, kconvert, tree
from miniature.made import make_clip
from packing import clip_name, origin
from ruining import ruining
from seeing import stream, video

ASKED = ("--video.short_side", 32, "--video.fps", 5, "--video.keyframes", 4)


def made_origin(root: Path, num_clips: int = 7) -> Path:
    return origin(root, {clip_name(number): make_clip("good", str(number)) for number in range(num_clips)})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_origin(tmp_path_factory.mktemp("source"))


def words(source: Path, out: Path, *more: str | int | Path) -> tuple[str | int | Path, ...]:
    return ("k400", "--split", "val", "--origin", source, "--out", out, "--shard.max_samples", 5, *ASKED, *more)


@pytest.fixture(scope="module")
def undisturbed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    ran = kconvert(*words(source, out, "--workers", 1))
    assert ran.code == 0, ran.err
    return tree(out)


@pytest.mark.parametrize(
    "more",
    [
        ("--workers", 3),
        ("--engine", "slurm", "--slurm.executor", "local", "--slurm.cpus_per_task", 2),
    ],
    ids=["workers", "slurm"],
)
def test_the_same_bytes_for_any_number_of_processes_and_engine(
    source: Path, undisturbed: dict[str, bytes], tmp_path: Path, more: tuple[str | int, ...]
) -> None:
    ran = kconvert(*words(source, tmp_path / "out", *more))
    assert ran.code == 0, ran.err
    assert tree(tmp_path / "out") == undisturbed


def test_what_is_asked_for_is_what_ffprobe_finds(source: Path, tmp_path: Path) -> None:
    ran = kconvert(*words(source, tmp_path / "out", "--to", "folder"))
    assert ran.code == 0, ran.err
    rows = pq.read_table(tmp_path / "out/metadata/val.parquet").to_pylist()
    assert {row["encoding"] for row in rows} == {"encoded"}
    for row in rows:
        found = video(tmp_path / "out" / row["shard"])
        assert found.size == f"{row['width']}x{row['height']}" == "42x32"
        assert [round(one * 5) for one in found.times] == list(range(50))
        assert found.keyframes == list(range(0, 50, 4))
        assert (row["source_width"], row["source_fps"], row["source_num_frames"]) == (64, 10.0, 100)
        assert row["size_bytes"] == (tmp_path / "out" / row["shard"]).stat().st_size


@pytest.mark.parametrize("to", ["parquet", "lance", "mds", "litdata"])
def test_other_formats_hold_the_same_encoded_clips(source: Path, tmp_path: Path, to: str) -> None:
    env = {"PYTHONPATH": str(ROOT / "tests" / "stubs"), "PYTHONWARNINGS": "ignore"}
    digests = []
    for name in ("folder", to):
        out = tmp_path / name
        ran = kconvert(*words(source, out, "--to", name), env=env)
        assert ran.code == 0, ran.err
        # It reads every clip, and compares it with the digest in its row.
        checked = kconvert("verify", out, env=env)
        assert checked.code == 0, checked.out
        table = pq.read_table(out / "metadata/val.parquet").to_pylist()
        digests.append({(row["key"], row["sha256"], row["encoding"]) for row in table})
    assert digests[0] == digests[1]
    assert {encoding for _, _, encoding in digests[0]} == {"encoded"}


@pytest.mark.parametrize("codec", ["hevc", "av1"])
def test_other_codecs_are_as_asked_and_the_same_each_time(tmp_path: Path, codec: str) -> None:
    three = origin(tmp_path / "source", {clip_name(n): make_clip("good", str(n)) for n in range(3)})
    for number in range(2):
        out = tmp_path / f"{number}"
        ran = kconvert(*words(three, out, "--to", "folder", "--video.codec", codec, "--workers", 1 + number))
        assert ran.code == 0, ran.err
    assert tree(tmp_path / "0") == tree(tmp_path / "1")
    found = video(next((tmp_path / "0/val").rglob("*.mp4")))
    assert (found.facts["codec_name"], found.size, len(found.packets)) == (codec, "42x32", 50)
    assert found.keyframes == list(range(0, 50, 4))


def test_a_clip_that_conforms_keeps_its_bytes_and_one_with_its_index_last_its_packets(
    source: Path, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    assert kconvert(*words(source, made, "--to", "folder")).code == 0
    good = next((made / "val").rglob("*.mp4"))
    # The same packets, with the index at the end.
    late = tmp_path / "late.mp4"
    flags = ("-c", "copy", "-movflags", "+negative_cts_offsets", "-use_editlist", "0")
    subprocess.run(["ffmpeg", "-v", "error", "-i", good, *flags, late], check=True)
    again = origin(tmp_path / "again", {clip_name(1): good.read_bytes(), clip_name(2): late.read_bytes()})
    ran = kconvert(*words(again, tmp_path / "out", "--to", "folder"))
    assert ran.code == 0, ran.err
    rows = pq.read_table(tmp_path / "out/metadata/val.parquet").to_pylist()
    assert [(row["encoding"], row["encoding_reasons"]) for row in rows] == [
        ("unchanged", []),
        ("remuxed", ["index_last"]),
    ]
    first, second = (tmp_path / "out" / row["shard"] for row in rows)
    assert first.read_bytes() == good.read_bytes()
    assert [packet["size"] for packet in video(second).packets] == [packet["size"] for packet in video(good).packets]


def test_sound_alone_is_dropped_and_the_packets_of_the_picture_stay(tmp_path: Path) -> None:
    clip = make_clip("with_audio", "1")
    source = origin(tmp_path / "source", {clip_name(1): clip})
    ran = kconvert(
        "k400", "--split", "val", "--to", "folder", "--origin", source, "--out", tmp_path / "out", "--audio", "drop"
    )
    assert ran.code == 0, ran.err
    (row,) = pq.read_table(tmp_path / "out/metadata/val.parquet").to_pylist()
    assert (row["encoding"], row["encoding_reasons"]) == ("remuxed", ["tracks"])
    path = tmp_path / "out" / row["shard"]
    assert stream(path, "a:0") is None
    (tmp_path / "clip.mp4").write_bytes(clip)
    before = video(tmp_path / "clip.mp4")
    assert [one["size"] for one in video(path).packets] == [one["size"] for one in before.packets]
    assert video(path).times == pytest.approx(before.times)


def test_a_clip_that_ruins_the_encoder_costs_itself_only(tmp_path: Path) -> None:
    marks = {1: b"CRASHING", 3: b"HANGING!", 4: b"HOGGING!", 6: b"FLOODING"}
    clips = {
        clip_name(number): make_clip("good", str(number))
        + (b"\0\0\0\x10free" + mark if (mark := marks.get(number)) else b"")
        for number in range(8)
    }
    source = origin(tmp_path / "source", clips)
    env = {
        **ruining("kconvert.video.encoding.encode", tmp_path / "site", tmp_path / "calls"),
        "PYTHONMALLOC": "default",
    }
    outs = [tmp_path / "1", tmp_path / "2"]
    for workers, out in enumerate(outs, start=1):
        # Encoding may take ten times as long.
        ran = kconvert(*words(source, out, "--workers", workers, "--check.timeout", "0.5"), env=env)
        assert ran.code == 0, ran.err
        rows = {row["key"]: row for row in pq.read_table(out / "metadata/val.parquet").to_pylist()}
        found = {number: rows[f"val_{clip_name(number)}"]["reason"] for number in range(8)}
        assert found == {0: "", 1: "crashed", 2: "", 3: "timeout", 4: "crashed", 5: "", 6: "crashed", 7: ""}
        details = {number: rows[f"val_{clip_name(number)}"]["detail"] for number in marks}
        assert details[3] == "encoding took longer than 5 s"
        assert details[4] == "encoding needs more than 2 GiB of memory"
        assert "SIGSEGV" in details[1]
    assert tree(outs[0]) == tree(outs[1])


NUM_SLOW = 12


def pieces(out: Path) -> list[Path]:
    return sorted((out / ".kconvert/val").rglob("*.finished.json"))


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """Clips that take seconds each."""
    path = tmp_path / "slow.mp4"
    made = "testsrc2=size=640x360:rate=30:duration=4"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", made, "-preset", "ultrafast", path], check=True)
    data = path.read_bytes()
    return origin(tmp_path / "slow", {clip_name(n): data + b"\0\0\0\x10free%08d" % n for n in range(NUM_SLOW)})


def test_after_a_kill_finished_clips_are_found_again(slow: Path, tmp_path: Path) -> None:
    asked = ("k400", "--split", "val", "--origin", slow, "--check.min_duration", 0, "--video.short_side", 320)
    common = (*asked, "--video.preset", "slow", "--workers", 1)
    # By one core, so that a fast machine, too, takes longer than it takes to keep some.
    alone = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
    out = tmp_path / "out"
    words = [*alone, COMMAND, *common, "--out", out, "--quiet"]
    process = subprocess.Popen([str(word) for word in words], start_new_session=True)
    end = time.monotonic() + 120
    while not pieces(out) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = sum(len(json.loads(path.read_text())["clips"]) for path in pieces(out))
    assert kept > 0
    ran = kconvert(*common, "--out", out, within=alone)
    assert ran.code == 0, ran.err
    assert not pieces(out)
    assert kconvert(*common, "--out", tmp_path / "other").code == 0
    assert tree(out) == tree(tmp_path / "other")


MASKED = """
import ctypes, glob, hashlib, os, sys
import av
from pathlib import Path
from kconvert.video.child import Clip
from kconvert.video.encoding.encode import encode
from kconvert.video.encoding.encoded import Known
from kconvert.video.encoding.options import AudioOptions, Encoding, VideoSettings
from kconvert.video.metadata import MediaMetadata
if sys.argv[3]:
    # As if the encoder found no instructions of that kind.
    from kconvert.video.encoding import encoder
    options = encoder.encoder_options
    encoder.encoder_options = lambda settings: {
        name: value + sys.argv[3] * name.endswith("-params") for name, value in options(settings).items()
    }
if sys.argv[1]:
    library = glob.glob(os.path.join(os.path.dirname(os.path.dirname(av.__file__)), "av.libs", "libavutil-*"))[0]
    ctypes.CDLL(library).av_force_cpu_flags(int(sys.argv[1]))
data = Path(sys.argv[2]).read_bytes()
asked = Encoding(VideoSettings(short_side=64, codec=sys.argv[4]), AudioOptions(member=sys.argv[5] or None))
made = encode(Clip(data), lambda what: None, asked, Known(MediaMetadata()))
assert made.about.how == "encoded", made.about
print(hashlib.sha256(made.data).hexdigest(), hashlib.sha256(made.sound).hexdigest(), made.about.notes)
"""
NO_INSTRUCTIONS, SSE2 = "0", "24"
"""What libavutil is told that the processor can do (libavutil/cpu.h: SSE is 8, SSE2 16)."""


X264_MASKS = (("", ""), (NO_INSTRUCTIONS, ""), (SSE2, ":asm=SSE2"), ("", ":asm=0"), ("", ":asm=AVX"))
MASKS = (("", ""), (NO_INSTRUCTIONS, ""), (SSE2, ""))
"""Of decoders, filters and scalers alone: encoders are told nothing."""


def digests(path: Path, masks: Iterable[tuple[str, str]], codec: str = "h264", member: str = "") -> Iterator[str]:
    for flags, params in masks:
        words = [sys.executable, "-c", MASKED, flags, str(path), params, codec, member]
        yield subprocess.run(words, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def test_video_comes_out_the_same_on_a_processor_that_can_do_less(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    made = "testsrc2=size=320x180:rate=30:duration=2,format=yuv420p"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", made, path], check=True)
    assert len(set(digests(path, X264_MASKS))) == 1


ODD: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "tone_mapped": (
        "libx265",
        "yuv420p10le",
        ("-color_trc", "smpte2084", "-color_primaries", "bt2020", "-colorspace", "bt2020nc"),
    ),
    "deinterlaced": ("libx264", "yuv420p", ("-flags", "+ilme+ildct", "-vf", "setfield=tff", "-x264-params", "tff=1")),
}


@pytest.mark.parametrize("note", ODD)
def test_what_is_made_of_odd_pictures_is_the_same_on_a_processor_that_can_do_less(tmp_path: Path, note: str) -> None:
    path = tmp_path / "clip.mp4"
    encoder, pixels, more = ODD[note]
    made = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30:duration=1", "-pix_fmt", pixels, "-c:v", encoder]
    subprocess.run(["ffmpeg", "-v", "error", *made, *more, str(path)], check=True, capture_output=True)
    found = set(digests(path, MASKS))
    assert len(found) == 1
    assert note in found.pop()


@pytest.mark.parametrize(
    ("codec", "own"), [("hevc", (":asm=0", ":asm=SSE2", ":asm=AVX")), ("av1", (":asm=0", ":asm=4"))]
)
def test_other_codecs_come_out_the_same_on_a_processor_that_can_do_less(
    tmp_path: Path, codec: str, own: Sequence[str]
) -> None:
    path = tmp_path / "clip.mp4"
    made = "testsrc2=size=320x180:rate=30:duration=1,format=yuv420p"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", made, path], check=True)
    assert len(set(digests(path, (*MASKS, *(("", one) for one in own)), codec))) == 1


@pytest.mark.parametrize("member", ["flac", "wav"])
def test_sound_of_aac_comes_out_the_same_on_a_processor_that_can_do_less(tmp_path: Path, member: str) -> None:
    path = tmp_path / "clip.mp4"
    made = (
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=320x180:rate=10:duration=2",
        "-f",
        "lavfi",
        "-i",
        "anoisesrc=duration=2:seed=1",
    )
    subprocess.run(["ffmpeg", "-v", "error", *made, "-c:a", "aac", "-ac", "2", path], check=True)
    assert len(set(digests(path, MASKS, member=member))) == 1


def rejected(*more: str | int) -> str:
    ran = kconvert("k400", "--origin", "/nowhere", *more)
    assert ran.code == 2, ran.err
    return ran.err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--video.short_side", 255), "--video.short_side 255: expected an even number"),
        (("--video.short_side", 0), "--video.short_side 0: expected 2 to 16384"),
        (("--video.fps", 0), "--video.fps 0: expected 0.01 to 1000"),
        (("--video.crf", 60), "--video.crf 60: expected 0 to 51 with h264"),
        (("--video.preset", "quick"), "--video.preset quick: expected balanced, or with h264 ultrafast, superfast"),
        (("--video.codec", "av1", "--video.preset", "medium"), "expected balanced, or with av1 0 to 13"),
        (("--video.recipe", "train-257"), "did you mean 'train-256'"),
        (("--video.codec", "av1", "--video.fps", 250), "--video.fps 250: expected at most 240 with av1"),
        (("--audio", "resample", "--audio.rate", 20000), "--audio.rate 20000: expected one of 8000, 11025, 12000"),
        (
            ("--audio", "loud"),
            "--audio: expected keep, drop, resample, or a YAML file; in a file `audio: {track: keep}`",
        ),
        (
            ("--audio.rate", 16000),
            "--audio.rate: would be ignored; leave it out, or give --audio resample or --audio.member",
        ),
        (("--audio", "resample", "--audio.channels", 6), "--audio.channels 6: expected 1 or 2"),
        (("--to", "archives", "--video.recipe", "train-256"), "would be ignored, as"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_line(more: tuple[str | int, ...], said: str) -> None:
    assert said in rejected(*more)


def test_a_finished_folder_is_refused_with_another_encoding(source: Path, tmp_path: Path) -> None:
    assert kconvert(*words(source, tmp_path / "out")).code == 0
    ran = kconvert(*words(source, tmp_path / "out", "--video.crf", 30))
    assert ran.code == 2
    assert "video.crf was 21.5, is now 30.0" in ran.err


def test_the_manifest_has_all_options_and_the_encoder(source: Path, tmp_path: Path) -> None:
    ran = kconvert("k400", "--split", "val", "--origin", source, "--out", tmp_path, "--video.recipe", "dense-256")
    assert ran.code == 0, ran.err
    manifest: dict[str, Any] = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["options"]["video"] == {
        "short_side": 256, "fps": None, "keyframes": 4, "codec": "h264", "crf": 23.0, "preset": "balanced",
        "pix_fmt": "yuv420p", "reencode": "needed",
    }  # fmt: skip
    assert manifest["options"]["audio"]["track"] == "keep"
    assert manifest["tools"]["video_encoder"].startswith("libx264 preset=")
