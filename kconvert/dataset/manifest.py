"""The manifest: every shard and table of a folder with counts and digests, written last.

It holds no clock, host or absolute path, so that equal inputs and options give equal bytes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from kconvert.catalog.release import Release
from kconvert.catalog.shelf import RELEASE_NAMES, load_release, parse_release, with_choices
from kconvert.errors import ManifestError, OtherFormatError, UsageError
from kconvert.storage.records import LATER, build
from kconvert.storage.store import StorePath
from kconvert.version import FORMAT_VERSION

JOURNAL_FOLDER = ".kconvert"
"""Of what a run leaves for the next, in the output folder."""
MANIFEST_NAME = "manifest.json"
LABELS_NAME = "labels.txt"
REPORT_NAME = "report.html"
"""What `kconvert report` writes; nothing else depends on it."""
FormatName = Literal["webdataset", "folder", "parquet", "mds", "litdata", "lance", "archives"]
"""What can be written; each has its module in `formats`."""
FORMAT_NAMES: tuple[str, ...] = get_args(FormatName)
DamageHandling = Literal["salvaged", "skipped"]
"""What was made of a damaged archive: its good clips before the damage may be written, or none of its clips is."""


def table_path(split: str) -> str:
    """Of a split's table, below the output folder."""
    return f"metadata/{split}.parquet"


@dataclass(frozen=True)
class SplitCounts:
    """The account of one split. It closes:

    - `num_annotations` = annotated clips among the rows + `num_unread_annotations`
    - `num_members` = `num_ignored_members` + `num_unparsed_members` + `num_unselected_members` + `num_clip_members`
    - rows of the table = `num_written` + all of `num_rejected` + `num_missing`
    - `num_clip_members` + `num_replacement_only` = `num_written` + all of `num_rejected`
    """

    num_annotations: int
    """Distinct clips in the annotation file."""
    num_repeated_annotations: int
    """Further rows of the annotation file for a clip that it named already."""
    num_malformed_annotations: int
    """Rows of the annotation file that cannot be read, and count for nothing; `kconvert status` lists them."""
    num_unread_annotations: int
    """Annotated clips that `--classes` or `--max_archives` left out."""
    num_unannotated: int
    """Clips in an archive that no annotation names."""
    num_archives: int
    """Archives read, without the replacement archive."""
    num_members: int
    """Members of these archives, of any kind."""
    num_ignored_members: int
    """Folders, links, AppleDouble files and other members that are no clips."""
    num_unparsed_members: int
    """Videos whose name is not a clip's; `kconvert status` lists them."""
    num_unselected_members: int
    """Clips that `--classes` left out."""
    num_clip_members: int
    """Clips."""
    num_written: int
    """Clips in shards."""
    num_flagged: int
    """Written clips with a flag: `short`, `few_frames`, or both."""
    num_short: int
    """Written clips that are short."""
    num_few_frames: int
    """Written clips of few frames."""
    num_replaced: int
    """Written clips whose bytes are a replacement's."""
    num_replacement_only: int
    """Of these, the ones that no archive of the split holds."""
    num_unmatched_replacements: int
    """Replacements of a clip that is neither annotated nor hosted; `kconvert status` lists them."""
    num_rejected: Mapping[str, int]
    """By reason; only reasons that occurred."""
    num_excluded_by: Mapping[str, int]
    """Of those that were excluded, how many are in each list; one may be in several."""
    num_missing: int
    """Annotated clips that no archive holds."""
    num_missing_in_damaged: int
    """Of these, the ones that may have been in an archive that was damaged."""
    num_shards: int
    """0 or more."""
    num_bytes: int
    """Size of all shards."""

    def contradictions(self) -> list[str]:
        """The sums that do not add up, and the numbers that cannot be."""
        num_rows_of_clips = self.num_written + sum(self.num_rejected.values())
        kinds = (
            self.num_ignored_members,
            self.num_unparsed_members,
            self.num_unselected_members,
            self.num_clip_members,
        )
        num_named = num_rows_of_clips - self.num_rejected.get("duplicate", 0) - self.num_unannotated + self.num_missing
        sums = {
            "num_members": (self.num_members, sum(kinds)),
            "num_clip_members": (self.num_clip_members + self.num_replacement_only, num_rows_of_clips),
            "num_annotations": (self.num_annotations, num_named + self.num_unread_annotations),
        }
        differences = {"num_unread_annotations": self.num_unread_annotations, "num_unannotated": self.num_unannotated}
        return [
            *(f"{name}: {one} is not {other}" for name, (one, other) in sums.items() if one != other),
            *(f"{name}: {number} is less than 0" for name, number in differences.items() if number < 0),
        ]


@dataclass(frozen=True)
class ShardEntry:
    path: str
    """Below the folder of the manifest."""
    split: str
    """Its name."""
    num_samples: int
    """1 or more."""
    size_bytes: int
    """Of the file."""
    sha256: str
    """Of the file, hexadecimal."""


@dataclass(frozen=True)
class TableEntry:
    path: str
    """Below the folder of the manifest."""
    num_rows: int
    """One for each clip of the split."""
    size_bytes: int
    """Of the file."""
    sha256: str
    """Of the file, hexadecimal."""


@dataclass(frozen=True)
class DamagedEntry:
    """An archive that was damaged for good."""

    archive: str
    """Its official path."""
    split: str
    """That it is of."""
    handling: DamageHandling
    """What was made of it."""
    num_clips: int
    """Its clips that have a row, all of them before the damage."""

    def __str__(self) -> str:
        return f"{self.archive}: {self.handling}, {self.num_clips:,} of its clips have a row"


@dataclass(frozen=True)
class SplitRecord:
    """A finished split: all that the manifest says of it."""

    counts: SplitCounts
    """Its account."""
    shards: tuple[ShardEntry, ...]
    """In their order."""
    table: TableEntry
    """Of its clips."""
    damaged: tuple[DamagedEntry, ...] = ()
    """Its archives that were damaged, in their order."""
    extracted: str = field(default="", metadata=LATER)
    """How its clips lay in folders; `""` if they were in archives."""
    num_unused: int = field(default=0, metadata=LATER)
    """Clips beside them that are in no split."""


@dataclass(frozen=True)
class LabelsEntry:
    num: int
    """Labels of the release."""
    sha256: str
    """Of `labels.txt`."""


@dataclass(frozen=True)
class FileEntry:
    """A file that belongs to the whole."""

    path: str
    """Below the folder of the manifest."""
    num_rows: int
    """Of a table; of any other file, its lines."""
    size_bytes: int
    """Of the file."""
    sha256: str
    """Of the file, hexadecimal."""


@dataclass(frozen=True)
class SupplementEntry:
    """Further annotations that were joined with the clips."""

    name: str
    """What `--with` calls them."""
    source_sha256: str
    """Of the annotations that they are made from."""
    files: tuple[FileEntry, ...]
    """All that was written of them."""
    counts: Mapping[str, Mapping[str, int]]
    """What their rows came to, by split and then by what is counted."""


@dataclass(frozen=True)
class ReleaseDescription:
    """A release that the catalogue does not have, or not with all of its labels."""

    text: str
    """Its file."""
    choices: Mapping[str, str]
    """What was chosen of it."""
    labels: tuple[str, ...]
    """In the order of their ids."""


@dataclass(frozen=True)
class Manifest:
    release: str
    """Its name."""
    options: Mapping[str, Any]
    """Those that change the bytes."""
    splits: Mapping[str, SplitCounts]
    """The account of each, by name, in their usual order."""
    shards: tuple[ShardEntry, ...]
    """Of all splits, in the order of these."""
    tables: tuple[TableEntry, ...]
    """One for each split, in the order of these."""
    labels: LabelsEntry
    """Of `labels.txt`."""
    tools: Mapping[str, str]
    """What judged the clips, with versions."""
    kconvert_version: str
    """That wrote it."""
    damaged: tuple[DamagedEntry, ...] = ()
    """Archives of all splits that were damaged, in the order of these."""
    supplements: tuple[SupplementEntry, ...] = ()
    """Further annotations, in the order in which the catalogue has them."""
    extracted: Mapping[str, str] = field(default_factory=dict, metadata=LATER)
    """How the clips of splits lay in folders, by split; of most splits they were in archives."""
    description: ReleaseDescription | None = field(default=None, metadata=LATER)
    """What its release is; `None` if the catalogue has it."""
    num_unused: int = field(default=0, metadata=LATER)
    """Clips of the origin that are in no split."""
    sound_instruction_set: str = field(default="", metadata=LATER)
    """By which sound was made that comes out otherwise by others; `""` if none was."""
    format_version: int = field(default=FORMAT_VERSION)
    """Of the folder."""

    @property
    def format(self) -> str:
        """What was written: a name of `formats`."""
        return str(self.options["to"])

    def to_json(self) -> str:
        """The text of `manifest.json`: keys in the documented order, two spaces of indentation, a final newline."""
        content = dataclasses.asdict(self)
        first = ("format_version", "kconvert_version", "release", "options", "splits")
        later = [name for name in ("extracted", "num_unused", "description") if content[name]]
        order = (*first, *later, "shards", "tables", "damaged", "supplements", "labels", "tools")
        if content["sound_instruction_set"]:
            order = (*order, "sound_instruction_set")
        return json.dumps({key: content[key] for key in order}, indent=2, ensure_ascii=False) + "\n"

    def record(self, split: str) -> SplitRecord:
        """What the manifest says of one split. Raises `KeyError` if it has none of that name."""
        shards = tuple(shard for shard in self.shards if shard.split == split)
        table = next(table for table in self.tables if table.path == table_path(split))
        damaged = tuple(entry for entry in self.damaged if entry.split == split)
        return SplitRecord(
            counts=self.splits[split],
            shards=shards,
            table=table,
            damaged=damaged,
            extracted=self.extracted.get(split, ""),
            num_unused=self.num_unused,
        )

    @property
    def sound_kind(self) -> str | None:
        """The ending of the files of sound that samples have; `None` if they have none."""
        found = (self.options.get("audio") or {}).get("member")
        return None if found is None else str(found)

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> Manifest:
        """Reads what `to_json` wrote. Raises `ManifestError`, naming `where`, for anything else."""
        try:
            content = json.loads(text)
            found = content.get("format_version") if isinstance(content, dict) else None
            if isinstance(found, int) and found != FORMAT_VERSION and "kconvert_version" in content:
                raise OtherFormatError(
                    f"{where}: format_version {found}, this kconvert reads {FORMAT_VERSION}; "
                    "use the kconvert that wrote the folder, or another folder"
                )
            manifest = build(cls, content)
        except (ValueError, RecursionError) as error:
            raise ManifestError(
                f"{where}: not a kconvert manifest ({error}); restore it, or remove it and run the conversion again"
            ) from error
        is_known = manifest.release in RELEASE_NAMES or manifest.description is not None
        if not is_known or manifest.options.get("to") not in FORMAT_NAMES:
            raise ManifestError(
                f"{where}: of a release or format that this kconvert does not know; use the one that wrote it"
            )
        if [table.path for table in manifest.tables] != [table_path(split) for split in manifest.splits]:
            raise ManifestError(
                f"{where}: its tables are not those of its splits; "
                "restore it, or remove it and run the conversion again"
            )
        return manifest


def release_of(manifest: Manifest) -> Release:
    """The release that a folder is of."""
    if manifest.description is None:
        return load_release(manifest.release)
    found = manifest.description
    release = with_choices(parse_release(found.text, MANIFEST_NAME), found.choices)
    return dataclasses.replace(release, labels=found.labels)


def read_manifest(out: StorePath) -> Manifest | None:
    """The manifest of a folder; `None` if there is none. Raises `ManifestError` if it is not one."""
    path = out / MANIFEST_NAME
    return Manifest.from_json(path.read_bytes(), str(path)) if path.is_file() else None


def require_split(out: StorePath, manifest: Manifest, split: str) -> None:
    """Raises `UsageError` if a finished folder has no such split."""
    if split not in manifest.splits:
        raise UsageError(f"{out}: no split {split!r}, expected one of {', '.join(manifest.splits)}")


def finished_manifest(out: StorePath) -> Manifest:
    """The manifest of a finished folder. Raises `UsageError` if there is none, `ManifestError` if it is not one."""
    manifest = read_manifest(out)
    if manifest is None:
        raise UsageError(f"{out}: no {MANIFEST_NAME}; expected a folder that a conversion has finished")
    return manifest
