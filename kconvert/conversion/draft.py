"""Drafts: a first file of a release, made by looking at the clips of an origin."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from kconvert.catalog.tree_layout import SPLIT_FOLDERS
from kconvert.errors import UsageError
from kconvert.sources.origins.split_files import is_video
from kconvert.sources.trees.open import open_tree
from kconvert.storage.yaml_text import to_yaml_text

_LISTS = (".csv", ".txt", ".json", ".tsv")
_MOST = 0.9
"""The share of files that have a form for it to be theirs."""


def draft_release(where: str) -> tuple[str, str]:
    """The name and the text of a first file for clips at a location. Raises `UsageError` if there are none."""
    found = open_tree(where).listing("", is_video)
    paths = [file.path for file in found.files]
    if not paths:
        raise UsageError(f"kconvert new {where}: no video is there; give the folder that holds clips")
    name = re.sub("[^a-z0-9.-]+", "-", PurePosixPath(where).stem.lower()).strip("-.") or "mine"
    splits = _splits(paths)
    has_labels = sum(len(PurePosixPath(path).parts) > 1 + bool(splits) for path in paths) >= _MOST * len(paths)
    leaves = Counter(PurePosixPath(path).stem for path in paths)
    are_unique = max(leaves.values()) == 1
    endings = "|".join(sorted({PurePosixPath(path).suffix[1:].lower() for path in paths}))
    clip = "[^/]+" if are_unique or not has_labels else "[^/]+/[^/]+"
    label = "(?P<label>[^/]+)/" if has_labels and are_unique else ""
    inner = f"(?P<name>{clip})" if are_unique or not has_labels else "(?P<name>(?P<label>[^/]+)/[^/]+)"
    content = {
        "name": name,
        "title": PurePosixPath(where).stem,
        "splits": {split: {} for split in splits or ("train",)},
        "names": {"member": rf"(?:.*/)?{label}{inner}\.(?i:{endings})", "example": paths[0]},
        "extracted": [{"title": "as they are", "folder": "{split}" if splits else ""}],
    }
    lists = [path for path in found.others if path.endswith(_LISTS)]
    return name, f"{_comment(where, len(paths), has_labels, lists)}{to_yaml_text(content)}"


def _splits(paths: Sequence[str]) -> tuple[str, ...]:
    """The splits that the top folders are named by; none if they are not."""
    above = Counter(path.partition("/")[0] for path in paths if "/" in path)
    found = {split: sum(above[one] for one in spelt) for split, spelt in SPLIT_FOLDERS.items()}
    return tuple(split for split, number in found.items() if number) if sum(found.values()) == len(paths) else ()


def _comment(where: str, num_clips: int, has_labels: bool, lists: Sequence[str]) -> str:
    labels = "labels are those of their folders" if has_labels else "nothing here says their labels"
    lines = [f"A first file for the {num_clips:,} clips of {PurePosixPath(where).name}: {labels}."]
    if lists:
        lines += [
            f"Perhaps these are lists of clips: {', '.join(lists[:5])}. Of a split, as `kconvert help releases` says:",
            f"  annotations: [{{path: {lists[0]}, form: csv, name: COLUMN, label: COLUMN}}]",
        ]
    return "".join(f"# {line}\n" for line in lines)
