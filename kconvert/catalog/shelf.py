"""The shelf: the releases of the catalogue by name, and those of files that people have."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from kconvert.catalog.checked import Problems, checked
from kconvert.catalog.labels import LabelList
from kconvert.catalog.release import SUPPLEMENT_NAMES, Release, ReleaseFile, SplitInfo
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
_MAX_SHOWN = 20
_MAX_VALUES = 1_000_000
"""Of a file: lists of labels are long."""


class ReleaseFileError(UsageError):
    """The file of a release cannot be read."""


def _require_sound(file: ReleaseFile) -> None:
    """Raises `ValueError` for what no single value shows."""
    if not _NAME.fullmatch(file.name):
        raise ValueError(f"name {file.name!r}: expected small letters, digits, - and .")
    if not file.splits:
        raise ValueError("splits: expected one at least")
    if odd := [split for split in file.splits if not _SPLIT.fullmatch(split)]:
        raise ValueError(f"splits: {odd[0]!r}: expected small letters and digits")
    if empty := [name for name, values in file.choices.items() if not values]:
        raise ValueError(f"choices.{empty[0]}: expected a value at least")
    _require_union(file)
    for split, info in file.splits.items():
        _require_lists(file, split, info)
    if unknown := sorted(set(file.supplements) - set(SUPPLEMENT_NAMES)):
        raise ValueError(f"supplements: unknown {unknown[0]!r}, expected one of {', '.join(SUPPLEMENT_NAMES)}")


def _require_union(file: ReleaseFile) -> None:
    """Raises `ValueError` for a union of what is no release, or of splits that one does not have."""
    if unknown := [one for one in file.union if one not in RELEASE_NAMES]:
        raise ValueError(f"union: {unknown[0]!r} is none of {', '.join(RELEASE_NAMES)}")
    for name in file.union:
        if lacking := [split for split in file.splits if split not in load_release(name).splits]:
            raise ValueError(f"union: {name} has no split {lacking[0]!r}")
    if stray := [name for name in file.exclude_lists if name.partition(":")[0] not in file.union]:
        raise ValueError(f"exclude_lists: {stray[0]!r}: expected the name of a release of the union before a colon")


def _require_lists(release: ReleaseFile, split: str, info: SplitInfo) -> None:
    """Raises `ValueError` for lists that cannot be read as they are described."""
    for file in info.annotations:
        where = f"splits.{split}.annotations: {file.path}"
        if file.form in ("union", "none") or (file.form == "lines" and file.name is None):
            raise ValueError(f"{where}: form {file.form}: expected csv, lines or json, and `name`")
        if file.form == "csv" and len(file.separator) > 1:
            raise ValueError(f"{where}: separator {file.separator!r}: expected a single character")
        are_numbers = file.label is not None and file.label.first_id is not None
        if are_numbers and (
            release.label_list.order != "listed" or not (release.label_list.known or release.label_list.path)
        ):
            raise ValueError(f"{where}: first_id: expected `labels` that are a list, or have order: listed")


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
    if document.has_more_than(_MAX_VALUES):
        raise ReleaseFileError(f"{where}: holds itself, or more than {_MAX_VALUES:,} values; write it without aliases")
    lines, again = document.places()
    problems = Problems(lines)
    for key, line_again in again:
        problems.found.append((line_again, f"{key} stands there twice (line {lines[key]}); remove one of them"))
    found = checked(ReleaseFile, document.content, "", problems)
    if found is not None:
        try:
            _require_sound(found)
        except ValueError as error:
            problems.add("", str(error))
    if found is None or problems.found:
        shown = sorted(set(problems.found))[:_MAX_SHOWN]
        more = f"; and {len(set(problems.found)) - _MAX_SHOWN} more" if len(set(problems.found)) > _MAX_SHOWN else ""
        listed = "; ".join(f"line {line}: {problem}" for line, problem in shown)
        raise ReleaseFileError(f"{where}: {listed}{more}; `kconvert help releases` says what there is")
    members = [load_release(name) for name in found.union]
    said = {one.name: getattr(found, one.name) for one in dataclasses.fields(found)}
    said["splits"] = {name: dataclasses.replace(split, name=name) for name, split in found.splits.items()}
    said["names"] = members[0].names if members else found.names
    return Release(**said, text=text, labels=_labels(found.label_list, members, where))


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
