"""MDS, the format of MosaicML streaming, through its own writer and reader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from kconvert.dataset.formats.format import Sample, row_of
from kconvert.dataset.formats.subfolders import Subfolders
from kconvert.dataset.layout import Library

_VERSION = 2
"""Of MDS indexes."""
_COLUMNS = {"key": "str", "label": "str", "label_id": "int", "facts": "str", "video": "bytes"}


class Mds(Subfolders):
    """Writes and reads shards that `streaming.StreamingDataset` reads."""

    name = "mds"
    title = "MosaicML streaming shards"
    library = Library("mosaicml-streaming", "streaming")
    file_name = "shard.00000.mds"

    def write_dataset(self, folder: Path, samples: Iterable[Sample]) -> int:
        from streaming import MDSWriter

        num_samples = 0
        with ExitStack() as stack:
            for sample in samples:
                if not num_samples:
                    columns = _COLUMNS | dict.fromkeys(sample.annotations, "str")
                    if sample.sound is not None:
                        columns[sample.sound.kind] = "bytes"
                    writer = stack.enter_context(MDSWriter(out=str(folder), columns=columns, size_limit=None))
                writer.write(row_of(sample))
                num_samples += 1
        return num_samples

    def read_dataset(self, folder: Path) -> Iterator[Mapping[str, Any]]:
        from streaming import LocalDataset

        dataset = LocalDataset(str(folder))
        return (dataset[number] for number in range(len(dataset)))

    def merged(self, indexes: Sequence[tuple[str, Any]], version: str) -> dict[str, Any]:
        # As `streaming.base.util.merge_index` merges them.
        shards = []
        for folder, index in indexes:
            if set(index) != {"shards", "version"} or index["version"] != _VERSION:
                raise ValueError(f"{folder}: not an index of version {_VERSION}")
            for entry in index["shards"]:
                raw = {**entry["raw_data"], "basename": f"{folder}/{entry['raw_data']['basename']}"}
                shards.append({**entry, "raw_data": raw})
        return {"shards": shards, "version": _VERSION}

    def reading_lines(self, split: str, shards: Sequence[str]) -> Sequence[str]:
        return (
            "import streaming",
            f'samples = streaming.StreamingDataset(local="{split}", shuffle=False, batch_size=1)  # in each worker',
        )

    def card_text(self) -> Sequence[str]:
        return (
            "`streaming.StreamingDataset(local=DIR + '/train')` reads a split; a sample has `key`, `label`,",
            "`label_id`, `facts` (JSON) and `video` (the file's bytes, unchanged).",
        )


FORMAT = Mds()
