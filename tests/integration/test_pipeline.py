"""kconvert.webdataset: webdataset's own pipeline over a folder or a bucket, split over ranks and workers."""

import gc
import itertools
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import webdataset
from buckets import store
from harness import kconvert

import kconvert as product
from kconvert.errors import UsageError

# webdataset leaves it to the garbage collector to close its files.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

SCRIPT = """
import json, sys
import torch.distributed, torch.utils.data
import kconvert

def keys(dataset, num_workers, context):
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=num_workers, multiprocessing_context=context)
    return len(loader), [sample["__key__"] for sample in loader]

if __name__ == "__main__":
    place, split, rank, num_ranks, num_workers, context, url = sys.argv[1:]
    if int(num_ranks) > 1:
        torch.distributed.init_process_group("gloo", init_method=url, rank=int(rank), world_size=int(num_ranks))
    try:
        found = keys(kconvert.webdataset(place, split), int(num_workers), context or None)
        print(json.dumps(found))
    except Exception as error:
        print(json.dumps([-1, [str(error)]]))
"""


@pytest.fixture(autouse=True)
def _closed_here() -> Iterator[None]:
    """What is left to the garbage collector is collected where it is known of."""
    yield
    gc.collect()


def written(out: Path, split: str = "train") -> dict[str, dict[str, Any]]:
    rows = pq.read_table(out / "metadata" / f"{split}.parquet").to_pylist()
    return {row["key"]: row for row in rows if row["status"] == "written"}


def read(
    place: object,
    num_ranks: int,
    num_workers: int,
    context: str,
    folder: Path,
    environment: dict[str, str] | None = None,
) -> list[tuple[int, list[str]]]:
    """What each rank reads: its length and its keys."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    (folder / "rendezvous").unlink(missing_ok=True)
    start = [sys.executable, "-W", "ignore", script, place, "train"]
    more = [num_ranks, num_workers, context, f"file://{folder}/rendezvous"]
    ranks = [
        subprocess.Popen(
            [str(word) for word in (*start, rank, *more)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {}), "PYTHONDEVMODE": ""},
        )
        for rank in range(num_ranks)
    ]
    said = [rank.communicate(timeout=200) for rank in ranks]
    assert all(rank.returncode == 0 for rank in ranks), said
    return [tuple(json.loads(out.splitlines()[-1])) for out, _ in said]


def test_a_sample_is_what_the_table_says(converted: Path) -> None:
    rows = written(converted)
    dataset = product.webdataset(converted, "train")
    assert isinstance(dataset, webdataset.WebDataset)
    found = list(dataset)
    assert len(found) == len(dataset) == len(rows)
    for sample in found:
        row = rows[sample["__key__"]]
        assert sample["cls"] == row["label_id"]
        assert (sample["json"]["label"], len(sample["mp4"])) == (row["label"], row["size_bytes"])
    # The order of the shards, by default.
    assert [sample["__key__"] for sample in found] == [clip.key for clip in product.open(converted, "train")]
    frames = next(iter(product.webdataset(converted, "train", frames=True)))
    row = rows[frames["__key__"]]
    stored = (row["height"], row["width"])
    # The columns tell the size as stored; the frames are upright.
    upright = stored[::-1] if row["rotation_degrees"] % 180 else stored
    assert frames["mp4"].shape == (row["num_frames"], *upright, 3)


@pytest.mark.parametrize(
    ("num_ranks", "num_workers", "context"),
    [(1, 0, ""), (1, 3, "fork"), (1, 2, "spawn"), (3, 1, "forkserver"), (2, 0, "")],
)
def test_every_clip_is_read_once_by_one_rank(
    converted: Path, tmp_path: Path, num_ranks: int, num_workers: int, context: str
) -> None:
    found = read(converted, num_ranks, num_workers, context, tmp_path)
    assert all(length == len(keys) for length, keys in found)
    assert sorted(key for _, keys in found for key in keys) == sorted(written(converted))


def test_too_few_shards_are_refused_with_both_numbers(converted: Path, tmp_path: Path) -> None:
    assert len(list((converted / "train").iterdir())) == 3
    for num_ranks, num_workers in ((1, 4), (4, 0), (2, 2)):
        for length, (said,) in read(converted, num_ranks, num_workers, "", tmp_path):
            assert length == -1
            expected = f"3 shards for {num_ranks} ranks of {max(1, num_workers) if num_ranks < 4 else 1} workers each"
            assert expected in said


def test_a_bucket_is_read_as_a_folder_is(converted: Path, tmp_path: Path) -> None:
    with store() as bucket:
        bucket.make_bucket("data")
        bucket.fill("data", converted)
        found = read("s3://data", 1, 2, "spawn", tmp_path, bucket.environment)
    assert sorted(found[0][1]) == sorted(written(converted))


def test_a_folder_whose_name_looks_like_a_query_is_read(converted: Path, copy_of: Callable[[Path], Path]) -> None:
    odd = copy_of(converted).rename(converted.parent / "50% #1; a?b=c {0..1}")
    try:
        assert len(list(product.webdataset(odd, "train"))) == len(written(converted))
    finally:
        odd.rename(converted.parent.parent / f"{os.getpid()}-odd")


def test_ranks_that_are_joined_after_it_was_sent_count(converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `torch.multiprocessing.spawn` sends a dataset before there are ranks."""
    sent = pickle.dumps(product.webdataset(converted, "train"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    keys = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        there = pickle.loads(sent)
        found = [sample["__key__"] for sample in there]
        assert len(there) == len(found)
        keys += found
    assert sorted(keys) == sorted(written(converted))


def test_the_options_of_webdataset_are_obeyed(converted: Path, mini: Path, tmp_path: Path) -> None:
    endless = product.webdataset(converted, "train", resampled=True)
    assert len(list(itertools.islice(endless, 50))) == 50
    out = tmp_path / "out"
    words = ("k400", "--split", "val", "--check.depth", "header", "--out", out, "--origin", mini)
    assert kconvert(*words).code == 0
    # Some of its clips are cut in the middle.
    with pytest.raises(webdataset.autodecode.DecodingError):
        list(product.webdataset(out, "val", frames=True))
    handler = webdataset.warn_and_continue
    with pytest.warns(UserWarning, match="DecodingError"):
        found = list(product.webdataset(out, "val", frames=True, handler=handler))
    assert 0 < len(found) < len(written(out, "val"))


def test_what_cannot_be_read_is_refused(converted: Path, mini: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no split 'validation', expected one of train, val, test"):
        product.webdataset(converted, "validation")
    with pytest.raises(UsageError, match="no manifest.json"):
        product.webdataset(tmp_path, "train")
    ran = kconvert("k400", "--split", "val", "--to", "parquet", "--out", tmp_path / "p", "--origin", mini)
    assert ran.code == 0, ran.err
    with pytest.raises(UsageError, match="is in the format parquet, expected webdataset"):
        product.webdataset(tmp_path / "p", "val")


def test_our_tars_are_those_of_webdatasets_own_writer(converted: Path, tmp_path: Path) -> None:
    """The same members in the same order, read by its reader, from its TarWriter and from ours."""
    for shard in sorted((converted / "train").iterdir()):
        ours = list(webdataset.WebDataset(str(shard), shardshuffle=False))
        with webdataset.TarWriter(str(tmp_path / shard.name), encoder=False) as writer:
            for sample in ours:
                writer.write(
                    {name: value for name, value in sample.items() if name not in ("__url__", "__local_path__")}
                )
        theirs = list(webdataset.WebDataset(str(tmp_path / shard.name), shardshuffle=False))
        strip = ("__url__", "__local_path__")
        assert [{k: v for k, v in one.items() if k not in strip} for one in ours] == [
            {k: v for k, v in one.items() if k not in strip} for one in theirs
        ]
