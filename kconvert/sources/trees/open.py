"""Opening a tree by its location."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from kconvert.errors import OriginError
from kconvert.sources.fetch.stream import FetchOptions, is_remote, is_url, with_few_retries
from kconvert.sources.trees.bucket import BucketTree
from kconvert.sources.trees.disk import DiskTree, LinkPolicy
from kconvert.sources.trees.tree import Tree
from kconvert.sources.trees.zip import ZipTree


def names_zip_file(where: str) -> bool:
    """Whether a location is that of a zip file."""
    path = urlsplit(where).path if is_url(where) else where
    return path.lower().endswith(".zip") and (is_remote(where) or not Path(where).is_dir())


def open_tree(where: str, options: FetchOptions | None = None, links: LinkPolicy = "inside") -> Tree:
    """The tree at a location. Raises `OriginError` where there can be none."""
    if names_zip_file(where):
        return ZipTree(where, with_few_retries(options or FetchOptions()))
    if is_url(where):
        raise OriginError(f"{where}: what a web server has cannot be listed; give a folder, a bucket or a zip file")
    if is_remote(where):
        return BucketTree(where)
    if not Path(where).is_dir():
        raise OriginError(f"{where}: no such folder; give the folder that holds clips")
    return DiskTree(where, links)
