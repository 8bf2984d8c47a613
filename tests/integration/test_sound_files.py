"""The sound of clips as members of their own: every sample has it, whatever the sound, the format and the way a run
goes. What is to be heard is what ffmpeg decodes."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from harness import ROOT, kconvert, python, tree
from packing import clip_name, origin

import kconvert as product
from kconvert.conversion.preparing import EncodingPreparer
from kconvert.staging.finished import FinishedClips
from kconvert.storage.open import to_path
from kconvert.video.encoding.options import AudioOptions, Encoding, VideoSettings
from kconvert.video.verdict import CheckOptions

ENVIRONMENT = {"PYTHONPATH": str(ROOT / "tests" / "stubs"), "PYTHONWARNINGS": "ignore"}
LIBRARIES = {"mds", "litdata"}
PICTURE = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=9.5")
KINDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    # What is heard, and how it is stored; the first is as long as nobody's frame of AAC.
    "aac": ("sine=frequency=440:sample_rate=44100:duration=9.5", ("-c:a", "aac", "-f", "mp4")),
    "pcm": ("sine=frequency=330:sample_rate=48000,atrim=end_sample=24001", ("-c:a", "pcm_s16le", "-f", "matroska")),
    "stereo": ("sine=frequency=550:duration=9.5,aformat=channel_layouts=stereo", ("-c:a", "aac", "-f", "mp4")),
    "late": ("sine=sample_rate=48000:duration=8,adelay=0", ("-c:a", "flac", "-f", "matroska")),
    "zeros": ("anullsrc=r=16000:cl=mono,atrim=duration=9.5", ("-c:a", "aac", "-f", "mp4")),
    "surround": (
        "aevalsrc=0.1*sin(440*2*PI*t)|0.2|0.3|0.4|-0.1|-0.2:s=96000:d=9.5:c=5.1",
        ("-c:a", "flac", "-f", "matroska"),
    ),
    "none": ("", ("-an", "-f", "mp4")),
}
NUMBERS = {clip_name(number): kind for number, kind in enumerate(KINDS)}


def made_clip(folder: Path, kind: str) -> Path:
    heard, stored = KINDS[kind]
    path = folder / kind
    late = ("-itsoffset", "0.75") if kind == "late" else ()
    sound = (*late, "-f", "lavfi", "-i", heard, "-map", "0:v", "-map", "1:a") if heard else ()
    video = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-pix_fmt", "yuv420p")
    subprocess.run(["ffmpeg", "-v", "error", *PICTURE, *sound, *video, *stored, path], check=True)
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By name."""
    folder = tmp_path_factory.mktemp("clips")
    return {name: made_clip(folder, kind) for name, kind in NUMBERS.items()}


@pytest.fixture(scope="module")
def source(clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return origin(tmp_path_factory.mktemp("source"), {name: path.read_bytes() for name, path in clips.items()})


def converted(source: Path, out: Path, *more: str | int) -> list[dict[str, Any]]:
    """The rows of its table."""
    env = ENVIRONMENT if LIBRARIES & set(more) else None
    ran = kconvert("k400", "--split", "val", "--origin", source, "--out", out, "--shard.max_samples", 4, *more, env=env)
    assert ran.code == 0, ran.err
    checked = kconvert("verify", out, env=env)
    assert checked.code == 0, checked.out + checked.err
    rows: list[dict[str, Any]] = pq.read_table(out / "metadata/val.parquet").to_pylist()
    assert {row["status"] for row in rows} == {"written"}
    return rows


def samples(path: Path, *decoder: str) -> bytes:
    """What ffmpeg decodes of a file's sound: interleaved, 16 bits."""
    words: list[str | Path] = ["ffmpeg", "-v", "error", *decoder, "-i", path, "-map", "0:a", "-f", "s16le", "-"]
    return subprocess.run(words, check=True, capture_output=True).stdout


def kind_of(row: Mapping[str, Any]) -> str:
    return NUMBERS[row["key"].removeprefix("val_")]


@pytest.mark.parametrize("kind", ["flac", "wav"])
def test_every_sample_has_what_ffmpeg_decodes(source: Path, clips: dict[str, Path], tmp_path: Path, kind: str) -> None:
    rows = converted(source, tmp_path / "out", "--audio.member", kind, "--to", "folder")
    assert {row["encoding"] for row in rows} == {"unchanged"}
    for row in rows:
        path = (tmp_path / "out" / row["shard"]).with_suffix(f".{kind}")
        what, size = kind_of(row), 2 * row["sound_num_channels"]
        assert (path.stat().st_size, row["is_silent"]) == (row["sound_size_bytes"], what in ("zeros", "none"))
        if what == "none":
            assert row["sound_num_samples"] == 0
            continue
        heard = samples(path)
        decoder = ("-c:a", "aac_fixed") if what in ("aac", "stereo", "zeros") else ()
        expected = samples(clips[row["key"].removeprefix("val_")], *decoder)
        if what == "late":
            # Silence until it is heard, 0.75 s after the first picture.
            expected = bytes(36_000 * size) + expected
        assert len(heard) == len(expected)
        # Releases of libavcodec differ in the last bit of AAC by integers.
        differences = np.frombuffer(heard, "<i2").astype(int) - np.frombuffer(expected, "<i2")
        assert np.abs(differences).max() <= (1 if what in ("aac", "stereo") else 0)
        assert row["sound_num_samples"] == len(heard) // size
        if what == "pcm":
            assert row["sound_num_samples"] == 24_001
        assert row["sound_lead_seconds"] == 0


def test_an_m4a_has_the_packets_of_aac_as_they_are(source: Path, clips: dict[str, Path], tmp_path: Path) -> None:
    rows = converted(source, tmp_path / "out", "--audio.member", "m4a", "--to", "folder")

    def digest(path: Path) -> str:
        words = ("ffmpeg", "-v", "error", "-i", path, "-map", "0:a", "-c", "copy", "-f", "md5", "-")
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout

    for row in rows:
        path, what = (tmp_path / "out" / row["shard"]).with_suffix(".m4a"), kind_of(row)
        assert row["sound_num_samples"] is None
        assert row["is_silent"] == (what in ("zeros", "none"))
        if what in ("aac", "stereo"):
            assert digest(path) == digest(clips[row["key"].removeprefix("val_")])
        elif what == "none":
            # A file without a track.
            assert b"trak" not in path.read_bytes()
        else:
            assert {note.split(" (")[0] for note in row["encoding_notes"]} == (
                {"sound encoded"} if what != "zeros" else set()
            )
        if what != "none":
            shown = ("-show_entries", "stream=codec_name,sample_rate,channels", "-of", "csv=p=0")
            found = subprocess.run(["ffprobe", "-v", "error", *shown, path], check=True, capture_output=True, text=True)
            assert found.stdout == f"aac,{row['sound_rate']},{row['sound_num_channels']}\n"


def test_rate_and_channels_are_as_asked_and_the_video_has_no_sound(source: Path, tmp_path: Path) -> None:
    asked = ("--audio", "drop", "--audio.member", "wav", "--audio.rate", 16000, "--audio.channels", 1)
    rows = converted(source, tmp_path / "out", *asked, "--to", "folder")
    for row in rows:
        assert (row["sound_rate"], row["sound_num_channels"], row["audio_codec"]) == (16_000, 1, "")
        path = (tmp_path / "out" / row["shard"]).with_suffix(".wav")
        words = ("ffprobe", "-v", "error", "-show_entries", "stream=sample_rate,channels", "-of", "csv=p=0", path)
        assert subprocess.run(words, check=True, capture_output=True, text=True).stdout == "16000,1\n"
        if kind_of(row) == "aac":
            assert row["sound_num_samples"] == pytest.approx(9.5 * 16_000, abs=1024)


READERS: Mapping[str, str] = {
    "webdataset": """
import webdataset
def read(out):
    for path in sorted((out / "val").glob("*.tar")):
        for sample in webdataset.WebDataset(str(path), shardshuffle=False):
            yield sample["__key__"], sample["flac"]
""",
    "datasets": """
import datasets
def read(out):
    found = datasets.load_dataset(str(out), split="validation", streaming=True)
    assert isinstance(found.features["flac"], datasets.Audio)
    for row in found.remove_columns("mp4").cast_column("flac", datasets.Audio(decode=False)):
        yield row["__key__"], row["flac"]["bytes"]
""",
    "parquet": """
import datasets
def read(out):
    found = datasets.load_dataset(str(out), split="validation", streaming=True)
    assert isinstance(found.features["audio"], datasets.Audio)
    for row in found.remove_columns("video").cast_column("audio", datasets.Audio(decode=False)):
        yield row["key"], row["audio"]["bytes"]
""",
    "lance": """
import lance
def read(out):
    for row in lance.dataset(str(out / "val.lance")).to_table(columns=["key", "flac"]).to_pylist():
        yield row["key"], row["flac"]
""",
    "mds": """
import streaming
def read(out):
    found = streaming.LocalDataset(str(out / "val"))
    for number in range(len(found)):
        yield found[number]["key"], found[number]["flac"]
""",
    "litdata": """
import litdata
def read(out):
    found = litdata.StreamingDataset(str(out / "val"))
    for number in range(len(found)):
        yield found[number]["key"], found[number]["flac"]
""",
}
READ = """
import hashlib, json, sys
from pathlib import Path
print(json.dumps({key: hashlib.sha256(data).hexdigest() for key, data in read(Path(sys.argv[1]))}))
"""


def as_read(reader: str, out: Path) -> dict[str, str]:
    """The digests of the members that a library reads, by key."""
    said = python("-c", READERS[reader] + READ, out, env={**os.environ, **ENVIRONMENT}, folder=out)
    found: dict[str, str] = json.loads(said.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def as_files(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The members, by key."""
    out = tmp_path_factory.mktemp("files") / "out"
    rows = converted(source, out, "--audio.member", "flac", "--to", "folder")
    return {row["key"]: (out / row["shard"]).with_suffix(".flac").read_bytes() for row in rows}


@pytest.mark.parametrize("reader", READERS)
def test_each_format_has_the_same_members_for_its_own_reader(
    source: Path, as_files: dict[str, bytes], tmp_path: Path, reader: str
) -> None:
    to = "webdataset" if reader == "datasets" else reader
    converted(source, tmp_path / "out", "--audio.member", "flac", "--to", to)
    assert as_read(reader, tmp_path / "out") == {
        key: hashlib.sha256(data).hexdigest() for key, data in as_files.items()
    }


@pytest.mark.parametrize("to", ["webdataset", "folder"])
def test_a_clip_gives_its_sound(source: Path, as_files: dict[str, bytes], tmp_path: Path, to: str) -> None:
    converted(source, tmp_path / "out", "--audio.member", "flac", "--to", to)
    clips = product.open(tmp_path / "out", "val")
    assert {clip.key: clip.sound() for clip in clips} == as_files


def test_who_has_none_says_so(source: Path, tmp_path: Path) -> None:
    converted(source, tmp_path / "out")
    with pytest.raises(ValueError, match="its sound is no member of its own"):
        product.open(tmp_path / "out", "val")[0].sound()


def test_the_same_bytes_beside_encoded_video_with_any_number_of_workers_and_windows(
    source: Path, tmp_path: Path
) -> None:
    asked = ("--audio.member", "flac", "--video.short_side", 32, "--shuffle.window", 1)
    converted(source, tmp_path / "one", *asked, "--workers", 1)
    converted(source, tmp_path / "three", *asked, "--workers", 3)
    assert tree(tmp_path / "one") == tree(tmp_path / "three")


@pytest.mark.parametrize("to", ["webdataset", "folder"])
def test_a_member_that_was_changed_is_found(source: Path, tmp_path: Path, to: str) -> None:
    rows = converted(source, tmp_path / "out", "--audio.member", "wav", "--to", to)
    row = next(row for row in rows if kind_of(row) == "pcm")
    path = tmp_path / "out" / row["shard"]
    if to == "folder":
        path = path.with_suffix(".wav")
    data = bytearray(path.read_bytes())
    start = 44 + 1000 if to == "folder" else data.index(b"RIFF", row["offset_bytes"]) + 1000
    data[start] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    checked = kconvert("verify", tmp_path / "out", "--json")
    assert checked.code == 4
    assert any(
        f"({row['key']}): differs from its row in sound_sha256" in found["problem"] for found in json.loads(checked.out)
    )


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Sequence[str]:
    """What runs a command on a processor that knows none of the newer instructions, as far as it says."""
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("`unshare -rm` is not permitted here, so that no processor can be put on")
    said = tmp_path_factory.mktemp("processor") / "cpuinfo"
    said.write_text("processor : 0\nflags : fpu sse2\n", "ascii")
    return ["unshare", "-rm", "sh", "-c", f'mount --bind {said} /proc/cpuinfo && exec "$@"', "sh"]


@pytest.mark.parametrize("way", ["keep", "wav", "resample"])
def test_sound_of_one_folder_is_made_by_one_instruction_set(
    clips: dict[str, Path], elsewhere: Sequence[str], tmp_path: Path, way: str
) -> None:
    """Another machine is told before it adds to a folder where that matters, and only there."""
    options = {"keep": ("--audio", "keep", "--video.short_side", 32), "wav": ("--audio.member", "wav")}
    asked = options.get(way, ("--audio", "resample", "--audio.rate", 16000))
    opus = tmp_path / "opus.mkv"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", clips[clip_name(0)], "-c:v", "copy", "-c:a", "libopus", opus], check=True
    )
    inexact = {"keep": clips[clip_name(1)], "wav": opus, "resample": clips[clip_name(0)]}[way].read_bytes()
    source = origin(tmp_path / "source", {clip_name(number): inexact for number in range(2)}, 2)
    words = ("k400", "--split", "val", "--origin", source, "--out", tmp_path / "out", *asked)
    late = source / "400/val/part_1.tar.gz"
    late.rename(tmp_path / "late")
    assert kconvert(*words).code == 3
    (tmp_path / "late").rename(late)
    other = kconvert(*words, within=elsewhere)
    assert other.code == (2 if way == "resample" else 3)
    assert "sse2" in other.err + other.out
    if way != "resample":
        assert "has sound that is decoded or encoded, which comes out otherwise" in other.err + other.out
        assert "on a machine with" in other.err + other.out
    assert kconvert(*words).code == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["sound_instruction_set"].startswith(platform.machine())
    assert "sse2" not in manifest["sound_instruction_set"]
    again = kconvert(*words)
    assert again.code == 0
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == manifest


def test_a_split_without_such_sound_stays_beside_one_that_has_it(clips: dict[str, Path], tmp_path: Path) -> None:
    """In any order, and when nothing is left to do; the manifest is one folder's."""
    source = origin(tmp_path / "source", {clip_name(0): clips[clip_name(0)].read_bytes()})
    other = origin(tmp_path / "other", {clip_name(1): clips[clip_name(1)].read_bytes()})
    for path in sorted((other / "400").rglob("*val*")):
        if path.is_file():
            text = path.read_bytes().replace(b"val", b"test")
            renamed = Path(str(path.relative_to(other)).replace("val", "test"))
            (source / renamed).parent.mkdir(parents=True, exist_ok=True)
            (source / renamed).write_bytes(text)
    (source / "400/test").mkdir(exist_ok=True)
    shutil.copy(other / "400/val/part_0.tar.gz", source / "400/test/part_0.tar.gz")
    for number, splits in enumerate((("val", "test"), ("test", "val"))):
        out = tmp_path / f"out{number}"
        words = ("k400", "--origin", source, "--out", out, "--video.short_side", 32, "--shard.max_bytes", "100kB")
        for split in splits:
            ran = kconvert(*words, "--split", split)
            assert ran.code == 0, ran.err
        manifest = (out / "manifest.json").read_bytes()
        assert json.loads(manifest)["sound_instruction_set"]
        for _ in range(2):
            ran = kconvert(*words, "--split", ",".join(splits))
            assert ran.code == 0, ran.err
            assert (out / "manifest.json").read_bytes() == manifest
    assert tree(tmp_path / "out0") == tree(tmp_path / "out1")


def test_a_clip_that_is_not_written_claims_nothing(clips: dict[str, Path], tmp_path: Path) -> None:
    opus = tmp_path / "opus.mkv"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", clips[clip_name(0)], "-c:v", "copy", "-c:a", "libopus", opus], check=True
    )
    data = bytearray(opus.read_bytes())
    # Of the video's packets, in the middle.
    data[len(data) // 2 : len(data) // 2 + 4000] = bytes(4000)
    good = clips[clip_name(0)].read_bytes()
    source = origin(tmp_path / "source", {clip_name(0): good, clip_name(1): bytes(data)})
    out = tmp_path / "out"
    ran = kconvert(
        "k400", "--split", "val", "--origin", source, "--out", out, "--check.depth", "decode", "--audio.member", "wav"
    )
    assert ran.code == 0, ran.err
    rows = pq.read_table(out / "metadata/val.parquet").to_pylist()
    assert [row["status"] for row in rows] == ["written", "rejected"]
    assert "sound_instruction_set" not in json.loads((out / "manifest.json").read_text())


def test_sound_that_comes_out_the_same_everywhere_may_be_made_anywhere(
    clips: dict[str, Path], elsewhere: Sequence[str], tmp_path: Path
) -> None:
    """AAC that is copied, or decoded by integers; what is lossless."""
    exact = {name: path.read_bytes() for name, path in clips.items() if NUMBERS[name] != "zeros"}
    trees = []
    for number, within in enumerate(((), elsewhere)):
        source = origin(tmp_path / f"source{number}", exact, 2)
        words = ("k400", "--split", "val", "--origin", source, "--out", tmp_path / f"out{number}")
        late = source / "400/val/part_1.tar.gz"
        late.rename(tmp_path / "late")
        asked = ("--audio", "drop", "--audio.member", "flac")
        assert kconvert(*words, *asked).code == 3
        (tmp_path / "late").rename(late)
        assert kconvert(*words, *asked, within=within).code == 0
        trees.append(tree(tmp_path / f"out{number}"))
        assert "sound_instruction_set" not in json.loads((tmp_path / f"out{number}" / "manifest.json").read_text())
    assert trees[0] == trees[1]


def test_what_kills_a_run_between_video_and_sound_costs_nothing(source: Path, tmp_path: Path) -> None:
    """Finished clips are found again with their sound."""
    name = next(name for name, kind in NUMBERS.items() if kind == "stereo")
    with tarfile.open(source / "400/val/part_0.tar.gz") as tar:
        member = tar.extractfile(f"./{name}.mp4")
        assert member is not None
        data = member.read()
    encoding = Encoding(VideoSettings(short_side=32), AudioOptions(member="flac"))
    folder = to_path(str(tmp_path / "parts"))
    folder.make_folder()
    made = []
    for _ in range(2):
        preparer = EncodingPreparer(CheckOptions(), encoding, 1, FinishedClips(folder, "0", "1"), lambda: None)
        made.append(preparer.begin(data, "ab" * 32)())
        preparer.close()
    assert made[0] == made[1]
    assert made[0].data
    assert made[0].sound.startswith(b"fLaC")
