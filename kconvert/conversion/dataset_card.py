"""The dataset card: the README of a folder, for people, and for Hugging Face datasets. It names the manifest's digest,
so that a change of either is found."""

from __future__ import annotations

import hashlib

from kconvert.dataset.manifest import Manifest, release_of
from kconvert.dataset.open import open_layout
from kconvert.storage.store import StorePath
from kconvert.storage.yaml_text import to_yaml_text

CARD_NAME = "README.md"
_COUNTED = {
    "num_keyframes": "keyframes",
    "num_repetitions": "repetitions",
    "num_written": "of them in a written clip",
    "num_unmatched": "in no clip",
    "num_boxes": "boxes",
}
_DIGEST_WORDS = "The sha256 of the manifest is "


def _digest_line(manifest: Manifest) -> str:
    return f"{_DIGEST_WORDS}`{hashlib.sha256(manifest.to_json().encode()).hexdigest()}`."


def names_other_manifest(out: StorePath, manifest: Manifest) -> bool:
    """Whether the dataset card of a folder has the digest of another manifest; one without any says nothing."""
    path = out / CARD_NAME
    text = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
    return _DIGEST_WORDS in text and _digest_line(manifest) not in text


def card_text(manifest: Manifest) -> str:
    """The text of the card."""
    release = release_of(manifest)
    packed = [split for split, counts in manifest.splits.items() if counts.num_shards]
    front = {
        "pretty_name": f"{release.title}, packed by kconvert",
        "task_categories": ["video-classification"],
        **open_layout(manifest.format).card_config(
            release, packed, list(manifest.options.get("members", ())), manifest.sound_kind
        ),
    }
    lines = ["---", to_yaml_text(front).strip(), "---", ""]
    lines += [f"# {release.title}", "", *_card_body(manifest), ""]
    return "\n".join(lines)


def _exclusion_text(manifest: Manifest) -> list[str]:
    """What was excluded, as the lines of a paragraph."""
    by = {"id": "of the same video", "overlap": "with a time in common", "exact": "with the same times"}
    words = by.get(str(manifest.options.get("exclude_by")), "")
    counts = [(split, found.num_excluded_by) for split, found in manifest.splits.items()]
    found = [
        f"Rejected: {number:,} clips of {split} that are also in {name}, {words}."
        for split, lists in counts
        for name, number in lists.items()
    ]
    return [*found, ""] if found else []


def _extracted_text(manifest: Manifest) -> list[str]:
    """That clips were in no archives, whose checksums would say that they are whole."""
    if not manifest.extracted:
        return []
    found = "; ".join(f"{split}: {how}" for split, how in manifest.extracted.items())
    return [
        f"Read from {found}. Folders have no checksums of their own, as archives do: whether the clips there were the",
        "official files nobody has checked; the tables have the digest of each.",
        "",
    ]


def _supplements_text(manifest: Manifest) -> list[str]:
    """Which further annotations there are, and what they came to, with a blank line after each."""
    titles, lines = release_of(manifest).supplements, []
    for entry in manifest.supplements:
        files = ", ".join(f"`{file.path}`" for file in entry.files)
        counts = (
            f"{split}: " + ", ".join(f"{number:,} {_COUNTED.get(name, name)}" for name, number in found.items())
            for split, found in entry.counts.items()
        )
        lines += [f"{titles[entry.name].title}, joined with the clips ({files}): {'; '.join(counts)}.", ""]
    return lines


def _reading_text(manifest: Manifest) -> list[str]:
    """Lines that read the first split that has samples, with the names that its files have."""
    for split in manifest.splits:
        shards = [shard for shard in manifest.shards if shard.split == split]
        lines = open_layout(manifest.format).reading_lines(split, [shard.path for shard in shards]) if shards else ()
        if lines:
            num = sum(shard.num_samples for shard in shards)
            text = f"In this folder, each of these gives the {num:,} samples of {split}, of {len(shards):,} shards:"
            return ["", text, "", "```python", *lines, "```"]
    return []


def _sound_text(manifest: Manifest) -> list[str]:
    """How the sound is stored where it is a member of its own."""
    kind = manifest.sound_kind
    if kind is None:
        return []
    return [
        "",
        f"The sound of each clip is a file of its own, too (`{kind}`). It begins with the first picture, or the sound",
        "if that is earlier (`sound_lead_seconds` in the table). `is_silent` says where nothing is to be heard.",
    ]


def _card_body(manifest: Manifest) -> list[str]:
    layout = open_layout(manifest.format)
    rows = ["| split | written | short | few frames | replaced | rejected | missing | shards |", "|---|" + "--:|" * 7]
    for split, counts in manifest.splits.items():
        numbers = (
            counts.num_written, counts.num_short, counts.num_few_frames, counts.num_replaced,
            sum(counts.num_rejected.values()), counts.num_missing, counts.num_shards,
        )  # fmt: skip
        rows.append(f"| {split} | " + " | ".join(f"{number:,}" for number in numbers) + " |")
    return [
        f"{layout.title} of {manifest.labels.num} classes, made by kconvert {manifest.kconvert_version} "
        f"(format {manifest.format_version}).",
        "",
        *rows,
        "",
        *(f"An archive of {entry.split} was damaged: {entry}." for entry in manifest.damaged),
        *([""] if manifest.damaged else []),
        *_extracted_text(manifest),
        *_exclusion_text(manifest),
        *_supplements_text(manifest),
        *layout.card_text(),
        *_sound_text(manifest),
        *_reading_text(manifest),
        "",
        "`metadata/SPLIT.parquet` has a row for every clip, written or not, with the reason; `shard` and",
        "`offset_bytes` give random access with one read. `labels.txt` names the label ids.",
        "`manifest.json` has counts and digests; `kconvert verify` checks them.",
        _digest_line(manifest),
    ]
