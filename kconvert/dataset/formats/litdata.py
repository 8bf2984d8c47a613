"""LitData's streaming format, through its own writer and reader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kconvert.dataset.formats.format import Sample, row_of
from kconvert.dataset.formats.subfolders import Subfolders
from kconvert.dataset.layout import Library


class LitData(Subfolders):
    """Writes and reads chunks that `litdata.StreamingDataset` reads."""

    name = "litdata"
    title = "LitData chunks"
    library = Library("litdata", "litdata")
    file_name = "chunk-0-0.bin"
    own_index_name = "0.index.json"

    def write_dataset(self, folder: Path, samples: Iterable[Sample]) -> int:
        from litdata.streaming.writer import BinaryWriter

        num_samples = 0
        writer = BinaryWriter(str(folder), chunk_bytes=1 << 62)
        for sample in samples:
            writer.add_item(num_samples, row_of(sample))
            num_samples += 1
        writer.done()
        return num_samples

    def read_dataset(self, folder: Path) -> Iterator[Mapping[str, Any]]:
        from litdata import StreamingDataset

        dataset = StreamingDataset(str(folder))
        return (dataset[number] for number in range(len(dataset)))

    def merged(self, indexes: Sequence[tuple[str, Any]], version: str) -> dict[str, Any]:
        # As `litdata.streaming.writer.BinaryWriter.merge` merges those of its workers, but for the time: readers keep a
        # cache for as long as that is the same ("0" says nothing, so that they would keep it for ever).
        chunks = []
        for folder, index in indexes:
            if set(index) != {"chunks", "config"} or index["config"] != indexes[0][1]["config"]:
                raise ValueError(f"{folder}: not an index of chunks like the others")
            chunks += [{**chunk, "filename": f"{folder}/{chunk['filename']}"} for chunk in index["chunks"]]
        return {"chunks": chunks, "config": indexes[0][1]["config"], "updated_at": version}

    def reading_lines(self, split: str, shards: Sequence[str]) -> Sequence[str]:
        return ("import litdata", f'samples = litdata.StreamingDataset("{split}", shuffle=False)')

    def card_text(self) -> Sequence[str]:
        return (
            "`litdata.StreamingDataset(DIR + '/train')` reads a split; a sample has `key`, `label`, `label_id`,",
            "`facts` (JSON) and `video` (the file's bytes, unchanged).",
        )


FORMAT = LitData()
