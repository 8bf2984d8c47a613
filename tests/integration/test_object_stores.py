"""Conversions from, by way of and into an object store, by the installed command, against a real S3 server."""

import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from buckets import KEY, SECRET, Asked, Misbehave, Store, store
from harness import COMMAND, Ran, kconvert, one_line, tree

from kconvert.storage.store import TEMPORARY_SUFFIX

SHARDS = ["--shard.max_samples", "5"]


@pytest.fixture
def bucket() -> Iterator[Store]:
    """A store with an empty bucket `data`."""
    with store() as found:
        found.make_bucket("data")
        yield found


@pytest.fixture(scope="module")
def one_split(mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a conversion of one split comes to. Not to be changed."""
    out = tmp_path_factory.mktemp("one_split") / "k400"
    assert kconvert("k400", "--out", out, "--origin", mini, *SHARDS, "--split", "val").code == 0
    return out


def run(store: Store, origin: Path | str, *more: str | Path, out: str = "s3://data/k400") -> Ran:
    return kconvert("k400", "--out", out, "--origin", origin, *SHARDS, *more, env=store.environment)


def left(store: Store) -> list[str]:
    """What a finished run should not leave in a bucket."""
    names = [*store.objects("data"), *store.uploads("data")]
    return [
        name
        for name in names
        if name.endswith((".part", ".failed", ".kconvert-tmp", "lock")) or name in store.uploads("data")
    ]


def test_all_of_it_in_buckets(mini: Path, converted: Path, bucket: Store, tmp_path: Path) -> None:
    bucket.make_bucket("kinetics")
    bucket.fill("kinetics", mini)
    ran = run(bucket, "s3://kinetics/", "--staging", "s3://data/scratch")
    assert ran.code == 0, ran.err
    assert bucket.tree("data", "k400/") == tree(converted)
    assert left(bucket) == []
    assert {asked.path.split("/")[1] for asked in bucket.asked if asked.is_part} == {"k400", "scratch"}
    verified = kconvert("verify", "s3://data/k400", env=bucket.environment)
    assert verified.code == 0, verified.out
    status = kconvert("status", "s3://data/k400", env=bucket.environment)
    assert status.out.startswith("complete"), status.out
    everything = b"".join(bucket.objects("data").values()) + (ran.out + ran.err).encode()
    for word in (KEY, SECRET, bucket.url):
        assert word.encode() not in everything
    again = len(bucket.asked)
    assert run(bucket, "s3://kinetics/").code == 0
    assert not [asked for asked in bucket.asked[again:] if asked.is_part]


def test_any_clip_is_one_ranged_read_away(converted: Path, bucket: Store) -> None:
    bucket.fill("data", converted.parent)
    client = bucket.client()
    client.download_file("data", "k400/metadata/train.parquet", "/dev/shm/kconvert-test.parquet")
    rows = pq.read_table("/dev/shm/kconvert-test.parquet", filters=[("status", "=", "written")]).to_pylist()
    os.unlink("/dev/shm/kconvert-test.parquet")
    assert rows
    for row in rows:
        end = row["offset_bytes"] + row["size_bytes"] - 1
        wanted = {"Bucket": "data", "Key": f"k400/{row['shard']}", "Range": f"bytes={row['offset_bytes']}-{end}"}
        assert sha256(client.get_object(**wanted)["Body"].read()) == row["sha256"]


def sha256(data: bytes) -> str:
    return subprocess.run(["sha256sum"], input=data, capture_output=True, check=True).stdout.split()[0].decode()


def test_the_official_bucket_is_read_anonymously(mini: Path, converted: Path, bucket: Store, tmp_path: Path) -> None:
    bucket.make_bucket("kinetics")
    bucket.fill("kinetics", mini)
    before = len(bucket.asked)
    alone = {name: value for name, value in bucket.environment.items() if "KEY" not in name}
    out = tmp_path / "out"
    ran = kconvert("k400", "--out", out, "--origin", "s3://kinetics/", *SHARDS, env=alone)
    assert ran.code == 0, ran.err
    assert tree(out) == tree(converted)
    assert not any(asked.is_signed for asked in bucket.asked[before:])
    refused = kconvert("k400", "--out", "s3://data/x", "--origin", "s3://kinetics/", env=alone)
    assert refused.code == 2
    assert "the environment has none" in one_line(refused)
    kept = kconvert(
        "k400", "--out", tmp_path / "b", "--origin", "s3://kinetics", "--archives", tmp_path / "c", *SHARDS, env=alone
    )
    assert kept.code == 0, kept.err
    assert tree(tmp_path / "b") == tree(converted)
    assert (tmp_path / "c/400/train/part_0.tar.gz").read_bytes() == (mini / "400/train/part_0.tar.gz").read_bytes()


@pytest.mark.parametrize("status", ["403", "400"])
def test_an_open_bucket_is_read_whatever_credentials_the_environment_has(
    mini: Path, one_split: Path, bucket: Store, tmp_path: Path, status: str
) -> None:
    """Foreign ones, and such as have expired, of which HEAD says nothing but 400."""
    bucket.make_bucket("kinetics")
    bucket.fill("kinetics", mini)
    bucket.misbehave = lambda asked: status if asked.is_signed else ""
    command = ("k400", "--split", "val", "--origin", "s3://kinetics/", *SHARDS)
    ran = kconvert(*command, "--out", tmp_path / "out", env=bucket.environment)
    assert ran.code == 0, ran.err
    assert tree(tmp_path / "out") == tree(one_split)
    # Where it is closed to all, both answers are told.
    bucket.misbehave = lambda asked: status if asked.is_signed else "403"
    said = one_line(kconvert(*command, "--out", tmp_path / "b", env=bucket.environment))
    first = {"403": "Forbidden", "400": "Bad Request; have the credentials expired?"}[status]
    assert re.search(rf"{re.escape(first)}.*; and without the environment's credentials: .*Forbidden", said)


def test_uploads_that_are_listed_by_their_exact_keys_only_are_given_up(mini: Path, bucket: Store) -> None:
    for key in ("k400/val/k400-val-000000.tar", "other/x.tar"):
        bucket.client().create_multipart_upload(Bucket="data", Key=key)
    bucket.misbehave = lambda asked: "exact" if asked.query.get("prefix", [""])[0].endswith("/") else ""
    assert run(bucket, mini, "--split", "val").code == 0
    bucket.misbehave = lambda asked: ""
    assert bucket.uploads("data") == ["other/x.tar"]


def test_staging_elsewhere_changes_nothing(mini: Path, one_split: Path, bucket: Store, tmp_path: Path) -> None:
    """On a disk for a bucket, in a bucket for a disk, and on a disk for a disk; nothing stays there."""
    scratch = tmp_path / "scratch"
    assert run(bucket, mini, "--split", "val", "--staging", scratch).code == 0
    assert bucket.tree("data", "k400/") == tree(one_split)
    assert not [asked for asked in bucket.asked if asked.path.endswith(".part")]
    for number, staging in enumerate(["s3://data/scratch", str(scratch)]):
        out = tmp_path / f"out{number}"
        assert run(bucket, mini, "--split", "val", "--staging", staging, out=str(out)).code == 0
        assert tree(out) == tree(one_split)
    assert left(bucket) == []
    assert not list(scratch.iterdir())


def test_killed_runs_go_on_to_the_same_bytes(mini: Path, converted: Path, bucket: Store) -> None:
    """No reader ever sees half a shard, and nothing is left behind, also not in uploads that nobody sees."""
    expected, draw = tree(converted), random.Random(5)
    command = [str(COMMAND), "k400", "--origin", str(mini), *SHARDS, "--out"]
    env = {**os.environ, **bucket.environment}
    num_writes, last, reached = 0, 0, threading.Event()

    def counted(asked: Asked) -> str:
        nonlocal num_writes
        num_writes += asked.method in ("PUT", "POST")
        if num_writes == last:
            reached.set()
        return ""

    bucket.misbehave = counted
    subprocess.run([*command, "s3://data/undisturbed"], env=env, stderr=subprocess.DEVNULL, check=True)
    usual, num_killed, num_looks = num_writes, 0, 0
    for share in (0.4, 0.3, 0.2, 9.0):
        num_writes, last = 0, round(usual * draw.uniform(share - 0.1, share))
        reached.clear()
        process = subprocess.Popen(
            [*command, "s3://data/k400"], env=env, stderr=subprocess.DEVNULL, start_new_session=True
        )
        while not reached.wait(0.2) and process.poll() is None:
            for name, data in bucket.tree("data", "k400/").items():
                # What a run tries out at its beginning is there for a moment.
                assert name.endswith(TEMPORARY_SUFFIX) or data == expected[name], name
                num_looks += 1
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            num_killed += 1
        process.wait()
    bucket.misbehave = lambda asked: ""
    assert num_killed >= 2
    assert num_looks
    # As a killed upload leaves it.
    bucket.client().create_multipart_upload(Bucket="data", Key="k400/train/k400-train-000000.tar")
    bucket.client().create_multipart_upload(Bucket="data", Key="k400-of-somebody/train.tar")
    (bucket.client()).put_object(Bucket="data", Key="k400/.kconvert/train/x", Body=b"")
    ran = run(bucket, mini)
    assert ran.code == 0, ran.err
    assert bucket.tree("data", "k400/") == expected
    assert bucket.uploads("data") == ["k400-of-somebody/train.tar"]


def now_and_then(asked: Asked) -> str:
    """Every ninth connection is cut, every seventeenth request refused."""
    return "reset" if asked.number % 9 == 8 else "500" if asked.number % 17 == 16 else ""


def first(acts: list[str], of: Callable[[Asked], bool]) -> Misbehave:
    """The first attempts at each request of a kind."""
    seen: Counter[str] = Counter()

    def misbehave(asked: Asked) -> str:
        name = f"{asked.method} {asked.path} {asked.query.get('partNumber')}"
        number, seen[name] = seen[name], seen[name] + 1
        return acts[number] if of(asked) and number < len(acts) else ""

    return misbehave


def part(asked: Asked) -> bool:
    return asked.is_part


def completion(asked: Asked) -> bool:
    return asked.is_completion


@pytest.mark.parametrize(
    "misbehave",
    [now_and_then, first(["503", "reset"], part), first(["lost"], completion)],
    ids=["now-and-then", "parts", "completions"],
)
def test_a_store_that_fails_for_a_moment(mini: Path, one_split: Path, bucket: Store, misbehave: Misbehave) -> None:
    bucket.make_bucket("kinetics")
    bucket.fill("kinetics", mini)
    bucket.misbehave = misbehave
    ran = run(bucket, "s3://kinetics", "--split", "val")
    bucket.misbehave = lambda asked: ""
    assert ran.code == 0, ran.err
    assert bucket.tree("data", "k400/") == tree(one_split)
    assert left(bucket) == []


def test_an_upload_that_arrives_damaged_is_found_and_removed(mini: Path, converted: Path, bucket: Store) -> None:
    bucket.misbehave = lambda asked: "flip" if asked.is_part and asked.path.endswith("train-000001.tar") else ""
    ran = run(bucket, mini)
    assert ran.code == 3, ran.err
    assert "k400-train-000001.tar" in ran.err
    assert "the store has" in ran.err
    assert bucket.url not in ran.err
    assert "train/k400-train-000001.tar" not in bucket.tree("data", "k400/")
    assert "manifest.json" not in bucket.tree("data", "k400/")
    bucket.misbehave = lambda asked: ""
    assert run(bucket, mini).code == 0
    assert bucket.tree("data", "k400/") == tree(converted)


def test_what_cannot_work_is_told_in_one_line(mini: Path, bucket: Store, tmp_path: Path) -> None:
    for out, word in {
        "s3://absent/k400": "no such object or bucket",
        "s3://": "expected the name of a bucket",
        "xyz://data/k400": "unknown kind of store",
        "http://127.0.0.1/x": "is no place for clips",
        f"s3://{KEY}:{SECRET}@data/x": "credentials in a URL: expected them in the environment",
    }.items():
        ran = run(bucket, mini, out=out)
        assert ran.code == 2, ran.err
        assert word in one_line(ran)
        assert SECRET not in ran.err
    nobody = {**bucket.environment, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    ran = kconvert("k400", "--out", "s3://data/x", "--origin", mini, env=nobody)
    assert ran.code == 2, ran.err
    assert "the endpoint" in one_line(ran)
    bucket.client().put_object(Bucket="data", Key="other/file", Body=b"mine")
    ran = run(bucket, mini, out="s3://data/other")
    assert ran.code == 2
    assert "was not made by kconvert" in one_line(ran)
    assert run(bucket, mini, "--max_archives", "1", out="s3://data/k").code == 0
    ran = run(bucket, mini, out="s3://data/k")
    assert "max_archives was 1" in one_line(ran)
    assert run(bucket, mini, "--overwrite", out="s3://data/k").code == 0


def test_verify_finds_what_was_changed_in_a_bucket(mini: Path, bucket: Store) -> None:
    assert run(bucket, mini, "--split", "val").code == 0
    client = bucket.client()
    shard = bytearray(bucket.objects("data", "k400/val/")["k400-val-000000.tar"])
    shard[5000] ^= 1
    client.put_object(Bucket="data", Key="k400/val/k400-val-000000.tar", Body=bytes(shard))
    client.put_object(Bucket="data", Key="k400/val/stray.tar", Body=b"x")
    client.delete_object(Bucket="data", Key="k400/val/k400-val-000001.tar")
    found = kconvert("verify", "s3://data/k400", env=bucket.environment)
    assert found.code == 4
    for words in (
        "val/k400-val-000000.tar: sha256",
        "val/stray.tar: is not",
        "val/k400-val-000001.tar: is missing",
    ):
        assert words in found.out
    # As a person would mend it.
    client.delete_object(Bucket="data", Key="k400/val/k400-val-000000.tar")
    client.delete_object(Bucket="data", Key="k400/val/stray.tar")
    assert run(bucket, mini, "--split", "val").code == 0
    assert kconvert("verify", "s3://data/k400", env=bucket.environment).code == 0


def test_our_reader_takes_clips_out_of_a_bucket(converted: Path, bucket: Store) -> None:
    bucket.fill("data", converted.parent)
    before = len(bucket.asked)
    script = (
        "import hashlib, kconvert, multiprocessing\n"
        "clips = kconvert.open('s3://data/k400', 'val').filter(source='original')\n"
        "def show(number): return f'{clips[number].key} {hashlib.sha256(clips[number].video).hexdigest()}'\n"
        "print(show(1))\n"
        "with multiprocessing.get_context('fork').Pool(1) as pool: print(*pool.map(show, [2, 3]), sep='\\n')\n"
    )
    environment = {**os.environ, **bucket.environment}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    expected = {row["key"]: row["sha256"] for row in pq.read_table(converted / "metadata" / "val.parquet").to_pylist()}
    found = dict(line.split() for line in done.stdout.splitlines())
    assert len(found) == 3
    assert found.items() <= expected.items()
    of_shards = [asked for asked in bucket.asked[before:] if asked.path.endswith(".tar")]
    # A clip's key and its video were asked for one by one.
    assert len(of_shards) == 6


@pytest.mark.parametrize("name", ["parquet", "folder"])
def test_other_formats_are_the_same_bytes_in_a_bucket(name: str, mini: Path, bucket: Store, tmp_path: Path) -> None:
    words = ("--to", name, "--split", "val")
    assert kconvert("k400", *words, *SHARDS, "--origin", mini, "--out", tmp_path / "k400").code == 0
    ran = run(bucket, mini, *words)
    assert ran.code == 0, ran.err
    assert bucket.tree("data", "k400/") == tree(tmp_path / "k400")
    verified = kconvert("verify", "s3://data/k400", env=bucket.environment)
    assert verified.code == 0, verified.out
    reported = kconvert("report", "s3://data/k400", env=bucket.environment)
    assert (reported.code, reported.out) == (0, "s3://data/k400/report.html\n"), reported.err
