"""What is below a location in an object store as a tree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from kconvert.errors import OriginError
from kconvert.sources.fetch.open import read_small
from kconvert.sources.fetch.stream import FetchOptions
from kconvert.sources.trees.tree import IsWanted, Tree, TreeFile, TreeListing, read_whole
from kconvert.storage.objects import object_path
from kconvert.storage.store import StorePath


@dataclass(frozen=True)
class BucketTree(Tree):
    """Objects whose names begin alike."""

    location: str
    """A URL, as s3://bucket/k400_clips."""
    max_reads = 16

    @property
    def _root(self) -> StorePath:
        return object_path(self.location.rstrip("/"))

    def folders(self, folder: str) -> set[str]:
        try:
            path = self._root / folder
            return path.store.folders(path.key)
        except OSError as error:
            raise self._unlisted(folder, error) from error

    def listing(self, folder: str, is_wanted: IsWanted) -> TreeListing:
        root, files, others = self._root, [], []
        try:
            for key, info in root.store.files((root / folder).key):
                path = key.removeprefix(root.key).lstrip("/")
                if is_wanted(PurePosixPath(path).name):
                    files.append(TreeFile(path, info.size_bytes, info.version))
                else:
                    others.append(path)
        except OSError as error:
            raise self._unlisted(folder, error) from error
        return TreeListing(sorted(files), others)

    def read(self, file: TreeFile, options: FetchOptions) -> bytes:
        location = f"{self.location.rstrip('/')}/{file.path}"
        # A list of objects and the answer for a single one may write the same version in two ways.
        return read_whole(location, options, lambda remote: remote.size_bytes == file.size_bytes)

    def read_text(self, path: str, options: FetchOptions, max_bytes: int) -> bytes:
        return read_small(f"{self.location.rstrip('/')}/{path}", options, max_bytes)

    def _unlisted(self, folder: str, error: OSError) -> OriginError:
        return OriginError(
            f"--origin {self.location}: {folder or 'it'} cannot be listed ({error.strerror or error}); "
            "check the location and the credentials"
        )
