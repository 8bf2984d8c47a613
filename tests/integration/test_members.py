"""Samples that have their annotations themselves (`--members`), as each library reads them."""

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from harness import ROOT, Ran, kconvert, one_line, python, tree

ENVIRONMENT = {"PYTHONPATH": str(ROOT / "tests" / "stubs"), "PYTHONWARNINGS": "ignore"}
WORDS = ("--split", "val", "--with", "ava,countix", "--members")
READ = """
import json, sys
from pathlib import Path

reader, out = sys.argv[1], Path(sys.argv[2])

def of_datasets(streaming):
    import datasets
    dataset = datasets.load_dataset(str(out), split="validation", streaming=streaming, cache_dir=str(out.parent / "cache"))
    video = "mp4" if "mp4" in dataset.features else "video"
    for row in dataset.cast_column(video, datasets.Video(decode=False)):
        key = row.get("__key__") or row["key"]
        yield key, *(row[name if name in row else f"{name}.json"] for name in ("ava", "countix"))

def of_rows(rows):
    return ((row["key"], json.loads(row["ava"]), json.loads(row["countix"])) for row in rows)

def read():
    match reader:
        case "datasets":
            return of_datasets(False)
        case "datasets_streaming":
            return of_datasets(True)
        case "kconvert":
            import kconvert
            return ((one["__key__"], one["ava.json"], one["countix.json"]) for one in kconvert.webdataset(out, "val"))
        case "wids":
            import wids
            found = wids.ShardListDataset(str(out / "index/val.json"))
            return ((one["__key__"], one[".ava.json"], one[".countix.json"]) for one in (found[number] for number in range(len(found))))
        case "mds":
            import streaming
            return of_rows(streaming.StreamingDataset(local=str(out / "val"), batch_size=1))
        case "litdata":
            import litdata
            return of_rows(litdata.StreamingDataset(str(out / "val")))
        case "lance":
            import lance
            return of_rows(lance.dataset(str(out / "val.lance")).to_table(columns=["key", "ava", "countix"]).to_pylist())

print(json.dumps({key: [ava, countix] for key, ava, countix in read()}))
"""


def convert(to: str, out: Path, mini: Path, *more: str | Path) -> Ran:
    small = ("--shard.max_samples", "7", "--workers", "1")
    words = ("--to", to, "--out", out, "--origin", mini, *small)
    return kconvert("k700-2020", *words, *more, env=ENVIRONMENT)


def read(reader: str, out: Path) -> dict[str, Any]:
    """The annotations of every sample by its key, as a library reads them in a process of its own."""
    env = {**os.environ, **ENVIRONMENT, "HOME": str(out.parent)}
    said = python("-c", READ, reader, out, env=env, folder=out.parent)
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def unpack(mini: Path, folder: Path) -> Path:
    """The rows of AVA-Kinetics, a file a split."""
    folder.mkdir()
    with tarfile.open(mini / "700_2020/annotations/ava_kinetics_v1_0.tar.gz") as tar:
        for split in ("train", "val", "test"):
            found = tar.extractfile(f"ava_kinetics_v1_0/kinetics_{split}_v1.0.csv")
            assert found is not None
            (folder / f"kinetics_{split}_v1.0.csv").write_bytes(found.read())
    return folder


def expected(out: Path) -> dict[str, Any]:
    """The same from the tables."""
    tables = {
        name: pq.read_table(out / f"metadata/{name}.parquet").to_pylist()
        for name in ("val", "ava_keyframes", "ava_boxes", "countix")
    }
    found: dict[str, Any] = {row["key"]: [[], []] for row in tables["val"] if row["status"] == "written"}
    boxes: dict[tuple[str, float], list[Any]] = {}
    for row in tables["ava_boxes"]:
        own = {name: row[name] for name in ("x1", "y1", "x2", "y2", "action_ids")}
        boxes.setdefault((row["youtube_id"], row["timestamp_seconds"]), []).append(own)
    for row in tables["ava_keyframes"]:
        if row["key"]:
            own = {name: row[name] for name in ("timestamp_seconds", "seconds_in_clip", "frame_index")}
            found[row["key"]][0].append({**own, "boxes": boxes.get((row["youtube_id"], row["timestamp_seconds"]), [])})
    columns = ("start_seconds", "end_seconds", "start_seconds_in_clip", "end_seconds_in_clip", "count", "is_inside")
    for row in tables["countix"]:
        if row["key"]:
            found[row["key"]][1].append({name: row[name] for name in columns})
    return found


@pytest.mark.parametrize(
    ("to", "readers"),
    [
        ("webdataset", ("datasets", "datasets_streaming", "kconvert", "wids")),
        ("parquet", ("datasets", "datasets_streaming")),
        ("mds", ("mds",)),
        ("litdata", ("litdata",)),
        ("lance", ("lance",)),
    ],
)
def test_libraries_read_what_the_tables_have(mini: Path, tmp_path: Path, to: str, readers: tuple[str, ...]) -> None:
    out = tmp_path / "out"
    ran = convert(to, out, mini, *WORDS)
    assert ran.code == 0, ran.err
    assert kconvert("verify", out, "--workers", 1, env=ENVIRONMENT).code == 0
    wanted = expected(out)
    # The first samples of a reader have none.
    assert any(not ava for ava, _ in wanted.values())
    assert any(len(ava) > 2 for ava, _ in wanted.values())
    assert any(countix for _, countix in wanted.values())
    for reader in readers:
        assert read(reader, out) == wanted
    before = tree(out)
    assert convert(to, out, mini, *WORDS).code == 0
    assert tree(out) == before


def test_lists_that_are_empty_in_the_first_samples_have_their_type_nevertheless(mini: Path, tmp_path: Path) -> None:
    """Hugging Face datasets guesses from the first five samples where nothing is declared."""
    files, out = tmp_path / "files", tmp_path / "out"
    unpack(mini, files)
    assert convert("webdataset", tmp_path / "first", mini, "--split", "val").code == 0
    rows = pq.read_table(tmp_path / "first/metadata/val.parquet").to_pylist()
    last = max((row for row in rows if row["status"] == "written"), key=lambda row: (row["shard"], row["sample_index"]))
    line = f"{last['youtube_id']},{last['start_seconds'] + 1},0.1,0.1,0.5,0.5,12\n"
    (files / "kinetics_val_v1.0.csv").write_text(line)
    words = ("--split", "val", "--with", "ava", "--annotations.ava", files, "--members")
    ran = convert("webdataset", out, mini, *words)
    assert ran.code == 0, ran.err
    script = READ.replace('("ava", "countix")', '("ava", "ava")')
    for reader in ("datasets", "datasets_streaming"):
        said = python("-c", script, reader, out, env=os.environ, folder=tmp_path)
        found = {key: ava for key, (ava, _) in json.loads(said.splitlines()[-1]).items() if ava}
        assert list(found) == [last["key"]]
        assert found[last["key"]][0]["boxes"] == [{"x1": 0.1, "y1": 0.1, "x2": 0.5, "y2": 0.5, "action_ids": [12]}]


def test_other_readers_of_tars_read_on(mini: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert convert("webdataset", out, mini, *WORDS).code == 0
    rows = pq.read_table(out / "metadata/val.parquet").to_pylist()
    written = {row["key"]: [row["label_id"], row["sha256"]] for row in rows if row["status"] == "written"}
    for reader in ("webdataset", "dali", "ray"):
        words = (ROOT / "tests/reading.py", reader, out, "val")
        said = python(*words, env=os.environ, folder=tmp_path)
        assert json.loads(said.splitlines()[-1]) == written


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--members",), "--members: would be ignored; leave it out, or give --with"),
        (
            ("--members", "--with", "ava", "--to", "folder"),
            "--members: --to folder has no samples that could have them",
        ),
        (("--members", "--with", "ava", "--to", "archives"), "--members: --to archives has no samples"),
    ],
)
def test_what_cannot_have_them_is_refused(mini: Path, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    ran = kconvert("k700-2020", "--out", tmp_path / "out", "--origin", mini, *words)
    assert (ran.code, said in one_line(ran)) == (2, True), ran.err


def test_a_finished_folder_gets_none_and_loses_none(mini: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert convert("webdataset", out, mini, "--split", "val", "--with", "ava").code == 0
    before = tree(out)
    ran = convert("webdataset", out, mini, "--split", "val", "--with", "ava", "--members")
    assert (ran.code, "members.ava was None, is now" in one_line(ran)) == (2, True), ran.err
    assert tree(out) == before
    ran = convert("webdataset", out, mini, "--split", "val", "--with", "ava", "--members", "--overwrite")
    assert ran.code == 0, ran.err
    ran = convert("webdataset", out, mini, "--split", "val", "--with", "ava")
    assert (ran.code, "members.ava was" in one_line(ran)) == (2, True), ran.err
    # What other files say would be other bytes.
    other = unpack(mini, tmp_path / "other")
    (other / "kinetics_val_v1.0.csv").write_text("twicewrite_,107\n")
    words = ("--split", "val", "--with", "ava", "--members", "--annotations.ava", other)
    ran = convert("webdataset", out, mini, *words)
    assert (ran.code, "members.ava was" in one_line(ran)) == (2, True), ran.err


def test_bytes_are_the_same_however_it_is_run(mini: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    words = ("--with", "ava,countix", "--members", "--shuffle.window", "1")
    assert convert("webdataset", one, mini, *words).code == 0
    assert (
        kconvert(
            "k700-2020",
            "--out",
            other,
            "--origin",
            mini,
            "--shard.max_samples",
            7,
            "--workers",
            3,
            "--split",
            "val",
            *words,
        ).code
        == 0
    )
    assert (
        kconvert(
            "k700-2020",
            "--out",
            other,
            "--origin",
            mini,
            "--shard.max_samples",
            7,
            "--engine",
            "ray",
            "--ray.address",
            "local",
            *words,
        ).code
        == 0
    )
    assert tree(one) == tree(other)
