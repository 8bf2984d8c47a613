"""The main job, on made and on real clips, through the installed command, against what other tools say."""

import hashlib
import json
import shutil
import subprocess
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
import webdataset
from harness import RELEASES, kconvert, tree
from miniature.oracle import duration_seconds, ffprobe, num_shown, probe_defects
from miniature.server import serving

SPLITS = ("train", "val", "test")


@pytest.fixture(params=[(release, split) for release in RELEASES for split in SPLITS], ids="-".join)
def release_split(request: pytest.FixtureRequest) -> tuple[str, str]:
    found: tuple[str, str] = request.param
    return found


def table(out: Path, split: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / "metadata" / f"{split}.parquet").to_pylist()
    return rows


@cache
def members(archive: Path, folder: Path) -> dict[str, Path]:
    """The files of an archive, unpacked by GNU tar, by their names in it."""
    folder.mkdir(parents=True)
    subprocess.run(["tar", "xf", archive, "-C", folder], check=True)
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


@cache
def said_of(path: Path) -> tuple[tuple[str, ...], Any]:
    """What ffprobe says of a file."""
    defects = probe_defects(path)
    readable = not {"empty", "unreadable", "no_video"} & set(defects)
    return defects, ffprobe(path, "-show_format", "-show_streams")[0] if readable else None


def test_every_row_is_what_was_expected(any_mini: Path, all_converted: Path, release_split: tuple[str, str]) -> None:
    release, split = release_split
    expected = json.loads((any_mini / "expected" / f"{release}-{split}.json").read_text())
    rows = [
        {
            "name": row["key"].removeprefix(f"{split}_"),
            **{
                name: row[name]
                for name in ("status", "reason", "defects", "label", "label_source", "source", "archive")
            },
            "sha256": row["sha256"] if row["status"] == "written" else "",
        }
        for row in table(all_converted / release, split)
    ]

    def order(row: dict[str, Any]) -> tuple[str, bool]:
        return row["name"], row["reason"] == "duplicate"

    assert sorted(rows, key=order) == sorted(expected, key=order)


def test_every_row_is_what_ffprobe_says_of_the_file(
    any_mini: Path, all_converted: Path, release_split: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    release, split = release_split
    unpacked = tmp_path_factory.mktemp("unpacked")
    for row in table(all_converted / release, split):
        if row["status"] == "missing":
            assert (row["archive"], row["member"], row["size_bytes"], row["sha256"]) == ("", "", None, "")
            continue
        folder = unpacked / hashlib.sha256(row["archive"].encode()).hexdigest()
        path = members(any_mini / row["archive"], folder)[row["member"].removeprefix("./")]
        assert row["size_bytes"] == path.stat().st_size
        assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        defects, said = said_of(path)
        assert tuple(row["defects"]) == defects
        if said is None:
            assert row["duration_seconds"] is None
            continue
        video = next(stream for stream in said["streams"] if stream["codec_type"] == "video")
        audio: dict[str, Any] = next((stream for stream in said["streams"] if stream["codec_type"] == "audio"), {})
        assert row["duration_seconds"] == duration_seconds(said)
        assert (row["width"], row["height"]) == (video["width"], video["height"])
        assert row["pix_fmt"] == video.get("pix_fmt", "")
        assert (row["video_codec"], row["audio_codec"]) == (video["codec_name"], audio.get("codec_name", ""))
        assert row["num_frames"] == num_shown(path, video, "truncated" in defects)
        numerator, denominator = map(int, video["avg_frame_rate"].split("/"))
        assert row["fps"] == (pytest.approx(numerator / denominator) if denominator else None)


def test_the_manifest_adds_up(all_converted: Path, release_split: tuple[str, str], any_mini: Path) -> None:
    release, split = release_split
    out = all_converted / release
    manifest = json.loads((out / "manifest.json").read_text())
    counts = manifest["splits"][split]
    rows = table(out, split)
    by_status = {status: sum(row["status"] == status for row in rows) for status in ("written", "rejected", "missing")}
    assert counts["num_written"] == by_status["written"] > 0
    assert sum(counts["num_rejected"].values()) == by_status["rejected"]
    assert counts["num_missing"] == by_status["missing"]
    assert sum(by_status.values()) == len(rows)
    written = [row["defects"] for row in rows if row["status"] == "written"]
    assert counts["num_short"] == sum("short" in defects for defects in written)
    assert counts["num_few_frames"] == sum("few_frames" in defects for defects in written)
    assert counts["num_flagged"] == sum(defects != [] for defects in written)
    assert counts["num_replaced"] == sum(row["source"] == "replacement" for row in rows if row["status"] == "written")
    # What GNU tar lists is what was read.
    lists = [path for path in (any_mini).rglob("*_path.txt") if path.parent.name == split and release[1:4] in str(path)]
    urls = lists[0].read_text().splitlines()
    assert counts["num_archives"] == len(urls)
    listed = 0
    for url in urls:
        archive = any_mini / url.removeprefix("https://s3.amazonaws.com/kinetics/")
        listed += len(subprocess.run(["tar", "tf", archive], capture_output=True, check=True).stdout.splitlines())
    assert counts["num_members"] == listed
    kinds = ("num_ignored_members", "num_unparsed_members", "num_unselected_members", "num_clip_members")
    assert sum(counts[kind] for kind in kinds) == listed
    assert counts["num_clip_members"] + counts["num_replacement_only"] == by_status["written"] + by_status["rejected"]
    shards = [shard for shard in manifest["shards"] if shard["split"] == split]
    assert counts["num_shards"] == len(shards)
    assert counts["num_bytes"] == sum((out / shard["path"]).stat().st_size for shard in shards)


def test_rows_are_sorted_and_written_keys_are_unique(all_converted: Path) -> None:
    for release in RELEASES:
        keys = []
        for split in SPLITS:
            rows = table(all_converted / release, split)
            assert [row["key"] for row in rows] == sorted(row["key"] for row in rows)
            keys += [row["key"] for row in rows if row["status"] == "written"]
        assert len(keys) == len(set(keys))


# webdataset leaves it to the garbage collector to close its files.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_the_shards(all_converted: Path, release_split: tuple[str, str]) -> None:
    release, split = release_split
    out = all_converted / release
    rows = {row["key"]: row for row in table(out, split) if row["status"] == "written"}
    urls = f"{out}/{split}/{release}-{split}-{{000000..{len(list((out / split).iterdir())) - 1:06d}}}.tar"
    found = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    assert {sample["__key__"] for sample in found} == set(rows)
    assert len(found) == len(rows)
    for sample in found:
        row = rows[sample["__key__"]]
        assert sample["cls"] == row["label_id"]
        assert hashlib.sha256(sample["mp4"]).hexdigest() == row["sha256"]
        for name, value in sample["json"].items():
            if name in row:
                assert value == (row[name] if row[name] is not None else -1)


def test_a_row_gives_random_access_with_one_read(all_converted: Path, release_split: tuple[str, str]) -> None:
    release, split = release_split
    out = all_converted / release
    for row in table(out, split):
        if row["status"] == "written":
            with open(out / row["shard"], "rb") as file:
                file.seek(row["offset_bytes"])
                assert hashlib.sha256(file.read(row["size_bytes"])).hexdigest() == row["sha256"]
        else:
            assert (row["shard"], row["sample_index"], row["offset_bytes"]) == ("", None, None)


def test_plain_tar_lists_samples_in_the_order_of_their_index(
    all_converted: Path, release_split: tuple[str, str]
) -> None:
    release, split = release_split
    out = all_converted / release
    for shard in sorted((out / split).iterdir()):
        listed = subprocess.run(["tar", "tf", shard], capture_output=True, text=True, check=True).stdout.split()
        rows = [row for row in table(out, split) if row["shard"] == f"{split}/{shard.name}"]
        rows.sort(key=lambda row: row["sample_index"])
        assert listed == [f"{row['key']}.{extension}" for row in rows for extension in ("cls", "json", "mp4")]
        with tarfile.open(shard) as tar:
            assert {(member.mtime, member.mode, member.uid, member.gid) for member in tar} == {(0, 0o444, 0, 0)}


@pytest.mark.parametrize("release", RELEASES)
# datasets and the libraries below it leave files for the garbage collector to close.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_hugging_face_loads_all_samples_and_the_tables(all_converted: Path, release: str, tmp_path: Path) -> None:
    out = all_converted / release
    names = {"train": "train", "val": "validation", "test": "test"}
    samples = datasets.load_dataset(str(out), cache_dir=str(tmp_path))
    metadata = datasets.load_dataset(str(out / "metadata"), cache_dir=str(tmp_path))
    for split, name in names.items():
        rows = table(out, split)
        written = {row["key"] for row in rows if row["status"] == "written"}
        found = samples[name].select_columns(["__key__", "cls"])
        assert {key.rpartition("/")[2] for key in found["__key__"]} == written
        assert len(found) == len(written)
        assert metadata[name].num_rows == len(rows)


@pytest.mark.parametrize("release", RELEASES)
def test_bytes_are_the_same_for_any_number_of_workers_and_in_every_run(
    any_mini: Path, all_converted: Path, release: str, tmp_path: Path
) -> None:
    expected = tree(all_converted / release)
    with serving(any_mini) as http:
        for workers, locale in ((1, "C"), (2, "C.UTF-8")):
            out = tmp_path / str(workers)
            ran = kconvert(
                release, "--out", out, "--origin", http.url, "--workers", workers,
                env={"LC_ALL": locale, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": str(workers)},
            )  # fmt: skip
            assert ran.code == 0, ran.err
            assert tree(out) == expected


@pytest.mark.parametrize("release", RELEASES)
def test_verify_finds_nothing_wrong(all_converted: Path, release: str) -> None:
    ran = kconvert("verify", all_converted / release)
    assert ran.code == 0, ran.out
    assert ran.out.startswith("all as written")


def test_nothing_depends_on_the_journal_once_the_manifest_is_there(all_converted: Path, copy_of: Any) -> None:
    out = copy_of(all_converted / "k600")
    before = tree(out)
    shutil.rmtree(out / ".kconvert")
    assert kconvert("verify", out).code == 0
    assert kconvert("status", out).code == 0
    ran = kconvert("k600", "--out", out, "--origin", "http://127.0.0.1:9/")
    assert ran.code == 0, ran.err
    assert tree(out) == before
