"""k710: the train splits of three releases as one."""

import csv
import io
import json
import tarfile
from pathlib import Path

import duckdb
import pytest
from harness import kconvert
from miniature.build import OFFICIAL
from miniature.made import make_clip

from kconvert.catalog.shelf import load_release

MEMBERS = ("k400", "k600", "k700-2020")

# (release, split): rows of id, start and label; those with `!` are in no archive, those with `+` in no list
CLIPS: dict[tuple[str, str], list[tuple[str, int, str]]] = {
    ("k400", "train"): [
        ("only400aaaa", 1, "balloon blowing"),
        ("in400and600", 5, "drinking"),
        ("in400and700", 5, "abseiling"),
        ("sametimes47", 7, "abseiling"),
        ("test700aaaa", 1, "zumba"),
        ("val400aaaaa", 90, "zumba"),
        ("held600aaaa", 3, "zumba"),
        ("missing4!!!", 3, "zumba"),
    ],
    ("k400", "val"): [("val400aaaaa", 1, "zumba")],
    ("k400", "test"): [("test400aaaa", 1, "zumba")],
    ("k600", "train"): [
        ("in400and600", 6, "zumba"),
        ("in600and700", 2, "picking fruit"),
        ("twice600aaa", 1, "zumba"),
        ("twice600aaa", 40, "abseiling"),
    ],
    ("k600", "val"): [("val600aaaaa", 1, "zumba")],
    ("k600", "test"): [("test600aaaa", 1, "")],
    ("k700-2020", "train"): [
        ("in400and700", 30, "zumba"),
        ("in600and700", 2, "abseiling"),
        ("sametimes47", 7, "zumba"),
        ("val600aaaaa", 30, "zumba"),
        ("only700aaaa", 1, "throwing ball (not baseball or American football)"),
    ],
    ("k700-2020", "val"): [("val700aaaaa", 1, "zumba")],
    ("k700-2020", "test"): [("test700aaaa", 1, "")],
}


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def archive(root: Path, path: str, names: list[str]) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(root / path, "w:gz") as opened:
        for name in names:
            data = make_clip("good", name)
            info = tarfile.TarInfo(f"./{name}.mp4")
            info.size = len(data)
            opened.addfile(info, io.BytesIO(data))


def name_of(row: tuple[str, int, str]) -> str:
    return f"{row[0]}_{row[1]:06d}_{row[1] + 10:06d}"


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    root = tmp_path / "origin"
    for (release, split), rows in CLIPS.items():
        info = load_release(release).splits[split]
        hosted = [row for row in rows if "!" not in row[0]]
        by_archive: dict[str, list[str]] = {}
        for row in hosted:
            labels = load_release(release).labels
            path = info.archive.format(
                part="001", label=row[2], rank=f"{labels.index(row[2]) + 1:03d}" if row[2] else ""
            )
            by_archive.setdefault(path, []).append(name_of(row))
        for path, names in by_archive.items():
            archive(root, path, names)
        write(root / info.path_list, "".join(f"{OFFICIAL}{path}\n" for path in sorted(by_archive)).encode())
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*(["label"] if rows[0][2] else []), "youtube_id", "time_start", "time_end", "split"])
        for youtube_id, start, label in rows:
            clean = youtube_id.replace("!", "x")
            writer.writerow([*([label] if label else []), clean, start, start + 10, split])
        file = next(one for one in info.annotations if one.form == "csv")
        write(root / file.path, text.getvalue().encode())
    archive(root, "400/replacement_for_corrupted_k400.tgz", [])
    write(root / "600/annotations/kinetics600_holdout_test.csv", b"youtube_id,time_start,time_end\nheld600aaaa,3,13\n")
    return root


def test_each_video_is_in_the_newest_release_and_in_no_val_or_test(origin: Path, tmp_path: Path) -> None:
    ran = kconvert("k710", "--origin", origin, "--out", tmp_path / "out", "--exclude", "k400:val")
    assert ran.code == 0, ran.err
    query = f"select split, youtube_id, start_seconds, label, label_id, status, reason, excluded_by from '{tmp_path}/out/metadata/*.parquet'"
    found = duckdb.sql(query).fetchall()
    assert {row[0] for row in found} == {"train"}
    written = {row[1:4] for row in found if row[5] == "written"}
    assert written == {
        ("only400aaaa", 1, "inflating balloons"),
        ("in400and600", 6, "zumba"),
        ("in600and700", 2, "abseiling"),
        ("twice600aaa", 1, "zumba"),
        ("twice600aaa", 40, "abseiling"),
        ("in400and700", 30, "zumba"),
        ("sametimes47", 7, "zumba"),
        ("only700aaaa", 1, "throwing ball"),
    }
    excluded = {row[1:3]: tuple(row[7]) for row in found if row[6] == "excluded"}
    assert excluded == {
        ("in400and600", 5): ("k600:train",),
        ("in400and700", 5): ("k700-2020:train",),
        ("test700aaaa", 1): ("k700-2020:test",),
        ("val400aaaaa", 90): ("k400:val",),
        ("held600aaaa", 3): ("k600:holdout",),
        ("val600aaaaa", 30): ("k600:val",),
    }
    others = {(row[1:3], row[5], row[6]) for row in found if row[5] != "written" and row[6] != "excluded"}
    # One clip that is hosted twice, and one that is hosted nowhere.
    assert others == {
        (("in600and700", 2), "rejected", "duplicate"),
        (("sametimes47", 7), "rejected", "duplicate"),
        (("missing4xxx", 3), "missing", ""),
    }
    labels = (tmp_path / "out/labels.txt").read_text().splitlines()
    assert len(labels) == 710
    assert all(labels[row[4]] == row[3] for row in found if row[3])
    counts = json.loads((tmp_path / "out/manifest.json").read_text())["splits"]["train"]
    # What the lists allow: each named video once, but for those of two clips in one release.
    names = {row[0].replace("!", "x") for member in MEMBERS for row in CLIPS[member, "train"]}
    assert counts["num_annotations"] == len(names) + 1
    assert kconvert("verify", tmp_path / "out").code == 0


def test_every_label_has_one_of_the_710(shared_data: Path) -> None:
    release = load_release("k710")
    with (shared_data / "datasets/k710/k710_map.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == 1700
    for row in rows:
        label = release.label_list.aliases.get(row["label"], row["label"])
        assert (label, release.label_ids[label]) == (row["k710_label"], int(row["k710_id"]))


def test_a_release_without_its_own_folders_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train/zumba").mkdir(parents=True)
    (tmp_path / "train/zumba/AAAAAAAAAAA_000001_000011.mp4").write_bytes(b"x")
    ran = kconvert("k710", "--origin", tmp_path, "--out", tmp_path / "out")
    assert ran.code == 2
