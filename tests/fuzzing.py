"""What reads data from outside, as functions of bytes that raise for nothing but a fault of ours.

Each catches what its parser promises to raise, and checks what it promises to give. Used by `test_fuzz.py` with
hypothesis, for a short time, and by `tools/campaign fuzz` with atheris, for a long one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from kconvert.catalog.annotation import AnnotationText, parse_annotations
from kconvert.catalog.clip import Clip
from kconvert.catalog.release import AnnotationFile, AnnotationForm
from kconvert.catalog.shelf import ReleaseFileError, parse_release
from kconvert.cli.arguments import conversion_parser, parse_conversion, read_batch
from kconvert.dataset.manifest import Manifest
from kconvert.errors import AnnotationError, ArchiveError, ManifestError, OriginError, UsageError
from kconvert.sources.archive import ArchiveReader
from kconvert.sources.fetch.stream import ByteStream, Remote
from kconvert.sources.origins.official import parse_path_list
from kconvert.text import printable

LABELS = {"abseiling": 0, "zumba": 1}
BASE = "https://s3.amazonaws.com/kinetics/"
_MAX_LOADED_BYTES = 1 << 20


class Bytes(ByteStream):
    """A stream of bytes in memory, in pieces of odd sizes."""

    def __init__(self, data: bytes) -> None:
        self._pieces = self._cut(data)
        self.size = len(data)

    def _cut(self, data: bytes) -> Iterator[bytes]:
        step = 1 + len(data) % 700
        for start in range(0, len(data), step):
            yield data[start : start + step]

    @property
    def remote(self) -> Remote:
        return Remote(self.size, "")

    def read(self) -> bytes:
        return next(self._pieces, b"")

    def close(self) -> None:
        pass


def clip_name(data: bytes) -> None:
    try:
        clip = Clip.from_name(data.decode("utf-8", "surrogateescape"))
    except ValueError:
        return
    assert clip.name in (data.decode(), data.decode().removesuffix(".mp4"))
    assert Clip.from_name(clip.name) == clip


def _annotations(form: AnnotationForm) -> Callable[[bytes], None]:
    def parse(data: bytes) -> None:
        try:
            found = parse_annotations(AnnotationText(data, AnnotationFile("x", form)), "train", LABELS, 0.5)
        except AnnotationError as error:
            assert error.problems
            str(error)
            return
        assert len(found.malformed) <= len(found.labels) + len(found.repeated)
        for name, label in found.labels.items():
            assert Clip.from_name(name).name == name
            assert label == "" or label in LABELS

    return parse


def path_list(data: bytes) -> None:
    try:
        names = parse_path_list(data, "x", BASE, "400/train/list.txt")
    except OriginError as error:
        str(error)
        return
    assert names
    assert len(set(names)) == len(names)
    for name in names:
        folder, _, leaf = name.rpartition("/")
        assert folder == "400/train"
        assert leaf.isprintable()
        assert not leaf.startswith(".")


def archive(data: bytes) -> None:
    num_bytes = 0
    try:
        with ArchiveReader(Bytes(data), "x") as members:
            for member in members:
                assert printable(member.name).isprintable()
                if member.is_file and member.size_bytes <= _MAX_LOADED_BYTES:
                    assert len(member.load()) == member.size_bytes
                num_bytes += member.size_bytes
    except ArchiveError as error:
        str(error)


def catalogue(data: bytes) -> None:
    try:
        release = parse_release(data.decode("utf-8", "replace"), "x.yaml")
    except ReleaseFileError:
        return
    assert all(split.isascii() and split.isalnum() for split in release.splits)


def config(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(data)
        file.flush()
        try:
            parse_conversion(conversion_parser("kconvert", ""), ["k400", "--config", file.name, "--out", "x"])
        except UsageError as error:
            str(error)


def batch(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(data)
        file.flush()
        try:
            assert read_batch(Path(file.name))
        except UsageError as error:
            str(error)


def manifest(data: bytes) -> None:
    try:
        found = Manifest.from_json(data, "x")
    except ManifestError as error:
        str(error)
        return
    assert Manifest.from_json(found.to_json(), "x") == found


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "clip_name": clip_name,
    "annotations_csv": _annotations("csv"),
    "annotations_listing": _annotations("listing"),
    "annotations_json": _annotations("json"),
    "path_list": path_list,
    "archive": archive,
    "catalogue": catalogue,
    "manifest": manifest,
    "config": config,
    "batch": batch,
}
