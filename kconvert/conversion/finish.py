"""Finishing: the labels, the dataset card and, last of all, the manifest."""

from __future__ import annotations

import hashlib

from kconvert.catalog.release import SPLITS, Release, load_release
from kconvert.dataset.manifest import MANIFEST_NAME, LabelsEntry, Manifest
from kconvert.dataset.open import open_layout
from kconvert.engines.imports import with_arrays
from kconvert.storage.store import StorePath
from kconvert.storage.yaml_text import to_yaml_text

LABELS_NAME = "labels.txt"
CARD_NAME = "README.md"
_DIGEST_WORDS = "The sha256 of the manifest is "


def _digest_line(manifest: Manifest) -> str:
    return f"{_DIGEST_WORDS}`{hashlib.sha256(manifest.to_json().encode()).hexdigest()}`."


def names_other_manifest(out: StorePath, manifest: Manifest) -> bool:
    """Whether the dataset card of a folder has the digest of another manifest; one without any says nothing."""
    path = out / CARD_NAME
    text = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
    return _DIGEST_WORDS in text and _digest_line(manifest) not in text


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
    return {
        LABELS_NAME: labels_text(load_release(manifest.release)),
        **open_layout(manifest.format).index_files(out, manifest),
        CARD_NAME: _card_text(manifest).encode(),
    }


def _card_text(manifest: Manifest) -> str:
    release = load_release(manifest.release)
    packed = [split for split in SPLITS if split in manifest.splits and manifest.splits[split].num_shards]
    front = {
        "pretty_name": f"{release.title}, packed by kconvert",
        "task_categories": ["video-classification"],
        **open_layout(manifest.format).card_config(packed),
    }
    lines = ["---", to_yaml_text(front).strip(), "---", ""]
    lines += [f"# {release.title}", "", *_card_body(manifest), ""]
    return "\n".join(lines)


def _card_body(manifest: Manifest) -> list[str]:
    layout = open_layout(manifest.format)
    rows = ["| split | written | short | replaced | rejected | missing | shards |", "|---|--:|--:|--:|--:|--:|--:|"]
    for split in SPLITS:
        if split in manifest.splits:
            counts = manifest.splits[split]
            numbers = (
                counts.num_written, counts.num_short, counts.num_replaced, sum(counts.num_rejected.values()),
                counts.num_missing, counts.num_shards,
            )  # fmt: skip
            rows.append(f"| {split} | " + " | ".join(f"{number:,}" for number in numbers) + " |")
    return [
        f"{layout.title} of {manifest.labels.num} classes, made by kconvert {manifest.kconvert_version} "
        f"(format {manifest.format_version}).",
        "",
        *rows,
        "",
        *layout.card_text(),
        "",
        "`metadata/SPLIT.parquet` has a row for every clip, written or not, with the reason; `shard` and",
        "`offset_bytes` give random access with one read. `labels.txt` names the label ids.",
        "`manifest.json` has counts and digests; `kconvert verify` checks them.",
        _digest_line(manifest),
    ]
