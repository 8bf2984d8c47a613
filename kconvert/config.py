"""The configuration of a conversion: the options of all parts composed, for the command line and YAML files."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kconvert.account import UnlabelledPolicy
from kconvert.engine import Engine, EngineName, RayOptions, SlurmOptions, open_engine
from kconvert.errors import UsageError
from kconvert.fetch import FetchOptions
from kconvert.files import AnyPath, to_path
from kconvert.formats import open_format
from kconvert.grants import WORKER_BYTES, Workers, default_workers
from kconvert.journal import Journal
from kconvert.manifest import FormatName
from kconvert.pack import ShardOptions
from kconvert.plan import Selection
from kconvert.release import OFFICIAL_BASE, SPLITS, Release, ReleaseName, load_release
from kconvert.shuffle import ShuffleOptions
from kconvert.verdict import CheckOptions
from kconvert.version import FORMAT_VERSION


@dataclass(frozen=True)
class Conversion:
    """Converting a release."""

    release: ReleaseName
    """Which release; also the first word of the command."""
    out: str
    """The folder to write to, or a place in an object store, as s3://bucket/k400."""
    to: FormatName = "webdataset"
    """What to write."""
    origin: str = OFFICIAL_BASE
    """Where the archives come from: the official server, a mirror with its layout (URL or folder), or the folder
    that holds what the official shell scripts leave (k400_targz/ and k400/annotations/)."""
    split: list[str] | str | None = None
    """Only these splits, separated by commas; a later run may add others to the same folder. Default: all."""
    classes: list[str] | str | None = None
    """Only these labels, separated by commas; fetches only their archives where the release allows it."""
    max_archives: int | None = None
    """Only the first so many archives of each split, for a trial."""
    staging: str | None = None
    """Stage checked clips here, until they are packed: a folder, or a place in an object store. Default: in --out."""
    archives: str | None = None
    """Keep the downloaded archives in this folder, and use them again."""
    check: CheckOptions = field(default_factory=CheckOptions)
    unlabelled: UnlabelledPolicy | None = None
    """What to do with clips that have no label. Default: drop, but keep in a split that has no labels at all."""
    shard: ShardOptions = field(default_factory=ShardOptions)
    shuffle: ShuffleOptions = field(default_factory=ShuffleOptions)
    fetch: FetchOptions = field(default_factory=FetchOptions)
    engine: EngineName = "local"
    """Where the work is done."""
    workers: int | None = None
    """How many tasks run at a time. Default: one for each core, of this machine or of the cluster; with slurm, 100."""
    ray: RayOptions = field(default_factory=RayOptions)
    slurm: SlurmOptions = field(default_factory=SlurmOptions)
    overwrite: bool = False
    """Start again, removing what kconvert made in the folder."""

    def __post_init__(self) -> None:
        if not self.out:
            raise ValueError("--out: expected the folder, or the place in an object store, to write to")
        for name in ("max_archives", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name} {value}: expected 1 or more")

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits to convert, in their usual order. Raises `UsageError` for an unknown one."""
        wanted = _words("--split", self.split)
        unknown = sorted(set(wanted) - set(SPLITS))
        if unknown:
            raise UsageError(
                f"--split: unknown {', '.join(map(repr, unknown))}; expected one or more of {', '.join(SPLITS)}"
            )
        return tuple(split for split in SPLITS if not wanted or split in wanted)

    def require_known_words(self) -> None:
        """Raises `UsageError` for splits and labels that the release does not have."""
        _ = self.splits, self.selection(load_release(self.release))

    def selection(self, release: Release) -> Selection:
        """What is read of each split. Raises `UsageError` for an unknown label."""
        classes = _words("--classes", self.classes)
        unknown = [label for label in classes if label not in release.label_ids]
        if unknown:
            hints = [hint for word in unknown if (hint := did_you_mean(word, release.labels))]
            hints.append(f"`kconvert releases {release.name}` lists them")
            raise UsageError(f"--classes: {release.name} has no {', '.join(map(repr, unknown))}; {' '.join(hints)}")
        return Selection(tuple(sorted(set(classes))), self.max_archives)

    @property
    def keep_folder(self) -> Path | None:
        """Where archives are kept."""
        return Path(self.archives).expanduser().absolute() if self.archives else None

    @property
    def out_path(self) -> AnyPath:
        """The folder to write to, absolute. Raises `UsageError` if it cannot be one."""
        return to_path(self.out)

    def journal(self) -> Journal:
        """What is done so far."""
        return Journal(self.out_path, to_path(self.staging) if self.staging else None)

    def chosen_workers(self) -> Workers | None:
        """How many tasks run at a time, and why; `None` if only the cluster knows."""
        if self.workers is not None:
            return Workers(self.workers, "as --workers says")
        return default_workers(self._task_bytes) if self.engine == "local" else None

    def describe_workers(self) -> str:
        """The same, as a person says it."""
        return str(self.chosen_workers() or f"as many workers as {self.engine} has room for")

    @property
    def _task_bytes(self) -> int:
        """The memory that a task needs."""
        return WORKER_BYTES + open_format(self.to).num_shards_in_memory * self.shard.max_bytes

    def open_engine(self) -> Engine:
        """What does the work. Raises `UsageError` if that cannot be had."""
        records = self.journal().folder / "slurm"
        task_bytes = self._task_bytes
        return open_engine(self.engine, self.workers, task_bytes, ray=self.ray, slurm=self.slurm, records=records)

    def identity(self, tools: Mapping[str, str]) -> dict[str, Any]:
        """Everything that changes the bytes that are written; a folder has one identity."""
        release = load_release(self.release)
        selection = self.selection(release)
        check = dataclasses.asdict(self.check)
        del check["timeout"]
        options = {
            "to": self.to,
            "classes": list(selection.classes),
            "max_archives": self.max_archives,
            "check": check,
            "unlabelled": self.unlabelled,
            "shard": {"max_bytes": int(self.shard.max_bytes), "max_samples": self.shard.max_samples},
            "shuffle": dataclasses.asdict(self.shuffle),
        }
        return {"format_version": FORMAT_VERSION, "release": self.release, "options": options, "tools": dict(tools)}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint at what is spelt alike; `""` if nothing is."""
    by_lower = {one.lower(): one for one in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=3, cutoff=0.75)
    return f"did you mean {', '.join(repr(by_lower[one]) for one in found)}?" if found else ""


def _words(option: str, value: list[str] | str | None) -> list[str]:
    """The words of a comma list, or of a list of words; none for `None`. Raises `UsageError` if it holds nothing."""
    pieces = value.split(",") if isinstance(value, str) else value or []
    words = [word for piece in pieces if (word := piece.strip())]
    if value is not None and not words:
        raise UsageError(f"{option}: is empty; leave it out to have all")
    return words
