"""WebDataset: shards are plain tars, a sample three adjacent members `KEY.cls`, `KEY.json` and `KEY.mp4`, and after
them its sound and its further annotations, if samples have such.

The conventions of the readers (webdataset, Hugging Face datasets, Megatron-Energon, Ray Data, DALI) that this obeys:
no dot and no leading `.` or `__` in keys, the same members in every sample, ASCII names under 100 bytes, ustar headers
without PAX records, integer `mtime`.
"""

from __future__ import annotations

import itertools
import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa

from kconvert.catalog.release import SUPPLEMENT_NAMES, Release
from kconvert.dataset.croissant import Media
from kconvert.dataset.formats.features import card_feature
from kconvert.dataset.formats.format import (
    FACTS,
    SOUND_KINDS,
    Format,
    Sample,
    Sound,
    StoredSample,
    WrittenShard,
    annotations_text,
    card_split,
    data_files,
)
from kconvert.dataset.manifest import Manifest, ShardEntry
from kconvert.dataset.supplements.open import open_supplement
from kconvert.storage.digests import DigestedReader, DigestingFile
from kconvert.storage.store import StorePath
from kconvert.storage.yaml_text import to_yaml_text

_BLOCK_BYTES = 512
_RECORD_BYTES = 10240
_MAX_JSON_BYTES = 2 * _BLOCK_BYTES
_MODE = 0o444
_ENERGON_FILES = (".info.json", "index.sqlite", "index.uuid")
"""What `energon prepare` writes beside its configuration; the first has the numbers of samples."""
_EXTENSIONS = ("cls", "json", "mp4")
_VIDEO = _EXTENSIONS.index("mp4")
_KINDS = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


class WebDataset(Format):
    """Writes and reads tars that `webdataset` reads, and the indexes that other readers of such tars want."""

    name = "webdataset"
    title = "WebDataset"
    shard_kind = "application/x-tar"
    folders = ("index", ".nv-meta")

    def shard_path(self, release: str, split: str, number: int, num_shards: int | None) -> str:
        return f"{split}/{release}-{split}-{number:06d}.tar"

    def sidecar_paths(self, shard: str) -> Sequence[str]:
        return (_dali_path(shard),)

    def is_foreign(self, path: str) -> bool:
        # `energon prepare` leaves an index of its own beside each shard.
        return path.endswith(".tar.idx")

    def max_sample_bytes(self, video_bytes: int, annotation_bytes: Sequence[int] = ()) -> int:
        others = sum(_BLOCK_BYTES + _padded(size) for size in annotation_bytes)
        return 4 * _BLOCK_BYTES + _MAX_JSON_BYTES + _padded(video_bytes) + others

    @property
    def overhead_bytes(self) -> int:
        return _RECORD_BYTES

    def write(self, out: StorePath, shard: str, samples: Iterable[Sample], labels: Sequence[str] = ()) -> WrittenShard:
        index = out / _dali_path(shard)
        (out / shard).parent.make_folder()
        index.parent.make_folder()
        with (out / shard).write_whole() as file:
            members = write_tar(file, samples)
            # Before the shard has its name, so that there is none without its index.
            index.write_bytes(_dali_index(members))
        offsets = tuple(one[_VIDEO].offset_bytes for one in members)
        return WrittenShard(file.size_bytes, file.sha256, offsets)

    def read(self, out: StorePath, shard: str, file: DigestedReader) -> Iterator[StoredSample]:
        members = []
        for found in read_tar(file):
            label, text, video, *others = found
            key = video.name.removesuffix(".mp4")
            members.append([member.extent for member in found])
            sounds = [Sound(kind, one.content) for one in others if (kind := _extension(one.name)) in SOUND_KINDS]
            texts = [one for one in others if _extension(one.name) not in SOUND_KINDS]
            annotations = {_extension(one.name).removesuffix(".json"): json.loads(one.content) for one in texts}
            sample = Sample(key, int(label.content), json.loads(text.content), video.content, annotations, *sounds)
            yield StoredSample(sample, video.extent.offset_bytes)
        index = out / _dali_path(shard)
        if not index.is_file() or index.read_bytes() != _dali_index(members):
            raise ValueError(f"{_dali_path(shard)} is missing or not of this shard")

    def sound_at(self, row: Mapping[str, Any], kind: str) -> tuple[str, int] | None:
        return row["shard"], row["offset_bytes"] + _padded(row["size_bytes"]) + _BLOCK_BYTES

    def index_files(self, out: StorePath, manifest: Manifest) -> Mapping[str, bytes]:
        shards = {split: [one for one in manifest.shards if one.split == split] for split in manifest.splits}
        parts = {split: [_pattern([one.path for one in found])] for split, found in shards.items() if found}
        crude = {"__module__": "megatron.energon", "__class__": "CrudeWebdataset"}
        energon = {"split_parts": parts, "exclude": []}
        prepared = {
            ".nv-meta/dataset.yaml": to_yaml_text(crude).encode(),
            ".nv-meta/split.yaml": to_yaml_text(energon).encode(),
        }
        if _is_prepared(out, manifest):
            # They are what `energon prepare` wrote.
            prepared = {}
        return {
            **{f"index/{split}.json": _wids_index(manifest.release, split, found) for split, found in shards.items()},
            **prepared,
        }

    def media(self, manifest: Manifest) -> Media | None:
        tars = [{"@id": shard.path} for shard in manifest.shards]
        files = {"containedIn": tars, "encodingFormat": "video/mp4", "includes": "*.mp4"}
        key = {"extract": {"fileProperty": "filename"}, "transform": {"regex": r"([^/]*)\.mp4$"}}
        return Media(files, key) if tars else None

    def commit(self, out: StorePath, manifest: Manifest) -> None:
        if not _is_prepared(out, manifest):
            # What `energon prepare` wrote of other shards would hide those that there are now.
            for name in _ENERGON_FILES:
                (out / ".nv-meta" / name).remove()

    def card_config(
        self, release: Release, splits: Sequence[str], annotations: Sequence[str], sound: str | None
    ) -> Mapping[str, Any]:
        # No config for the tables: datasets takes the builder of the first config for all of them
        # (`LocalDatasetModuleFactory.get_module`, datasets 5.2), so that tables beside tars would be read as tars.
        files = data_files(splits, "{split}/*.tar")
        return {**files, **(_declared(release, annotations, sound) if splits else {})}

    def reading_lines(self, split: str, shards: Sequence[str]) -> Sequence[str]:
        pattern = _pattern(shards) if len(shards) > 1 else shards[0]
        return (
            "import kconvert",
            f'samples = kconvert.open(".", "{split}")  # random access',
            "",
            "import webdataset  # of many ranks, each reads shards of its own",
            f'samples = webdataset.WebDataset("{pattern}", shardshuffle=False, '
            "nodesplitter=webdataset.split_by_node, empty_check=False)",
            "",
            "import wids  # copies nothing",
            f'samples = wids.ShardListDataset("index/{split}.json", cache_dir="{split}", keep=True)',
            "",
            "import os, datasets",
            f'samples = datasets.load_dataset(os.getcwd(), split="{card_split(split)}", streaming=True).decode(False)',
            "",
            "import os, ray",
            "from glob import glob",
            f'samples = ray.data.read_webdataset(sorted(glob(os.getcwd() + "/{split}/*.tar"))).iter_rows()',
            "",
            *_dali_lines(split, shards[0]),
            "",
            *_energon_lines(split),
        )

    def card_text(self) -> Sequence[str]:
        return (
            "A sample is three adjacent members: `KEY.cls` (label id), `KEY.json` (facts) and `KEY.mp4` (the video,",
            "unchanged). `index/SPLIT.json` is for wids, `index/*.idx` for NVIDIA DALI, `.nv-meta` for",
            "Megatron-Energon.",
            "",
            "With Hugging Face datasets, `load_dataset(DIR)` gives samples and",
            '`load_dataset(DIR + "/metadata")` the rows.',
        )


FORMAT = WebDataset()


class Extent(NamedTuple):
    """Where the content of a member is in its shard."""

    name: str
    """The member's."""
    offset_bytes: int
    """Of its first byte in the shard."""
    size_bytes: int
    """Without padding."""


def write_tar(file: DigestingFile, samples: Iterable[Sample]) -> list[tuple[Extent, ...]]:
    """Writes samples as a tar; returns where the members of each are."""
    extents, offset = [], 0
    for sample in samples:
        found = []
        for extension, content in _members(sample).items():
            member = tarfile.TarInfo(f"{sample.key}.{extension}")
            member.size, member.mode = len(content), _MODE
            file.write(member.tobuf(tarfile.USTAR_FORMAT))
            file.write(content)
            file.write(bytes(_padded(len(content)) - len(content)))
            found.append(Extent(member.name, offset + _BLOCK_BYTES, len(content)))
            offset += _BLOCK_BYTES + _padded(len(content))
        extents.append(tuple(found))
    # Two blocks of zeros, and the rest of a record.
    file.write(bytes(-(offset + 2 * _BLOCK_BYTES) % _RECORD_BYTES + 2 * _BLOCK_BYTES))
    return extents


def read_tar(file: DigestedReader) -> Iterator[list[_Member]]:
    """The members of each sample: label, metadata, video, perhaps sound, and further annotations, the same in all.

    Raises: `ValueError` if it is not exactly what is written.
    """
    extensions: Sequence[str] | None = None
    for key, group in itertools.groupby(_stored_members(file), lambda member: member.name.partition(".")[0]):
        members = list(group)
        extensions = extensions or [*_EXTENSIONS, *_further(members)]
        found, expected = [one.name for one in members], [f"{key}.{extension}" for extension in extensions]
        if found != expected:
            raise ValueError(f"members {', '.join(found)}, expected {', '.join(expected)}")
        yield members


def _further(members: Iterable[_Member]) -> list[str]:
    """The extensions of the sound and the further annotations that a sample has."""
    found = {_extension(member.name) for member in members}
    sounds = [kind for kind in SOUND_KINDS if kind in found][:1]
    return sounds + [extension for extension in (f"{name}.json" for name in SUPPLEMENT_NAMES) if extension in found]


def _extension(name: str) -> str:
    """Of a member: what follows the first dot, as there is none in a key."""
    return name.partition(".")[2]


def _declared(release: Release, annotations: Sequence[str], sound: str | None) -> dict[str, Any]:
    """The features of all members, for the front matter of a dataset card: a label has its name, and where a list is
    empty in the first samples, its type would be guessed wrong."""
    kinds = {name: _KINDS[kind] for name, kind in FACTS.items()}
    if release.separator:
        kinds["label_ids"] = pa.list_(pa.int64())
    if not release.names.are_keys:
        kinds["name"] = pa.string()
    facts = pa.struct(list(kinds.items()))
    features = [
        {"name": "cls", "dtype": {"class_label": {"names": dict(_numbered(release.labels))}}},
        card_feature("json", facts),
        {"name": "mp4", "dtype": "video"},
        *([{"name": sound, "dtype": "audio"}] if sound is not None else []),
        *(card_feature(f"{name}.json", pa.list_(open_supplement(name).row_type)) for name in annotations),
        {"name": "__key__", "dtype": "string"},
        {"name": "__url__", "dtype": "string"},
    ]
    return {"dataset_info": {"features": features}}


def _numbered(labels: Iterable[str]) -> Iterator[tuple[str, str]]:
    return ((str(number), label) for number, label in enumerate(labels))


def _is_prepared(out: StorePath, manifest: Manifest) -> bool:
    """Whether somebody has run `energon prepare` on these shards, of one split at least."""
    info = out / ".nv-meta" / _ENERGON_FILES[0]
    if not info.is_file():
        return False
    try:
        counted = dict(json.loads(info.read_bytes())["shard_counts"])
    except (ValueError, KeyError, TypeError):
        return False
    splits = {path.partition("/")[0] for path in counted}
    return counted == {shard.path: shard.num_samples for shard in manifest.shards if shard.split in splits}


def _dali_path(shard: str) -> str:
    return f"index/{PurePosixPath(shard).stem}.idx"


def _dali_lines(split: str, shard: str) -> Sequence[str]:
    """Lines that read a split with NVIDIA DALI."""
    return (
        "from glob import glob",
        "from nvidia.dali import fn, pipeline_def",
        "",
        "@pipeline_def(batch_size=1, num_threads=1, device_id=None)",
        "def pipeline():",
        f'    paths, indexes = sorted(glob("{split}/*.tar")), sorted(glob("{_dali_pattern(shard)}"))',
        '    members = dict(ext=["mp4", "cls"], name="clips")',
        "    return tuple(fn.readers.webdataset(paths=paths, index_paths=indexes, **members))",
        "",
        "built = pipeline()",
        'samples = (built.run() for _ in range(built.reader_meta("clips")["epoch_size"]))',
    )


def _energon_lines(split: str) -> Sequence[str]:
    """Lines that read a split with Megatron-Energon, and what makes its index before."""
    return (
        f"# first: energon prepare --non-interactive --skip-dataset-yaml --split-parts '{split}:{split}/.*' .",
        "import os",
        "from megatron.energon import *",
        "",
        "@stateless",
        "def cook(sample):",
        '    return {**basic_sample_keys(sample), "cls": sample["cls"], "mp4": sample["mp4"]}',
        "",
        "class Encoder(DefaultTaskEncoder):",
        "    cookers, decoder = (Cooker(cook),), None",
        "",
        "workers = WorkerConfig.default_worker_config(num_workers=0)",
        f'own = dict(split_part="{split}", worker_config=workers, batch_size=None, task_encoder=Encoder())',
        "samples = get_savable_loader(get_val_dataset(os.getcwd(), **own))",
    )


def _dali_pattern(shard: str) -> str:
    """A pattern of the indexes of all shards of its split."""
    return f"{_dali_path(shard).rpartition('-')[0]}-*.idx"


def _dali_index(samples: Iterable[Iterable[Extent]]) -> bytes:
    """NVIDIA DALI's index of a tar: of each member its extension, offset, size and name, a sample a line."""
    lines = [
        " ".join(f"{_extension(extent.name)} {extent.offset_bytes} {extent.size_bytes} {extent.name}" for extent in one)
        for one in samples
    ]
    return "\n".join([f"v1.2 {len(lines)}", *lines, ""]).encode()


def _wids_index(release: str, split: str, shards: Iterable[ShardEntry]) -> bytes:
    """The index of a split for wids, which looks for `url` beside the index."""
    content = {
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "name": f"{release}-{split}",
        "shardlist": [
            {"url": f"../{shard.path}", "nsamples": shard.num_samples, "filesize": shard.size_bytes} for shard in shards
        ],
    }
    return (json.dumps(content, indent=2) + "\n").encode()


def _pattern(paths: Sequence[str]) -> str:
    """A brace pattern of numbered paths."""
    first, last = (re.search(r"\d+(?=\.tar$)", path) for path in (paths[0], paths[-1]))
    if first is None or last is None:
        # Of a manifest that was changed; what comes of it is not what was written.
        return ""
    return f"{paths[0][: first.start()]}{{{first[0]}..{last[0]}}}.tar"


def _members(sample: Sample) -> dict[str, bytes]:
    text = json.dumps(sample.metadata, ensure_ascii=True, separators=(",", ":")).encode()
    if len(text) > _MAX_JSON_BYTES:
        raise ValueError(f"{sample.key}: metadata of {len(text)} bytes, expected at most {_MAX_JSON_BYTES}")
    members = dict(zip(_EXTENSIONS, (b"%06d" % sample.label_id, text, sample.video), strict=True))
    if sample.sound is not None:
        members[sample.sound.kind] = sample.sound.data
    return members | {f"{name}.json": annotations_text(rows).encode() for name, rows in sample.annotations.items()}


@dataclass(frozen=True)
class _Member:
    name: str
    """With its extension."""
    content: bytes
    """Without padding."""
    extent: Extent
    """Where it is in the shard."""


def _stored_members(file: DigestedReader) -> Iterator[_Member]:
    """The members of a shard up to its end, which is checked: one that was cut between two would read without an
    error."""
    offset = 0
    while True:
        block = file.read(_BLOCK_BYTES)
        if block == bytes(_BLOCK_BYTES):
            break
        try:
            header = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError) as error:
            raise ValueError(f"not a tar: no header at byte {offset:,} ({error})") from error
        if (header.mtime, header.uid, header.gid, header.mode, header.type) != (0, 0, 0, _MODE, tarfile.REGTYPE):
            raise ValueError(f"member {header.name} has another time, owner, mode or type than is written")
        if header.size < 0:
            raise ValueError(f"member {header.name} declares {header.size} bytes")
        padded_bytes = _padded(header.size)
        content, padding = file.read(header.size), file.read(padded_bytes - header.size)
        if len(content) + len(padding) != padded_bytes:
            raise ValueError(f"ends inside member {header.name}")
        if padding.strip(b"\0"):
            raise ValueError(f"something follows the content of member {header.name}")
        yield _Member(header.name, content, Extent(header.name, offset + _BLOCK_BYTES, header.size))
        offset += _BLOCK_BYTES + padded_bytes
    num_zeros = 2 * _BLOCK_BYTES + -(offset + 2 * _BLOCK_BYTES) % _RECORD_BYTES
    # Nothing may follow.
    rest = block + file.read(num_zeros - _BLOCK_BYTES + 1)
    if len(rest) != num_zeros or rest.strip(b"\0"):
        raise ValueError(f"does not end with the end blocks of a tar after byte {offset:,}")


def _padded(size: int) -> int:
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES
