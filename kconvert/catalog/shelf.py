"""The shelf: the releases of the catalogue by name, and those of files that people have."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from kconvert.catalog.checked import Problems, checked
from kconvert.catalog.labels import LabelList
from kconvert.catalog.names import Names
from kconvert.catalog.release import SUPPLEMENT_NAMES, About, Release, ScriptFolders, SplitInfo, SupplementInfo
from kconvert.catalog.tree_layout import TreeLayout
from kconvert.errors import UsageError
from kconvert.storage.yaml_text import YamlTextError, read_yaml_text

_FOLDER = resources.files("kconvert.catalog") / "releases"
RELEASE_NAMES = tuple(
    sorted(file.name.removesuffix(".yaml") for file in _FOLDER.iterdir() if file.name.endswith(".yaml"))
)
"""The releases of the catalogue: those that a file describes."""
_FILE_ENDINGS = (".yaml", ".yml")
_NAME = re.compile("[a-z0-9][a-z0-9.-]*")
_SPLIT = re.compile("[a-z0-9]+")
MAX_SHOWN = 20


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
    labels: LabelList = field(default_factory=LabelList)
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

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r}: expected small letters, digits, - and .")
        if not self.splits:
            raise ValueError("splits: expected one at least")
        if odd := [split for split in self.splits if not _SPLIT.fullmatch(split)]:
            raise ValueError(f"splits: {odd[0]!r}: expected small letters and digits")
        if empty := [name for name, values in self.choices.items() if not values]:
            raise ValueError(f"choices.{empty[0]}: expected a value at least")
        self._require_union()
        for split, info in self.splits.items():
            self._require_lists(split, info)
        if unknown := sorted(set(self.supplements) - set(SUPPLEMENT_NAMES)):
            raise ValueError(f"supplements: unknown {unknown[0]!r}, expected one of {', '.join(SUPPLEMENT_NAMES)}")

    def _require_union(self) -> None:
        """Raises `ValueError` for a union of what is no release, or of splits that one does not have."""
        if unknown := [one for one in self.union if one not in RELEASE_NAMES]:
            raise ValueError(f"union: {unknown[0]!r} is none of {', '.join(RELEASE_NAMES)}")
        for name in self.union:
            if lacking := [split for split in self.splits if split not in load_release(name).splits]:
                raise ValueError(f"union: {name} has no split {lacking[0]!r}")
        if stray := [name for name in self.exclude_lists if name.partition(":")[0] not in self.union]:
            raise ValueError(f"exclude_lists: {stray[0]!r}: expected the name of a release of the union before a colon")

    def _require_lists(self, split: str, info: SplitInfo) -> None:
        """Raises `ValueError` for lists that cannot be read as they are described."""
        for file in info.annotations:
            where = f"splits.{split}.annotations: {file.path}"
            if file.form in ("union", "none") or (file.form == "lines" and file.name is None):
                raise ValueError(f"{where}: form {file.form}: expected csv, lines or json, and `name`")
            if file.form == "csv" and len(file.separator) > 1:
                raise ValueError(f"{where}: separator {file.separator!r}: expected a single character")
            are_numbers = file.label is not None and file.label.first_id is not None
            if are_numbers and (self.labels.order != "listed" or not (self.labels.known or self.labels.path)):
                raise ValueError(f"{where}: first_id: expected `labels` that are a list, or have order: listed")


class ReleaseFileError(UsageError):
    """The file of a release cannot be read."""


def meant_release(word: str) -> str | None:
    """The release that somebody means by another name, as kinetics-400 or k700; `None` if nobody knows."""
    plain = re.sub("[^a-z0-9]", "", word.lower()).replace("kinetics", "k")
    known = {re.sub("[^a-z0-9]", "", name): name for name in RELEASE_NAMES}
    return known.get(plain) or next((name for name in RELEASE_NAMES if name.startswith(f"{plain}-")), None)


def is_release(word: str) -> bool:
    """Whether a word is the name of a release, or of the file of one."""
    return word in RELEASE_NAMES or word.endswith(_FILE_ENDINGS)


@functools.cache
def load_release(name: str) -> Release:
    """A release of the catalogue. Raises `KeyError` for a name that is none of `RELEASE_NAMES`."""
    if name not in RELEASE_NAMES:
        raise KeyError(name)
    text, labels = (_FOLDER / f"{name}.yaml").read_text("utf-8"), _FOLDER / f"{name}.labels.txt"
    release = parse_release(text, f"{name}.yaml")
    if not labels.is_file():
        return release
    return dataclasses.replace(release, text="", labels=tuple(labels.read_text("utf-8").splitlines()))


def open_release(word: str, chosen: Mapping[str, str] | None = None) -> Release:
    """The release of a name, or of a file, with what is chosen of it.

    Raises: `UsageError` if there is none, or it has no such choice; `ReleaseFileError` if it cannot be read.
    """
    if word in RELEASE_NAMES:
        return with_choices(load_release(word), chosen or {})
    if not word.endswith(_FILE_ENDINGS):
        raise UsageError(f"{word!r} is no release; expected one of {', '.join(RELEASE_NAMES)}, or a file, as my.yaml")
    path = Path(os.path.expanduser(word))
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ReleaseFileError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it so") from error
    except OSError as error:
        raise ReleaseFileError(f"{path}: cannot be read ({error.strerror}); expected the file of a release") from error
    return with_choices(parse_release(text, str(path)), chosen or {})


def parse_release(text: str, where: str) -> Release:
    """A release from the text of its file. Raises `ReleaseFileError` with every problem in it, each with its line."""
    try:
        document = read_yaml_text(text)
    except YamlTextError as error:
        line = "" if error.line is None else f", line {error.line}"
        raise ReleaseFileError(f"{where}{line}: is no YAML ({error.problem}); correct it") from error
    lines: dict[str, int] = {}
    problems = Problems(lines)
    for key, number in document.lines():
        if key in lines:
            problems.found.append((number, f"{key} stands there twice (line {lines[key]}); remove one of them"))
        lines.setdefault(key, number)
    found = checked(ReleaseFile, document.content, "", problems)
    if found is None or problems.found:
        shown = sorted(set(problems.found))[:MAX_SHOWN]
        more = f"; and {len(set(problems.found)) - MAX_SHOWN} more" if len(set(problems.found)) > MAX_SHOWN else ""
        listed = "; ".join(f"line {line}: {problem}" for line, problem in shown)
        raise ReleaseFileError(f"{where}: {listed}{more}; `kconvert help releases` says what there is")
    members = [load_release(name) for name in found.union]
    return Release(
        name=found.name,
        title=found.title,
        splits={name: dataclasses.replace(split, name=name) for name, split in found.splits.items()},
        about=found.about,
        names=members[0].names if members else found.names,
        label_list=found.labels,
        union=found.union,
        exclude_lists=found.exclude_lists,
        choices=found.choices,
        archives=found.archives,
        parts=found.parts,
        script_folders=found.script_folders,
        extracted=found.extracted,
        supplements=found.supplements,
        text=text,
        labels=_labels(found.labels, members, where),
    )


def _labels(listed: LabelList, members: Sequence[Release], where: str) -> tuple[str, ...]:
    """The labels that a file lists, or those of the releases of a union; none if only the origin knows them."""
    of_members = (listed.aliases.get(label, label) for member in members for label in member.labels)
    try:
        return listed.ordered(listed.known or tuple(of_members))
    except ValueError as error:
        raise ReleaseFileError(f"{where}: labels: {error}; correct it") from error


def with_choices(release: Release, chosen: Mapping[str, str]) -> Release:
    """A release in whose paths and values stands what is chosen. Raises `UsageError` for what is no choice."""
    if stray := [name for name in chosen if name not in release.choices]:
        have = f"expected {', '.join(release.choices)}" if release.choices else "it has none"
        raise UsageError(f"--choose: {release.name} has no choice {stray[0]!r}; {have}")
    for name, value in chosen.items():
        if value not in release.choices[name]:
            raise UsageError(f"--choose {name}={value}: expected one of {', '.join(release.choices[name])}")
    values = {name: chosen.get(name, known[0]) for name, known in release.choices.items()}
    if not values:
        return release

    def filled(text: str) -> str:
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    splits = {}
    for name, split in release.splits.items():
        files = [
            dataclasses.replace(
                file, path=filled(file.path), where={key: filled(value) for key, value in file.where.items()}
            )
            for file in split.annotations
        ]
        splits[name] = dataclasses.replace(split, annotations=tuple(files))
    layouts = tuple(dataclasses.replace(one, folder=filled(one.folder)) for one in release.extracted)
    labels = dataclasses.replace(release.label_list, path=filled(release.label_list.path))
    return dataclasses.replace(release, splits=splits, extracted=layouts, label_list=labels)


def hosted_names() -> tuple[str, ...]:
    """The releases whose archives and lists an official server has."""
    return tuple(name for name in RELEASE_NAMES if load_release(name).root)
