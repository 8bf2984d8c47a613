"""Lance, through its own library: a dataset for each split, of one data file a shard.

The data files are the same bytes each time. The dataset's own version files are not: Lance puts times and random names
into them, so that the manifest does not name them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from kconvert.catalog.release import Release
from kconvert.dataset.formats.format import (
    MAX_ROW_BYTES,
    Format,
    Sample,
    StoredSample,
    WrittenShard,
    groups_of,
    put_in_place,
    row_of,
    sample_of,
    scratch_folder,
    videos_of,
)
from kconvert.dataset.layout import Library
from kconvert.dataset.manifest import Manifest
from kconvert.storage.digests import DigestedReader
from kconvert.storage.store import StorePath
from kconvert.video.boxes import Bytes

_VERSION = "2.1"
"""Of the file format: fixed, so that another release of the library writes the same bytes."""
_BATCH_BYTES = 32 << 20
_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.string()),
        ("label_id", pa.int32()),
        ("facts", pa.string()),
        ("video", pa.large_binary()),
    ]
)


class Lance(Format):
    """Writes and reads datasets that `lance.dataset` opens."""

    name = "lance"
    title = "Lance datasets"
    library = Library("pylance", "lance")
    is_local = True
    num_copies = 2
    folders = ("train.lance", "val.lance", "test.lance")

    def shard_path(self, release: str, split: str, number: int, num_shards: int | None) -> str:
        return f"{split}.lance/data/{number:06d}.lance"

    def max_sample_bytes(self, video_bytes: int, annotation_bytes: Sequence[int] = ()) -> int:
        return video_bytes + sum(annotation_bytes) + MAX_ROW_BYTES

    @property
    def overhead_bytes(self) -> int:
        return 64 << 10

    def write(self, out: StorePath, shard: str, samples: Iterable[Sample], labels: Sequence[str] = ()) -> WrittenShard:
        from lance.file import LanceFileWriter

        num_samples = 0
        with scratch_folder(out) as folder, ExitStack() as stack:
            made = folder / PurePosixPath(shard).name
            for batch in groups_of(samples, _BATCH_BYTES):
                if not num_samples:
                    schema = _schema(batch[0])
                    writer = stack.enter_context(LanceFileWriter(str(made), schema, version=_VERSION))
                writer.write_batch(pa.RecordBatch.from_pylist([row_of(sample) for sample in batch], schema))
                num_samples += len(batch)
            stack.close()
            written = put_in_place(made, out / shard)
        return WrittenShard(written.size_bytes, written.sha256, (None,) * num_samples)

    def read(self, out: StorePath, shard: str, file: DigestedReader) -> Iterator[StoredSample]:
        num_rows = 0
        for stored in _samples(out, shard):
            num_rows += 1
            yield stored
        if (shard, num_rows) not in _committed(out, PurePosixPath(shard).parts[0]):
            raise ValueError(
                "its dataset does not know it so; remove the dataset's _versions and run the conversion again"
            )

    def videos(self, out: StorePath, shard: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Bytes]]:
        return videos_of(_samples(out, shard), rows)

    def commit(self, out: StorePath, manifest: Manifest) -> None:
        for split in manifest.splits:
            shards = [(shard.path, shard.num_samples) for shard in manifest.shards if shard.split == split]
            if shards and shards != _committed(out, f"{split}.lance"):
                _commit(out / f"{split}.lance", shards)

    def output_patterns(self, split: str) -> Sequence[str]:
        return (f"{split}.lance/**/*",)

    def is_foreign(self, path: str) -> bool:
        return PurePosixPath(path).parts[1:2] != ("data",) and path.split("/", maxsplit=1)[0] in self.folders

    def card_config(
        self, release: Release, splits: Sequence[str], annotations: Sequence[str], sound: str | None
    ) -> Mapping[str, Any]:
        return {}

    def reading_lines(self, split: str, shards: Sequence[str]) -> Sequence[str]:
        batches = f'lance.dataset("{split}.lance").to_batches(batch_size=8)'
        return ("import lance", f"samples = (row for batch in {batches} for row in batch.to_pylist())")

    def card_text(self) -> Sequence[str]:
        return (
            "`lance.dataset(DIR + '/train.lance')` opens a split; a row has `key`, `label`, `label_id`, `facts` (JSON)",
            "and `video` (the file's bytes, unchanged).",
        )


FORMAT = Lance()


def _schema(sample: Sample) -> pa.Schema:
    """The columns of samples that have the same members as this one."""
    sounds = [] if sample.sound is None else [pa.field(sample.sound.kind, pa.large_binary())]
    return pa.schema([*_SCHEMA, *sounds, *(pa.field(name, pa.string()) for name in sample.annotations)])


def _samples(out: StorePath, shard: str) -> Iterator[StoredSample]:
    """The samples of a file. Raises `ValueError` if it is none of ours."""
    from lance.file import LanceFileReader

    try:
        for batch in LanceFileReader(str(out / shard)).read_all(batch_size=16).to_batches():
            for row in batch.to_pylist():
                yield StoredSample(sample_of(row), None)
    except BaseException as error:
        # The library panics over some corrupt files, which Python has as no `Exception`.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"not a Lance file of clips ({error})") from error


def _committed(out: StorePath, name: str) -> list[tuple[str, int]]:
    """The shards that a dataset knows, with their numbers of rows, in order; none if there is no dataset that opens."""
    import lance

    if not (out / name / "_versions").is_dir():
        return []
    try:
        fragments = lance.dataset(str(out / name)).get_fragments()
    except (OSError, ValueError, RuntimeError):
        return []
    metadata = [fragment.metadata for fragment in fragments]
    return [(f"{name}/data/{file.path}", one.physical_rows) for one in metadata for file in one.files]


def _commit(folder: StorePath, shards: Sequence[tuple[str, int]]) -> None:
    """Makes a dataset of data files that are in place."""
    import lance
    from lance.file import LanceFileReader
    from lance.fragment import DataFile, FragmentMetadata

    for name in ("_versions", "_transactions"):
        (folder / name).remove_tree()
    fragments, schema = [], _SCHEMA
    for number, (path, num_samples) in enumerate(shards):
        file = folder / "data" / PurePosixPath(path).name
        metadata = LanceFileReader(str(file)).metadata()
        schema = metadata.schema
        fields = list(range(len(schema.names)))
        data = DataFile(
            file.name,
            fields,
            fields,
            metadata.major_version,  # type: ignore[attr-defined]
            metadata.minor_version,  # type: ignore[attr-defined]
        )
        fragments.append(FragmentMetadata(number, [data], num_samples))
    lance.LanceDataset.commit(str(folder), lance.LanceOperation.Overwrite(schema, fragments))
