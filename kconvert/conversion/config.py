"""The configuration of a conversion: the options of all parts composed, for the command line and YAML files."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kconvert.catalog.joining import MatchBy, UnlabelledPolicy
from kconvert.catalog.overlap import OverlapBy
from kconvert.catalog.release import OFFICIAL_BASE, SPLIT_SYNONYMS, SUPPLEMENT_NAMES, Release
from kconvert.catalog.shelf import RELEASE_NAMES, load_release, open_release
from kconvert.conversion.cutting import ShardOptions
from kconvert.conversion.damaged import DamagedPolicy
from kconvert.conversion.selection import Selection
from kconvert.conversion.shuffle import ShuffleOptions
from kconvert.dataset.manifest import FormatName
from kconvert.dataset.open import open_layout
from kconvert.engines.engine import EngineName, RayOptions, SlurmOptions
from kconvert.errors import UsageError
from kconvert.sources.clip_lists import ListName, parse_list_names
from kconvert.sources.fetch.stream import FetchOptions, is_remote
from kconvert.sources.trees.disk import LinkPolicy
from kconvert.storage.open import meant_location, to_path
from kconvert.storage.store import StorePath
from kconvert.text import did_you_mean
from kconvert.video.encoding.options import AudioOptions, Encoding, VideoOptions, encoding_of
from kconvert.video.verdict import CheckOptions

NO_ANNOTATIONS = "none"
"""What is given where no list says which clips there are."""


@dataclass(frozen=True)
class AnnotationFiles:
    """Annotations that are not the origin's."""

    train: str | None = None
    """Of train: a path or a URL (csv, txt as of `ls -R`, json or parquet); none if the folders of clips name their
    labels, and no list says which clips there are."""
    val: str | None = None
    """Of val: the same."""
    test: str | None = None
    """Of test: the same."""
    ava: str | None = None
    """AVA-Kinetics, with --with ava: its archive, at a path or a URL, or a folder that holds its files."""
    countix: str | None = None
    """Countix, with --with countix: the same."""


@dataclass(frozen=True)
class Conversion:
    """Converting a release."""

    release: str
    """Which release, or the YAML file of one; also the first word of the command."""
    out: str | None = None
    """The folder to write to, or a location in an object store, as s3://bucket/k400. Default: RELEASE-FORMAT in the
    current folder, as k400-webdataset."""
    to: FormatName = "webdataset"
    """What to write."""
    origin: str = OFFICIAL_BASE
    """Where the clips come from: the official server, a mirror with its layout (URL or folder), the folder that holds
    what the official shell scripts leave (k400_targz/ and k400/annotations/), or clips that are extracted already (a
    folder, a bucket or a zip file)."""
    links: LinkPolicy = "inside"
    """Which symbolic links are followed where --origin is a folder of clips: those that lead into it, or anywhere."""
    choose: list[str] | str | None = None
    """What the release leaves to choose, as fold=2; `kconvert releases RELEASE` says what there is. Default: the first
    of each."""
    split: list[str] | str | None = None
    """Only these splits, separated by commas; a later run may add others to the same folder. Default: all."""
    classes: list[str] | str | None = None
    """Only these labels, separated by commas, or a .txt file with a label a line; fetches only their archives where the
    release allows it."""
    max_archives: int | None = None
    """Only the first so many archives of each split, for a trial."""
    staging: str | None = None
    """Stage checked clips here, until they are packed: a folder, or a location in an object store. Default: in
    --out."""
    archives: str | None = None
    """Keep the downloaded archives in this folder, and use them again."""
    check: CheckOptions = field(default_factory=CheckOptions)
    """How clips are checked."""
    damaged: DamagedPolicy = "fail"
    """What to do with an archive that is damaged for good, at the same place in two readings: fail, so that its split
    waits for a good copy; salvage the clips before the damage, each of them decoded; or skip it. The manifest names
    it."""
    match: MatchBy = "name"
    """What joins a clip and its annotation: the whole name, or the id where that is annotated once in the split, so
    that clips with other times have their annotation."""
    max_malformed: float = 0.01
    """The share of the rows of an annotation file, 0 to 1, that may be malformed; they count for nothing, and `kconvert
    status` lists them."""
    unlabelled: UnlabelledPolicy | None = None
    """What to do with clips that have no label. Default: drop, but keep in a split that has no labels at all."""
    exclude: list[str] | str | None = None
    """Reject clips that are also in these splits of other releases, separated by commas, as k400:val,k600:test; k400
    means all its splits. The lists are those of --origin, else of the official server, or of a file: k400:val=FILE."""
    exclude_by: OverlapBy = "id"
    """When a clip is also there: if the same video is, with a time in common, or with the same times."""
    supplements: list[str] | str | None = None
    """Further official annotations, `--with ava,countix`."""
    members: bool = False
    """Whether samples have these annotations themselves, too, not only the tables."""
    annotations: AnnotationFiles = field(default_factory=AnnotationFiles)
    """Annotations that are not the origin's."""
    video: VideoOptions = field(default_factory=VideoOptions)
    """How clips are encoded for training; they stay as they are hosted unless one of these is given."""
    audio: AudioOptions = field(default_factory=AudioOptions)
    """What becomes of the sound."""
    shard: ShardOptions = field(default_factory=ShardOptions)
    """How large shards are."""
    shuffle: ShuffleOptions = field(default_factory=ShuffleOptions)
    """How clips are mixed before they are cut into shards."""
    fetch: FetchOptions = field(default_factory=FetchOptions)
    """How archives are fetched, and retried."""
    engine: EngineName = "local"
    """Where the work is done."""
    workers: int | None = None
    """How many tasks run at a time. Default: one for each core that the machine, the container or the cluster grants,
    as long as there is memory for it; with slurm, 100."""
    ray: RayOptions = field(default_factory=RayOptions)
    """Where Ray runs tasks, with --engine ray."""
    slurm: SlurmOptions = field(default_factory=SlurmOptions)
    """How Slurm runs tasks, with --engine slurm."""
    overwrite: bool = False
    """Start again, removing what kconvert made in the folder."""

    def __post_init__(self) -> None:
        _require_in_range(self)

    @functools.cached_property
    def described(self) -> Release:
        """What is converted; its labels may not be known yet. Raises `UsageError` if there is no such release."""
        return open_release(self.release, chosen(self.choose))

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits to convert, in their usual order. Raises `UsageError` for an unknown one."""
        wanted = [SPLIT_SYNONYMS.get(word, word) for word in _words("--split", self.split)]
        known = self.described.splits
        if unknown := sorted(set(wanted) - set(known)):
            hint = did_you_mean(unknown[0], known)
            raise UsageError(
                f"--split: unknown {', '.join(map(repr, unknown))}; expected one or more of {', '.join(known)}"
                f"{f'; {hint}' if hint else ''}"
            )
        return tuple(split for split in known if not wanted or split in wanted)

    def without(self, group: str) -> Conversion:
        """The same with the options of a group as they are by default."""
        default = type(getattr(self, group))()
        return dataclasses.replace(self, **{group: default})

    def selection(self, release: Release) -> Selection:
        """What is read of each split. Raises `UsageError` for an unknown label."""
        classes = _words("--classes", _from_file(self.classes))
        unknown = [label for label in classes if label not in release.label_ids]
        if unknown:
            hints = [hint for word in unknown if (hint := did_you_mean(word, release.labels))]
            hints += [f"{word} is no file here" for word in unknown if word.endswith(".txt")]
            hints.append(f"`kconvert releases {release.name}` lists them")
            raise UsageError(f"--classes: {release.name} has no {', '.join(map(repr, unknown))}; {' '.join(hints)}")
        return Selection(tuple(sorted(set(classes))), self.max_archives)

    @property
    def archive_cache(self) -> Path | None:
        """Where archives are kept; `None` for nowhere. Raises `UsageError` if that is no folder."""
        if self.archives is None:
            return None
        folder = _folder("--archives", self.archives).local_path
        if folder is None:
            raise UsageError(f"--archives {self.archives}: expected a folder; stores hold no archives")
        return folder

    @property
    def out_path(self) -> StorePath:
        """The folder to write to, absolute. Raises `UsageError` if it cannot be one."""
        return _folder("--out", f"{self.described.name}-{self.to}" if self.out is None else self.out)

    @property
    def origin_location(self) -> str:
        """The URL, or the absolute path, of the origin. Raises `UsageError` if it cannot be one."""
        return meant_origin(self.origin)

    @property
    def staging_path(self) -> StorePath | None:
        """Where clips are staged; `None` for in the output folder. Raises `UsageError` if it cannot be a folder."""
        return _folder("--staging", self.staging) if self.staging else None

    @property
    def encoding(self) -> Encoding:
        """What becomes of clips. Raises `UsageError` for what the codec does not take."""
        try:
            return encoding_of(self.video, self.audio)
        except ValueError as error:
            raise UsageError(str(error)) from error


def ignored_groups(conversion: Conversion) -> dict[str, tuple[str, str]]:
    """The groups of options that differ from the default and change nothing: why, and what was perhaps meant."""
    ignored: dict[str, tuple[str, str]] = {}
    for engine in ("slurm", "ray"):
        if conversion.engine != engine:
            ignored[engine] = f"the work is done with --engine {conversion.engine}", f"did you mean --engine {engine}?"
    for group, why in open_layout(conversion.to).unused_options.items():
        ignored[group] = why, "choose another --to"
    return {group: why for group, why in ignored.items() if _changed(conversion, group)}


def chosen(words: list[str] | str | None) -> dict[str, str]:
    """What is chosen of a release, by name. Raises `UsageError` for what is no choice."""
    found: dict[str, str] = {}
    for word in _words("--choose", words):
        name, equals, value = word.partition("=")
        if not equals or name in found:
            raise UsageError(f"--choose {word}: expected NAME=VALUE, each name once, as fold=2")
        found[name] = value
    return found


def require_known_words(conversion: Conversion) -> None:
    """Raises `UsageError` for splits, labels and lists that the releases do not have, and for what would be ignored."""
    release = conversion.described
    if release.labels:
        _ = conversion.selection(release)
    if conversion.origin == OFFICIAL_BASE and not release.root and not release.union:
        raise UsageError(f"--origin: expected where the clips of {release.name} are; no official server has them")
    if conversion.to == "archives" and not release.root:
        raise UsageError(f"--to archives: {release.name} has no official archives; choose another --to")
    if release.separator and conversion.classes:
        raise UsageError(f"--classes: clips of {release.name} have several labels; leave it out")
    if conversion.match == "id" and conversion.classes:
        raise UsageError("--match id: --classes chooses clips by their annotated names; leave out one of both")
    _require_members(conversion)
    if conversion.shard.num_shards is not None and conversion.shuffle.window:
        raise UsageError(
            "--shard.num_shards: how many clips a split has is not known while windows are packed; leave out "
            "--shuffle.window, or give --shard.max_bytes"
        )
    _ = conversion.splits, excluded_lists(conversion), asked_supplements(conversion), conversion.encoding
    if conversion.exclude is None and conversion.exclude_by != "id":
        raise UsageError("--exclude_by: would be ignored, as nothing is excluded; leave it out, or give --exclude")
    for group, (why, mend) in ignored_groups(conversion).items():
        option = _changed(conversion, group)[0]
        raise UsageError(f"--{group}.{option}: would be ignored, as {why}; leave it out; {mend}")


def excluded_lists(conversion: Conversion) -> tuple[ListName, ...]:
    """The lists of clips that are rejected. Raises `UsageError` for words that mean none."""
    words = _words("--exclude", conversion.exclude)
    named = [one for word in words for one in parse_list_names("--exclude", word)]
    if twice := [text for text, times in Counter(one.text for one in named).items() if times > 1]:
        raise UsageError(f"--exclude: {twice[0]} is given twice; give it once")
    return tuple(named)


def _require_members(conversion: Conversion) -> None:
    """Raises `UsageError` if samples are to have annotations, and cannot."""
    if conversion.members and conversion.supplements is None:
        raise UsageError("--members: would be ignored; leave it out, or give --with, as --with ava")
    if conversion.members and not open_layout(conversion.to).has_annotations:
        raise UsageError(
            f"--members: --to {conversion.to} has no samples that could have them; leave it out: the tables in "
            "metadata/ have all of it, or choose another --to"
        )


def asked_supplements(conversion: Conversion) -> dict[str, str]:
    """The further annotations that are asked for, in the order of the catalogue, and where a person says that they are,
    `""` for where the origin has them. Raises `UsageError` for those that the release does not have, and for files of
    what is not asked for."""
    release, wanted = conversion.described, _words("--with", conversion.supplements)
    known = release.supplements
    if unknown := [word for word in wanted if word not in known]:
        hint = did_you_mean(unknown[0], known)
        whose = [name for name in RELEASE_NAMES if load_release(name).supplements]
        have = f"expected {' or '.join(known)}" if known else f"{' and '.join(whose)} has further annotations"
        raise UsageError(f"--with: {release.name} has no {unknown[0]!r}; {have}{f'; {hint}' if hint else ''}")
    files = {name: getattr(conversion.annotations, name) or "" for name in SUPPLEMENT_NAMES}
    if stray := [name for name, file in files.items() if file and name not in wanted]:
        raise UsageError(f"--annotations.{stray[0]}: would be ignored; leave it out, or give --with {stray[0]}, too")
    return {name: file for name, file in files.items() if name in wanted}


def given_annotations(conversion: Conversion) -> dict[str, str]:
    """Where the annotations are that are given instead of the origin's, by split. Raises `UsageError` for a split that
    is not converted."""
    names = [one.name for one in dataclasses.fields(AnnotationFiles) if one.name not in SUPPLEMENT_NAMES]
    given = {split: getattr(conversion.annotations, split) for split in names}
    found = {split: where for split, where in given.items() if where is not None}
    if empty := [split for split, where in found.items() if not where]:
        raise UsageError(f"--annotations.{empty[0]}: is empty, expected a path, a URL, or none; leave it out otherwise")
    if conversion.classes and NO_ANNOTATIONS in found.values():
        split = next(iter(found))
        raise UsageError(f"--annotations.{split} none: --classes chooses clips by a list; leave out one of both")
    if stray := [split for split in found if split not in conversion.splits]:
        raise UsageError(f"--annotations.{stray[0]}: would be ignored, as --split leaves {stray[0]} out; leave it out")
    return found


def meant_origin(text: str) -> str:
    """The URL, or the absolute path, that `--origin` means. Raises `UsageError` if it cannot be one."""
    with _naming("--origin"):
        location = meant_location(text)
    return location if is_remote(location) else str(Path(os.path.expanduser(location)).absolute())


def _folder(option: str, text: str) -> StorePath:
    """The folder that an option names. Raises `UsageError`."""
    with _naming(option):
        return to_path(text)


@contextmanager
def _naming(option: str) -> Iterator[None]:
    """Has what is wrong with the value of an option begin with its name."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{option}: {error}") from error


def _require_in_range(conversion: Conversion) -> None:
    """Raises `ValueError` for a value that no option of that name can have."""
    for name in ("out", "staging", "archives", "origin"):
        if getattr(conversion, name) == "":
            raise ValueError(f"--{name}: is empty, expected a folder or a URL; leave it out to have the default")
    if not 0 <= conversion.max_malformed <= 1:
        raise ValueError(f"--max_malformed {conversion.max_malformed}: expected 0 to 1, as 0.01 for 1 %")
    for name in ("max_archives", "workers"):
        value = getattr(conversion, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} {value}: expected 1 or more")


def _changed(conversion: Conversion, group: str) -> list[str]:
    """The options of a group that are not as they are by default."""
    given = getattr(conversion, group)
    default = type(given)()
    return [
        field.name for field in dataclasses.fields(given) if getattr(given, field.name) != getattr(default, field.name)
    ]


def _from_file(value: list[str] | str | None) -> list[str] | str | None:
    """What is given as the name of a .txt file that is there, line by line; anything else as it is."""
    path = value[0] if isinstance(value, list) and len(value) == 1 else value
    if not isinstance(path, str) or not path.endswith(".txt") or not Path(os.path.expanduser(path)).is_file():
        return value
    try:
        lines = Path(os.path.expanduser(path)).read_text("utf-8-sig").splitlines()
        return [line.strip() for line in lines if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--classes {path}: cannot be read ({error}); expected a label a line") from error


def _words(option: str, value: list[str] | str | None) -> list[str]:
    """The words of a comma list, or of a list of words; none for `None`. Raises `UsageError` if it holds nothing."""
    pieces = value.split(",") if isinstance(value, str) else value or []
    words = [word for piece in pieces if (word := piece.strip())]
    if value is not None and not words:
        raise UsageError(f"{option}: is empty; leave it out to have {'none' if option == '--with' else 'all'}")
    return words
