"""What formats have in common whose library writes a folder with an `index.json`: a shard is such a folder, as if it
were a dataset of its own, and the index above them, which readers open, is theirs merged."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from kconvert.catalog.release import Release
from kconvert.dataset.formats.format import (
    MAX_ROW_BYTES,
    Format,
    Sample,
    StoredSample,
    WrittenShard,
    put_in_place,
    sample_of,
    scratch_folder,
    videos_of,
)
from kconvert.dataset.manifest import Manifest, ShardEntry
from kconvert.storage.digests import DigestedReader
from kconvert.storage.store import StorePath
from kconvert.video.boxes import Bytes

_INDEX_NAME = "index.json"


class Subfolders(Format):
    """A format with a folder for each shard."""

    is_local = True
    num_copies = 2
    num_shards_in_memory = 1
    max_shard_bytes = 1 << 32
    """Its libraries have offsets of 32 bits."""
    file_name: str
    """What the library calls the only file of a dataset."""
    own_index_name = _INDEX_NAME
    """What the library calls the index that it writes."""

    @abstractmethod
    def write_dataset(self, folder: Path, samples: Iterable[Sample]) -> int:
        """Has the library write a dataset of one file; returns how many samples there are."""

    @abstractmethod
    def read_dataset(self, folder: Path) -> Iterator[Mapping[str, Any]]:
        """The rows of a dataset, as the library reads them."""

    @abstractmethod
    def merged(self, indexes: Sequence[tuple[str, Any]], version: str) -> dict[str, Any]:
        """The index of datasets that stand in these folders; `version` is another one wherever a sample is another.

        Raises: `ValueError` if an index is not the library's.
        """

    def shard_path(self, release: str, split: str, number: int, num_shards: int | None) -> str:
        return f"{split}/{number:06d}/{self.file_name}"

    def sidecar_paths(self, shard: str) -> Sequence[str]:
        return (str(PurePosixPath(shard).with_name(_INDEX_NAME)),)

    def max_sample_bytes(self, video_bytes: int, annotation_bytes: Sequence[int] = ()) -> int:
        return video_bytes + sum(annotation_bytes) + MAX_ROW_BYTES

    @property
    def overhead_bytes(self) -> int:
        return 4096

    def write(self, out: StorePath, shard: str, samples: Iterable[Sample], labels: Sequence[str] = ()) -> WrittenShard:
        with scratch_folder(out) as folder:
            num_samples = self.write_dataset(folder, samples)
            put_in_place(folder / self.own_index_name, out / self.sidecar_paths(shard)[0])
            written = put_in_place(folder / self.file_name, out / shard)
        return WrittenShard(written.size_bytes, written.sha256, (None,) * num_samples)

    def read(self, out: StorePath, shard: str, file: DigestedReader) -> Iterator[StoredSample]:
        return self._samples(out, shard)

    def _samples(self, out: StorePath, shard: str) -> Iterator[StoredSample]:
        try:
            for row in self.read_dataset(Path(str(out / shard)).parent):
                yield StoredSample(sample_of(row), None)
        except Exception as error:
            # Of a corrupt file a library says whatever it comes upon first.
            raise ValueError(f"not what its library writes ({error!r})") from error

    def videos(self, out: StorePath, shard: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Bytes]]:
        return videos_of(self._samples(out, shard), rows)

    def index_files(self, out: StorePath, manifest: Manifest) -> Mapping[str, bytes]:
        return {
            f"{split}/{_INDEX_NAME}": self._merged(out, shards)
            for split in manifest.splits
            if (shards := [shard for shard in manifest.shards if shard.split == split])
        }

    def _merged(self, out: StorePath, shards: Iterable[ShardEntry]) -> bytes:
        """The index of a split; nothing where that of a shard is missing or was changed, so that the two differ."""
        try:
            indexes, version = [], hashlib.sha256()
            for shard in shards:
                data = (out / self.sidecar_paths(shard.path)[0]).read_bytes()
                indexes.append((PurePosixPath(shard.path).parent.name, json.loads(data)))
                version.update(shard.sha256.encode())
            return (json.dumps(self.merged(indexes, version.hexdigest()), sort_keys=True) + "\n").encode()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return b""

    def card_config(
        self, release: Release, splits: Sequence[str], annotations: Sequence[str], sound: str | None
    ) -> Mapping[str, Any]:
        return {}
