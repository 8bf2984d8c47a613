"""`croissant.json`, as its own library reads it."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from harness import kconvert, python

READ = """
import hashlib, json, sys
import mlcroissant

found = mlcroissant.Dataset(jsonld=sys.argv[1])
issues = found.metadata.ctx.issues
read = {name: list(found.records(name)) for name in sys.argv[2].split(",")}

def plain(value):
    if isinstance(value, list):
        return [plain(one) for one in value]
    if not isinstance(value, bytes):
        return value
    return value.decode() if len(value) < 1000 else hashlib.sha256(value).hexdigest()

rows = {name: [{key: plain(value) for key, value in row.items()} for row in rows] for name, rows in read.items()}
print(json.dumps({"errors": sorted(issues.errors), "warnings": sorted(issues.warnings), "rows": rows}, default=str))
"""


def read(out: Path, *names: str) -> dict[str, list[dict[str, Any]]]:
    """The records of the sets of these names, by mlcroissant; of a video its digest."""
    # It keeps what it unpacks of a tar in the home, by the name of the tar alone.
    env = {**os.environ, "HOME": str(out.parent)}
    said = json.loads(python("-c", READ, out / "croissant.json", ",".join(names), env=env, folder=out.parent))
    assert (said["errors"], said["warnings"]) == ([], [])
    rows: dict[str, list[dict[str, Any]]] = said["rows"]
    return rows


@pytest.mark.parametrize("to", ["webdataset", "folder", "parquet", "archives"])
def test_mlcroissant_validates_and_reads_it(mini: Path, tmp_path: Path, to: str) -> None:
    out = tmp_path / "out"
    assert kconvert("k700-2020", "--to", to, "--out", out, "--origin", mini, "--with", "ava,countix").code == 0
    has_media = to in ("webdataset", "folder")
    names = ("splits", "labels", "clips", "ava_keyframes", "ava_boxes", "countix")
    found = read(out, *names, *(["media"] if has_media else []))
    assert [row["splits/name"] for row in found["splits"]] == ["train", "val", "test"]
    assert [row["labels/name"] for row in found["labels"]] == (out / "labels.txt").read_text().splitlines()
    for name in names[3:]:
        rows = pq.read_table(out / f"metadata/{name}.parquet").to_pylist()
        expected = [{f"{name}/{column}": value for column, value in row.items()} for row in rows]
        assert len(rows) > 100
        assert [str(row) for row in found[name]] == [str(row) for row in expected]
    paths = [out / f"metadata/{split}.parquet" for split in ("train", "val", "test")]
    tables = [row for path in paths for row in pq.read_table(path).to_pylist()]
    columns = ("key", "split", "label_id", "status", "reason", "sha256", "shard", "defects", "num_frames")
    clips = [{name: row[f"clips/{name}"] for name in columns} for row in found["clips"]]
    expected = [{name: row[name] for name in columns} for row in tables]
    assert sorted(clips, key=str) == sorted(expected, key=str)
    if has_media:
        key = {"webdataset": "key", "folder": "shard"}[to]
        written = {row[key]: row["sha256"] for row in tables if row["status"] == "written"}
        assert {row["media/key"]: row["media/video"] for row in found["media"]} == written
    assert kconvert("verify", out).code == 0
    (out / "croissant.json").write_text("{}")
    assert "croissant.json: differs from what was written" in kconvert("verify", out).out


def test_names_with_spaces_and_quotes_are_names(mini: Path, tmp_path: Path) -> None:
    assert kconvert("k600", "--to", "archives", "--split", "val", "--out", tmp_path / "out", "--origin", mini).code == 0
    assert len(read(tmp_path / "out", "labels")["labels"]) == 600


def test_it_says_whose_the_release_is(converted: Path) -> None:
    found = json.loads((converted / "croissant.json").read_bytes())
    assert found["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert found["datePublished"] == "2017-05-19"
    assert "arXiv:1705.06950" in found["citeAs"]
    assert found["license"] == "https://creativecommons.org/licenses/by/4.0/"
    manifest = json.loads((converted / "manifest.json").read_bytes())
    digests = {one["path"]: one["sha256"] for one in (*manifest["shards"], *manifest["tables"])}
    files = [one for one in found["distribution"] if one["@type"] == "cr:FileObject"]
    assert {one["contentUrl"]: one["sha256"] for one in files} == digests
