"""The catalogue: what each official release is made of, read from `releases/*.yaml` and `*.labels.txt`.

Paths are those of the official server, below its base; they name archives and annotations whatever the origin.
A label's id is its rank in the sorted list of the release's labels, the convention of every public model zoo.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal, get_args

from kconvert.catalog.names import Names
from kconvert.catalog.tree_layout import TreeLayout
from kconvert.storage.yaml_text import YamlTextError, read_yaml_text

OFFICIAL_BASE = "https://s3.amazonaws.com/kinetics/"
"""Where the CVDF hosts the archives (github.com/cvdfoundation/kinetics-dataset)."""

_FOLDER = resources.files("kconvert.catalog") / "releases"
RELEASE_NAMES = tuple(
    sorted(file.name.removesuffix(".yaml") for file in _FOLDER.iterdir() if file.name.endswith(".yaml"))
)
"""The releases of the catalogue: those that a file describes."""
SPLIT_SYNONYMS = {"validation": "val"}
"""Other names of splits, as Hugging Face's."""


def meant_release(word: str) -> str | None:
    """The release that somebody means by another name, as kinetics-400 or k700; `None` if nobody knows."""
    plain = re.sub("[^a-z0-9]", "", word.lower()).replace("kinetics", "k")
    known = {re.sub("[^a-z0-9]", "", name): name for name in RELEASE_NAMES}
    return known.get(plain) or next((name for name in RELEASE_NAMES if name.startswith(f"{plain}-")), None)


AnnotationForm = Literal["csv", "listing", "json", "none"]


@dataclass(frozen=True)
class AnnotationFile:
    """One of the files that may hold a split's annotations."""

    path: str
    """Below the origin's base."""
    form: AnnotationForm
    """csv with a header, the text of `ls -R`, DeepMind's JSON keyed by id; or none: nothing says which clips there
    are."""
    is_complete: bool = True
    """Whether it names every clip of the split that is meant to be in it."""


@dataclass(frozen=True)
class Reported:
    """What people report of a split of the official server; for plans and tables, never relied on."""

    num_archives: int
    """Without the replacement archive."""
    num_clips: int
    """In all archives together."""
    size_bytes: int
    """Of all archives, compressed."""
    num_annotations: int | None = None
    """`None` where nobody says."""


@dataclass(frozen=True)
class SplitInfo:
    """One split of a release, as the official server lays it out."""

    name: str
    """`train`, `val` or `test`."""
    path_list: str
    """The file that names the archives, a URL a line."""
    archive: str
    """The form of an archive's path; holds one of `{part}` (classes mixed), `{label}` or `{rank}` (one class)."""
    annotations: tuple[AnnotationFile, ...]
    """Candidates; the first that the origin has is used."""
    reported: Reported
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
        return "{part}" not in self.archive

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

    name: SupplementName
    """What `--with` calls it."""
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

    url: str
    """Of a page for people."""
    license: str
    """The URL of its text; of the annotations, as the videos belong to whoever uploaded them."""
    creator: str
    """Who made it."""
    published: str
    """The day, as 2017-05-19."""
    citation: str
    """As BibTeX."""


@dataclass(frozen=True)
class Release:
    """One official release."""

    name: str
    """As the command line has it, e.g. `k700-2020`."""
    title: str
    """As people write it, e.g. `Kinetics-700-2020`."""
    splits: Mapping[str, SplitInfo]
    """By name, in the order in which they are converted."""
    script_folders: ScriptFolders
    """What the official shell scripts leave."""
    extracted: tuple[TreeLayout, ...]
    """How clips lie that the official extractors have unpacked; the first that is there is read."""
    about: About
    """What is said of it."""
    supplements: Mapping[str, SupplementInfo]
    """By name; most releases have none."""
    names: Names
    """How its clips are called."""
    labels: tuple[str, ...] = field(repr=False)
    """Sorted; a label's index is its id."""

    @functools.cached_property
    def label_ids(self) -> Mapping[str, int]:
        """From label to id."""
        return {label: number for number, label in enumerate(self.labels)}

    @property
    def root(self) -> str:
        """The folder of the release below an origin's base, e.g. `700_2020`."""
        return self.splits["train"].path_list.split("/")[0]


@functools.cache
def load_release(name: str) -> Release:
    """The catalogue's entry of a release. Raises `KeyError` for a name that is none of `RELEASE_NAMES`."""
    if name not in RELEASE_NAMES:
        raise KeyError(name)
    labels = (_FOLDER / f"{name}.labels.txt").read_text("utf-8").splitlines()
    return parse_release((_FOLDER / f"{name}.yaml").read_text("utf-8"), tuple(labels))


def parse_release(text: str, labels: tuple[str, ...]) -> Release:
    """A catalogue entry from its YAML text. Raises `ValueError` if it is malformed."""
    if list(labels) != sorted(set(labels)):
        raise ValueError("labels: expected a sorted list without repetition")
    try:
        return _release_of(read_yaml_text(text).content, labels)
    except (KeyError, TypeError, AttributeError, YamlTextError) as error:
        raise ValueError(f"catalogue entry: malformed ({type(error).__name__}: {error})") from error


def _release_of(entry: dict[str, Any], labels: tuple[str, ...]) -> Release:
    splits = {}
    for split, info in entry["splits"].items():
        splits[split] = SplitInfo(
            name=split,
            path_list=info["path_list"],
            archive=info["archive"],
            annotations=tuple(AnnotationFile(**candidate) for candidate in info["annotations"]),
            reported=Reported(**info["reported"]),
            replacement=info.get("replacement"),
        )
    found = entry.get("supplements", {}).items()
    return Release(
        name=entry["name"],
        title=entry["title"],
        splits=splits,
        script_folders=ScriptFolders(**entry["script_folders"]),
        extracted=tuple(TreeLayout(**layout) for layout in entry["extracted"]),
        about=About(**entry["about"]),
        supplements={name: SupplementInfo(name, **info) for name, info in found},
        names=Names(**entry["names"]),
        labels=labels,
    )
