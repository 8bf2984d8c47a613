"""Damages clips at random, and compares: what opening a clip at a glance says with what opening it in full says, and
what `--check.depth decode` lets pass with how many of the stated frames ffprobe decodes.

Without --clips, the clips are made; with it they are the .mp4 files of a folder, which should be real ones.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from miniature.made import make_clip
from smoke import parse

from kconvert.video.child import Clip
from kconvert.video.libav import LibavProber
from kconvert.video.metadata import MediaMetadata
from kconvert.video.open import open_prober
from kconvert.video.verdict import CheckOptions, Fault, Probed, judge, rejecting_defect

MADE = ("good", "with_audio", "index_at_end", "rotated")
BOXES = (b"ftyp", b"moov", b"mdhd", b"tkhd", b"elst", b"stsd", b"avcC", b"esds", b"stts", b"ctts", b"stsc", b"stsz",
         b"stco", b"mdat")  # fmt: skip
CHUNK = 50
MIN_SHARE = 0.95


class FullProber(LibavProber):
    """Opens every clip in full."""

    def _glance(self, data: object, messages: object) -> None:
        return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/campaign clips", description=__doc__)
    parser.add_argument("--glances", type=int, default=20_000, help="damaged clips for the first comparison")
    parser.add_argument("--decoded", type=int, default=200, help="damaged clips for the second")
    parser.add_argument("--clips", type=Path, default=None, help="a folder of real clips")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="at a time")
    options = parse(parser, None, glances=200, decoded=4)
    clips = read_clips(options.clips)
    rounds = {"glance": (glance, options.glances), "decode": (decode, options.decoded)}
    num_failed = 0
    with ProcessPoolExecutor(options.jobs) as pool:
        for name, (compare, total) in rounds.items():
            seeds = [options.seed + number for number in range(total)]
            chunks = [seeds[start : start + CHUNK] for start in range(0, total, CHUNK)]
            counts: dict[str, int] = {}
            for outcomes in pool.map(partial(compared, compare, clips), chunks):
                for seed, outcome, detail in outcomes:
                    counts[outcome] = counts.get(outcome, 0) + 1
                    if outcome.startswith("WRONG"):
                        num_failed += 1
                        print(f"{name}, seed {seed}: {detail}", flush=True)
            shown = ", ".join(f"{number:,} {outcome}" for outcome, number in sorted(counts.items()))
            print(f"{name}: {total:,} damaged clips of {len(clips)}: {shown}", flush=True)
    return int(num_failed > 0)


def read_clips(folder: Path | None) -> list[bytes]:
    """The clips that are damaged."""
    if folder is None:
        return [make_clip(kind, "x") for kind in MADE]
    return [path.read_bytes() for path in sorted(folder.glob("*.mp4"))]


def compared(compare: object, clips: Sequence[bytes], seeds: Sequence[int]) -> list[tuple[int, str, str]]:
    """The outcome of each seed, and what there is to say of it."""
    assert callable(compare)
    return [(seed, *compare(clips, random.Random(seed))) for seed in seeds]


def damaged_head(clips: Sequence[bytes], draw: random.Random) -> bytes:
    """A clip with up to three bytes changed near the beginnings of its boxes, and now and then cut."""
    clip = bytearray(draw.choice(clips))
    places = [place for name in BOXES if (place := clip.find(name)) >= 0]
    for _ in range(draw.randint(1, 3)):
        clip[min(len(clip) - 1, draw.choice(places) + draw.randint(-4, 400))] = draw.randrange(256)
    if draw.random() < 0.1:
        del clip[draw.randrange(len(clip)) :]
    return bytes(clip) or b"x"


def glance(clips: Sequence[bytes], draw: random.Random) -> tuple[str, str]:
    """Whether a glance gives what opening in full gives."""
    data = damaged_head(clips, draw)
    options = CheckOptions(depth=draw.choice(["header", "index"]))
    clip = Clip(data)
    quick, full = (answer(kind(options), clip) for kind in (LibavProber, FullProber))
    return ("equal", "") if quick == full else ("WRONG", difference(quick, full))


def answer(prober: LibavProber, clip: Clip) -> Probed:
    """What a prober says; the video process says of a clip that needs too much memory that it crashed."""
    try:
        return prober.probe(clip, lambda what: None)
    except MemoryError:
        return Probed(MediaMetadata(), Fault("crashed", "memory"))


def difference(one: Probed, other: Probed) -> str:
    """Where two answers differ."""
    pairs = {**vars(one.metadata), "fault": one.fault}
    others = {**vars(other.metadata), "fault": other.fault}
    differing = [name for name in pairs if pairs[name] != others[name]]
    return ", ".join(f"{name}: {pairs[name]!r}, in full {others[name]!r}" for name in differing)


def decode(clips: Sequence[bytes], draw: random.Random) -> tuple[str, str]:
    """Whether a clip with one to four bytes changed anywhere that is let pass has the frames that it states."""
    clip = bytearray(draw.choice(clips))
    for _ in range(draw.randint(1, 4)):
        clip[draw.randrange(len(clip))] = draw.randrange(256)
    data, options = bytes(clip), CheckOptions(depth="decode")
    defects = judge(open_prober(options).probe(data), options).defects
    if reason := rejecting_defect(defects, options.dropped):
        return f"rejected ({reason})", ""
    num_stated, num_decoded = frames(data)
    if num_decoded < MIN_SHARE * num_stated:
        return "WRONG", f"written, though {num_decoded} of {num_stated} frames decode"
    return "written", ""


def frames(data: bytes) -> tuple[int, int]:
    """How many frames ffprobe finds stated, and decodes."""
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write(data)
        file.flush()
        entries = "stream=nb_frames,nb_read_frames"
        words = f"ffprobe -v error -count_frames -select_streams v:0 -show_entries {entries} -of json"
        done = subprocess.run([*words.split(), file.name], capture_output=True, text=True, check=False)
    (stream,) = json.loads(done.stdout)["streams"]
    return int(stream.get("nb_frames", 0)), int(stream.get("nb_read_frames", 0))


if __name__ == "__main__":
    raise SystemExit(main())
