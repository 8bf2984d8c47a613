"""Finishing: the labels, the dataset card and, last of all, the manifest."""

from __future__ import annotations

import hashlib

from kconvert.catalog.release import Release
from kconvert.conversion.dataset_card import CARD_NAME, card_text
from kconvert.dataset.croissant import CROISSANT_NAME, croissant_text
from kconvert.dataset.manifest import LABELS_NAME, MANIFEST_NAME, LabelsEntry, Manifest, release_of
from kconvert.dataset.open import open_layout
from kconvert.engines.imports import with_arrays
from kconvert.storage.store import StorePath


def labels_text(release: Release) -> bytes:
    """The content of `labels.txt`."""
    return "".join(f"{label}\n" for label in release.labels).encode()


def labels_entry(release: Release) -> LabelsEntry:
    """What the manifest says of the labels."""
    return LabelsEntry(len(release.labels), hashlib.sha256(labels_text(release)).hexdigest())


def finish(out: StorePath, manifest: Manifest) -> None:
    """Writes what belongs to all splits; the manifest last, as it says that everything else is there."""
    for name, data in whole_files(out, manifest).items():
        (out / name).parent.make_folder()
        (out / name).write_bytes(data)
    layout = open_layout(manifest.format)
    if layout.library is not None:
        with_arrays()
    layout.commit(out, manifest)
    (out / MANIFEST_NAME).write_bytes(manifest.to_json().encode())


def is_finished(out: StorePath, manifest: Manifest) -> bool:
    """Whether `finish` has nothing to do."""
    contents = {**whole_files(out, manifest), MANIFEST_NAME: manifest.to_json().encode()}.items()
    return all((out / name).is_file() and (out / name).read_bytes() == data for name, data in contents)


def whole_files(out: StorePath, manifest: Manifest) -> dict[str, bytes]:
    """The files that belong to all splits, by path. The manifest names none of them, but all can be made again from it
    and from what it names; the dataset card has its digest, so that a change of either is found."""
    release, layout = release_of(manifest), open_layout(manifest.format)
    croissant = croissant_text(manifest, release, layout.shard_kind, layout.media(manifest))
    return {
        LABELS_NAME: labels_text(release),
        **layout.index_files(out, manifest),
        CROISSANT_NAME: croissant.encode(),
        CARD_NAME: card_text(manifest).encode(),
    }
