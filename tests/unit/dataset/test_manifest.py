import dataclasses
import json

import pytest

from kconvert.dataset.manifest import LabelsEntry, Manifest, ShardEntry, SplitCounts, SplitRecord, TableEntry
from kconvert.errors import ManifestError
from kconvert.storage.records import build

NUMBERS = {field.name: number for number, field in enumerate(dataclasses.fields(SplitCounts))}
COUNTS = SplitCounts(**{**NUMBERS, "num_rejected": {"empty": 1}, "num_excluded_by": {"k400:val": 1}})  # type: ignore[arg-type]
MANIFEST = Manifest(
    release="k400",
    options={"to": "webdataset"},
    splits={"train": COUNTS},
    shards=(ShardEntry("train/x.tar", "train", 1, 2, "aa"),),
    tables=(TableEntry("metadata/train.parquet", 3, 4, "bb"),),
    labels=LabelsEntry(400, "cc"),
    tools={"pyav": "18"},
    kconvert_version="0.1.0",
)


def test_what_is_written_is_read() -> None:
    assert Manifest.from_json(MANIFEST.to_json(), "x") == MANIFEST
    assert MANIFEST.record("train") == SplitRecord(COUNTS, MANIFEST.shards, MANIFEST.tables[0])
    assert build(SplitRecord, json.loads(json.dumps(dataclasses.asdict(MANIFEST.record("train"))))) == MANIFEST.record(
        "train"
    )


def test_the_documented_keys_stand_there() -> None:
    content = json.loads(MANIFEST.to_json())
    assert list(content) == [
        "format_version", "kconvert_version", "release", "options", "splits", "shards", "tables", "damaged",
        "supplements", "labels", "tools",
    ]  # fmt: skip
    documented = {
        "num_annotations", "num_archives", "num_members", "num_ignored_members", "num_written", "num_short",
        "num_replaced", "num_rejected", "num_missing", "num_shards", "num_bytes",
    }  # fmt: skip
    assert documented <= set(content["splits"]["train"])
    assert list(content["shards"][0]) == ["path", "split", "num_samples", "size_bytes", "sha256"]
    assert list(content["tables"][0]) == ["path", "num_rows", "size_bytes", "sha256"]


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", "null", '{"format_version": 2}', '{"format_version": 1}', b"\xff", "[" * 100_000,
        MANIFEST.to_json().replace('"k400"', '"k999"'),
        MANIFEST.to_json().replace('"size_bytes": 2', '"size_bytes": "2"'),
        MANIFEST.to_json().replace('"num_rejected": {', '"num_rejected": [], "x": {'),
        MANIFEST.to_json().replace('"path": "train/x.tar"', '"path": 7'),
        MANIFEST.to_json().replace('"to": "webdataset"', '"to": "zip"'),
        MANIFEST.to_json().replace("metadata/train", "metadata/val"),
        MANIFEST.to_json().replace('"num_written": ', '"num_written": null, "y": '),
    ],
    ids=range(15),
)  # fmt: skip
def test_what_is_no_manifest_is_refused_by_name(text: str | bytes) -> None:
    with pytest.raises(ManifestError, match=r"there\.json"):
        Manifest.from_json(text, "there.json")
