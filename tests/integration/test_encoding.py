"""Encoding on the way: what comes out of a conversion, as ffmpeg and ffprobe show it, for inputs of every odd kind."""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import Once
from harness import SHARED_DATA, kconvert
from packing import clip_name, origin
from seeing import barcodes, beeps, halves, interlaced_frames, pictures, similarity, sound, stream, video

from kconvert.video.sampling import Sampling, sample

FOLDER = SHARED_DATA / "encode"


def table(name: str) -> list[dict[str, str]]:
    lines = (FOLDER / name).read_text().splitlines() if FOLDER.is_dir() else []
    return list(csv.DictReader(lines, delimiter="	"))


INPUTS: dict[str, dict[str, str]] = {row["file"]: row for row in table("expected.tsv")}
RATES = table("fps.tsv")
REJECTED = {
    "damaged_zeroed.mp4": "undecodable",
    "matrix_ycgco.mp4": "unencodable",
    "size_20000x16.mkv": "unencodable",
}
"""Those that are a row with their reason."""
WRITTEN = sorted(INPUTS.keys() - REJECTED)
SHOWN: dict[str, list[int]] = {
    "change_matrix.ts": [*range(12), *range(12)],
    "change_size.ts": [*range(12)] * 3,
    "change_two_stsd.mp4": [*range(20), *range(20)],
    "elst_empty_then_trim.mp4": [*range(10, 60)],
    "elst_repeat.mp4": [*range(25), *range(25)],
    "elst_trim_start.mp4": [*range(7, 60)],
    "elst_two_parts.mp4": [*range(10), *range(30, 50)],
    "leading_nokey_start.mp4": [*range(25, 60)],
    "leading_opengop_h264.ts": [*range(27, 75)],
}
"""The numbers of the source's frames that are shown, where they are not all from 0 on."""
NO_BARCODE = {"crop_clap.mp4", "interlaced_tff.mp4", "real_torchcodec__testsrc2_hdr.mp4", "scenecuts.mp4"}
NO_COLOURS = {*NO_BARCODE, "chroma_gray.mp4", "hdr_pq_bt2020.mp4", "sdr_10bit_bt709.mp4"}
TURNED = {"rotate_90_sar.mp4", "rotate_hflip.mp4", "rotate_rot90.mp4", "rotate_vflip.mp4"}
"""Those whose bar codes are turned with the picture."""
LAST_FRAME = {"vfr_gap.mp4": 5.6, "timescale_600.mov": 1201 / 600}
"""How long those last whose expected duration was computed without the length of the last frame, by their `stts`."""
NARROW = {"change_size.ts": 24}
"""How many frames can be read before bars narrow them."""


def converted(folder: Path, files: Collection[str], *options: str | int) -> Path:
    """Some inputs as one archive, converted with those options into a folder tree."""
    clips = {clip_name(number): (FOLDER / file).read_bytes() for number, file in enumerate(INPUTS) if file in files}
    root = origin(folder / "origin", clips)
    checks = ("--check.min_duration", 0, "--check.min_frames", 0)
    ran = kconvert(
        "k400", "--split", "val", "--to", "folder", "--origin", root, "--out", folder / "out", *checks, *options
    )
    assert ran.code == 0, ran.err
    return folder / "out"


@pytest.fixture(scope="module")
def out(shared_data: Path, once: Once) -> Path:
    return once("encoded-inputs", lambda folder: converted(folder, INPUTS, "--video.short_side", 256)) / "out"


@pytest.fixture(scope="module")
def rows(out: Path) -> dict[str, dict[str, Any]]:
    table = pq.read_table(out / "metadata/val.parquet").to_pylist()
    by_key = {row["key"]: row for row in table}
    return {file: by_key[f"val_{clip_name(number)}"] for number, file in enumerate(INPUTS)}


def result(out: Path, file: str) -> Path:
    return out / f"val/zumba/{clip_name(list(INPUTS).index(file))}.mp4"


@pytest.mark.parametrize("file", sorted(REJECTED))
def test_what_cannot_be_encoded_is_a_row_with_its_reason(rows: dict[str, dict[str, Any]], file: str) -> None:
    row = rows[file]
    assert (row["status"], row["reason"]) == ("rejected", REJECTED[file])
    assert row["detail"]


@pytest.mark.parametrize("file", WRITTEN)
def test_frames_sizes_times_and_tags_are_as_expected(out: Path, rows: dict[str, dict[str, Any]], file: str) -> None:
    expected, row, found = INPUTS[file], rows[file], video(result(out, file))
    assert row["status"] == "written", row
    assert len(found.packets) == int(expected["frames"]) == row["num_frames"]
    assert found.size == expected["shown size after short_side 256"] == f"{row['width']}x{row['height']}"
    seconds = LAST_FRAME.get(file, float(expected["duration s"]))
    one = seconds / len(found.packets)
    assert found.seconds == pytest.approx(seconds, abs=one + 1e-6)
    assert found.keyframes == list(range(0, len(found.packets), 16))
    assert all(later > earlier for earlier, later in zip(found.times, found.times[1:], strict=False))
    facts = found.facts
    assert (facts["pix_fmt"], facts["color_range"], facts["sample_aspect_ratio"]) == ("yuv420p", "tv", "1:1")
    assert "side_data_list" not in facts
    assert facts["field_order"] == "progressive"
    tags = expected["range and matrix of the result"]
    assert facts["color_space"] in ("smpte170m", "bt470bg") if " or " in tags else facts["color_space"] in tags
    assert {facts["color_primaries"], facts["color_transfer"]} <= {"bt709", "smpte170m", "bt470bg"}
    assert ("guessed_colour" in row["encoding_notes"]) == ("guessed" in tags)


@pytest.mark.parametrize("file", [file for file in WRITTEN if file not in NO_BARCODE | TURNED])
def test_each_frame_is_the_one_that_is_shown_with_its_colours(out: Path, file: str) -> None:
    frames = pictures(result(out, file), size=INPUTS[file]["shown size after short_side 256"])
    num_read = NARROW.get(file)
    assert barcodes(frames)[:num_read] == SHOWN.get(file, list(range(int(INPUTS[file]["frames"]))))[:num_read]
    if file not in NO_COLOURS:
        left, right = halves(frames)
        assert left == pytest.approx([255, 0, 0], abs=8)
        assert right == pytest.approx([0, 255, 0], abs=16)


@pytest.mark.parametrize("file", sorted(TURNED & INPUTS.keys()))
def test_what_is_turned_comes_out_as_players_show_it(out: Path, file: str) -> None:
    path = result(out, file)
    reference = pictures(FOLDER / file, size=video(path).size)
    assert np.abs(pictures(path).astype(int) - reference).mean() < 6


def test_ten_bits_of_grey_and_high_dynamic_range(out: Path, shared_data: Path) -> None:
    white = pictures(result(out, "hdr_pq_bt2020.mp4"))[:, 20:100].max()
    assert white >= 200  # 190 of limited range
    grey = halves(pictures(result(out, "chroma_gray.mp4")))
    assert [max(one) - min(one) for one in grey] == [0, 0]


def test_what_is_flagged_as_interlaced_is_not_combed(
    out: Path, rows: dict[str, dict[str, Any]], shared_data: Path
) -> None:
    assert interlaced_frames(FOLDER / "interlaced_tff.mp4") > 20
    assert interlaced_frames(result(out, "interlaced_tff.mp4")) == 0
    assert "deinterlaced=30" in rows["interlaced_tff.mp4"]["encoding_notes"]


@pytest.mark.parametrize("file", [file for file in WRITTEN if INPUTS[file]["sound start minus picture start s"]])
def test_sound_is_as_far_from_the_picture_as_it_was(out: Path, file: str) -> None:
    expected, path = INPUTS[file], result(out, file)
    heard = stream(path, "a:0")
    assert heard is not None
    start = video(path).starts
    assert heard.starts - start == pytest.approx(float(expected["sound start minus picture start s"]), abs=0.002)
    assert min(heard.starts, start) == 0
    if expected["beeps, s after first picture"]:
        found = [time - start for time in beeps(path)]
        assert found == pytest.approx(
            [float(one) for one in expected["beeps, s after first picture"].split()], abs=2e-3
        )


def test_sound_of_six_channels_is_normalised_when_it_is_encoded(shared_data: Path, tmp_path: Path) -> None:
    made = converted(
        tmp_path,
        ("audio_51_loud.mp4", "audio_51_centre_flac.mkv"),
        "--audio",
        "resample",
        "--audio.rate",
        16000,
        "--audio.channels",
        1,
    )
    for file in ("audio_51_loud.mp4", "audio_51_centre_flac.mkv"):
        heard = stream(result(made, file), "a:0")
        assert heard is not None
        assert (heard.facts["codec_name"], heard.facts["sample_rate"], heard.facts["channels"]) == ("aac", "16000", 1)
        assert 0.05 < np.abs(sound(result(made, file))).max() <= 1.05


RATED = sorted({row["file"] for row in RATES})


@pytest.mark.parametrize("rate", sorted({row["fps N"] for row in RATES}))
def test_a_rate_has_the_frames_that_are_nearest(shared_data: Path, once: Once, rate: str) -> None:
    out = once(f"encoded-at-{rate}", lambda folder: converted(folder, RATED, "--video.fps", rate)) / "out"
    wrong: list[tuple[str, object, object]] = []
    for row in RATES:
        if row["fps N"] != rate or row["file"] in LAST_FRAME:
            continue
        found = video(result(out, row["file"]))
        times = [number / int(rate) for number in range(int(row["frames by the issue's formula"]))]
        start = found.times[0]
        if [time - start for time in found.times] != pytest.approx(times, abs=2e-6):
            wrong.append((row["file"], len(found.times), len(times)))
        expected = [int(one) for one in row["source frame of result frame k"].rstrip(",…").split(",")]
        shown = [one - SHOWN.get(row["file"], [0])[0] for one in barcodes(pictures(result(out, row["file"])))]
        if shown[: len(expected)] != expected:
            wrong.append((row["file"], shown, expected))
    assert not wrong


def test_a_hole_repeats_the_frame_before_until_the_one_after_is_nearer(shared_data: Path, once: Once) -> None:
    """The last frame lasts as its `stts` says, 0.04 s; `fps.tsv` has what its mean rate would give."""
    out = once("encoded-at-8", lambda folder: converted(folder, RATED, "--video.fps", 8)) / "out"
    shown = barcodes(pictures(result(out, "vfr_gap.mp4")))
    assert len(shown) == 45  # k / 8 < 5.6
    assert shown.count(19) == 17
    assert shown[-1] == 37  # 5.5 s lies between 37 and 38


def test_what_was_written_conforms(out: Path, shared_data: Path, tmp_path: Path) -> None:
    """A second time nothing is encoded: the bytes stay."""
    numbers = {file: number for number, file in enumerate(INPUTS) if file in WRITTEN}
    clips = {clip_name(number): result(out, file).read_bytes() for file, number in numbers.items()}
    root = origin(tmp_path / "origin", clips)
    options = ("--video.short_side", 256, "--check.min_duration", 0)
    ran = kconvert("k400", "--split", "val", "--to", "folder", "--origin", root, "--out", tmp_path / "out", *options)
    assert ran.code == 0, ran.err
    table = pq.read_table(tmp_path / "out/metadata/val.parquet").to_pylist()
    names = {f"val_{clip_name(number)}": file for file, number in numbers.items()}
    assert {names[row["key"]]: row["encoding_reasons"] for row in table if row["encoding"] != "unchanged"} == {}


def test_a_group_that_is_left_out_changes_the_parameters_of_those_after_it(shared_data: Path) -> None:
    """As where a sample skips what it does not need, and the second of two descriptions begins there."""
    data = (shared_data / "encode/change_two_stsd.mp4").read_bytes()
    scaled: dict[str, Any] = {"start": 0.0, "size": (64, 64), "crop": "center"}
    every = sample(data, Sampling(num_frames=40, stride=1, **scaled))
    for stride in (31, 34, 35, 39):
        assert np.array_equal(sample(data, Sampling(num_frames=2, stride=stride, **scaled)), every[[0, stride]]), stride


def test_no_frame_is_far_from_its_source(out: Path, shared_data: Path) -> None:
    for file in ("scenecuts.mp4", "real_torchcodec__testsrc2_hdr.mp4", "sdr_10bit_bt709.mp4"):
        path = result(out, file)
        width, height = video(path).size.split("x")
        filters = f"scale={width}:{height}:flags=bicubic"
        least = 0.6 if "hdr" in file else 0.95
        assert similarity(path, FOLDER / file, filters) > least, file
