"""A whole release without the bytes: planning, account, shuffle, tables and manifest, of as many rows as k700-2020 has,
a tenth, and fifteen times as many; then what looks at them: the join of `verify`, `status`, `report`.

An engine that moves no bytes takes the place of the local one: it writes the rows of made clips and shards that are
holes of the right size. Its own time is left out.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miniature.build import OFFICIAL, write
from smoke import parse

from benchmarks.machine import existing_folder
from kconvert.catalog.shelf import load_release
from kconvert.cli.report import write_report
from kconvert.cli.status import read_status
from kconvert.conversion import run as product
from kconvert.conversion.config import Conversion
from kconvert.conversion.ingest import IngestTask
from kconvert.conversion.pack import PackTask
from kconvert.conversion.shuffle import ShuffleOptions
from kconvert.conversion.verification import folder_differences, shard_tasks
from kconvert.dataset.formats.open import open_format
from kconvert.dataset.manifest import finished_manifest
from kconvert.dataset.staged_rows import StagedClip, staged_writer
from kconvert.engines.engine import Finished
from kconvert.events import Emit, Silent
from kconvert.staging.journal import ArchiveReceipt, ShardReceipt
from kconvert.storage.folders import local
from kconvert.storage.store import StorePath
from kconvert.video.metadata import MediaMetadata

_CLIPS = {"train": 536_489, "val": 33_966, "test": 64_535}
_ROWS = {"train": 545_793, "val": 34_256, "test": 67_858}
"""Annotated; some are not hosted (https://github.com/cvdfoundation/kinetics-dataset)."""
_NUM_TEST_ARCHIVES = 70
_CLIP_BYTES = 1_100_000
_METADATA = MediaMetadata(10.0, 300, 30.0, 340, 256, "yuv420p", "h264", "aac", 0, 1_000_000)


def _name(split: str, number: int) -> str:
    return f"{split[:2]}{number:09d}_{number % 300:06d}_{number % 300 + 10:06d}"


@dataclass(frozen=True)
class _Held:
    """What an archive holds: every so many of the clips of its split."""

    split: str
    """Its name."""
    numbers: range
    """Of the clips."""

    def __iter__(self) -> Iterator[str]:
        return (_name(self.split, number) for number in self.numbers)


def _origin(root: Path, share: float) -> dict[str, _Held]:
    """Path lists and annotations; returns what each archive holds."""
    release = load_release("k700-2020")
    archives: dict[str, _Held] = {}
    for split, total in _CLIPS.items():
        num_clips = round(total * share)
        is_test = split == "test"
        prefix = f"700_2020/{split}/k700_{split}_"
        num = _NUM_TEST_ARCHIVES if is_test else len(release.labels)
        names = [f"{prefix}{place + 1:03d}.tar.gz" for place in range(num)]
        listed = "".join(f"{OFFICIAL}{name}\n" for name in names)
        write(root / f"700_2020/{split}/k700_2020_{split}_path.txt", listed.encode())
        _annotate(root / f"700_2020/annotations/{split}.csv", split, share, () if is_test else release.labels)
        for place, name in enumerate(names):
            archives[name] = _Held(split, range(place, num_clips, num))
            write(root / name, gzip.compress(b""))
    return archives


def _annotate(path: Path, split: str, share: float, labels: Sequence[str]) -> None:
    """The annotations of a split, line by line: its own memory is not to be taken for that of the product."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.write(
            "label,youtube_id,time_start,time_end,split\n" if labels else "youtube_id,time_start,time_end,split\n"
        )
        for number in range(round(_ROWS[split] * share)):
            name = _name(split, number)
            row = f"{name[:11]},{int(name[12:18])},{int(name[19:25])},{split}\n"
            file.write(f"{labels[number % len(labels)]},{row}" if labels else row)


class _NoBytes:
    """An engine whose tasks take no time to speak of."""

    def __init__(self, clips: Mapping[str, _Held]) -> None:
        self._clips = clips
        self.seconds = 0.0

    @property
    def is_here(self) -> bool:
        return True

    def prepare(self, prelude: Any) -> None: ...

    def run(self, work: Any, tasks: Iterable[Any], emit: Emit) -> Iterator[Any]:
        for task in tasks:
            start = time.perf_counter()
            result = self._ingest(task) if isinstance(task, IngestTask) else self._pack(task)
            self.seconds += time.perf_counter() - start
            yield Finished(task, result)

    def _ingest(self, task: IngestTask) -> ArchiveReceipt:
        journal, held = task.journal, self._clips[task.name]
        with staged_writer(journal.rows_path(task.archive_id)) as rows:
            for place, name in enumerate(held):
                sha256 = f"{hash(name) & 0xFFFFFFFF:08x}" * 8
                member = f"label/{name}.mp4"
                rows.add(StagedClip(name, member, (), "", _CLIP_BYTES, sha256, _METADATA, place * _CLIP_BYTES, 1))
            digest = rows.finish()
        journal.part_path(task.archive_id).write_bytes(b"")
        num = len(held.numbers)
        os.truncate(str(journal.part_path(task.archive_id)), num * _CLIP_BYTES)
        receipt = ArchiveReceipt(task.name, 1, "", num, 0, 0, 0, num, (), (), num * _CLIP_BYTES, digest)
        journal.set_archive_receipt(task.archive_id, receipt)
        return receipt

    def _pack(self, task: PackTask) -> ShardReceipt:
        layout = open_format(task.format)
        sample = layout.max_sample_bytes(_CLIP_BYTES)
        size = layout.overhead_bytes + sample * len(task.samples)
        path = task.out / task.path
        path.parent.make_folder()
        path.write_bytes(b"")
        os.truncate(str(path), size)
        for name in layout.sidecar_paths(task.path):
            (task.out / name).parent.make_folder()
            (task.out / name).write_bytes(b"")
        offsets = tuple(range(0, sample * len(task.samples), sample))
        receipt = ShardReceipt(task.path, len(task.samples), size, "0" * 64, offsets, task.plan_sha256)
        task.journal.set_shard_receipt(task.number, receipt)
        return receipt

    def close(self) -> None:
        pass


def _measure(num_rows: int, folder: Path) -> None:
    clips = _origin(folder / "origin", num_rows / sum(_ROWS.values()))
    engine = _NoBytes(clips)
    vars(product).update(require_space=lambda use: None)
    conversion = Conversion(
        release="k700-2020", out=str(folder / "out"), origin=str(folder / "origin"), shuffle=ShuffleOptions()
    )
    start = time.perf_counter()
    summary = product.convert(conversion, Silent(), engine)
    seconds = time.perf_counter() - start
    assert not summary.failures, summary.failures[0]
    rows = sum(record.table.num_rows for record in summary.records.values())
    _say(rows=rows, seconds=seconds - engine.seconds)


def _verify(out: StorePath) -> None:
    """All of it but the bytes of shards."""
    manifest = finished_manifest(out)
    found = list(folder_differences(out, manifest))
    assert not found, found[0]
    for task in shard_tasks(out, manifest, set()):
        assert len(task.rows or ()) == task.entry.num_samples, task.name
        pickle.dumps(task)


_LOOKS: Mapping[str, Callable[[StorePath], object]] = {
    "verify's join": _verify,
    "status": read_status,
    "report": write_report,
}


def _say(**found: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(found | {"peak": peak}))


def _look(what: str, folder: Path) -> None:
    """At what a conversion left there."""
    start = time.perf_counter()
    _LOOKS[what](local(folder / "out"))
    _say(seconds=time.perf_counter() - start)


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools/bench scale", description=__doc__)
    parser.add_argument("--folder", type=existing_folder, default=Path("/dev/shm"))
    parser.add_argument("--rows", type=int, nargs="+", default=[65_000, 650_000, 10_000_000], help="annotated")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--look", choices=_LOOKS, help=argparse.SUPPRESS)
    options = parse(parser, words, rows=[650])
    if options.one:
        _measure(options.one, options.folder)
        return 0
    if options.look:
        _look(options.look, options.folder)
        return 0
    print("| rows | what | seconds | µs a row | peak memory |\n|--:|---|--:|--:|--:|")
    for num_rows in options.rows:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            _print(num_rows, "conversion", _run(folder, "--one", str(num_rows)))
            for what in _LOOKS:
                _print(num_rows, what, _run(folder, "--look", what))
    return 0


def _run(folder: str, *words: str) -> dict[str, float]:
    """Something in a process of its own, whose memory is measured."""
    command = [sys.executable, "-m", "benchmarks", "scale", "--folder", folder, *words]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def _print(rows: int, what: str, found: Mapping[str, float]) -> None:
    seconds, peak = found["seconds"], found["peak"] / 1e6
    print(f"| {rows:,} | {what} | {seconds:.1f} | {seconds / rows * 1e6:.1f} | {peak:,.0f} MB |", flush=True)
