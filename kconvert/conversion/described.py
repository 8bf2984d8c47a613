"""Described releases: what a folder has to know of a release that is not of the catalogue, or not with its labels."""

from __future__ import annotations

import dataclasses
import hashlib
import json

from kconvert.catalog.labels import parse_labels
from kconvert.catalog.release import Release
from kconvert.catalog.union import parse_file
from kconvert.conversion.config import Conversion, chosen
from kconvert.dataset.manifest import ReleaseDescription
from kconvert.errors import OriginError
from kconvert.sources.origins.open import open_origin
from kconvert.sources.origins.origin import Origin


class NoLabelsError(OriginError):
    """Nothing says which labels a release has."""


def resolved_release(conversion: Conversion) -> Release:
    """What is converted, with its labels. Raises `UsageError` if nothing says which there are."""
    release = conversion.described
    if release.labels:
        return release
    origin = open_origin(conversion.origin_location, release, conversion.fetch, conversion.links)
    try:
        return with_labels(release, origin, conversion.max_malformed)
    except NoLabelsError:
        if conversion.unlabelled != "keep":
            raise
        return release


def with_labels(release: Release, origin: Origin, max_malformed: float = 1.0) -> Release:
    """A release with the labels that an origin says. Raises `NoLabelsError` if nothing says which there are,
    `OriginError` if what says it cannot be read."""
    source = release.label_list
    if release.labels:
        return release
    if source.path:
        try:
            found = parse_labels(origin.text(source.path), source)
        except ValueError as error:
            raise OriginError(f"{source.path}: {error}; correct it, or give `labels:` in the file") from error
    else:
        found = _listed_labels(release, origin, max_malformed) or tuple(origin.folder_labels())
    if not found:
        raise NoLabelsError(
            f"{release.name}: neither lists nor folders say which labels there are; give `labels:` in its file, or "
            "--unlabelled keep"
        )
    try:
        return dataclasses.replace(release, labels=source.ordered(found))
    except ValueError as error:
        raise OriginError(f"{release.name}: {error}; correct the lists, or give `labels:` in its file") from error


def _listed_labels(release: Release, origin: Origin, max_malformed: float) -> tuple[str, ...]:
    """The labels of all lists of clips, in their order."""
    found: dict[str, None] = {}
    for info in release.splits.values():
        file, data = origin.annotations(info)
        annotations = parse_file(file, data, release, info.name, max_malformed)
        texts = filter(None, annotations.texts.distinct())
        found |= dict.fromkeys(label for text in texts for label in release.labels_of(text))
    return tuple(found)


def describe_release(release: Release, conversion: Conversion) -> ReleaseDescription | None:
    """What the manifest says of a release; `None` if the catalogue has it."""
    return ReleaseDescription(release.text, chosen(conversion.choose), release.labels) if release.text else None


def description_digests(release: Release, conversion: Conversion) -> dict[str, str]:
    """What of a release changes bytes, beside its name; nothing of one that is of the catalogue and has no choices."""
    choices = {name: chosen(conversion.choose).get(name, known[0]) for name, known in release.choices.items()}
    if not release.text:
        return choices
    labels = hashlib.sha256(json.dumps(release.labels).encode()).hexdigest()
    return {**choices, "file": hashlib.sha256(release.text.encode()).hexdigest(), "labels": labels}
