"""Which label a clip has, and what says so: its annotation, else the archive that it is in, else its folder there.

Annotation files may lack clips that the server has, while an archive of k600 or k700-2020 holds one class, and that of
k700-2020 has its clips in a folder named by the class.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from kconvert.catalog.annotation import Annotations
from kconvert.catalog.names import Names
from kconvert.catalog.release import AnnotationFile, SplitInfo
from kconvert.catalog.spellings import Spellings

UnlabelledPolicy = Literal["keep", "drop"]
"""What becomes of a clip that has no label."""
MatchBy = Literal["name", "id"]
"""What joins a clip and its annotation: the whole name, or the video's id where that is annotated once."""
LabelSource = Literal["annotation", "archive", "folder", ""]


class Label(NamedTuple):
    """The label of a clip."""

    text: str
    """`""` if it has none."""
    source: LabelSource
    """What says so; `""` where nothing does."""


_NONE = Label("", "")


@dataclass(frozen=True)
class Labelling:
    """What says which labels the clips of a split have."""

    annotations: Annotations
    """Of the split."""
    file: AnnotationFile
    """That they are from."""
    info: SplitInfo
    """The split, as the catalogue has it."""
    labels: tuple[str, ...]
    """Of the release."""
    names: Names
    """How its clips are called."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names of labels."""

    def of(self, name: str, archive: str, member: str) -> Label:
        """The label of a clip, given by its official name, of that member of an archive."""
        annotated = self.annotations.labels.get(name)
        if annotated is not None:
            return Label(annotated, "annotation") if annotated else _NONE
        if (label := self.info.label_of(archive, self.labels)) is not None:
            return Label(label, "archive")
        label = self.folder_label(member)
        return _NONE if label is None else Label(label, "folder")

    def folder_label(self, member: str) -> str | None:
        """The label that the path of a member says, or that its folder is named by; `None` if it is none."""
        folder = self.names.label_of(member) or member.rpartition("/")[0].rpartition("/")[2]
        if folder not in self._of_folders:
            self._of_folders[folder] = self._spellings.meant(folder)
        return self._of_folders[folder]

    def other_folder(self, label: Label, member: str) -> str | None:
        """The label that the folder of a member is named by, if it is another one than its clip has."""
        of_folder = self.folder_label(member)
        return of_folder if label.text and of_folder != label.text else None

    def counts(self, label: Label) -> bool:
        """Whether a clip with that label belongs to the split: where the annotation file is complete, a clip that it
        does not name does not."""
        return label.text != "" and (label.source == "annotation" or not self.file.is_complete)

    @functools.cached_property
    def _of_folders(self) -> dict[str, str | None]:
        """What was found of folders: half a million members are in a few hundred."""
        return {}

    @functools.cached_property
    def _spellings(self) -> Spellings:
        return Spellings(self.labels, self.aliases)
