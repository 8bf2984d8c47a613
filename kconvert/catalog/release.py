"""Releases: what a dataset is made of, as its file says (`releases/*.yaml`; `shelf` has those of the catalogue).

Paths are those of the official server, below its base; they name archives and annotations whatever the origin.
A label's id is its rank in the list of the release's labels, which is sorted in most: the convention of public model
zoos.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from kconvert.catalog.checked import KEY
from kconvert.catalog.labels import LabelList
from kconvert.catalog.names import Names
from kconvert.catalog.rule import Rule
from kconvert.catalog.tree_layout import TreeLayout
from kconvert.storage.records import LATER

OFFICIAL_BASE = "https://s3.amazonaws.com/kinetics/"
"""Where the CVDF hosts the archives (github.com/cvdfoundation/kinetics-dataset)."""

SPLIT_SYNONYMS = {"validation": "val"}
"""Other names of splits, as Hugging Face's."""


AnnotationForm = Literal["csv", "lines", "listing", "json", "none", "union"]


@dataclass(frozen=True)
class AnnotationFile:
    """One of the files that may hold a split's annotations.

    Where `name` is not given, it is one of the official forms. Where it is, each row is a clip: of comma separated
    values, of lines whose values stand apart by `separator`, or an entry of JSON.
    """

    path: str
    """Below the origin's base; `*` stands for anything in a name: all files that match are one."""
    form: AnnotationForm
    """csv; lines; the text of `ls -R`; JSON, official if it is keyed by id; none: nothing says which clips there are;
    or union: those of several releases (see `union`)."""
    is_complete: bool = True
    """Whether it names every clip of the split that is meant to be in it."""
    name: Rule | None = field(default=None, metadata=LATER)
    """What a clip is called."""
    label: Rule | None = field(default=None, metadata=LATER)
    """Its label; `None` if the list does not say."""
    columns: tuple[str, ...] = field(default=(), metadata=LATER)
    """What the values of a row are called; none if the first row says that, as a header."""
    separator: str = field(default="", metadata=LATER)
    """Between values; `""` for a comma in csv, and any white space in lines."""
    carry: tuple[str, ...] = field(default=(), metadata=LATER)
    """Columns that go into the table as they are, as `list_COLUMN`."""
    where: Mapping[str, str] = field(default_factory=dict, metadata=LATER, hash=False)
    """The values that the rows of the split have in these columns; others are of other splits, or of none."""


@dataclass(frozen=True)
class Reported:
    """What people report of a split of the official server, 0 where nobody does; for plans and tables, never relied
    on."""

    num_archives: int = 0
    """Without the replacement archive."""
    num_clips: int = 0
    """In all archives together."""
    size_bytes: int = 0
    """Of all archives, compressed."""
    num_annotations: int | None = None
    """`None` where nobody says."""


@dataclass(frozen=True)
class SplitInfo:
    """One split of a release."""

    name: str = ""
    """As `train`; in a release's file, the key that it stands under."""
    path_list: str = ""
    """The file that names the archives, a URL a line; `""` if there is none."""
    archive: str = ""
    """The form of an archive's path; holds one of `{part}` (classes mixed), `{label}` or `{rank}` (one class)."""
    annotations: tuple[AnnotationFile, ...] = ()
    """Candidates; the first that the origin has is used."""
    reported: Reported = field(default_factory=Reported)
    """What people report of it."""
    replacement: str | None = None
    """The archive of better copies for some of this split's clips."""

    @functools.cached_property
    def _archive_pattern(self) -> re.Pattern[str]:
        escaped = re.escape(self.archive)
        for holder, pattern in (("part", "[0-9]+"), ("label", ".+"), ("rank", "[0-9]+")):
            escaped = escaped.replace(re.escape("{" + holder + "}"), f"(?P<{holder}>{pattern})")
        return re.compile(escaped)

    @property
    def archives_hold_one_class(self) -> bool:
        """Whether single classes can be fetched alone."""
        return "{label}" in self.archive or "{rank}" in self.archive

    def label_of(self, archive: str, labels: tuple[str, ...]) -> str | None:
        """The one label that an archive holds; `None` where classes are mixed or the name is not of the known form.

        Underscores in a k600 name stand for spaces: an official extractor renames the archives so.
        """
        match = self._archive_pattern.fullmatch(archive)
        if match is None or not self.archives_hold_one_class:
            return None
        found = match.groupdict()
        if "rank" in found:
            rank = int(found["rank"])
            return labels[rank - 1] if 1 <= rank <= len(labels) else None
        return {label.replace(" ", "_"): label for label in labels}.get(found["label"].replace(" ", "_"))


SupplementName = Literal["ava", "countix"]
SUPPLEMENT_NAMES: tuple[SupplementName, ...] = get_args(SupplementName)


@dataclass(frozen=True)
class SupplementInfo:
    """Further official annotations of the clips of a release."""

    title: str
    """As people write it."""
    archive: str
    """The official path of the archive that holds its files."""
    rows: str
    """The name of the file there that has the rows of a split; holds `{split}`."""
    actions: str = ""
    """A pattern of the names of the files there that list the actions with their ids; `""` if it has none."""


@dataclass(frozen=True)
class ScriptFolders:
    """Where the official shell scripts put what they download."""

    archives: str
    """Holds `{split}`."""
    annotations: str
    """The folder of the annotation files."""
    replacement: str | None = None
    """The folder of the replacement archive; `None` if the release has none."""


@dataclass(frozen=True)
class About:
    """What those who describe a release say of it."""

    url: str = ""
    """Of a page for people."""
    license: str = ""
    """The URL of its text; of the annotations, as the videos belong to whoever uploaded them."""
    creator: str = ""
    """Who made it."""
    published: str = ""
    """The day, as 2017-05-19."""
    citation: str = ""
    """As BibTeX."""


@dataclass(frozen=True)
class ReleaseFile:
    """What the file of a release says."""

    name: str
    """What the folder, and the samples, call it."""
    title: str
    """As people write it."""
    splits: Mapping[str, SplitInfo]
    """By name, in the order in which they are converted."""
    about: About = field(default_factory=About)
    """What is said of it."""
    names: Names = field(default_factory=Names)
    """How its clips are called."""
    label_list: LabelList = field(default_factory=LabelList, metadata={KEY: "labels"})
    """What says which labels there are."""
    union: tuple[str, ...] = ()
    """The releases that it is made of, the newest last: of a video that several have, the newest has all clips, and
    none has those of a val or test split of any."""
    exclude_lists: Mapping[str, str] = field(default_factory=dict)
    """Of a union: further lists whose videos it does not have, by what they go by, below the origin's base."""
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What a person chooses, as a fold, and between what; the first is usual."""
    archives: tuple[str, ...] = ()
    """Patterns of archives in which the clips of all splits are, as `videos_*.tar.gz`, below the origin's base."""
    parts: tuple[str, ...] = ()
    """The same of archives in parts, as `videos.tgz.*`, each pattern of the parts of one."""
    script_folders: ScriptFolders | None = None
    """What shell scripts leave that download the archives."""
    extracted: tuple[TreeLayout, ...] = ()
    """How clips lie in folders; the first that is there is read."""
    supplements: Mapping[str, SupplementInfo] = field(default_factory=dict)
    """Further annotations, by what `--with` calls them."""


@dataclass(frozen=True)
class Release(ReleaseFile):
    """A release: what its file says, and its labels."""

    text: str = field(default="", repr=False)
    """Its file; `""` if it is of the catalogue, with all of its labels."""
    labels: tuple[str, ...] = field(default=(), repr=False)
    """A label's index is its id; none as long as only the origin knows them."""

    @functools.cached_property
    def label_ids(self) -> Mapping[str, int]:
        """From label to id."""
        return {label: number for number, label in enumerate(self.labels)}

    @functools.cached_property
    def separator(self) -> str:
        """What stands between the labels of a clip in its lists, where it may have several; `""` where it has one."""
        rules = (file.label for split in self.splits.values() for file in split.annotations)
        return next((rule.separator for rule in rules if rule is not None and rule.separator), "")

    def labels_of(self, text: str) -> list[str]:
        """The labels of a clip, of which a list says that."""
        return text.split(self.separator) if self.separator else [text]

    def labelled(self, text: str) -> Mapping[str, Any]:
        """What samples and tables say of a label: `label` and `label_id`, which is -1 where there is none. Where clips
        may have several, there is none, and `label_ids` are those of all."""
        if not self.separator:
            return {"label": text, "label_id": self.label_ids.get(text, -1)}
        ids = [self.label_ids[one] for one in self.labels_of(text) if one in self.label_ids]
        return {"label": "", "label_id": -1, "label_ids": ids}

    @property
    def root(self) -> str:
        """The folder of the release below an origin's base, e.g. `700_2020`; `""` if it has none there."""
        return next(iter(self.splits.values())).path_list.partition("/")[0]
