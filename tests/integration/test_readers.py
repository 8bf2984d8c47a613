"""Every loader that our users have reads a converted folder, unchanged: the real libraries, as their users call them."""

import hashlib
import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas
import polars
import pyarrow.parquet as pq
import pytest
import yaml
from harness import ROOT, kconvert, python, tree
from reading import READERS

import kconvert as product
from kconvert.cli.guide import page
from kconvert.errors import UsageError

SPLIT = "train"
BIN = Path(sys.executable).parent


def rows(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(out / "metadata" / f"{SPLIT}.parquet").to_pylist()
    return found


def written(out: Path) -> dict[str, list[Any]]:
    """Label id and digest of every written clip."""
    found = {row["key"]: [row["label_id"], row["sha256"]] for row in rows(out) if row["status"] == "written"}
    assert len(found) > 5
    return found


def run(*words: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, cwd=cwd, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read(reader: str, out: Path) -> dict[str, list[Any]]:
    """What a library reads, in a process of its own, started somewhere else."""
    said = python(ROOT / "tests" / "reading.py", reader, out, SPLIT, env=os.environ, folder=out.parent)
    found: dict[str, list[Any]] = json.loads(said.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    "reader", sorted({"webdataset", "wids", "dali", "ray", "datasets", "datasets_streaming", "kconvert"})
)
def test_a_library_reads_every_clip_once(reader: str, converted: Path, copy_of: Callable[[Path], Path]) -> None:
    assert reader in READERS
    out = copy_of(converted)
    assert read(reader, out) == written(out)


def test_energon_prepares_lints_and_reads(converted: Path, copy_of: Callable[[Path], Path], tmp_path: Path) -> None:
    out = copy_of(converted)
    yaml_files = {path.name: path.read_text() for path in (out / ".nv-meta").iterdir()}
    assert set(yaml_files) == {"dataset.yaml", "split.yaml"}
    parts = yaml.safe_load(yaml_files["split.yaml"])["split_parts"]
    words = [word for split, (pattern,) in parts.items() for word in ("--split-parts", f"{split}:{pattern}")]
    run(BIN / "energon", "prepare", "--non-interactive", "--skip-dataset-yaml", *words, out, cwd=out)
    assert read("energon", out) == written(out)
    # The line of the guide, which prepares one split.
    (line,) = re.findall("`(energon prepare .*? DIR)`", page("reading"))
    alone = Path(shutil.copytree(converted, tmp_path / "alone"))
    run(*shlex.split(line.replace("energon", str(BIN / "energon"), 1).replace("DIR", str(alone))), cwd=out)
    assert "train/" in (alone / ".nv-meta/.info.json").read_text()
    assert kconvert("verify", alone).code == 0
    # Lint knows no crude datasets (7.4: "No cookers registered"); it reads every clip of one that names its fields.
    sample = "__module__: megatron.energon\n__class__: VidQAWebdataset\n"
    (out / ".nv-meta" / "vidqa.yaml").write_text(
        f"{sample}field_map: {{video: mp4, context: 'json[label]', answers: 'json[split]'}}\n"
    )
    run(BIN / "energon", "lint", "--dataset-config", "vidqa.yaml", out, cwd=out)
    assert {name: (out / ".nv-meta" / name).read_text() for name in yaml_files} == yaml_files
    assert kconvert("verify", out).code == 0


def test_what_energon_prepared_of_other_shards_does_not_hide_those_that_come(mini: Path, tmp_path: Path) -> None:
    out, command = tmp_path / "out", ("k400", "--out", tmp_path / "out", "--origin", mini, "--shard.max_samples", "5")
    assert kconvert(*command, "--split", "val").code == 0
    words = ("--split-parts", "val:val/.*")
    run(BIN / "energon", "prepare", "--non-interactive", "--skip-dataset-yaml", *words, out, cwd=out)
    # A split that is added is none of its business.
    assert kconvert(*command).code == 0
    assert (out / ".nv-meta/.info.json").exists()
    assert kconvert("verify", out).code == 0
    counts = json.loads((out / ".nv-meta/.info.json").read_text())
    counts["shard_counts"].popitem()
    (out / ".nv-meta/.info.json").write_text(json.dumps(counts))
    assert ".nv-meta/split.yaml" in kconvert("verify", out).out
    assert kconvert(*command).code == 0
    assert {path.name for path in (out / ".nv-meta").iterdir()} == {"dataset.yaml", "split.yaml"}
    assert kconvert("verify", out).code == 0


def test_dalis_own_tool_makes_the_same_indexes(converted: Path, tmp_path: Path) -> None:
    shards = sorted(converted.glob("*/*.tar"))
    assert len(shards) > 3
    assert {path.stem for path in shards} == {path.stem for path in (converted / "index").glob("*.idx")}
    for shard in shards:
        run(BIN / "wds2idx", shard, tmp_path / "made.idx", cwd=tmp_path)
        assert (converted / "index" / f"{shard.stem}.idx").read_text() == (tmp_path / "made.idx").read_text()


@pytest.mark.parametrize("change", ["removed", "of another shard"])
def test_a_wrong_index_is_found(converted: Path, copy_of: Callable[[Path], Path], change: str) -> None:
    out = copy_of(converted)
    index, other = sorted((out / "index").glob("*train*.idx"))[:2]
    if change == "removed":
        index.unlink()
    else:
        index.write_bytes(other.read_bytes())
    ran = kconvert("verify", out)
    assert ran.code == 4
    assert f"index/{index.name} is missing or not of this shard" in ran.out


def test_the_tables_are_read_by_whoever_reads_parquet(converted: Path) -> None:
    path = converted / "metadata" / f"{SPLIT}.parquet"
    keys = sorted(row["key"] for row in rows(converted))
    short = sorted(row["key"] for row in rows(converted) if "short" in row["defects"])
    assert short
    found = duckdb.sql(f"select key from '{path}' where list_contains(defects, 'short')").fetchall()
    assert sorted(key for (key,) in found) == short
    assert sorted(pandas.read_parquet(path)["key"]) == keys
    frame = polars.read_parquet(path)
    assert sorted(frame.filter(polars.col("defects").list.contains("short"))["key"]) == short


def test_our_reader_is_a_sequence(converted: Path) -> None:
    expected = written(converted)
    clips = product.open(converted, SPLIT)
    assert len(clips) == len(expected)
    assert {clip.key: [clip.label_id, hashlib.sha256(clip.video).hexdigest()] for clip in clips} == expected
    assert [clip.key for clip in clips[1:9:3]] == [clips[number].key for number in range(len(clips))[1:9:3]]
    assert clips[-1] == clips[len(clips) - 1]
    with pytest.raises(IndexError):
        clips[len(clips)]
    again = pickle.loads(pickle.dumps(clips))
    assert again[3] == clips[3]
    row = next(row for row in rows(converted) if row["key"] == clips[3].key)
    assert clips[3].metadata == row
    assert clips[3].label == row["label"]


def test_our_reader_decodes_what_ffprobe_counts(converted: Path) -> None:
    clip = product.open(converted, SPLIT)[0]
    frames = list(clip.frames())
    assert len(frames) == clip.metadata["num_frames"]
    stored = (clip.metadata["height"], clip.metadata["width"])
    # The columns tell the size as stored; the frames are upright.
    upright = stored[::-1] if clip.metadata["rotation_degrees"] % 180 else stored
    assert {frame.shape for frame in frames} == {(*upright, 3)}


def test_our_reader_filters_on_columns(converted: Path) -> None:
    clips = product.open(converted, SPLIT)
    labels = sorted({clip.label for clip in clips})[:2]
    expected = {row["key"] for row in rows(converted) if row["status"] == "written" and row["label"] in labels}
    assert set(clips.filter(label=labels).column("key")) == expected
    assert set(clips.filter(label=labels[0]).column("label")) == {labels[0]}
    wide = clips.filter(lambda column: column("width") >= 1).filter(source="original")
    assert set(wide.column("source")) == {"original"}
    with pytest.raises(ValueError, match="no label 'none of these', expected one of the release's"):
        clips.filter(label="none of these")
    with pytest.raises(KeyError, match="no column 'labels', expected one of key, split"):
        clips.filter(labels="x")


@pytest.mark.parametrize(
    ("folder", "split", "message"),
    [("nowhere", SPLIT, "expected a folder that a conversion has finished"), ("k400", "dev", "no split 'dev', expected one of train, val, test")],
)  # fmt: skip
def test_our_reader_says_what_is_wrong(converted: Path, folder: str, split: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        product.open(converted.parent / folder, split)


def test_a_cut_shard_is_told_of_by_our_reader(converted: Path, copy_of: Callable[[Path], Path]) -> None:
    out = copy_of(converted)
    first = product.open(out, SPLIT)[0].metadata
    with open(out / first["shard"], "r+b") as file:
        file.truncate(first["offset_bytes"] + 10)
    with pytest.raises(OSError, match=f"ends after 10 of the .* bytes of {first['key']}"):
        product.open(out, SPLIT)[0]


def test_reading_changes_nothing(converted: Path) -> None:
    before = tree(converted)
    list(product.open(converted, SPLIT))
    assert tree(converted) == before
