"""Croissant: the description of a folder that dataset catalogues read (https://docs.mlcommons.org/croissant, 1.1).

Hugging Face, Kaggle, OpenML and Google Dataset Search take it in. It is a function of the manifest and of the
catalogue, so that it has no clock: the date is that on which the release was published.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from kconvert.catalog.release import Release
from kconvert.dataset.manifest import Manifest
from kconvert.dataset.supplements.open import open_supplement

if TYPE_CHECKING:
    import pyarrow as pa

CROISSANT_NAME = "croissant.json"
_CROISSANT = "http://mlcommons.org/croissant/"
_WORDS = (
    "arrayShape citeAs column containedIn equivalentProperty extract field fileObject fileProperty fileSet format "
    "includes isArray isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace "
    "samplingRate separator source subField transform value"
)
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": _CROISSANT,
    "dct": "http://purl.org/dc/terms/",
    "rai": f"{_CROISSANT}RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{name: f"cr:{name}" for name in _WORDS.split()},
}
_PARQUET = "application/x-parquet"
_FILE_KINDS = {".parquet": _PARQUET, ".csv": "text/csv", ".pbtxt": "text/plain"}
_KINDS = {
    "string": "sc:Text",
    "double": "sc:Float",
    "int32": "sc:Integer",
    "bool": "sc:Boolean",
}
"""Of columns, from what Arrow calls them."""
_SPLIT_URLS = {"train": "cr:TrainingSplit", "val": "cr:ValidationSplit", "test": "cr:TestSplit"}
_COLUMNS = {
    "key": "sc:Text",
    "split": "sc:Text",
    "youtube_id": "sc:Text",
    "start_seconds": "sc:Integer",
    "end_seconds": "sc:Integer",
    "label": "sc:Text",
    "label_id": "sc:Integer",
    "status": "sc:Text",
    "reason": "sc:Text",
    "duration_seconds": "sc:Float",
    "num_frames": "sc:Integer",
    "fps": "sc:Float",
    "width": "sc:Integer",
    "height": "sc:Integer",
    "size_bytes": "sc:Integer",
    "sha256": "sc:Text",
    "shard": "sc:Text",
}
"""Of the tables, with their types here."""
_REFERENCES = {"split": "splits/name", "label_id": "labels/id"}


class Media(NamedTuple):
    """How the videos of a folder can be had one by one."""

    files: Mapping[str, Any]
    """What the set of these files is described by."""
    key: Mapping[str, Any]
    """How its key is had from a file: that of the clip, or its path, which is `shard` in the tables."""


def croissant_text(manifest: Manifest, release: Release, shard_kind: str, media: Media | None) -> str:
    """The content of `croissant.json`; `shard_kind` is the media type of a shard, and `media` is `None` where no video
    stands alone, or as a member of a tar."""
    about = release.about
    content = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": f"{release.name}-{manifest.format}",
        "conformsTo": f"{_CROISSANT}1.1",
        "description": f"{release.title}, packed by kconvert: clips of human actions, one label each.",
        "license": about.license,
        "url": about.url,
        "creator": {"@type": "Organization", "name": about.creator},
        "datePublished": about.published,
        "version": f"{manifest.format_version}.0.0",
        "citeAs": about.citation,
        "distribution": _distribution(manifest, shard_kind, media),
        "recordSet": [
            _splits(manifest),
            _labels(release),
            _clips(),
            *([] if media is None else [_media(media)]),
            *(
                _rows(path, schema)
                for entry in manifest.supplements
                for path, schema in open_supplement(entry.name).tables.items()
            ),
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _distribution(manifest: Manifest, shard_kind: str, media: Media | None) -> list[dict[str, Any]]:
    kinds = [(table.path, table.sha256, _PARQUET) for table in manifest.tables]
    kinds += [(shard.path, shard.sha256, shard_kind) for shard in manifest.shards]
    files = [file for entry in manifest.supplements for file in entry.files]
    kinds += [(file.path, file.sha256, _FILE_KINDS[PurePosixPath(file.path).suffix]) for file in files]
    found = [
        {**_named("cr:FileObject", path), "contentUrl": quote(path), "encodingFormat": kind, "sha256": sha256}
        for path, sha256, kind in kinds
    ]
    paths = [table.path for table in manifest.tables]
    tables = {"encodingFormat": _PARQUET, "includes": paths if files else "metadata/*.parquet"}
    found.append({**_named("cr:FileSet", "tables"), **tables})
    return found if media is None else [*found, {**_named("cr:FileSet", "videos"), **media.files}]


def _splits(manifest: Manifest) -> dict[str, Any]:
    rows = [{"splits/name": split, "splits/url": _SPLIT_URLS[split]} for split in manifest.splits]
    fields = [_field("splits", "name", "sc:Text"), _field("splits", "url", "sc:URL")]
    return _records("splits", "name", fields, dataType="cr:Split", data=rows)


def _labels(release: Release) -> dict[str, Any]:
    rows = [{"labels/id": number, "labels/name": label} for number, label in enumerate(release.labels)]
    fields = [_field("labels", "id", "sc:Integer"), _field("labels", "name", "sc:Text")]
    return _records("labels", "id", fields, dataType="sc:Enumeration", data=rows)


def _clips() -> dict[str, Any]:
    fields = [_field("clips", name, kind, _source("tables", column=name)) for name, kind in _COLUMNS.items()]
    fields.append({**_field("clips", "defects", "sc:Text", _source("tables", column="defects")), **_LIST})
    return _records("clips", "key", fields)


def _rows(path: str, schema: pa.Schema) -> dict[str, Any]:
    """The rows of a table of further annotations, which have nothing but their position to tell them apart."""
    name = PurePosixPath(path).stem
    fields = []
    for column in schema:
        is_list = str(column.type).startswith("list<")
        kind = _KINDS[str(column.type.value_type if is_list else column.type)]
        source = {"fileObject": {"@id": path}, "extract": {"column": column.name}}
        fields.append({**_field(name, column.name, kind, source), **(_LIST if is_list else {})})
    return {**_named("cr:RecordSet", name), "field": fields}


_LIST = {"isArray": True, "arrayShape": "-1"}


def _media(media: Media) -> dict[str, Any]:
    # With a reference to the field of the clips, mlcroissant 1.1.1 fails in joining both.
    video = _field("media", "video", "sc:VideoObject", _source("videos", fileProperty="content"))
    return _records(
        "media", "key", [_field("media", "key", "sc:Text", {"fileSet": {"@id": "videos"}, **media.key}), video]
    )


def _named(kind: str, name: str) -> dict[str, Any]:
    return {"@type": kind, "@id": quote(name), "name": name}


def _records(name: str, key: str, fields: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    found = {**_named("cr:RecordSet", name), "key": {"@id": f"{name}/{key}"}, "field": list(fields)}
    return {**found, **more}


def _field(records: str, name: str, kind: str, source: Mapping[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"@type": "cr:Field", "@id": f"{records}/{name}", "name": name, "dataType": kind}
    if source is not None:
        found["source"] = dict(source)
    if records not in ("splits", "labels") and name in _REFERENCES:
        found["references"] = {"field": {"@id": _REFERENCES[name]}}
    return found


def _source(files: str, **extract: str) -> dict[str, Any]:
    return {"fileSet": {"@id": files}, "extract": extract}
