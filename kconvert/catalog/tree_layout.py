"""Tree layouts: the ways in which the clips of a release lie in folders once they are extracted.

Those of the official extractors are in each release's file; the others here are what people make of any release
(torchvision's Kinetics class, MMAction2's documentation, github.com/cvdfoundation/kinetics-dataset).
"""

from __future__ import annotations

from dataclasses import dataclass

SPLIT_FOLDERS = {"train": ("train", "training"), "val": ("val", "validation", "validate", "valid"), "test": ("test",)}
"""What folders of splits are called."""


@dataclass(frozen=True)
class TreeLayout:
    """A way in which clips lie in folders."""

    title: str
    """What stands behind `clips extracted`, for people."""
    folder: str
    """Of a split; holds `{split}`."""
    annotations: str = "annotations"
    """The folder of the annotation files, if they are there."""
    replacement: str = ""
    """The folder of better copies of some clips; `""` if there is none."""

    @property
    def has_folders_of_splits(self) -> bool:
        """Whether the clips of each split lie apart."""
        return "{split}" in self.folder

    def folders(self, split: str) -> list[str]:
        """What the folder of a split may be called."""
        return [self.folder.replace("{split}", spelt) for spelt in SPLIT_FOLDERS.get(split, (split,))]


COMMON_LAYOUTS = (
    TreeLayout("into folders of splits", "{split}", replacement="replacement"),
    TreeLayout("for MMAction2", "videos_{split}"),
    TreeLayout("as in the k400 torrent", "{split}_256"),
    TreeLayout("by arrange_by_classes.py", "videos/{split}"),
)
"""In the order in which they are looked for: where clips lie flat, and linked into folders of classes beside that, the
flat ones are read."""


def torchvision_folder(label: str) -> str:
    """What torchvision's Kinetics class calls the folder of a label."""
    return "".join(char for char in label.replace(" ", "_") if char not in "'()")
