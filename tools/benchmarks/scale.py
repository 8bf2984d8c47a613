"""A whole release without the bytes: planning, account, shuffle, tables and manifest of k700-2020's 650,000 rows.

An engine that moves no bytes takes the place of the local one: it writes the rows of made clips and shards that are
holes of the right size. Its own time is left out.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from miniature.build import OFFICIAL, write
from smoke import parse

from benchmarks.machine import existing_folder
from kconvert.catalog.shelf import load_release
from kconvert.conversion import run as product
from kconvert.conversion.config import Conversion
from kconvert.conversion.ingest import IngestTask
from kconvert.conversion.pack import PackTask
from kconvert.conversion.shuffle import ShuffleOptions
from kconvert.dataset.formats.open import open_format
from kconvert.dataset.staged_rows import StagedClip, staged_writer
from kconvert.engines.engine import Finished
from kconvert.events import Emit, Silent
from kconvert.staging.journal import ArchiveReceipt, ShardReceipt
from kconvert.video.metadata import MediaMetadata

_CLIPS = {"train": 536_489, "val": 33_966, "test": 64_535}
_ROWS = {"train": 545_793, "val": 34_256, "test": 67_858}
"""Annotated; some are not hosted (https://github.com/cvdfoundation/kinetics-dataset)."""
_NUM_TEST_ARCHIVES = 70
_CLIP_BYTES = 1_100_000
_METADATA = MediaMetadata(10.0, 300, 30.0, 340, 256, "yuv420p", "h264", "aac", 0, 1_000_000)


def _name(split: str, number: int) -> str:
    return f"{split[:2]}{number:09d}_{number % 300:06d}_{number % 300 + 10:06d}"


def _origin(root: Path, share: float) -> dict[str, list[str]]:
    """Path lists and annotations; returns the clips of each archive."""
    release = load_release("k700-2020")
    archives: dict[str, list[str]] = {}
    for split, total in _CLIPS.items():
        num_clips, num_rows = round(total * share), round(_ROWS[split] * share)
        folder = f"700_2020/{split}"
        is_test = split == "test"
        prefix = f"{folder}/k700_{split}_"
        num = _NUM_TEST_ARCHIVES if is_test else len(release.labels)
        names = [f"{prefix}{place + 1:03d}.tar.gz" for place in range(num)]
        lines = ["youtube_id,time_start,time_end,split"] if is_test else ["label,youtube_id,time_start,time_end,split"]
        for number in range(num_rows):
            name = _name(split, number)
            row = f"{name[:11]},{int(name[12:18])},{int(name[19:25])},{split}"
            label = release.labels[number % num] if not is_test else ""
            lines.append(row if is_test else f"{label},{row}")
            if number < num_clips:
                archives.setdefault(names[number % num], []).append(name)
        write(root / folder / f"k700_2020_{split}_path.txt", "".join(f"{OFFICIAL}{name}\n" for name in names).encode())
        write(root / f"700_2020/annotations/{split}.csv", ("\n".join(lines) + "\n").encode())
        for name in names:
            write(root / name, gzip.compress(b""))
    return archives


class _NoBytes:
    """An engine whose tasks take no time to speak of."""

    def __init__(self, clips: dict[str, list[str]]) -> None:
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
        journal, names = task.journal, self._clips.get(task.name, [])
        with staged_writer(journal.rows_path(task.archive_id)) as rows:
            for place, name in enumerate(names):
                sha256 = f"{hash(name) & 0xFFFFFFFF:08x}" * 8
                member = f"label/{name}.mp4"
                rows.add(StagedClip(name, member, (), "", _CLIP_BYTES, sha256, _METADATA, place * _CLIP_BYTES, 1))
            digest = rows.finish()
        journal.part_path(task.archive_id).write_bytes(b"")
        os.truncate(str(journal.part_path(task.archive_id)), len(names) * _CLIP_BYTES)
        num = len(names)
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


def _measure(share: float, folder: Path) -> None:
    clips = _origin(folder / "origin", share)
    engine = _NoBytes(clips)
    vars(product).update(require_space=lambda use: None)
    conversion = Conversion(
        release="k700-2020", out=str(folder / "out"), origin=str(folder / "origin"), shuffle=ShuffleOptions()
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    summary = product.convert(conversion, Silent(), engine)
    seconds = time.perf_counter() - start
    assert not summary.failures, summary.failures[0]
    rows = sum(record.table.num_rows for record in summary.records.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {"rows": rows, "seconds": seconds - engine.seconds, "engine": engine.seconds, "peak": peak * 1024,
             "before": before * 1024}
        )
    )  # fmt: skip


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools/bench scale", description=__doc__)
    parser.add_argument("--folder", type=existing_folder, default=Path("/dev/shm"))
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.25, 0.5, 1.0])
    parser.add_argument("--one", type=float, help=argparse.SUPPRESS)
    options = parse(parser, words, shares=[0.001])
    if options.one:
        _measure(options.one, options.folder)
        return 0
    print("| rows | seconds | µs a row | peak memory |\n|--:|--:|--:|--:|")
    for share in options.shares:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            command = [sys.executable, "-m", "benchmarks", "scale", "--folder", folder, "--one", str(share)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows, seconds = found["rows"], found["seconds"]
        print(f"| {rows:,} | {seconds:.1f} | {seconds / rows * 1e6:.1f} | {found['peak'] / 1e6:,.0f} MB |", flush=True)
    return 0
