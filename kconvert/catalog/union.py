"""Unions: the clips of several releases as one, of which each video is in the newest that has it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence

from kconvert.catalog.annotation import Annotations, AnnotationText
from kconvert.catalog.names import Names
from kconvert.catalog.release import AnnotationFile
from kconvert.errors import Problem
from kconvert.storage.records import build

Files = Sequence[tuple[AnnotationFile, bytes]]
"""The annotation files of a split of a release, which count together."""


def joined_files(files: Mapping[str, Files]) -> bytes:
    """The annotation files of several releases, by name, as one text."""
    content = {
        release: [[dataclasses.asdict(file), data.decode("utf-8-sig", "surrogateescape")] for file, data in of_release]
        for release, of_release in files.items()
    }
    return json.dumps(content).encode()


def parse_union(
    data: bytes, parse: Callable[[str, AnnotationText], Annotations], aliases: Mapping[str, str], names: Names
) -> Annotations:
    """The annotations of a union, from the files of its releases (see `joined_files`), the oldest first; `parse` parses
    one of a release, given by name.

    Of a video that several releases have, the newest has all clips, with its labels. Raises as `parse` does.
    """
    found = []
    for release, files in json.loads(data).items():
        texts = [
            AnnotationText(text.encode("utf-8", "surrogateescape"), build(AnnotationFile, file)) for file, text in files
        ]
        found.append((release, [parse(release, text) for text in texts]))
    return _merged(found, aliases, names)


def _merged(
    found: Sequence[tuple[str, Sequence[Annotations]]], aliases: Mapping[str, str], names: Names
) -> Annotations:
    labels: dict[str, str] = {}
    superseded: dict[str, str] = {}
    newest: dict[str, str] = {}
    repeated: list[str] = []
    malformed: list[Problem] = []
    for release, of_release in reversed(found):
        own: set[str] = set()
        for one in of_release:
            repeated += one.repeated
            malformed += one.malformed
            for name, label in one.labels.items():
                youtube_id = names.parts(name).youtube_id
                if (newer := newest.get(youtube_id)) is not None:
                    if name not in labels:
                        superseded.setdefault(name, newer)
                elif name not in labels:
                    labels[name] = aliases.get(label, label)
                    own.add(youtube_id)
        newest |= dict.fromkeys(own, release)
    return Annotations(labels, tuple(repeated), tuple(malformed), superseded)
