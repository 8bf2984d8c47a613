"""The clip lists that a person names: a split of a release, as an origin or the official server has it, or a file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kconvert.catalog.clip_list import ClipList, parse_clip_list
from kconvert.catalog.release import OFFICIAL_BASE
from kconvert.catalog.shelf import RELEASE_NAMES, load_release, meant_release
from kconvert.catalog.spellings import SPLIT_SPELLINGS
from kconvert.catalog.union import parse_file
from kconvert.errors import AnnotationError, OriginError, UsageError
from kconvert.sources.fetch.stream import FetchOptions
from kconvert.sources.origins.open import open_origin
from kconvert.sources.origins.origin import AbsentError
from kconvert.sources.trees.disk import LinkPolicy
from kconvert.text import did_you_mean

_NAME = re.compile(r"[A-Za-z0-9._:+@-]+")


@dataclass(frozen=True)
class ListName:
    """Which list is meant."""

    text: str
    """What it goes by, as `k400:val`."""
    release: str
    """Of the catalogue; `""` for a file of any other name."""
    split: str
    """Of that release; `""` for a file of any other name."""
    file: str = ""
    """That it is in; `""` for where the release is."""


def parse_list_names(option: str, word: str) -> list[ListName]:
    """The lists that a word of an option means: `k400:val`, `k400` for all its splits, `k400:val=FILE`, or `NAME=FILE`.

    Raises: `UsageError`, beginning with the option, if it means none.
    """
    named, equals, file = word.partition("=")
    release, colon, split = named.partition(":")
    split = SPLIT_SPELLINGS.get(split, split)
    if equals and (not file or not _NAME.fullmatch(named)):
        raise UsageError(
            f"{option}: {word!r}: expected NAME=FILE, as k400:val=my.csv; names are of letters, digits and . _ : + @ -"
        )
    if release in RELEASE_NAMES and not colon and not equals:
        return [ListName(f"{release}:{one}", release, one) for one in load_release(release).splits]
    splits = tuple(load_release(release if release in RELEASE_NAMES else RELEASE_NAMES[0]).splits)
    if release in RELEASE_NAMES and split in splits:
        return [ListName(f"{release}:{split}", release, split, file)]
    if equals:
        return [ListName(named, "", "", file)]
    if (meant := meant_release(release)) is not None and meant != release:
        hint = f"did you mean {meant}{colon}{split}?"
    else:
        hint = did_you_mean(release, RELEASE_NAMES) if release not in RELEASE_NAMES else did_you_mean(split, splits)
    expected = f"RELEASE:SPLIT, of {', '.join(RELEASE_NAMES)} and {', '.join(splits)}, or NAME=FILE"
    raise UsageError(f"{option}: {word!r}: expected {expected}{f'; {hint}' if hint else ''}")


@dataclass(frozen=True)
class ListSource:
    """Where clip lists are had from that are in no file."""

    origin: str
    """Its URL, or the folder."""
    fetch: FetchOptions
    """How it is asked."""
    release: str = ""
    """That the origin is of, as far as is known; an origin whose layout any release may have, has lists of no other."""
    links: LinkPolicy = "inside"
    """Which links are followed where the origin is a folder of clips."""
    max_malformed: float = 0.01
    """The share of the rows of annotations, 0 to 1, that may be malformed."""
    official: str = OFFICIAL_BASE
    """What is asked for a list that the origin does not have."""


def read_clip_lists(option: str, names: Sequence[ListName], source: ListSource) -> list[ClipList]:
    """The lists of these names, in their order; those that are fetched come last. Raises as `read_clip_list`."""
    files_first = sorted(names, key=lambda name: name.file == "")
    found = {name: read_clip_list(option, name, source) for name in files_first}
    return [found[name] for name in names]


def read_clip_list(option: str, name: ListName, source: ListSource) -> ClipList:
    """A clip list: of its file, or else the origin's, or else the official server's.

    Raises: `OriginError`, beginning with the option, if it cannot be had or read.
    """
    if name.file:
        path = Path(os.path.expanduser(name.file))
        try:
            return _parsed(path.read_bytes(), name, path)
        except OSError as error:
            raise OriginError(f"{option}: {path}: {error.strerror}; expected a list of clips or of videos") from error
        except AnnotationError as error:
            shown = "; ".join(map(str, error.problems[: error.MAX_SHOWN]))
            raise OriginError(
                f"{option}: {path}: {len(error.problems):,} problem(s): {shown}; correct these lines, or leave them out"
            ) from error
    problems: list[str] = []
    for where in dict.fromkeys((source.origin, source.official)):
        try:
            return ClipList.of_names(name.text, _annotated(name, where, source), load_release(name.release).names)
        except AbsentError as error:
            problems.append(str(error))
        except OriginError as error:
            problems.append(str(error))
            break
    raise OriginError(
        f"{option}: {name.text}: its list cannot be had: {'; '.join(problems)}; give it as {name.text}=FILE"
    )


def _parsed(data: bytes, name: ListName, path: Path) -> ClipList:
    """The clips of a file, which is of the form that the release's own lists have, if that is a form of its own."""
    release = load_release(name.release) if name.release else None
    file = next(iter(release.splits[name.split].annotations), None) if release is not None else None
    if release is None or file is None or file.name is None:
        return parse_clip_list(data, name.text, str(path))
    return ClipList.of_names(name.text, parse_file(file, data, release, name.split, 0.01).labels, release.names)


def _annotated(name: ListName, where: str, source: ListSource) -> Iterator[str]:
    """The names of the clips of a split, as that origin has them."""
    release = load_release(name.release)
    origin = open_origin(where, release, source.fetch, source.links)
    if not origin.is_certain and name.release != source.release:
        raise AbsentError(f"--origin {where}: does not show that it is of {name.release}")
    for file, data in origin.all_annotations(release.splits[name.split]):
        yield from parse_file(file, data, release, name.split, source.max_malformed).labels
