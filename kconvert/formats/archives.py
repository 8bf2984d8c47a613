"""The archives themselves: fetched, read to their end, checked clip by clip and kept as they are, under their official
paths. The tables say what is in them. What is kept can be used again, as `--archives DIR` of another conversion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kconvert.errors import UsageError
from kconvert.files import AnyPath, DigestedReader, size_of
from kconvert.formats import Format, Sample, StoredSample, WrittenShard
from kconvert.release import RELEASE_NAMES, load_release


class Archives(Format):
    """Writes nothing: what was fetched is what is wanted."""

    title = "Archives"
    folders = tuple(sorted({load_release(name).root for name in RELEASE_NAMES}))
    keeps_archives = True

    def require(self, out: AnyPath, max_bytes: int) -> None:
        if not isinstance(out, Path):
            raise UsageError(f"--to archives --out {out}: expected a folder, where a download can be gone on with")

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

    def write(self, out: AnyPath, shard: str, samples: Iterable[Sample]) -> WrittenShard:
        with DigestedReader(out / shard) as file:
            sha256 = file.finish()
        return WrittenShard(size_of(out / shard) or 0, sha256, tuple(None for _ in samples))

    def read(self, out: AnyPath, shard: str, file: DigestedReader) -> Iterator[StoredSample]:
        raise NotImplementedError("the digest of an archive is that of all its clips")

    def card_config(self, splits: Sequence[str]) -> Mapping[str, Any]:
        return {}

    def card_text(self) -> Sequence[str]:
        return ("The official archives, unchanged. `kconvert RELEASE --archives DIR` makes shards of them.",)


FORMAT = Archives()
