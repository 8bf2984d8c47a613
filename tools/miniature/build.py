"""Builds the miniature: the official layout of all releases with all anomalies, and what a right conversion says.

What it says of each clip is in `expected/RELEASE-SPLIT.json`.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from miniature.sources import Row, Rows, Video, Videos
from miniature.supplements import TWICE, ava_archive, countix_archive

OFFICIAL = "https://s3.amazonaws.com/kinetics/"
_K600_TRAIN = ("massaging person's head", "changing wheel (not on bike)", "abseiling")
_K600_VAL = ("mountain climber (exercise)", "massaging person's head", "zumba")
_K700 = {1: "abseiling", 171: "driving car", 700: "zumba"}
_REJECTING = ("empty", "unreadable", "no_video", "truncated", "encrypted", "undecodable")


@dataclass(frozen=True)
class Expected:
    """A row of the table of a right conversion with default options."""

    name: str
    status: str
    reason: str
    defects: Sequence[str]
    label: str
    label_source: str
    source: str
    archive: str
    sha256: str
    """Of the written bytes; `""` if none are written."""


@dataclass
class Archive:
    """An archive being filled."""

    name: str
    """Below the base."""
    folder: str
    """What stands before each clip's name in it."""
    label: str | None = None
    clips: list[tuple[Row, Video]] = field(default_factory=list)
    others: list[tuple[str, bytes | None]] = field(default_factory=list)
    """Members that are no clips: name and content, `None` for a folder."""
    is_plain_tar: bool = False

    def write(self, root: Path) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
            members = [*self.others, *((f"{self.folder}{row.name}.mp4", video.data) for row, video in self.clips)]
            for name, data in members:
                info = tarfile.TarInfo(name)
                info.mtime = 1_600_000_000
                if data is None:
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                else:
                    info.size = len(data)
                tar.addfile(info, io.BytesIO(data or b""))
        data = buffer.getvalue()
        write(root / self.name, data if self.is_plain_tar else gzip.compress(data, 1, mtime=0))


@dataclass
class Split:
    """One split of a release being made."""

    release: str
    name: str
    archives: list[Archive]
    annotated: list[Row]
    has_labels: bool
    replacement: Archive | None = None

    def expected(self) -> list[Expected]:
        """What becomes of every clip and every annotation row."""
        labels = {row.name: row.label for row in self.annotated}
        better: dict[str, Video] = {}
        for row, video in self.replacement.clips if self.replacement else []:
            if not _rejecting(video):
                better.setdefault(row.name, video)
        seen: set[str] = set()
        found = []
        for archive in self.archives:
            for row, video in archive.clips:
                is_duplicate = row.name in seen
                seen.add(row.name)
                label, label_source = labels.get(row.name, ""), "annotation"
                if row.name not in labels:
                    # An archive of one class says which.
                    label, label_source = archive.label or "", "archive"
                use = None if is_duplicate else better.get(row.name)
                found.append(
                    self._of(
                        row.name, (label, label_source), use or video, archive if use is None else None, is_duplicate
                    )
                )
        for name, label in labels.items():
            if name not in seen and name in better:
                found.append(self._of(name, (label, "annotation"), better[name], None, False))
            elif name not in seen:
                found.append(Expected(name, "missing", "", (), label, "annotation" if label else "", "", "", ""))
        return found

    def _of(
        self, name: str, said: tuple[str, str], video: Video, archive: Archive | None, is_duplicate: bool
    ) -> Expected:
        reason = "duplicate" if is_duplicate else _rejecting(video)
        label, label_source = said[0], said[1] if said[0] else ""
        if not reason and self.has_labels and label_source != "annotation":
            reason = "unlabelled"
        source = "original" if archive else "replacement"
        where = archive.name if archive else self.replacement.name if self.replacement else ""
        status = "rejected" if reason else "written"
        digest = sha256(video.data) if status == "written" else ""
        return Expected(name, status, reason, video.defects, label, label_source, source, where, digest)


def _rejecting(video: Video) -> str:
    return next((defect for defect in _REJECTING if defect in video.defects), "")


def build(root: Path, videos: Videos, rows: Rows) -> None:
    """Writes the miniature of all releases, and the list of what a right conversion says, to `root`."""
    makers = {"k400": _k400, "k600": _k600, "k700-2020": _k700}
    for release, make in makers.items():
        splits = make(root, videos, rows)
        for split in splits:
            for archive in (*split.archives, *([split.replacement] if split.replacement else [])):
                archive.write(root)
            write(root / path_list(split), urls(split.archives))
            rows_of_split = json.dumps(split.expected(), default=vars)
            write(root / "expected" / f"{release}-{split.name}.json", rows_of_split.encode())


def _fill(archive: Archive, rows: Iterable[Row], videos: Videos, kinds: Sequence[str]) -> None:
    for row, kind in zip(rows, kinds, strict=False):
        archive.clips.append((row, videos.video(kind, row.name)))


def _k400(root: Path, videos: Videos, rows: Rows) -> list[Split]:
    train = list(rows.rows("k400", "train", None))
    parts = [Archive(f"400/train/part_{number}.tar.gz", "./", others=[("./", None)]) for number in range(3)]
    # A1: a plain tar under the name of a gzipped one, its members many folders deep and none for `./`.
    parts[1].folder, parts[1].others, parts[1].is_plain_tar = "home/data/kinetics/400/all/of/train/", [], True
    _fill(parts[0], train[0:8], videos, ["any"] * 5 + ["cut_index_at_end", "empty", "good"])
    _fill(parts[1], train[8:14], videos, ["any"] * 4 + ["cut_index_at_end", "cut"])
    _fill(parts[2], train[14:18], videos, ["any"] * 4)
    # A clip that two archives have: the first counts.
    parts[2].clips.append((train[0], videos.video("good", train[0].name)))
    # A7: hosted, not annotated.
    unannotated = Row("unannotated", 3, 13, "")
    parts[2].clips.append((unannotated, videos.video("good", unannotated.name)))
    parts[2].others.append(("./not_a_clip_name.mp4", b"?"))
    better = Archive("400/replacement_for_corrupted_k400.tgz", "replacement_for_corrupted_k400/")
    better.others.append(("replacement_for_corrupted_k400/", None))
    for row, kind in ((train[5], "good"), (train[12], "html"), (train[13], "short"), (train[19], "good")):
        better.clips.append((row, videos.video(kind, row.name)))
    stranger = Row("matchesnone", 0, 10, "")
    better.clips.append((stranger, videos.video("good", stranger.name)))
    # A6: annotated, hosted nowhere; train[19] only by the replacement archive.
    split = Split("k400", "train", parts, train[:30], True, better)
    splits = [split]
    for name, num_archives in (("val", 2), ("test", 2)):
        found = list(rows.rows("k400", name, None))
        archives = [
            Archive(f"400/{name}/part_{number}.tar.gz", "./", others=[("./", None)]) for number in range(num_archives)
        ]
        for number, archive in enumerate(archives):
            _fill(archive, found[number * 6 : number * 6 + 6], videos, ["any"] * 6)
        splits.append(Split("k400", name, archives, found, any(row.label for row in found)))
    write(root / "400/annotations/train.csv", annotation_csv(splits[0].annotated, "train", quoted=True, with_cc=True))
    write(root / "400/annotations/val.csv", annotation_csv(splits[1].annotated, "val", quoted=True, with_cc=True))
    write(root / "400/annotations/test.csv", annotation_csv(splits[2].annotated, "test", quoted=True, with_cc=False))
    write(root / "400/readme.md", b"A miniature.\n")
    return splits


def _k600(root: Path, videos: Videos, rows: Rows) -> list[Split]:
    splits = []
    for name, labels in (("train", _K600_TRAIN), ("val", _K600_VAL)):
        archives = [Archive(f"600/{name}/{label}.tar.gz", "./", label, others=[("./", None)]) for label in labels]
        annotated: list[Row] = []
        for archive in archives:
            found = list(rows.rows("k600", name, archive.label))[:12]
            annotated += found
            _fill(archive, found[:7] + found[9:10], videos, ["any"] * 6 + ["good", "good"])
            if archive.label == "mountain climber (exercise)":
                # A2: packed on a Mac.
                archive.folder = f"{archive.label}/"
                archive.others = [(archive.folder, None)]
                archive.others += [(f"{archive.folder}._{row.name}.mp4", b"\0\5\26\7AppleDouble") for row in found[:2]]
        splits.append(Split("k600", name, archives, annotated, True))
        write(root / f"600/annotations/{name}.txt", _listing(name, annotated))
        write(
            root / f"600/annotations/{name}.csv", annotation_csv(annotated[::2], "validate" if name == "val" else name)
        )
    found = list(rows.rows("k600", "test", None))
    archives = [Archive(f"600/test/part_{number}.tar.gz", "./", others=[("./", None)]) for number in range(2)]
    _fill(archives[0], found[:5], videos, ["any"] * 5)
    # A7: most of the test set is hosted without an annotation.
    strangers = [Row(f"test_only_{number}", 1, 11, "") for number in range(6)]
    _fill(archives[1], strangers, videos, ["good", "short", *["any"] * 4])
    splits.append(Split("k600", "test", archives, found, False))
    write(root / "600/annotations/test.csv", annotation_csv(found, "test", with_label=False))
    write(root / "600/readme.md", b"A miniature.\n")
    return splits


def _k700(root: Path, videos: Videos, rows: Rows) -> list[Split]:
    splits = []
    for name in ("train", "val"):
        archives = []
        annotated: list[Row] = []
        for rank, label in _K700.items():
            archive = Archive(
                f"700_2020/{name}/k700_{name}_{rank:03d}.tar.gz", f"{label}/", label, others=[(label, None)]
            )
            found = list(rows.rows("k700-2020", name, label))[:12]
            annotated += found
            _fill(archive, found[:8] + found[9:10], videos, ["any"] * 7 + ["good", "good"])
            archives.append(archive)
        stranger = Row("hosted_only", 40, 50, "")
        archives[0].clips.append((stranger, videos.video("good", stranger.name)))
        if name == "val":
            annotated += _add_twice(archives[0], videos)
        splits.append(Split("k700-2020", name, archives, annotated, True))
        spelt = "validate" if name == "val" else name
        write(root / f"700_2020/annotations/{name}.csv", annotation_csv(annotated, spelt))
    found = list(rows.rows("k700-2020", "test", None))
    archives = [
        Archive(f"700_2020/test/k700_test_{number:03d}.tar.gz", "./", others=[("./", None)]) for number in (1, 2)
    ]
    # A5: some of the test set are genuinely short.
    _fill(archives[0], found[:6], videos, ["short", *["any"] * 5])
    _fill(archives[1], found[6:12], videos, ["any"] * 5 + ["short"])
    splits.append(Split("k700-2020", "test", archives, found, False))
    write(root / "700_2020/annotations/test.csv", annotation_csv(found, "test", with_label=False))
    write(root / "700_2020/K700_2020_readme.txt", b"A miniature.\n")
    by_split = {split.name: split.annotated[:40] + split.annotated[-2 * len(TWICE) :] for split in splits}
    write(root / "700_2020/annotations/ava_kinetics_v1_0.tar.gz", ava_archive(by_split))
    write(root / "700_2020/annotations/countix.tar.gz", countix_archive(by_split))
    return splits


def _add_twice(archive: Archive, videos: Videos) -> list[Row]:
    """Adds pairs of clips of one video that overlap, as far as they are hosted; returns their rows."""
    rows = []
    for youtube_id, clips in TWICE.items():
        for kind, start, end in clips:
            rows.append(Row(youtube_id, start, end, archive.label or ""))
            if kind:
                archive.clips.append((rows[-1], videos.video(kind, rows[-1].name)))
    return rows


def path_list(split: Split) -> str:
    folder, stem = {"k400": ("400", "k400"), "k600": ("600", "k600"), "k700-2020": ("700_2020", "k700_2020")}[
        split.release
    ]
    return f"{folder}/{split.name}/{stem}_{split.name}_path.txt"


def urls(archives: Iterable[Archive]) -> bytes:
    """As the official lists are: k600's names raw, with their spaces, parentheses and apostrophes."""
    return "".join(f"{OFFICIAL}{archive.name}\n" for archive in archives).encode()


def annotation_csv(
    rows: Iterable[Row], split: str, quoted: bool = False, with_cc: bool = False, with_label: bool = True
) -> bytes:
    with_label = with_label and any(row.label for row in rows)
    columns = [
        *(["label"] if with_label else []),
        "youtube_id",
        "time_start",
        "time_end",
        "split",
        *["is_cc"] * with_cc,
    ]
    buffer = io.StringIO()
    buffer.write(",".join(columns) + "\n")
    for row in rows:
        label = f'"{row.label}"' if quoted and " " in row.label else row.label
        fields = [*([label] if with_label else []), row.youtube_id, str(row.start), str(row.end), split]
        buffer.write(",".join([*fields, *["0"] * with_cc]) + "\n")
    assert list(csv.reader(io.StringIO(buffer.getvalue())))
    return buffer.getvalue().encode()


def _listing(split: str, rows: Iterable[Row]) -> bytes:
    """As `ls -R train/*` prints it, and then `train` itself."""
    by_label: dict[str, list[str]] = {}
    for row in rows:
        by_label.setdefault(row.label, []).append(f"{row.name}.mp4")
    sections = [
        f"{split}/{label}:\n" + "".join(f"{name}\n" for name in sorted(names))
        for label, names in sorted(by_label.items())
    ]
    return "\n".join([*sections, f"{split}:\n" + "".join(f"{label}\n" for label in sorted(by_label))]).encode()


def write(path: Path, data: bytes) -> None:
    """Writes a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def sha256(data: bytes) -> str:
    """Hexadecimal."""
    import hashlib

    return hashlib.sha256(data).hexdigest()
