"""The archives themselves: fetched, read to their end, checked clip by clip and kept as they are, under their official
paths. The tables say what is in them. What is kept can be used again, as `--archives DIR` of another conversion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kconvert.catalog.release import RELEASE_NAMES, load_release
from kconvert.dataset.formats.format import Format, Sample, StoredSample, WrittenShard
from kconvert.storage.digests import DigestedReader
from kconvert.storage.store import StorePath


class Archives(Format):
    """Writes nothing: what was fetched is what is wanted."""

    name = "archives"
    title = "Archives"
    is_local = True
    folders = tuple(sorted({load_release(name).root for name in RELEASE_NAMES}))
    keeps_archives = True

    def shard_path(self, release: str, split: str, number: int, num_shards: int | None) -> str:
        raise NotImplementedError("an archive has its official path")

    def output_patterns(self, split: str) -> Sequence[str]:
        return tuple(f"{folder}/{split}/**/*" for folder in self.folders)

    def is_foreign(self, path: str) -> bool:
        # Beside each archive stand the version that it has at the origin, and what keeps two runs off it.
        return path.split("/", maxsplit=1)[0] in self.folders and path.endswith((".etag", ".lock", ".partial"))

    def max_sample_bytes(self, video_bytes: int) -> int:
        return video_bytes

    @property
    def overhead_bytes(self) -> int:
        return 0

    def write(self, out: StorePath, shard: str, samples: Iterable[Sample]) -> WrittenShard:
        return WrittenShard((out / shard).size_bytes() or 0, (out / shard).sha256(), tuple(None for _ in samples))

    def read(self, out: StorePath, shard: str, file: DigestedReader) -> Iterator[StoredSample]:
        raise NotImplementedError("the digest of an archive is that of all its clips")

    def card_config(self, splits: Sequence[str]) -> Mapping[str, Any]:
        return {}

    def card_text(self) -> Sequence[str]:
        return ("The official archives, unchanged. `kconvert RELEASE --archives DIR` makes shards of them.",)


FORMAT = Archives()
