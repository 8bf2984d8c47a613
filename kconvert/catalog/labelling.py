"""Which label a clip has, and what says so: its annotation, else the archive that it is in, else its folder there.

Annotation files may lack clips that the server has, while an archive of k600 or k700-2020 holds one class, and that of
k700-2020 has its clips in a folder named by the class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kconvert.catalog.annotation import Annotations
from kconvert.catalog.joining import LabelSource
from kconvert.catalog.names import Names
from kconvert.catalog.release import AnnotationFile, SplitInfo
from kconvert.catalog.spellings import Spellings
from kconvert.columns.column import Column


@dataclass(frozen=True)
class Labels:
    """The labels of clips."""

    texts: Column
    """`""` for one that has none."""
    sources: Column
    """What says so, a `LabelSource`; `""` where nothing does."""

    @classmethod
    def of_annotations(cls, texts: Column) -> Labels:
        """Those that annotations say."""
        return cls(texts, texts.each(_says("annotation")))


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

    def of(self, annotated: Column, archives: Column, folders: Column) -> Labels:
        """The labels of clips, given by where they are among the annotations (`None` if nowhere), that are in these
        archives, and whose paths there say these labels (see `folder_labels`)."""
        is_annotated = annotated.is_known()
        own = self.annotations.texts.take(annotated)
        of_archive = archives.each(lambda archive: self.info.label_of(archive, self.labels))
        none = Column.constant("", len(annotated))
        texts = is_annotated.choose(own, of_archive.or_else(folders).or_else(none))
        elsewhere = of_archive.each(_says("archive")).or_else(folders.each(_says("folder"))).or_else(none)
        return Labels(texts, is_annotated.choose(own.each(_says("annotation")), elsewhere))

    def folder_labels(self, members: Column) -> Column:
        """The labels that the paths of members say, or that their folders are named by; `None` for what is none."""
        spellings = Spellings(self.labels, self.aliases)
        # Half a million members are in a few hundred.
        folders = [Column.of(map(self._folder, batch)).encoded() for batch in members.batches()]
        return Column.joined(folders).each(spellings.meant)

    def _folder(self, member: str) -> str:
        return self.names.label_of(member) or member.rpartition("/")[0].rpartition("/")[2]

    def counts(self, labels: Labels) -> Column:
        """Whether a clip with that label belongs to the split: where the annotation file is complete, a clip that it
        does not name does not."""
        has_label = ~labels.texts.equals("")
        return has_label & labels.sources.equals("annotation") if self.file.is_complete else has_label


def _says(source: LabelSource) -> Callable[[str | None], LabelSource | None]:
    """What says a label: nothing if that is empty, and nobody knows if there is none."""
    return lambda text: source if text else "" if text == "" else None
