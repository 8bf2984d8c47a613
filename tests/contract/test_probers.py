"""What holds for both probers, at every depth, on real files and on made ones; and that they say the same."""

import csv
import dataclasses
import functools
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import av
import pytest
from campaigns.clips import FullProber, answer
from harness import SHARED_DATA
from hypothesis import example, given, settings
from hypothesis import strategies as st
from miniature.made import KINDS, make_clip
from miniature.oracle import duration_seconds, ffprobe, num_shown, probe_defects

from kconvert.video.child import Clip
from kconvert.video.frames import decode
from kconvert.video.libav import LibavProber
from kconvert.video.open import open_prober
from kconvert.video.structure import times_fault
from kconvert.video.verdict import CheckOptions, Depth, Probed, judge

DEPTHS: tuple[Depth, ...] = ("header", "index", "decode")
REAL = sorted(path.name for path in (SHARED_DATA / "clips").glob("*")) if SHARED_DATA.is_dir() else []
METADATA_THAT_DIFFER = {
    # The libraries in PyAV's wheels are FFmpeg 8, those of the system FFmpeg 5.1. Version 8 takes the end of the
    # presentation from the edit lists, version 5.1 the longest media; the bit rate is computed from it.
    "mp4parse-rust__mp4parse_capi__tests__no_timescale.mp4": {"bit_rate"},
    # Version 8 reads the shape of pixels from the headers of AV1.
    "mp4parse-rust__mp4parse__tests__tiny_av1.mp4": {"sample_aspect_ratio"},
}
"""Metadata, never verdicts, in which the versions differ."""


def table(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(__file__).with_name(name).read_text().splitlines(), delimiter="\t"))


@functools.lru_cache(maxsize=512)
def probe(data: bytes, depth: Depth, prober: str) -> Probed:
    """What is said of a clip; asked once, as several tests look at the same."""
    return open_prober(CheckOptions(depth=depth, prober=prober)).probe(data)  # type: ignore[arg-type]


def probe_real(name: str, depth: Depth, prober: str) -> Probed:
    """What is said of a real file."""
    return probe((SHARED_DATA / "clips" / name).read_bytes(), depth, prober)


def defects(probed: Probed) -> tuple[str, ...]:
    return judge(probed, CheckOptions()).defects


@pytest.mark.parametrize("prober", ["libav", "ffprobe"])
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_made_clip_gets_the_verdict_it_was_made_for(kind: str, depth: Depth, prober: str) -> None:
    at_index, at_decode = KINDS[kind]
    expected = {"header": tuple(d for d in at_index if d != "truncated"), "index": at_index, "decode": at_decode}
    found = probe(make_clip(kind, "AAAAAAAAAAA_000000_000010"), depth, prober)
    assert defects(found) == expected[depth]
    assert (found.fault is None) == (not set(expected[depth]) - {"short"})
    assert found.fault is None or found.fault.detail


@pytest.mark.parametrize("kind", KINDS)
def test_both_probers_state_the_same_metadata_of_made_clips(kind: str) -> None:
    data = make_clip(kind, "AAAAAAAAAAA_000000_000010")
    assert probe(data, "index", "libav").metadata == probe(data, "index", "ffprobe").metadata


@pytest.mark.parametrize(
    "text", [b"rotation of 90 degrees", b"rotation of . degrees", b"a\n      Display Matrix: x", b"\xff\xfe"]
)
def test_what_a_clip_says_of_itself_is_no_metadata(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "in.mp4").write_bytes(make_clip("rotated", "AAAAAAAAAAA_000000_000010"))
    said = [b"-metadata:s:v", b"handler_name=" + text, b"-metadata", b"title=" + text]
    command = [b"ffmpeg", b"-v", b"error", b"-i", b"in.mp4", b"-c", b"copy", *said, b"out.mp4"]
    subprocess.run(command, check=True, cwd=tmp_path)
    data = (tmp_path / "out.mp4").read_bytes()
    assert text.split()[0] in data
    for depth in DEPTHS:
        found = probe(data, depth, "libav")
        assert found == probe(data, depth, "ffprobe")
        assert found.metadata.rotation_degrees == -90
    assert sum(1 for _ in decode(data)) == found.metadata.num_frames


LONGEST = "video2dataset__tests__test_files__test_video.mp4"
"""It takes a quarter of a minute to decode once, which the test below does."""


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize(
    ("name", "depth"), [(name, depth) for name in REAL for depth in DEPTHS if (name, depth) != (LONGEST, "decode")]
)
def test_both_probers_say_the_same_of_real_files(name: str, depth: Depth) -> None:
    one, other = probe_real(name, depth, "libav"), probe_real(name, depth, "ffprobe")
    assert defects(one) == defects(other)
    differing = {
        field.name
        for field in dataclasses.fields(one.metadata)
        if getattr(one.metadata, field.name) != getattr(other.metadata, field.name)
    }
    assert differing == METADATA_THAT_DIFFER.get(name, set())


ODD = (
    sorted(
        path.relative_to(SHARED_DATA / "odd").as_posix()
        for path in (SHARED_DATA / "odd").rglob("*")
        if path.is_file() and path.name != "SOURCES.tsv"
    )
    if SHARED_DATA.is_dir()
    else []
)
VERDICTS = {row["file"]: row for row in table("odd_verdicts.tsv")}
"""The fault of each odd file at each depth, and why that is right."""
VERSIONS = {(row["file"], row["depth"]): (row["libav"], row["ffprobe"]) for row in table("ffmpeg_versions.tsv")}
"""Files on which the libraries in PyAV's wheels (FFmpeg 8) and the system's programs (5.1) differ, with the reason."""


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("prober", ["libav", "ffprobe"])
@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_gets_the_right_verdict_at_every_depth(name: str, prober: str) -> None:
    data = (SHARED_DATA / "odd" / name).read_bytes()
    for depth in DEPTHS:
        fault = probe(data, depth, prober).fault
        differing = VERSIONS.get((name, depth))
        expected = VERDICTS[name][depth] if differing is None else differing[prober == "ffprobe"]
        assert ("" if fault is None else fault.defect) == expected, (depth, fault)


def test_every_odd_file_has_its_verdict(shared_data: Path) -> None:
    assert sorted(VERDICTS) == ODD


ENDINGS = {"mkv": "libx264", "webm": "libvpx", "avi": "mpeg4", "flv": "libx264", "mp4": "libx264"}


@functools.cache
def of_kind(ending: str, *options: str) -> bytes:
    """Twelve seconds in a container of that kind, written by ffmpeg."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip.{ending}"
        source = ["-f", "lavfi", "-i", "testsrc2=size=160x120:rate=10:duration=12"]
        command = [
            "ffmpeg",
            "-v",
            "error",
            *source,
            "-c:v",
            ENDINGS[ending],
            "-pix_fmt",
            "yuv420p",
            *options,
            str(path),
        ]
        subprocess.run(command, check=True)
        return path.read_bytes()


@pytest.mark.parametrize("prober", ["libav", "ffprobe"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_whole_file_of_any_kind_has_no_fault(ending: str, prober: str) -> None:
    for depth in DEPTHS:
        assert probe(of_kind(ending), depth, prober).fault is None


@pytest.mark.parametrize("prober", ["libav", "ffprobe"])
@pytest.mark.parametrize("ending", ["mkv", "webm", "avi", "flv"])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
def test_a_file_that_is_shorter_than_its_container_states_is_truncated(ending: str, share: float, prober: str) -> None:
    whole = of_kind(ending)
    for depth in DEPTHS[1:]:
        fault = probe(whole[: int(len(whole) * share)], depth, prober).fault
        assert fault is not None
        assert fault.defect == "truncated"


@pytest.mark.parametrize("prober", ["libav", "ffprobe"])
def test_a_file_that_states_only_how_long_it_lasts_is_undecodable_where_it_is_cut(prober: str) -> None:
    whole = of_kind("flv")
    # Between two tags, so that nothing else is odd: each ends with its size in four bytes.
    offset = int.from_bytes(whole[5:9], "big") + 4
    while offset < len(whole) // 2:
        offset += 15 + int.from_bytes(whole[offset + 1 : offset + 4], "big")
    assert probe(whole[:offset], "index", prober).fault is None
    fault = probe(whole[:offset], "decode", prober).fault
    assert fault is not None
    assert fault.defect == "undecodable"
    assert "what decodes ends after" in fault.detail


@pytest.mark.parametrize("prober", ["libav", "ffprobe"])
def test_a_segment_index_that_promises_more_is_found(prober: str) -> None:
    whole = of_kind("mp4", "-movflags", "+frag_keyframe+global_sidx+empty_moov", "-g", "20")
    assert b"sidx" in whole
    assert probe(whole, "index", prober).fault is None
    # At the boundary of a fragment, so that nothing else is odd.
    fault = probe(whole[: whole.rfind(b"moof") - 4], "index", prober).fault
    assert fault is not None
    assert fault.defect == "truncated"
    assert "the segment index ends" in fault.detail


def test_of_a_video_most_of_which_does_not_decode_the_numbers_are_told() -> None:
    """As where one byte of the index makes a sample of another size: the decoder takes what follows for nothing."""
    clip = bytearray(of_kind("mp4"))
    start = clip.find(b"stsz") + 16
    num = int.from_bytes(clip[start - 4 : start], "big")
    assert num == 120
    for entry in range(3, num):
        clip[start + 4 * entry : start + 4 * entry + 4] = (0).to_bytes(4, "big")
    fault = probe(bytes(clip), "decode", "libav").fault
    assert fault is not None
    assert fault.defect in ("undecodable", "truncated")


@pytest.mark.parametrize("prober", ["libav", "ffprobe"])
def test_equal_bytes_get_equal_answers_wherever_they_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prober: str
) -> None:
    """A text that names a file of the working folder is a text, whether or not the file is there."""
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    (tmp_path / "with" / "other.mp4").write_bytes(make_clip("good", "x"))
    for text in ("ffconcat version 1.0\nfile other.mp4\n", "#EXTM3U\n#EXTINF:10,\nother.mp4\n#EXT-X-ENDLIST\n"):
        found = []
        for folder in ("with", "without"):
            monkeypatch.chdir(tmp_path / folder)
            found.append(probe(text.encode(), "decode", prober))
        assert found[0] == found[1]
        assert found[0].fault is not None
        assert found[0].fault.defect == "unreadable"


def test_the_real_files_are_there(shared_data: Path) -> None:
    assert len(list((shared_data / "clips").iterdir())) == len(REAL) == 68


@pytest.mark.parametrize("name", REAL)
def test_the_verdict_on_a_real_file_is_what_ffprobe_says_when_asked_directly(name: str) -> None:
    path = SHARED_DATA / "clips" / name
    found = probe_real(name, "index", "libav")
    assert defects(found) == probe_defects(path)
    if found.fault is None or found.fault.defect == "truncated":
        said, _, _ = ffprobe(path, "-show_format", "-show_streams")
        video = next(stream for stream in said["streams"] if stream["codec_type"] == "video")
        assert found.metadata.duration_seconds == duration_seconds(said)
        assert (found.metadata.width, found.metadata.height) == (video["width"], video["height"])
        assert found.metadata.video_codec == video["codec_name"]
        assert found.metadata.num_frames == num_shown(path, video, found.fault is not None)


@pytest.mark.parametrize("name", [name for name in REAL if name != LONGEST])
def test_depth_decode_rejects_what_ffmpeg_cannot_decode(name: str) -> None:
    path = SHARED_DATA / "clips" / name
    command = ["ffmpeg", "-v", "error", "-xerror", "-nostdin", "-i", str(path), "-map", "0:V", "-map", "0:a?"]
    command += ["-fps_mode", "passthrough", "-progress", "pipe:1", "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    frames = [line for line in done.stdout.splitlines() if line.startswith("frame=")]
    decodes = done.returncode == 0 and frames and frames[-1] != "frame=0"
    found = probe_real(name, "decode", "libav")
    # What its container states and the file does not have is rejected, whatever decodes of the rest.
    is_cut = "truncated" in probe_defects(path) or "encrypted" in probe_defects(path)
    assert (found.fault is None) == (bool(decodes) and not is_cut)


@pytest.mark.parametrize("prober", ["libav", "ffprobe"])
def test_a_message_names_no_address_and_no_path(prober: str) -> None:
    for kind in KINDS:
        for depth in DEPTHS:
            fault = probe(make_clip(kind, "AAAAAAAAAAA_000000_000010"), depth, prober).fault
            assert fault is None or ("0x" not in fault.detail.split("offset")[0] and "/proc" not in fault.detail)


@pytest.mark.parametrize("prober", ["libav", "ffprobe"])
def test_a_cut_is_found_wherever_a_sample_is_missing(prober: str) -> None:
    """From just behind the header to the last byte of the last sample."""
    data = make_clip("good", "x")
    start, end = data.index(b"mdat") + 4, data.rindex(b"free") - 4
    for length in (start, start + 1, (start + end) // 2, end - 1):
        assert defects(probe(data[:length], "index", prober)) == ("truncated",), length
    assert defects(probe(data[:end], "index", prober)) == ()


def spoilt() -> dict[str, bytes]:
    """Files that are odd in ways that tools stumble over, though their pictures may be whole."""
    good, with_audio = make_clip("good", "x"), make_clip("with_audio", "x")
    return {
        "unknown video codec": good.replace(b"avc1", b"zzzz"),
        "unknown audio codec": with_audio.replace(b"mp4a", b"zzzz"),
        "name of the handler in latin-1": good.replace(b"VideoHandler", b"Vid\xe9oHandler"[:12]),
        "no tracks": good.replace(b"trak", b"free"),
    }


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("name", spoilt())
def test_both_probers_say_the_same_of_odd_files(name: str, depth: Depth) -> None:
    data = spoilt()[name]
    assert data != make_clip("good", "x")
    assert defects(probe(data, depth, "libav")) == defects(probe(data, depth, "ffprobe"))


def test_what_is_said_of_a_clip_does_not_depend_on_the_clip_before() -> None:
    prober = open_prober(CheckOptions())
    clips = [make_clip("cut_index_at_end", "x"), make_clip("html", "x")] * 2
    one_by_one = [open_prober(CheckOptions()).probe(data) for data in clips]
    assert [prober.probe(data) for data in clips] == one_by_one
    assert prober.probe(clips[0]) == prober.probe(clips[0]) == one_by_one[0]
    assert one_by_one[0].fault is not None
    assert "moov atom not found" in one_by_one[0].fault.detail


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=4))
def test_no_damage_of_the_header_makes_a_prober_raise(changes: list[tuple[int, int]]) -> None:
    data = bytearray(make_clip("with_audio", "x"))
    for place, value in changes:
        data[place] = value
    for depth in DEPTHS[:2]:
        probe(bytes(data), depth, "libav")


@pytest.mark.parametrize("depth", ["index", "decode"])
@pytest.mark.parametrize("entry", [0, 50, 99])
@pytest.mark.parametrize("first_byte", [0x20, 0x3F, 0x40, 0x7F, 0x80, 0xFF])
def test_a_sample_size_beyond_reason_is_found_in_the_index(depth: Depth, entry: int, first_byte: int) -> None:
    """From 0x20 on it comes back negative, from 0x40 on the index ends there; ffprobe gives fewer packets then."""
    clip = bytearray(make_clip("good", "x"))
    # stsz: its name, version and flags, the size of all samples (0), their number, the size of each.
    place = clip.find(b"stsz") + 16
    assert int.from_bytes(clip[place - 4 : place], "big") == 100
    whole = probe(bytes(clip), depth, "libav")
    assert whole.fault is None
    clip[place + 4 * entry] = first_byte
    found = probe(bytes(clip), depth, "libav")
    assert found.fault is not None
    assert found.fault.defect == "truncated"
    # What the container says is kept, but for what follows from the size.
    assert (found.metadata.num_frames, found.metadata.duration_seconds) == (100, whole.metadata.duration_seconds)


@functools.cache
def glanceable() -> list[bytes]:
    """Clips that depths up to `index` open without decoding a picture; `decode` always opens them in full."""
    real = (SHARED_DATA / "clips").glob("*.mp4")
    small = [path.read_bytes() for path in sorted(real) if path.stat().st_size < 1_000_000]
    return [make_clip(kind, "x") for kind in ("good", "with_audio", "index_at_end", "rotated")] + small


def test_a_good_clip_is_known_at_a_glance(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a third of the time; what is opened in full needs decoders, which a glance keeps closed."""
    opened: list[dict[str, Any]] = []

    def counting(*words: Any, **options: Any) -> Any:
        opened.append(options)
        return open_container(*words, **options)

    open_container, clips = av.open, glanceable()[:4]
    monkeypatch.setattr(av, "open", counting)
    for number, clip in enumerate(clips, start=1):
        assert LibavProber(CheckOptions()).probe(Clip(clip), lambda what: None).fault is None
        assert len(opened) == number
        assert "stream_options" in opened[-1]


@pytest.mark.parametrize("depth", ["header", "index"])
@pytest.mark.parametrize("entry", [0, 1, 50])
@pytest.mark.parametrize("first_byte", [0, 0x23, 0x51])
def test_a_glance_at_a_wrong_index_gives_what_opening_in_full_gives(depth: Depth, entry: int, first_byte: int) -> None:
    """Found by `tools/campaign clips`: at depth `header` the pixel format was known where the libraries do not find it."""
    clip = bytearray(make_clip("good", "x"))
    clip[clip.find(b"stsz") + 16 + 4 * entry] = first_byte
    changed, options = Clip(bytes(clip), len(clip)), CheckOptions(depth=depth)
    assert answer(LibavProber(options), changed) == answer(FullProber(options), changed)


BOXES = ("", "moov", "avcC", "mdat", "esds", "stsz", "stts", "elst")
Change = tuple[str, int, int]
"""Of a byte: so many bytes after the name of a box (of the clip, if it is not there), to this value."""


@settings(max_examples=150)
@given(
    st.integers(0, 100),
    st.lists(st.tuples(st.sampled_from(BOXES), st.integers(0, 400), st.integers(0, 255)), max_size=3),
    st.sampled_from([1, 1, 2]),
)
# The first byte of the size of a sample: it comes back negative, and libraries go on without that sample.
@example(0, [("stsz", 16, 0x20)], 1)
@example(0, [("stsz", 16 + 4 * 50, 0x3F)], 1)
@example(0, [("stsz", 16 + 4 * 99, 0x40)], 1)
# A byte of how long samples last (found by `tools/campaign clips`), after which an edit list leaves one frame.
@example(0, [("stts", 16, 0xCE)], 1)
def test_a_glance_finds_what_opening_in_full_finds(number: int, changes: list[Change], part: int) -> None:
    clip = bytearray(glanceable()[number % len(glanceable())])
    for box, place, value in changes:
        clip[min(len(clip) - 1, max(0, clip.find(box.encode())) + place)] = value
    del clip[len(clip) // part :]
    glanced, opened = probe(bytes(clip), "index", "libav"), probe(bytes(clip), "decode", "libav")
    # Which decoding alone counts, and shows where the container does not.
    expected = dataclasses.replace(opened.metadata, num_decoded_frames=None)
    if glanced.metadata.is_variable_frame_rate is None:
        expected = dataclasses.replace(expected, is_variable_frame_rate=None)
    assert glanced.metadata == expected
    assert glanced.fault in (None, opened.fault)


@pytest.mark.parametrize("prober", ["libav", "ffprobe"])
def test_times_that_make_no_sense_are_found_where_an_edit_list_hides_the_frames(tmp_path: Path, prober: str) -> None:
    """Found by `tools/campaign clips`: one byte of `stts`, and all frames but one lie beyond the edit list."""
    clip = bytearray(make_clip("good", "x"))
    # Version, flags and number of entries; of the first entry the number of samples, then the time that each lasts.
    clip[clip.index(b"stts") + 16] = 0xCE
    (tmp_path / "x.mp4").write_bytes(clip)
    words = "ffprobe -v error -count_frames -show_entries stream=nb_frames,nb_read_frames -of csv=p=0"
    said = subprocess.run([*words.split(), tmp_path / "x.mp4"], capture_output=True, text=True, check=True).stdout
    num_stated, num_decoded = map(int, said.split(","))
    assert num_decoded < 0.95 * num_stated
    # The libraries make one entry of the index, where no edit list cuts; where one does, the times themselves say it.
    fault = probe(bytes(clip), "decode", prober).fault
    assert fault is not None
    assert fault.defect in ("truncated", "undecodable")
    alone = times_fault(bytes(clip))
    assert alone is not None
    assert "the video's samples last 33751050.000 s, where 10.000 s are stated" in alone.detail


@pytest.mark.parametrize("prober", ["libav", "ffprobe"])
def test_the_sound_may_state_another_time_than_it_has(tmp_path: Path, prober: str) -> None:
    """It is not what is judged; ffmpeg decodes all of it."""
    clip = bytearray(make_clip("with_audio", "x"))
    place = clip.rindex(b"mdhd") + 4 + 4 + 8
    stated = int.from_bytes(clip[place + 4 : place + 8], "big")
    clip[place + 4 : place + 8] = (stated // 3).to_bytes(4, "big")
    (tmp_path / "x.mp4").write_bytes(clip)
    said = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", tmp_path / "x.mp4", "-f", "null", "-"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stderr == ""
    assert probe(bytes(clip), "decode", prober).fault is None


def test_the_times_of_real_files_make_sense(shared_data: Path) -> None:
    files = [path for folder in ("clips", "odd") for path in sorted((shared_data / folder).iterdir()) if path.is_file()]
    assert len(files) > 60
    assert [path.name for path in files if times_fault(path.read_bytes())] == []
