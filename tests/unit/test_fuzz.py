"""Everything that reads data from outside, on whatever hypothesis makes of good data, and on what was once found."""

import functools
import gzip
import io
import random
import tarfile
from pathlib import Path

import pytest
from fuzzing import BASE, TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st

from kconvert.catalog.shelf import RELEASE_NAMES

ROOT = Path(__file__).parents[2]


def _tar(form: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, data in (("a.mp4", b"a" * 600), ("b" * 200 + ".mp4", b""), ("ä.mp4", b"c")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@functools.cache
def seeds(name: str) -> list[bytes]:
    """Good data."""
    clip = "0wR5jVB-WPk_000417_000427"
    return {
        "clip_name": [clip.encode(), f"{clip}.mp4".encode()],
        "annotations_csv": [
            b'label,youtube_id,time_start,time_end,split,is_cc\n"zumba",0wR5jVB-WPk,417,427,train,0\n',
            b"youtube_id,time_start,time_end,split\r\n---QUuC4vJs,84,94,train\r\n",
        ],
        "annotations_listing": [f"train/zumba:\n{clip}.mp4\n\ntrain:\nzumba\n".encode()],
        "annotations_json": [
            b'{"0wR5jVB-WPk": {"annotations": {"label": "zumba", "segment": [417.0, 427.0]}, "subset": "train"}}'
        ],
        "path_list": [f"{BASE}400/train/part_0.tar.gz\n{BASE}400/train/part%201.tar.gz\n".encode()],
        "archive": [
            data
            for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT)[:2]
            for data in (_tar(form), gzip.compress(_tar(form), mtime=0))
        ],
        "catalogue": [(ROOT / f"kconvert/catalog/releases/{name}.yaml").read_bytes() for name in RELEASE_NAMES],
        "manifest": [MANIFEST],
        "config": [path.read_bytes() for path in sorted((ROOT / "configs").glob("k*.yaml"))],
        "batch": [(ROOT / "configs/batch.yaml").read_bytes(), b"conversions: [{release: k400, out: x}]"],
    }[name]


MANIFEST = b"""{"format_version": 2, "kconvert_version": "0", "release": "k400", "options": {"to": "webdataset"},
"splits": {}, "shards": [], "tables": [], "damaged": [], "labels": {"num": 400, "sha256": "x"}, "tools": {"pyav": "18"}}"""

CASES: dict[str, list[bytes]] = {
    # A group with nothing, or a list, below it was an error of the library, with a traceback.
    "batch": [
        b"defaults:\n  shuffle:\nconversions: [{release: k400, out: x}]",
        b"conversions: [{release: k400, out: x, shuffle: [{release: k600}]}]",
    ],
    "config": [b"shuffle:\n", b"check: null\n"],
}
"""What was found once, by hypothesis or by `tools/campaign fuzz`."""


def changed(data: bytes, draw: random.Random, pieces: list[bytes]) -> bytes:
    """The data with bits flipped, bytes cut out, and pieces put in or doubled."""
    spoilt = bytearray(data)
    for piece in pieces or [b""]:
        place = draw.randrange(len(spoilt) + 1)
        match draw.randrange(5):
            case 0 if spoilt:
                spoilt[place % len(spoilt)] ^= 1 << draw.randrange(8)
            case 1:
                del spoilt[place : place + draw.randrange(40)]
            case 2:
                spoilt[place : place + len(piece)] = piece
            case 3:
                spoilt[place:place] = piece
            case _:
                spoilt[place:place] = spoilt[place : place + draw.randrange(600)]
    return bytes(spoilt)


SLOW = ("config", "batch")
"""They make parsers of a hundred options each time."""


@pytest.mark.parametrize("name", TARGETS)
def test_good_data_and_what_was_once_found(name: str) -> None:
    for data in [*seeds(name), *CASES.get(name, [])]:
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_comes_is_read_or_refused_as_promised(name: str) -> None:
    num_bytes = [0]

    @settings(max_examples=60 if name in SLOW else 1500, database=None)
    @given(st.integers(0, 9), st.randoms(use_true_random=False), st.lists(st.binary(max_size=20), max_size=6))
    def run(seed: int, draw: random.Random, pieces: list[bytes]) -> None:
        data = changed(seeds(name)[seed % len(seeds(name))], draw, pieces)
        num_bytes[0] += len(data)
        TARGETS[name](data)

    run()
    assert num_bytes[0] > 1000


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_are_read_or_refused_as_promised(name: str) -> None:
    @settings(max_examples=30 if name in SLOW else 200, database=None)
    @given(st.binary(max_size=2000) | st.text(max_size=500).map(str.encode))
    def run(data: bytes) -> None:
        TARGETS[name](data)

    run()
