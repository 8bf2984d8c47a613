"""Drafts: a first file of a release, made by looking at the clips of an origin."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from kconvert.catalog.names import is_video
from kconvert.catalog.tree_layout import SPLIT_FOLDERS
from kconvert.errors import UsageError
from kconvert.sources.trees.open import open_tree
from kconvert.storage.yaml_text import to_yaml_text

_LISTS = (".csv", ".txt", ".json", ".tsv")
_KNOWN_SPLITS = {folder for known in SPLIT_FOLDERS.values() for folder in known}
_LABELLED = (r"(?:.*/)?(?P<label>[^/]+)/(?P<name>[^/]+)", r"(?:.*/)?(?P<name>(?P<label>[^/]+)/[^/]+)")
_FLAT = (r"(?:.*/)?(?P<name>[^/]+)",)
"""Patterns of paths without their endings, the simplest first."""
_MOST = 0.9
"""The share of files that have a form for it to be theirs."""


def draft_release(where: str) -> tuple[str, str]:
    """The name and the text of a first file for clips at a location. Raises `UsageError` if there are none."""
    found = open_tree(where).listing("", is_video)
    paths = [file.path for file in found.files]
    if not paths:
        raise UsageError(f"kconvert new {where}: no video is there; give the folder that holds clips")
    name = re.sub("[^a-z0-9.-]+", "-", PurePosixPath(where).stem.lower()).strip("-.") or "mine"
    splits = _splits(where, paths)
    has_labels = sum(len(PurePosixPath(path).parts) > 1 + bool(splits) for path in paths) >= _MOST * len(paths)
    endings = "|".join(sorted({PurePosixPath(path).suffix[1:].lower() for path in paths}))
    patterns = _LABELLED if has_labels else _FLAT
    pattern = next(
        (one for one in patterns if _are_unique(rf"{one}\.(?i:{endings})", paths, bool(splits))), "(?P<name>.+)"
    )
    content = {
        "name": name,
        "title": PurePosixPath(where).stem,
        "splits": {split: {} for split in splits or ("train",)},
        "names": {"member": rf"{pattern}\.(?i:{endings})", "example": paths[0]},
        "extracted": [{"title": "as they are", "folder": "{split}" if splits else ""}],
    }
    lists = [path for path in found.others if path.endswith(_LISTS)]
    return name, f"{_comment(where, len(paths), has_labels, lists)}{to_yaml_text(content)}"


def _splits(where: str, paths: Sequence[str]) -> tuple[str, ...]:
    """The splits that the top folders are named by; none if they are not. Raises `UsageError` where only some are."""
    above = Counter(path.partition("/")[0] for path in paths)
    spelt = {split: [one for one in above if one.lower() in known] for split, known in SPLIT_FOLDERS.items()}
    found = {split: folders for split, folders in spelt.items() if folders}
    if not found:
        return ()
    others = sorted(set(above) - {folders[0] for folders in found.values()})
    odd = others + [folder for folders in found.values() for folder in folders if folder not in _KNOWN_SPLITS]
    if odd:
        raise UsageError(
            f"kconvert new {where}: {next(iter(found.values()))[0]}/ is named as a split, {odd[0]} is not, or is the "
            "same one; rename the folders to train, val and test, or write the file by hand (`kconvert help releases`)"
        )
    return tuple(found)


def _are_unique(pattern: str, paths: Sequence[str], has_splits: bool) -> bool:
    """Whether a pattern tells clips apart: within each split, where splits are folders."""
    found = [(path.partition("/")[0] if has_splits else "", re.fullmatch(pattern, path, re.DOTALL)) for path in paths]
    names = [(split, match["name"]) for split, match in found if match is not None]
    return len(names) == len(paths) == len(set(names))


def _comment(where: str, num_clips: int, has_labels: bool, lists: Sequence[str]) -> str:
    labels = "labels are those of their folders" if has_labels else "nothing here says their labels; it needs lists"
    lines = [f"A first file for the {num_clips:,} clips of {PurePosixPath(where).name}: {labels}."]
    if lists:
        lines += [
            f"Perhaps these are lists of clips: {', '.join(lists[:5])}. Of a split, as `kconvert help releases` says:",
            f"  annotations: [{{path: {lists[0]}, form: csv, name: COLUMN, label: COLUMN}}]",
        ]
    return "".join(f"# {line}\n" for line in lines)
