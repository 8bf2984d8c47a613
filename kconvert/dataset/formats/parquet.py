"""Parquet: the videos in a column that Hugging Face datasets takes for `Video`, beside the metadata of each.

The column is neither compressed nor dictionary-encoded, and has one page in each row group, so that a video's bytes
stand as they are in the file: the values of a page are its last bytes, each after four bytes with its length (PLAIN
encoding, https://parquet.apache.org/docs/file-format/data-pages/encodings/).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kconvert.catalog.release import SUPPLEMENT_NAMES, Release
from kconvert.dataset.formats.features import file_feature
from kconvert.dataset.formats.format import (
    Format,
    Sample,
    Sound,
    StoredSample,
    WrittenShard,
    card_split,
    data_files,
    groups_of,
)
from kconvert.dataset.supplements.open import open_supplement
from kconvert.storage.digests import DigestedReader, DigestingFile
from kconvert.storage.store import StorePath

_GROUP_BYTES = 96 << 20
"""Of a row group, in memory and in the file, beyond which another begins: readers take a whole one at a time."""
_MAX_METADATA_BYTES = 4096
_LENGTH_BYTES = 4
_VIDEO, _AUDIO = "video", "audio"
_FILE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_KINDS = {
    str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), list: pa.list_(pa.int64()),
}  # fmt: skip
_ELSEWHERE = ("key", "label", "label_id")
"""Metadata that have a column of their own, or a name that `label` stands for."""


class ParquetFormat(Format):
    """Writes and reads files that `datasets.load_dataset` reads."""

    name = "parquet"
    title = "Parquet with videos"
    shard_kind = "application/x-parquet"
    folders = ("data",)

    def shard_path(self, release: str, split: str, number: int, num_shards: int | None) -> str:
        # With a window, shards are written before their number is known.
        of = f"-of-{num_shards:05d}" if num_shards is not None else ""
        return f"data/{split}-{number:05d}{of}.parquet"

    def output_patterns(self, split: str) -> Sequence[str]:
        return (f"data/{split}-*",)

    def max_sample_bytes(self, video_bytes: int, annotation_bytes: Sequence[int] = ()) -> int:
        # As columns they take no more than as text.
        return video_bytes + sum(annotation_bytes) + _MAX_METADATA_BYTES

    @property
    def overhead_bytes(self) -> int:
        return 256 << 10

    def write(self, out: StorePath, shard: str, samples: Iterable[Sample], labels: Sequence[str] = ()) -> WrittenShard:
        (out / shard).parent.make_folder()
        with (out / shard).write_whole() as file:
            offsets = _write(file, samples, labels)
        return WrittenShard(file.size_bytes, file.sha256, offsets)

    def read(self, out: StorePath, shard: str, file: DigestedReader) -> Iterator[StoredSample]:
        path = out / shard
        try:
            with pq.ParquetFile(path.local_path or pa.PythonFile(path.open_to_read())) as parquet:
                features = json.loads(parquet.schema_arrow.metadata[b"huggingface"])["info"]["features"]
                labels = features["label"]["names"]
                for group in range(parquet.num_row_groups):
                    table = parquet.read_row_group(group, use_threads=False)
                    if table.schema.names[:3] != [_VIDEO, "label", "key"]:
                        names = ", ".join(table.schema.names)
                        raise ValueError(f"columns {names}, expected video, label, key and facts")
                    offsets = _offsets(parquet.metadata, group, [len(one["bytes"]) for one in _videos(table)])
                    for row, offset in zip(table.to_pylist(), offsets, strict=True):
                        yield _stored(row, labels, offset)
        except (pa.ArrowException, KeyError) as error:
            raise ValueError(f"not a Parquet file of videos ({error})") from error

    def card_config(
        self, release: Release, splits: Sequence[str], annotations: Sequence[str], sound: str | None
    ) -> Mapping[str, Any]:
        config = data_files(splits, "data/{split}-*.parquet")
        tables = data_files(splits, "metadata/{split}.parquet")
        if config:
            config["configs"] += [{**tables["configs"][0], "config_name": "metadata"}]
        return config

    def reading_lines(self, split: str, shards: Sequence[str]) -> Sequence[str]:
        return (
            "import kconvert",
            f'samples = kconvert.open(".", "{split}")  # random access',
            "",
            "import os, datasets",
            f'samples = datasets.load_dataset(os.getcwd(), split="{card_split(split)}", streaming=True).decode(False)',
        )

    def card_text(self) -> Sequence[str]:
        return (
            "A row is a clip: `video` (the file, unchanged), `label`, `key` and facts. With Hugging Face datasets,",
            '`load_dataset(DIR)` gives samples and `load_dataset(DIR, "metadata")` the rows of all clips.',
        )


FORMAT = ParquetFormat()


def _write(file: DigestingFile, samples: Iterable[Sample], labels: Sequence[str]) -> tuple[int | None, ...]:
    """Writes the rows, a group at a time; returns where their videos begin."""
    sizes: list[list[int]] = []
    writer: pq.ParquetWriter | None = None
    metadata: list[Any] = []
    try:
        for group in groups_of(samples, _GROUP_BYTES):
            schema = _schema(group[0], labels)
            if writer is None:
                files = [name for name in (_VIDEO, _AUDIO) if name in schema.names]
                plain = [f"{name}.{part}" for name in files for part in ("bytes", "path")]
                others = [name for name in schema.names if name not in files]
                writer = pq.ParquetWriter(
                    file, schema, metadata_collector=metadata, write_page_index=True, use_dictionary=others,
                    compression={**dict.fromkeys(plain, "NONE"), **dict.fromkeys(others, "ZSTD")},
                    data_page_size=1 << 30, write_statistics=others,
                )  # fmt: skip
            writer.write_table(pa.Table.from_pylist([_row(sample) for sample in group], schema), row_group_size=1 << 30)
            sizes.append([len(sample.video) for sample in group])
        if writer is not None:
            writer.close()
    finally:
        if writer is not None:
            with suppress(OSError, pa.ArrowException):
                writer.close()
    groups = range(len(sizes))
    return tuple(offset for group in groups for offset in _offsets(metadata[0], group, sizes[group]))


def _offsets(metadata: Any, group: int, sizes: Sequence[int]) -> list[int]:
    """Where the videos of a row group begin: they are the last bytes of their column's only page."""
    column = metadata.row_group(group).column(0)
    if column.path_in_schema != f"{_VIDEO}.bytes" or column.compression != "UNCOMPRESSED":
        raise ValueError(
            f"its first column is {column.path_in_schema} ({column.compression}), expected plain video.bytes"
        )
    end = column.data_page_offset + column.total_compressed_size
    offsets = []
    for size in reversed(sizes):
        offsets.append(end - size)
        end -= size + _LENGTH_BYTES
    return offsets[::-1]


def _schema(sample: Sample, labels: Sequence[str]) -> pa.Schema:
    """The columns, and what Hugging Face datasets reads of them."""
    metadata = {name: value for name, value in sample.metadata.items() if name not in _ELSEWHERE}
    kinds = {name: _KINDS[type(value)] for name, value in metadata.items()}
    kinds |= {name: pa.list_(open_supplement(name).row_type) for name in sample.annotations}
    spelt = {name: file_feature(kind) for name, kind in kinds.items()}
    sounds = [] if sample.sound is None else [(_AUDIO, _FILE)]
    features = {
        _VIDEO: {"_type": "Video"},
        "label": {"names": list(labels), "_type": "ClassLabel"},
        "key": {"dtype": "string", "_type": "Value"},
        **{name: {"_type": "Audio"} for name, _ in sounds},
        **spelt,
    }
    return pa.schema(
        [
            (_VIDEO, _FILE),
            ("label", pa.int64()),
            ("key", pa.string()),
            *sounds,
            *kinds.items(),
        ],
        {"huggingface": json.dumps({"info": {"features": features}})},
    )


def _row(sample: Sample) -> dict[str, Any]:
    metadata = {name: value for name, value in sample.metadata.items() if name not in _ELSEWHERE}
    video = {"bytes": sample.video, "path": f"{sample.key}.mp4"}
    row = {_VIDEO: video, "label": sample.label_id, "key": sample.key, **metadata, **sample.annotations}
    if sample.sound is not None:
        row[_AUDIO] = {"bytes": sample.sound.data, "path": f"{sample.key}.{sample.sound.kind}"}
    return row


def _stored(row: dict[str, Any], labels: Sequence[str], offset: int) -> StoredSample:
    video, label_id, key = row.pop(_VIDEO), row.pop("label"), row.pop("key")
    annotations: dict[str, Any] = {name: row.pop(name) for name in SUPPLEMENT_NAMES if name in row}
    audio = row.pop(_AUDIO, None)
    sound = None if audio is None else Sound(audio["path"].rpartition(".")[2], audio["bytes"])
    metadata = {"key": key, "label_id": label_id, "label": labels[label_id] if label_id >= 0 else "", **row}
    return StoredSample(Sample(key, label_id, metadata, video["bytes"], annotations, sound), offset)


def _videos(table: pa.Table) -> list[dict[str, bytes]]:
    videos: list[dict[str, bytes]] = table[_VIDEO].to_pylist()
    return videos
