"""Unions: the clips of several releases as one, of which each video is in the newest that has it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

from kconvert.catalog.annotation import Annotations, AnnotationText, parse_annotations
from kconvert.catalog.release import AnnotationFile, Release
from kconvert.catalog.shelf import load_release
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


def parse_file(file: AnnotationFile, data: bytes, release: Release, split: str, max_malformed: float) -> Annotations:
    """The annotations of a split of a release, be it a union (see `joined_files`) or not. Raises as
    `parse_annotations` does.

    Of a video that several releases of a union have, the newest has all clips, with its labels.
    """
    if file.form != "union":
        return parse_annotations(
            AnnotationText(data, file), split, release.label_ids, max_malformed, release.label_list.aliases
        )
    found = []
    for name, files in json.loads(data).items():
        member = load_release(name)
        pairs = ((build(AnnotationFile, one), text.encode("utf-8", "surrogateescape")) for one, text in files)
        parsed = [parse_file(one, content, member, split, max_malformed) for one, content in pairs]
        found.append((name, parsed))
    return _merged(found, release)


def _merged(found: Sequence[tuple[str, Sequence[Annotations]]], release: Release) -> Annotations:
    labels: dict[str, str] = {}
    superseded: dict[str, str] = {}
    newest: dict[str, str] = {}
    repeated: list[str] = []
    malformed: list[Problem] = []
    aliases, names, known = release.label_list.aliases, release.names, release.label_ids
    for member, of_release in reversed(found):
        own: set[str] = set()
        for one in of_release:
            repeated += one.repeated
            malformed += one.malformed
            for name, label in one.pairs():
                youtube_id = names.parts(name).youtube_id
                if (newer := newest.get(youtube_id)) is not None:
                    if name not in labels:
                        superseded.setdefault(name, newer)
                elif name not in labels:
                    own.add(youtube_id)
                    meant = aliases.get(label, label)
                    if meant in known or not meant:
                        labels[name] = meant
                    else:
                        malformed.append(Problem(f"{member}: {name}", label, f"a label of {release.name}"))
        newest |= dict.fromkeys(own, member)
    return Annotations.of(labels, repeated=tuple(repeated), malformed=tuple(malformed), superseded=superseded)
