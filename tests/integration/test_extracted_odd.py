"""What is odd about clips that are extracted already: links, places, changes, annotations from elsewhere, refusals."""

import csv
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import extracted
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from buckets import Store, store
from conftest import Once
from harness import Ran, kconvert, one_line, tree
from miniature.server import Handler, serving


def rows(out: Path, what: str = "*") -> list[dict[str, object]]:
    relation = duckdb.sql(f"select {what} from '{out}/metadata/*.parquet' order by key, status")
    return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def run(release: str, origin: Path | str, out: Path, *more: str | Path) -> Ran:
    return kconvert(release, "--origin", origin, "--out", out, "--workers", 2, *more)


@pytest.fixture(scope="session")
def k600(once: Once, mini: Path) -> Path:
    """What the k600 extractor leaves of val; not to be changed."""

    def make(folder: Path) -> None:
        extracted.official(mini, "k600", folder)
        shutil.rmtree(folder / "k600/train")
        shutil.rmtree(folder / "k600/test")

    return once("extracted-k600", make)


@pytest.fixture(scope="session")
def k600_out(once: Once, k600: Path) -> Path:
    def make(folder: Path) -> None:
        ran = run("k600", k600, folder)
        assert ran.code == 0, ran.err
        assert "train: left out, as the origin has none of it" in ran.err

    return once("extracted-k600-out", make)


def test_the_card_says_that_folders_have_no_checksum(k600_out: Path) -> None:
    text = (k600_out / "README.md").read_text()
    assert "Read from val: clips extracted by the official k600 extractor: 600 classes flat" in text
    assert "Folders have no checksums of their own" in text


@pytest.fixture
def bucket() -> Iterator[Store]:
    with store() as served:
        yield served


def test_the_same_in_a_bucket_and_in_zip_files(k600: Path, k600_out: Path, bucket: Store, tmp_path: Path) -> None:
    url = bucket.make_bucket("clips")
    bucket.fill("clips", k600)
    ran = kconvert("k600", "--origin", url, "--out", tmp_path / "a", env=bucket.environment)
    assert ran.code == 0, ran.err
    assert "clips extracted by the official k600 extractor: 600 classes flat" in ran.err
    assert tree(tmp_path / "a") == tree(k600_out)
    # By the tool that most people pack with, and by Python's, whose files end in other ways.
    subprocess.run(["zip", "-qr", tmp_path / "clips.zip", "k600"], cwd=k600, check=True)
    shutil.make_archive(str(tmp_path / "stored"), "zip", k600)
    for path in (tmp_path / "clips.zip", tmp_path / "stored.zip"):
        out = tmp_path / f"of-{path.stem}"
        assert run("k600", path, out).code == 0
        assert tree(out) == tree(k600_out)
    with serving(tmp_path) as http:
        ran = run("k600", f"{http.url}clips.zip", tmp_path / "b")
        assert ran.code == 0, ran.err
    assert tree(tmp_path / "b") == tree(k600_out)


class WithoutRanges(Handler):
    def _range_start(self, etag: str) -> None:
        return None


def test_a_zip_file_of_a_server_without_ranges_is_refused(k600: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "clips"), "zip", k600)
    with serving(tmp_path, WithoutRanges) as http:
        ran = run("k600", f"{http.url}clips.zip", tmp_path / "out")
    assert ran.code == 2
    assert "gives no ranges" in one_line(ran)
    assert "download it" in one_line(ran)


def test_a_zip_file_that_is_damaged_or_packed_otherwise(k600: Path, tmp_path: Path) -> None:
    path = tmp_path / "clips.zip"
    subprocess.run(["zip", "-qr0", path, "k600"], cwd=k600, check=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    ran = run("k600", path, tmp_path / "out")
    assert (ran.code, "is no whole zip file" in one_line(ran)) == (2, True)
    place = whole.index(b"ftyp") + 200
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    ran = run("k600", path, tmp_path / "out")
    assert ran.code == 3
    assert "Bad CRC-32" in ran.err
    path.unlink()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as opened:
        for file in extracted.clips(k600):
            opened.write(file, file.relative_to(k600))
    ran = run("k600", path, tmp_path / "other")
    assert (ran.code, "packed by method 12" in one_line(ran)) == (2, True)


def linked(k600: Path, folder: Path, target: Path) -> Path:
    """A tree whose clips are links to a folder elsewhere; returns it."""
    shutil.copytree(k600 / "k600", target)
    root = folder / "k600"
    (root / "val").mkdir(parents=True)
    for path in extracted.clips(target / "val"):
        (root / "val" / path.name).symlink_to(path)
    shutil.copytree(target / "annotations", root / "annotations")
    return folder


def test_links_are_followed_inside_and_elsewhere_if_that_is_asked_for(
    k600: Path, k600_out: Path, tmp_path: Path
) -> None:
    origin = linked(k600, tmp_path / "in", tmp_path / "elsewhere")
    ran = run("k600", origin, tmp_path / "out")
    assert ran.code == 2
    assert f"{tmp_path / 'elsewhere/val'}" in one_line(ran)
    assert "--links anywhere" in one_line(ran)
    ran = run("k600", origin, tmp_path / "out", "--links", "anywhere")
    assert ran.code == 0, ran.err
    shards = [path.name for path in (tmp_path / "out/val").iterdir()]
    assert shards
    columns = "key, sha256, label, status"
    assert rows(tmp_path / "out", columns) == rows(k600_out, columns)
    # The same links, inside the origin; one of them leads to nothing, one around in a circle.
    inside = linked(k600, tmp_path / "inside", tmp_path / "inside/store")
    (inside / "k600/val/loop").symlink_to(inside / "k600")
    (inside / "k600/val/nothing.mp4").symlink_to(inside / "k600/nowhere.mp4")
    ran = run("k600", inside, tmp_path / "out2")
    assert ran.code == 0, ran.err
    assert "k600/val/nothing.mp4: a link to nothing" in ran.err
    assert rows(tmp_path / "out2", columns) == rows(k600_out, columns)


def test_where_clips_lie_flat_and_in_folders_the_flat_ones_are_read(k600: Path, k600_out: Path, tmp_path: Path) -> None:
    shutil.copytree(k600, tmp_path / "in")
    flat = [path for path in (tmp_path / "in/k600/val").iterdir() if path.is_file()]
    for path in flat[:5]:
        (tmp_path / "in/k600/val/abseiling").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "in/k600/val/abseiling")
    ran = run("k600", tmp_path / "in", tmp_path / "out")
    assert ran.code == 0, ran.err
    assert "5 clips lie in folders of classes and flat, too; the flat ones are read" in ran.err
    assert tree(tmp_path / "out") == tree(k600_out)


def test_the_annotation_wins_and_disagreements_are_listed(mini: Path, tmp_path: Path) -> None:
    extracted.into("{split}", extracted.underscored)(mini, "k600", tmp_path / "in")
    shutil.rmtree(tmp_path / "in/train")
    shutil.rmtree(tmp_path / "in/test", ignore_errors=True)
    one, other = sorted((tmp_path / "in/val").iterdir())[:2]
    path = extracted.clips(one)[0]
    path.rename(other / path.name)
    ran = run("k600", tmp_path / "in", tmp_path / "out")
    assert ran.code == 0, ran.err
    [row] = [row for row in rows(tmp_path / "out") if path.stem in str(row["key"])]
    assert (str(row["label"]).replace(" ", "_"), row["label_source"]) == (one.name, "annotation")
    said = kconvert("status", tmp_path / "out").out
    assert f"{path.stem}, {row['label']}, in the folder of " in said


def test_names_without_times_of_ids_that_are_annotated_twice(mini: Path, tmp_path: Path) -> None:
    extracted.official(mini, "k700-2020", tmp_path / "in")
    for split in ("train", "test"):
        shutil.rmtree(tmp_path / "in/k700-2020" / split)
    ids = [str(row["youtube_id"]) for row in rows_of_csv(tmp_path / "in/k700-2020/annotations/val.csv")]
    path = next(path for path in extracted.clips(tmp_path / "in") if ids.count(path.name[:11]) > 1)
    path.rename(path.with_name(f"{path.name[:11]}.webm"))
    ran = run("k700-2020", tmp_path / "in", tmp_path / "out")
    assert ran.code == 0, ran.err
    assert "val: 1 files have names without times" in ran.err
    found = [row for row in rows(tmp_path / "out") if row["key"] == f"val_{path.name[:11]}"]
    assert [(row["start_seconds"], row["end_seconds"], row["youtube_id"]) for row in found] == [
        (-1, -1, path.name[:11])
    ]
    assert {row["status"] for row in found} <= {"written", "rejected"}


def rows_of_csv(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_annotations_from_elsewhere(k600: Path, k600_out: Path, tmp_path: Path) -> None:
    shutil.copytree(k600, tmp_path / "in")
    shutil.rmtree(tmp_path / "in/k600/annotations")
    ran = run("k600", tmp_path / "in", tmp_path / "out")
    assert ran.code == 2
    assert "--annotations.val FILE" in one_line(ran)
    listing = k600 / "k600/annotations/val.txt"
    whole = tmp_path / "whole.csv"
    names = {str(row["key"]): row for row in rows(k600_out) if row["label_source"] == "annotation"}
    lines = [f"{r['label']},{r['youtube_id']},{r['start_seconds']},{r['end_seconds']},val" for r in names.values()]
    whole.write_text("\n".join(["label,youtube_id,time_start,time_end,split", *lines, ""]))
    pq.write_table(pa_csv.read_csv(whole), tmp_path / "whole.parquet")
    shutil.copy(listing, tmp_path / "x.txt")
    columns = "key, sha256, label, status"
    for path in (whole, tmp_path / "whole.parquet", tmp_path / "x.txt"):
        out = tmp_path / f"out{path.suffix}"
        ran = run("k600", tmp_path / "in", out, "--split", "val", "--annotations.val", path)
        assert ran.code == 0, ran.err
        assert rows(out, columns) == rows(k600_out, columns)
    ran = run("k600", tmp_path / "in", out, "--split", "val", "--annotations.val", whole)
    assert (ran.code, "annotations" in ran.err) == (2, True)
    ran = run("k600", tmp_path / "in", out, "--split", "val", "--annotations.train", whole)
    assert (ran.code, "would be ignored" in one_line(ran)) == (2, True)
    # Without any list the folders say what is in them; what lies flat has no label.
    ran = run("k600", tmp_path / "in", tmp_path / "none", "--split", "val", "--annotations.val", "none")
    assert ran.code == 0, ran.err
    found = rows(tmp_path / "none")
    assert {row["label"] for row in found if row["status"] == "written"} == {"mountain climber (exercise)"}
    assert {row["reason"] for row in found if row["label"] == ""} >= {"unlabelled"}


def test_a_file_that_changes_between_runs_is_read_again(k600: Path, k600_out: Path, tmp_path: Path) -> None:
    shutil.copytree(k600, tmp_path / "in")
    flat = sorted(path for path in (tmp_path / "in/k600/val").iterdir() if path.is_file())
    # The shards of the first run cannot be written, so that what it has read is there when it goes on.
    ran = kconvert("k600", "--origin", tmp_path / "in", "--out", tmp_path / "out", "--shard.max_bytes", "100kB")
    assert ran.code == 0, ran.err
    (tmp_path / "out/manifest.json").unlink()
    next((tmp_path / "out/val").iterdir()).unlink()
    ran = kconvert("k600", "--origin", tmp_path / "in", "--out", tmp_path / "out", "--shard.max_bytes", "100kB")
    assert ran.code == 0, ran.err
    before = tree(tmp_path / "out")
    assert kconvert("verify", tmp_path / "out").code == 0
    (tmp_path / "out/manifest.json").unlink()
    next((tmp_path / "out/val").iterdir()).unlink()
    shutil.copy(flat[1], flat[0])
    os.utime(flat[0], (1, 1))
    ran = kconvert("k600", "--origin", tmp_path / "in", "--out", tmp_path / "out", "--shard.max_bytes", "100kB")
    assert ran.code == 0, ran.err
    assert kconvert("verify", tmp_path / "out").code == 0
    after = tree(tmp_path / "out")
    assert after != before
    changed = {row["key"]: row["sha256"] for row in rows(tmp_path / "out")}
    assert changed[f"val_{flat[0].stem}"] == changed[f"val_{flat[1].stem}"]
    assert tree(k600_out)


def test_the_origin_of_another_kind_is_refused_when_a_run_goes_on(mini: Path, k600: Path, tmp_path: Path) -> None:
    broken = tmp_path / "mini"
    shutil.copytree(mini / "600", broken / "600")
    for path in (broken / "600/val").glob("*.tar.gz"):
        path.write_bytes(path.read_bytes()[:100])
    assert run("k600", broken, tmp_path / "out", "--split", "val").code == 3
    ran = run("k600", k600, tmp_path / "out", "--split", "val")
    assert (ran.code, "the first run read archives" in one_line(ran)) == (2, True)


def test_what_is_no_origin_is_told_with_what_was_looked_for_and_found(tmp_path: Path) -> None:
    (tmp_path / "in/stuff").mkdir(parents=True)
    for name in ("a.mp4", "b.mp4", "c.jpg", "README"):
        (tmp_path / "in/stuff" / name).write_bytes(b"x")
    ran = run("k400", tmp_path / "in", tmp_path / "out")
    text = one_line(ran)
    assert ran.code == 2
    for words in ("k400/{split}", "videos_{split}", "2 .mp4", "1 .jpg", "1 without ending", "'stuff/a.mp4'"):
        assert words in text
    ran = run("k400", tmp_path / "nothing.zip", tmp_path / "out")
    assert (ran.code, "no such file" in one_line(ran)) == (2, True)


def test_what_needs_archives_is_refused(k600: Path, tmp_path: Path) -> None:
    ran = run("k600", k600, tmp_path / "out", "--to", "archives")
    assert (ran.code, "the origin has no archives" in one_line(ran)) == (2, True)
    ran = run("k600", k600, tmp_path / "out", "--archives", tmp_path / "cache")
    assert (ran.code, "--archives" in one_line(ran)) == (2, True)
    ran = run("k600", k600, tmp_path / "out", "--split", "train")
    assert (ran.code, "has nothing of train" in one_line(ran)) == (2, True)


def test_classes_and_other_containers(k600: Path, k600_out: Path, tmp_path: Path) -> None:
    ran = run("k600", k600, tmp_path / "out", "--classes", "abseiling")
    assert ran.code == 0, ran.err
    columns = "key, sha256, label, status, reason"
    expected = [row for row in rows(k600_out, columns) if row["label"] == "abseiling"]
    assert rows(tmp_path / "out", columns) == expected
    shutil.copytree(k600, tmp_path / "in")
    changed = {}
    good = [row for row in rows(k600_out) if row["status"] == "written"]
    for row, ending in zip(good, ("mkv", "avi", "webm"), strict=False):
        [path] = (tmp_path / "in").rglob(f"{str(row['key'])[4:]}.mp4")
        target = path.with_suffix(f".{ending}")
        codec = ["-c", "copy"] if ending != "webm" else ["-c:v", "libvpx", "-an", "-b:v", "200k"]
        subprocess.run(["ffmpeg", "-v", "error", "-i", path, *codec, target], check=True)
        path.unlink()
        changed[row["key"]] = target
    ran = run("k600", tmp_path / "in", tmp_path / "containers")
    assert ran.code == 0, ran.err
    found = {row["key"]: row for row in rows(tmp_path / "containers")}
    for key, path in changed.items():
        assert (found[key]["status"], found[key]["size_bytes"]) == ("written", path.stat().st_size), found[key]
        assert found[key]["member"] == path.relative_to(tmp_path / "in").as_posix()


def copied(k600: Path, tmp_path: Path) -> Path:
    shutil.copytree(k600, tmp_path / "in")
    return tmp_path / "in"


def test_an_origin_that_any_release_may_have_gives_no_lists_of_another(mini: Path, k600: Path, tmp_path: Path) -> None:
    origin = copied(k600, tmp_path) / "k600"
    ran = run("k600", origin, tmp_path / "out", "--exclude", "k700-2020:val")
    assert ran.code == 2
    assert "k700-2020:val: its list cannot be had" in one_line(ran)
    given = f"k700-2020:val={mini / '700_2020/annotations/val.csv'}"
    assert run("k600", origin, tmp_path / "out", "--exclude", given, "--exclude", "k600:test").code == 2
    assert run("k600", origin, tmp_path / "out", "--exclude", given).code == 0


def test_every_ending_of_videos_counts_and_a_name_that_is_no_clips_is_listed(
    k600: Path, k600_out: Path, tmp_path: Path
) -> None:
    origin = copied(k600, tmp_path)
    flat = sorted(path for path in (origin / "k600/val").iterdir() if path.is_file())
    for path, ending in zip(flat, ("mov", "m4v", "flv", "3gp", "mpg", "wmv"), strict=False):
        path.rename(path.with_suffix(f".{ending}"))
    (origin / "k600/val/holiday.mp4").write_bytes(b"x")
    assert run("k600", origin, tmp_path / "out").code == 0
    columns = "key, sha256, label, status, reason"
    assert rows(tmp_path / "out", columns) == rows(k600_out, columns)
    assert "holiday.mp4: clip name 'holiday.mp4': expected" in kconvert("status", tmp_path / "out").out


def test_splits_may_lie_in_several_layouts_and_what_is_not_read_is_told(mini: Path, tmp_path: Path) -> None:
    extracted.into("{split}", extracted.underscored)(mini, "k600", tmp_path / "in")
    (tmp_path / "in/val").rename(tmp_path / "in/videos_val")
    shutil.copytree(tmp_path / "in/train", tmp_path / "in/videos_train")
    ran = run("k600", tmp_path / "in", tmp_path / "out")
    assert ran.code == 0, ran.err
    assert "val: left out" not in ran.err
    assert "train: clips lie in videos_train/, too; those in train/ are read" in ran.err
    assert {row["split"] for row in rows(tmp_path / "out")} == {"train", "val"}


def test_links_in_a_zip_file_are_refused(k600: Path, tmp_path: Path) -> None:
    origin = copied(k600, tmp_path)
    (origin / "k600/val/link.mp4").symlink_to(next((origin / "k600/val").glob("*.mp4")))
    subprocess.run(["zip", "-qry", tmp_path / "x.zip", "k600"], cwd=origin, check=True)
    ran = run("k600", tmp_path / "x.zip", tmp_path / "out")
    assert (ran.code, "link.mp4 is a symbolic link" in one_line(ran)) == (2, True)


def test_that_there_are_no_replacements_is_told(mini: Path, tmp_path: Path) -> None:
    extracted.official(mini, "k400", tmp_path / "in")
    shutil.rmtree(tmp_path / "in/k400/replacement")
    ran = run("k400", tmp_path / "in", tmp_path / "out", "--split", "train")
    assert ran.code == 0, ran.err
    assert "continuing without replacements" in ran.err


def test_a_table_of_several_splits_is_not_taken_for_one(mini: Path, k600: Path, tmp_path: Path) -> None:
    lines = (mini / "600/annotations/train.csv").read_text() + "".join(
        (mini / "600/annotations/val.csv").read_text().splitlines(keepends=True)[1:]
    )
    (tmp_path / "both.csv").write_text(lines)
    pq.write_table(pa_csv.read_csv(tmp_path / "both.csv"), tmp_path / "both.parquet")
    for name in ("both.csv", "both.parquet"):
        ran = run("k600", k600, tmp_path / "out", "--split", "val", "--annotations.val", tmp_path / name)
        assert (ran.code, "a row of split val" in one_line(ran), f"--annotations.val {tmp_path}" in ran.err) == (
            2,
            True,
            True,
        )


def test_links_that_lead_in_circles_or_over_one_another_cost_nothing(
    k600: Path, k600_out: Path, tmp_path: Path
) -> None:
    origin = copied(k600, tmp_path)
    (origin / "loop").symlink_to("loop")
    (origin / "README").symlink_to("/etc/hostname")
    above = origin / "k600/val"
    for number in range(24):
        (origin / f"store/{number}").mkdir(parents=True)
        for name in ("a", "b"):
            (above / name).symlink_to(origin / f"store/{number}")
        above = origin / f"store/{number}"
    ran = run("k600", origin, tmp_path / "out")
    assert ran.code == 0, ran.err
    assert tree(tmp_path / "out") == tree(k600_out)


def test_files_that_come_and_go_between_runs_are_told(k600: Path, tmp_path: Path) -> None:
    origin = copied(k600, tmp_path)
    flat = sorted(path for path in (origin / "k600/val").iterdir() if path.is_file())
    assert run("k600", origin, tmp_path / "out").code == 0
    (tmp_path / "out/manifest.json").unlink()
    next((tmp_path / "out/val").iterdir()).unlink()
    shutil.copy(flat[0], flat[0].with_name("AAAAAAAAAAA_000001_000011.mp4"))
    flat[1].unlink()
    ran = run("k600", origin, tmp_path / "out")
    assert ran.code == 3
    assert "1 new files are not taken in; --overwrite begins anew" in ran.err
    assert f"{flat[1].name}: no such file, though it was listed; put it back, or use --overwrite" in ran.err
    assert run("k600", origin, tmp_path / "out", "--overwrite").code == 0


def test_folders_that_name_no_label_are_not_taken_for_a_list(mini: Path, k600: Path, tmp_path: Path) -> None:
    ran = run("k600", k600, tmp_path / "out", "--split", "val", "--annotations.val", "none", "--classes", "abseiling")
    assert (ran.code, "--classes chooses clips by a list" in one_line(ran)) == (2, True)
