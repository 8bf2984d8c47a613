"""The layout of archives that are kept as they are, under their official paths; the tables say what is in them.

What is kept can be used again, as `--archives DIR` of another conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any

from kconvert.catalog.release import RELEASE_NAMES, load_release
from kconvert.dataset.layout import ExpectedSamples, Layout
from kconvert.storage.digests import DigestedReader
from kconvert.storage.store import StorePath

_KEPT = "--to archives keeps the archives as they are"


class Archives(Layout):
    """An archive that holds a written clip is a shard."""

    name = "archives"
    title = "Archives"
    is_local = True
    folders = tuple(sorted({load_release(name).root for name in RELEASE_NAMES}))
    unused_options: Mapping[str, str] = {"shard": _KEPT, "shuffle": _KEPT}

    def archive_files(self, archives: Set[str]) -> Set[str]:
        return archives

    def output_patterns(self, split: str) -> Sequence[str]:
        return tuple(f"{folder}/{split}/**/*" for folder in self.folders)

    def is_foreign(self, path: str) -> bool:
        # Beside each archive stand the version that it has at the origin, and what keeps two runs off it.
        return path.split("/", maxsplit=1)[0] in self.folders and path.endswith((".etag", ".lock", ".partial"))

    def sample_problems(
        self, out: StorePath, shard: str, file: DigestedReader, expected: ExpectedSamples, on_sample: Callable[[], None]
    ) -> Iterator[str]:
        # The digest of an archive is that of all its clips; their rows say what is in it.
        return iter(())

    def card_config(self, splits: Sequence[str]) -> Mapping[str, Any]:
        return {}

    def card_text(self) -> Sequence[str]:
        return ("The official archives, unchanged. `kconvert RELEASE --archives DIR` makes shards of them.",)


LAYOUT = Archives()
