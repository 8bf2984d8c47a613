"""Clips that are also in other splits: `kconvert overlap`, and what `--exclude` leaves out."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from harness import Ran, kconvert, one_line, tree
from miniature.server import Server

Rows = dict[str, dict[str, Any]]


def convert(out: Path, mini: Path, *words: str | Path) -> Ran:
    return kconvert("k400", "--out", out, "--origin", mini, *words)


def rows(out: Path, split: str) -> Rows:
    found = pq.read_table(out / "metadata" / f"{split}.parquet").to_pylist()
    return {row["key"] + ("#" if row["reason"] == "duplicate" else ""): row for row in found}


@pytest.fixture(scope="module")
def plain(mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Converted with nothing excluded."""
    out = tmp_path_factory.mktemp("plain") / "out"
    assert convert(out, mini).code == 0
    return out


def one_of(found: Rows, status: str, source: str) -> dict[str, Any]:
    return next(row for row in found.values() if (row["status"], row["source"]) == (status, source))


def test_clips_of_the_lists_are_rejected_and_all_others_are_as_they_were(
    mini: Path, plain: Path, tmp_path: Path
) -> None:
    before = rows(plain, "train")
    replaced, original = one_of(before, "written", "replacement"), one_of(before, "written", "original")
    broken, missing = one_of(before, "rejected", "original"), one_of(before, "missing", "")
    wanted = {row["key"] for row in (replaced, original, broken)}
    listed = tmp_path / "listed.txt"
    listed.write_text("".join(f"{row['youtube_id']}\n" for row in (replaced, original, broken, missing)))
    other = tmp_path / "other.csv"
    other.write_text(f"youtube_id,time_start,time_end\n{original['youtube_id']},900,910\n")
    words = ("--split", "train", "--exclude", f"mine={listed},k600:test={other}")
    plan = json.loads(kconvert("plan", "k400", "--origin", mini, "--out", tmp_path / "out", *words, "--json").out)
    annotated = {row["key"] for row in before.values() if row["label_source"] == "annotation"}
    assert plan["splits"]["train"]["num_excluded"] == len((wanted & annotated) | {missing["key"]})
    assert convert(tmp_path / "out", mini, *words).code == 0

    after = rows(tmp_path / "out", "train")
    assert set(after) == set(before)
    assert {key for key, row in after.items() if row["reason"] == "excluded"} == wanted
    for key, row in after.items():
        same = [name for name in row if name not in ("shard", "sample_index", "offset_bytes")]
        if key in wanted:
            assert row["status"] == "rejected"
            assert row["excluded_by"] == (["k600:test", "mine"] if key == original["key"] else ["mine"])
        else:
            assert [row[name] for name in same] == [before[key][name] for name in same]
    assert after[missing["key"]]["status"] == "missing"
    # The original of a clip with a replacement is judged as it is.
    assert after[replaced["key"]]["defects"] == replaced["original_defects"]
    counts = json.loads((tmp_path / "out/manifest.json").read_bytes())["splits"]["train"]
    assert counts["num_rejected"]["excluded"] == 3
    assert counts["num_excluded_by"] == {"k600:test": 1, "mine": 3}
    assert kconvert("verify", tmp_path / "out").code == 0
    card = (tmp_path / "out/README.md").read_text()
    assert "Rejected: 3 clips of train that are also in mine, of the same video." in card
    assert kconvert("report", tmp_path / "out").code == 0
    assert "rejected: excluded" in (tmp_path / "out/report.html").read_text()


@pytest.mark.parametrize(("by", "num"), [("id", 3), ("overlap", 2), ("exact", 1)])
def test_what_is_also_there_is_told_by_video_common_time_or_equal_times(
    mini: Path, plain: Path, tmp_path: Path, by: str, num: int
) -> None:
    written = [row for row in rows(plain, "val").values() if row["status"] == "written"][:3]
    shifts = {written[0]["youtube_id"]: 0, written[1]["youtube_id"]: 9, written[2]["youtube_id"]: 10}
    lines = [f"{row['youtube_id']},{row['start_seconds'] + (shift := shifts[row['youtube_id']])},"
             f"{row['start_seconds'] + shift + 10}" for row in written]  # fmt: skip
    (tmp_path / "x.csv").write_text("\n".join(["youtube_id,time_start,time_end", *lines]) + "\n")
    words = ("--split", "val", "--exclude", f"k600:val={tmp_path / 'x.csv'}", "--exclude_by", by)
    assert convert(tmp_path / "out", mini, *words).code == 0
    found = [row for row in rows(tmp_path / "out", "val").values() if row["reason"] == "excluded"]
    assert [row["key"] for row in found] == sorted(row["key"] for row in written[:num])


def test_the_list_is_the_origins_and_belongs_to_what_the_folder_is(mini: Path, server: Server, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--origin", server.url, "--split", "val", "--exclude", "k600,k700-2020:val")
    assert kconvert("k400", "--out", out, *words).code == 0
    excluded = json.loads((out / "manifest.json").read_bytes())["options"]["exclude"]
    assert list(excluded) == ["k600:test", "k600:train", "k600:val", "k700-2020:val"]
    before = tree(out)
    assert kconvert("k400", "--out", out, *words).code == 0
    assert tree(out) == before
    # The same clips in another form are the same list.
    (tmp_path / "same.csv").write_bytes((mini / "700_2020/annotations/val.csv").read_bytes().replace(b"\n", b"\r\n"))
    same = ("--origin", server.url, "--split", "val", "--exclude", f"k600,k700-2020:val={tmp_path / 'same.csv'}")
    assert kconvert("k400", "--out", out, *same).code == 0
    assert tree(out) == before
    ran = kconvert("k400", "--out", out, "--origin", server.url, "--split", "val", "--exclude", "k600")
    assert ran.code == 2
    assert "exclude.k700-2020:val was" in one_line(ran)
    assert kconvert("k400", "--out", out, "--origin", server.url, "--split", "val").code == 2


def test_a_split_is_not_excluded_from_itself(mini: Path, plain: Path, tmp_path: Path) -> None:
    """So that others can be added to its folder."""
    out, words = tmp_path / "out", ("--exclude", "k400:val,k400:test")
    for split in ("val", "test"):
        ran = convert(out, mini, "--split", split, *words)
        assert ran.code == 0
        assert f"{split}: is among what --exclude names, and is not excluded from itself" in ran.err
        assert "excluded" not in json.loads((out / "manifest.json").read_bytes())["splits"][split]["num_rejected"]
    # What a person says of a file holds for any split.
    written = [row for row in rows(plain, "val").values() if row["status"] == "written"]
    (tmp_path / "x.txt").write_text(f"{written[0]['youtube_id']}\n")
    assert convert(tmp_path / "other", mini, "--split", "val", "--exclude", f"k400:val={tmp_path / 'x.txt'}").code == 0
    found = rows(tmp_path / "other", "val")
    assert [row["key"] for row in found.values() if row["reason"] == "excluded"] == [written[0]["key"]]


def test_the_order_of_lists_is_no_matter(mini: Path, plain: Path, tmp_path: Path) -> None:
    written = [row for row in rows(plain, "val").values() if row["status"] == "written"]
    (tmp_path / "x.txt").write_text("".join(f"{row['youtube_id']}\n" for row in written[:2]))
    lists = [f"{name}={tmp_path / 'x.txt'}" for name in "abc"]
    for number, given in enumerate((lists, lists[::-1])):
        assert convert(tmp_path / f"out{number}", mini, "--split", "val", "--exclude", ",".join(given)).code == 0
    assert tree(tmp_path / "out0") == tree(tmp_path / "out1")


def test_a_list_is_read_as_leniently_as_an_annotation(mini: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(mini, tmp_path / "origin"))
    with (root / "400/annotations/test.csv").open("a") as file:
        file.write("?\n")
    words = ("--split", "val", "--exclude", "k400:test")
    assert convert(tmp_path / "out", root, *words).code == 2
    assert convert(tmp_path / "out", root, *words, "--max_malformed", "0.5").code == 0


def test_what_cannot_be_excluded_is_refused_before_anything_is_fetched(
    mini: Path, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "ids.txt").write_text("aaaaaaaaaaa\n")
    (tmp_path / "bad.csv").write_text("youtube_id,time_start\n1,2\n")
    refused = {
        ("--exclude", "k700:val"): "did you mean k700-2020:val?",
        ("--exclude", "k600:val,k600"): "--exclude: k600:val is given twice",
        ("--exclude", "x=absent.txt"): "absent.txt: No such file",
        ("--exclude", f"x={tmp_path / 'bad.csv'}"): "bad.csv: 1 problem(s): line 2",
        ("--exclude", f"x={tmp_path / 'ids.txt'}", "--exclude_by", "exact"): "x does not say when its clips",
        ("--exclude", f"x={tmp_path / 'ids.txt'}", "--exclude_by", "overlap"): "x does not say when its clips",
        ("--exclude_by", "exact"): "would be ignored",
        ("--exclude", ""): "--exclude: is empty",
    }
    server.requests.clear()
    for words, said in refused.items():
        ran = kconvert("k400", "--out", tmp_path / "out", "--origin", server.url, *words)
        assert ran.code == 2
        assert said in one_line(ran)
        assert not list((tmp_path / "out").glob("[!.]*"))
    assert not [name for method, name in server.requests if name.endswith("gz")]


def test_overlap_prints_the_matrix_and_lists_the_pairs(mini: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "youtube_id,time_start,time_end\naaaaaaaaaaa,1,11\nbbbbbbbbbbb,1,11\nccccccccccc,1,11\n"
    )
    (tmp_path / "b.csv").write_text(
        "youtube_id,time_start,time_end\naaaaaaaaaaa,1,11\nbbbbbbbbbbb,5,15\nbbbbbbbbbbb,50,60\n"
    )
    (tmp_path / "c.txt").write_text("ccccccccccc\n")
    words = (f"k400:val={tmp_path / 'a.csv'}", f"k400:test={tmp_path / 'b.csv'}", f"mine={tmp_path / 'c.txt'}")
    ran = kconvert("overlap", *words, "--list", tmp_path / "pairs.csv")
    assert ran.code == 0
    lines = [line.split() for line in ran.out.splitlines()]
    assert ["k400:val", "3", "k400:test", "2", "2", "1"] in lines
    assert ["k400:test", "3", "k400:val", "3", "2", "1"] in lines
    assert ["k400:val", "3", "mine", "1", "no", "times", "no", "times"] in lines
    assert "note: k400:test and k400:val are of one release and share videos: 3 clips" in ran.out
    with (tmp_path / "pairs.csv").open(newline="") as file:
        found = [
            (row["a"], row["youtube_id"][0], row["b"], row["b_start_seconds"], row["by"])
            for row in csv.DictReader(file)
        ]
    assert found == [
        ("k400:val", "a", "k400:test", "1", "exact"),
        ("k400:val", "b", "k400:test", "5", "overlap"),
        ("k400:val", "b", "k400:test", "50", "id"),
        ("k400:val", "c", "mine", "", "id"),
    ]
    said = json.loads(kconvert("overlap", *words, "--json").out)
    assert said["num_clips"] == {"k400:val": 3, "k400:test": 3, "mine": 1}
    assert {"a": "k400:test", "b": "k400:val", "num_id": 3, "num_exact": 1, "num_overlap": 2} in said["overlaps"]
    # All releases of an origin.
    assert json.loads(kconvert("overlap", "--origin", mini, "--json").out)["num_clips"].keys() == {
        f"{release}:{split}" for release in ("k400", "k600", "k700-2020") for split in ("train", "val", "test")
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["k400:val"], "expected two lists or more"),
        (["k400", "k400:val"], "each once"),
        (["k700", "k400"], "did you mean k700-2020?"),
        (["k400:val", "x=/absent"], "/absent: No such file"),
        (["k400", "k600", "--list", "/absent/x.csv"], "expected a file, in a folder that is there"),
        (["k400", "k600", "--origin", "/absent"], "/absent: no such folder"),
        (["x=/bin/sh", "y=/bin/sh", "--list", "/bin/sh"], "is one of the lists"),
        (["k400", "k600", "--by", "id"], "unknown '--by'"),
    ],
)
def test_overlap_refuses_what_makes_no_sense(words: list[str], said: str) -> None:
    ran = kconvert("overlap", *words)
    assert ran.code == 2
    assert said in one_line(ran)
