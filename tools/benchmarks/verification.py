"""`kconvert verify` beside hashing the same shards."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from smoke import parse

from benchmarks.machine import describe, run
from benchmarks.material import chosen_clip, clip_parser, make
from benchmarks.ways import COMMAND, PYTHON

_HASH = (
    "import hashlib, sys\n"
    "for path in sys.argv[1:]:\n"
    "    with open(path, 'rb') as file: print(hashlib.file_digest(file, 'sha256').hexdigest())"
)


def main(words: Sequence[str]) -> int:
    parser = clip_parser("verify", __doc__)
    parser.add_argument("--archives", type=int, default=20)
    parser.add_argument("--clips", type=int, default=75, help="clips in an archive")
    parser.add_argument("--repeats", type=int, default=3)
    options = parse(parser, words, archives=1, clips=2, repeats=1)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        material = make(folder / "origin", chosen_clip(options, folder), options.archives, options.clips)
        out = folder / "out"
        words = ("k400", "--split", "val", "--origin", str(material.origin), "--out", str(out))
        run([COMMAND, *words, "--shard.max_bytes", "100MB"], folder)
        shards = sorted(out.glob("val/*.tar"))
        listed = "\\n".join(map(str, shards))
        two = f"printf '{listed}\\n' | xargs -P 2 -n 4 "
        commands: dict[str, Sequence[object]] = {
            "kconvert verify, two workers": [COMMAND, "verify", out],
            "hashlib's sha256 of the shards, two at a time": ["sh", "-c", f'{two} {PYTHON} -c "{_HASH}"'],
            "sha256sum of the shards, two at a time": ["sh", "-c", f"{two} sha256sum"],
            "sha256sum of the shards": ["sha256sum", *shards],
        }
        num_bytes = sum(path.stat().st_size for path in shards)
        print(f"{describe()}; {num_bytes / 1e9:.1f} GB in {len(shards)} shards\n")
        found: dict[str, list[float]] = {way: [] for way in commands}
        for _ in range(options.repeats):
            for way, command in commands.items():
                found[way].append(run(command, folder).seconds)
        ours = statistics.median(found["kconvert verify, two workers"])
        print("| | seconds | MB/s | verify takes |\n|---|--:|--:|--:|")
        for way, times in found.items():
            seconds = statistics.median(times)
            print(f"| {way} | {seconds:.2f} | {num_bytes / seconds / 1e6:,.0f} | {ours / seconds:.2f} × |")
    return 0
