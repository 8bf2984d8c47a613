"""Where the time goes: each stage of a clip's way alone, in one process, one core; milliseconds a clip."""

from __future__ import annotations

import hashlib
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from smoke import parse

from benchmarks.machine import describe, run, serving
from benchmarks.material import chosen_clip, clip_parser, make
from benchmarks.ways import COMMAND
from kconvert.dataset.formats.format import Sample
from kconvert.dataset.formats.webdataset import write_tar
from kconvert.sources.archive import ArchiveReader
from kconvert.sources.fetch.open import open_ahead, open_stream
from kconvert.sources.fetch.stream import FetchOptions
from kconvert.staging.part import StagedBytes, part_writer, read_staged
from kconvert.storage.folders import local
from kconvert.video.open import open_prober
from kconvert.video.verdict import CheckOptions


def main(words: Sequence[str]) -> int:
    parser = clip_parser("stages", __doc__)
    parser.add_argument("--clips", type=int, default=150)
    parser.add_argument("--repeats", type=int, default=5)
    options = parse(parser, words, clips=2, repeats=1)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        folder.chmod(0o755)
        clip = chosen_clip(options, folder)
        material = make(folder / "origin", clip, 1, options.clips)
        clips = _load(str(material.origin / material.archives[0]))
        found: dict[str, float] = {}
        with serving(material.origin) as server:
            url = server.url + material.archives[0]
            stages: dict[str, Callable[[], object]] = {
                "fetch, 4 connections": lambda: _fetch(url),
                "(read a local file instead)": lambda: _fetch(str(material.origin / material.archives[0])),
                "+ gunzip, tar": lambda: _load(str(material.origin / material.archives[0])),
                "sha256 of the clip": lambda: [hashlib.sha256(data).digest() for data in clips],
                "probe, depth header": lambda: _probe(clips, CheckOptions(depth="header")),
                "probe, depth index": lambda: _probe(clips, CheckOptions()),
                "stage into a part, with its CRC-32": lambda: _stage(folder, clips),
                "read back from the part": lambda: _read_back(folder, clips),
                "write into a shard, with its sha256": lambda: _pack(folder, clips),
            }
            for stage, do in stages.items():
                found[stage] = statistics.median(_seconds(do) for _ in range(options.repeats)) / len(clips) * 1000
        start = statistics.median(run([COMMAND, "--version"], folder).seconds for _ in range(3))
    inside = "(read a local file instead)"
    found["+ gunzip, tar"] -= found[inside]
    total = sum(found.values()) - found[inside] - found["probe, depth header"]
    print(f"{describe()}; {len(clips[0]):,} bytes a clip\n\n| stage | ms a clip |\n|---|--:|")
    for stage, milliseconds in found.items():
        print(f"| {stage} | {milliseconds:.2f} |")
    print(f"| all (depth index, HTTP) | {total:.2f} |\n\nstarting the command: {start:.2f} s")
    return 0


def _seconds(do: Callable[[], object]) -> float:
    start = time.perf_counter()
    do()
    return time.perf_counter() - start


def _fetch(location: str) -> None:
    with open_ahead(location, FetchOptions()) as stream:
        while stream.read():
            pass


def _load(location: str) -> list[bytes]:
    with open_stream(location, FetchOptions()) as stream, ArchiveReader(stream, location) as archive:
        return [member.load() for member in archive]


def _probe(clips: Sequence[bytes], options: CheckOptions) -> None:
    prober = open_prober(options)
    for data in clips:
        assert prober.probe(data).fault is None


def _stage(folder: Path, clips: Sequence[bytes]) -> list[StagedBytes]:
    with part_writer(local(folder / "part")) as part:
        return [part.append(data) for data in clips]


def _read_back(folder: Path, clips: Sequence[bytes]) -> None:
    from kconvert.storage.compression import crc32

    offsets = itertools.accumulate((len(data) for data in clips), initial=0)
    staged = (StagedBytes(offset, len(data), crc32(data)) for offset, data in zip(offsets, clips, strict=False))
    for _ in read_staged((local(folder / "part"), one) for one in staged):
        pass


def _pack(folder: Path, clips: Sequence[bytes]) -> None:
    samples = (Sample(f"k{number}", 1, {"key": f"k{number}"}, data) for number, data in enumerate(clips))
    with local(folder / "shard").write_whole() as file:
        write_tar(file, samples)
