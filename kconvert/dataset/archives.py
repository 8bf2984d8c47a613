"""The layout of archives that are kept as they are, under their official paths; the tables say what is in them.

What is kept can be used again, as `--archives DIR` of another conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any

from kconvert.catalog.release import Release
from kconvert.catalog.shelf import hosted_names, load_release
from kconvert.dataset.layout import ExpectedSamples, Layout
from kconvert.sources.archive import ArchiveReader
from kconvert.sources.fetch.open import open_stream
from kconvert.sources.fetch.stream import FetchOptions
from kconvert.storage.digests import DigestedReader
from kconvert.storage.store import StorePath
from kconvert.video.boxes import Bytes

_KEPT = "--to archives keeps the archives as they are"


class Archives(Layout):
    """An archive that holds a written clip is a shard."""

    name = "archives"
    title = "Archives"
    is_local = True
    folders = tuple(sorted({load_release(name).root for name in hosted_names()}))
    unused_options: Mapping[str, str] = dict.fromkeys(("shard", "shuffle", "video", "audio"), _KEPT)

    def archive_files(self, archives: Set[str]) -> Set[str]:
        return archives

    def output_patterns(self, split: str) -> Sequence[str]:
        return tuple(f"{folder}/{split}/**/*" for folder in self.folders)

    def is_foreign(self, path: str) -> bool:
        # Beside each archive stand the version that it has at the origin, and what keeps two runs off it.
        return path.split("/", maxsplit=1)[0] in self.folders and path.endswith((".etag", ".lock", ".partial"))

    def videos(self, out: StorePath, shard: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Bytes]]:
        keys = {row["member"]: row["key"] for row in rows}
        with open_stream(str(out / shard), FetchOptions()) as stream, ArchiveReader(stream, shard) as archive:
            for member in archive:
                # What is a link to an earlier member has gone by with it.
                if member.name in keys and member.is_file and not member.link:
                    yield keys.pop(member.name), member.load()

    def sample_problems(
        self, out: StorePath, shard: str, file: DigestedReader, expected: ExpectedSamples, on_sample: Callable[[], None]
    ) -> Iterator[str]:
        # The digest of an archive is that of all its clips; their rows say what is in it.
        return iter(())

    def card_config(
        self, release: Release, splits: Sequence[str], annotations: Sequence[str], sound: str | None
    ) -> Mapping[str, Any]:
        return {}

    def card_text(self) -> Sequence[str]:
        return ("The official archives, unchanged. `kconvert RELEASE --archives DIR` makes shards of them.",)


LAYOUT = Archives()
