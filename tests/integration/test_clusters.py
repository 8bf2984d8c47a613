"""Conversions on clusters: the bytes of one machine, and what a worker, a node or the driver costs that is lost."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
from buckets import Store, store
from clusters import ray_cluster
from harness import COMMAND, ROOT, kconvert, one_line, tree
from miniature.server import Handler, Server, serving

from kconvert.storage.folders import local

SHARDS = ["--shard.max_samples", "5"]


@pytest.fixture(scope="module")
def bucket() -> Iterator[Store]:
    """An empty object store."""
    with store() as found:
        yield found


@pytest.fixture(scope="module")
def cluster(bucket: Store) -> Iterator[Any]:
    """A Ray cluster of the driver's machine and two others, which have the store's credentials."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in bucket.environment.items():
            patch.setenv(name, value)
        with ray_cluster(2) as found:
            yield found


class Slow(Handler):
    """Takes a while for each archive, so that there is time to do something to whoever reads it."""

    def send_data(self, name: str, data: bytes) -> None:
        if name.endswith("gz"):
            time.sleep(1.5)
        super().send_data(name, data)


def start(cluster: Any, out: Path, origin: str | Path, *more: str) -> subprocess.Popen[str]:
    """Starts a conversion on the cluster."""
    words = ["k400", "--out", out, "--origin", origin, *SHARDS, "--engine", "ray", "--ray.address", cluster.address]
    return subprocess.Popen(
        [str(COMMAND), *map(str, words), *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(is_so: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Waits while a conversion goes on."""
    end = time.monotonic() + 240
    while not is_so():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def is_reading(out: Path) -> Callable[[], bool]:
    return lambda: bool(list(out.glob(".kconvert/*/archives/*.kconvert-tmp")))


def check(process: subprocess.Popen[str], out: Path, expected: dict[str, bytes]) -> str:
    said, err = process.communicate(timeout=400)
    assert process.returncode == 0, said + err
    assert tree(out) == expected
    names = [path.name for path in out.rglob("*")]
    assert not [
        name for name in names if "kconvert-tmp" in name or name.endswith((".part", ".failed")) or "node-check" in name
    ]
    return err


def test_a_cluster_gives_the_same_bytes(cluster: Any, server: Server, converted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    err = check(start(cluster, out, server.url), out, tree(converted))
    assert re.search(r"train: reading 4 archives: 1.\d+ MB of 1.\d+ MB, 25 clips", err), err
    assert re.search(r"train: packing 3 shards: .*, 14 of 14 clips", err), err
    # Without anything to do it is not even asked for.
    again = kconvert("k400", "--out", out, "--origin", server.url, *SHARDS)
    assert again.code == 0, again.err


def workers() -> list[psutil.Process]:
    """The processes that Ray runs tasks in, at this moment."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if (process.info["cmdline"] or [""])[0].startswith("ray::_do"):
            found.append(process)
    return found


def test_a_worker_that_is_killed_and_a_node_that_is_lost_cost_a_retry(
    cluster: Any, mini: Path, converted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    lost = cluster.add_node(num_cpus=4, node_ip_address="127.0.0.1", object_store_memory=80_000_000)
    with serving(mini, Slow) as http:
        process = start(cluster, out, http.url)
        wait_for(is_reading(out), process)
        victims = workers()
        assert victims
        victims[0].kill()
        time.sleep(0.3)
        cluster.remove_node(lost, allow_graceful=False)
        check(process, out, tree(converted))


def test_a_cluster_encodes_to_the_same_bytes(cluster: Any, mini: Path, tmp_path: Path) -> None:
    asked = ("--split", "val", "--video.short_side", "32", "--audio.member", "flac")
    here = kconvert("k400", "--out", tmp_path / "here", "--origin", mini, *SHARDS, *asked)
    assert here.code == 0, here.err
    check(start(cluster, tmp_path / "out", mini, *asked), tmp_path / "out", tree(tmp_path / "here"))
    assert {row["encoding"] for row in rows(tmp_path / "out") if row["status"] == "written"} == {"encoded"}


def rows(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(out / "metadata/val.parquet").to_pylist()
    return found


def test_a_driver_that_is_killed_goes_on_from_the_receipts(
    cluster: Any, mini: Path, converted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with serving(mini, Slow) as http:
        process = start(cluster, out, http.url)
        wait_for(lambda: bool(list(out.glob(".kconvert/train/archives/*.json"))), process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done = {path.stem for path in out.glob(".kconvert/train/archives/*.json")}
        before = dict(http.requests)
        check(start(cluster, out, http.url), out, tree(converted))
    names = ["part_0", "part_1", "part_2"]
    for number in done - {"replacement"}:
        name = f"400/train/{names[int(number)]}.tar.gz"
        assert http.requests["GET", name] == before["GET", name]


def test_a_folder_that_a_node_does_not_reach_is_told_before_anything_is_fetched(
    cluster: Any, server: Server, tmp_path: Path
) -> None:
    """The driver sees another file system there, as on another machine."""
    out = tmp_path / "out"
    out.mkdir()
    command = f"mount -t tmpfs none {out} && exec {COMMAND} k400 --out {out} --origin {server.url} --engine ray"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f"{command} --ray.address {cluster.address}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    line = next(line for line in done.stderr.splitlines() if line.startswith("kconvert: "))
    assert "node 127.0.0.1" in line
    assert f"--out {out}" in line
    assert "shared file system, or an object store" in line
    assert not [name for method, name in server.requests if name.endswith("gz") and method == "GET"]


@pytest.mark.parametrize(("engine", "library"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_engine_that_is_not_installed_is_named(tmp_path: Path, mini: Path, engine: str, library: str) -> None:
    absent = tmp_path / "absent" / library
    absent.mkdir(parents=True)
    (absent / "__init__.py").write_text(f"raise ImportError('No module named {library}')")
    words: list[str | Path] = ["k400", "--out", tmp_path / "out", "--origin", mini, "--engine", engine]
    ran = kconvert(*words, env={"PYTHONPATH": str(tmp_path / "absent")})
    assert ran.code == 2
    assert one_line(ran).endswith(f"the library {library} is not installed; pip install '{ROOT}[{engine}]'")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").rglob("*.part"))


def test_no_cluster_is_told_in_a_line(tmp_path: Path, mini: Path) -> None:
    words: list[str | Path] = ["k400", "--out", tmp_path / "out", "--origin", mini, "--engine", "ray"]
    ran = kconvert(*words, "--ray.address", "127.0.0.1:9")
    assert ran.code == 2
    assert "start one with `ray start --head`" in one_line(ran)


def test_array_tasks_of_slurm_give_the_same_bytes(mini: Path, converted: Path, tmp_path: Path) -> None:
    """By submitit's executor for one machine; `tools/campaign slurm` does it on a real Slurm."""
    out = tmp_path / "out"
    words: list[str | Path] = ["k400", "--out", out, *SHARDS, "--engine", "slurm", "--slurm.executor", "local"]
    ran = kconvert(*words, "--origin", mini)
    assert ran.code == 0, ran.err
    assert tree(out) == tree(converted)
    assert "train: reading 4 archives: 1.6 MB of 1.6 MB, 25 clips" in ran.err
    assert not (out / ".kconvert/slurm/array_tasks.json").exists()


def test_status_names_the_array_tasks_to_run_again(mini: Path, converted: Path, tmp_path: Path) -> None:
    out, origin = tmp_path / "out", tmp_path / "origin"
    subprocess.run(["cp", "-r", str(mini), str(origin)], check=True)
    archive = origin / "400/val/part_1.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-100])
    words: list[str | Path] = [
        "k400",
        "--split",
        "val",
        "--out",
        out,
        *SHARDS,
        "--engine",
        "slurm",
        "--slurm.executor",
        "local",
    ]
    assert kconvert(*words, "--origin", origin).code == 3
    status = kconvert("status", out)
    found = re.search(r"(\d+) for 400/val/part_1.tar.gz", status.out)
    assert found, status.out
    assert "part_0" not in status.out
    assert kconvert(*words, "--origin", mini).code == 0
    assert "again" not in kconvert("status", out).out
    assert os.path.exists(out / "manifest.json")


def test_a_cluster_and_a_bucket(cluster: Any, bucket: Store, server: Server, tmp_path: Path) -> None:
    """Every machine has the store's credentials in an environment of its own; without them it is told which lacks them."""
    one_split = ("k400", *SHARDS, "--split", "val", "--origin", server.url)
    assert kconvert(*one_split, "--out", tmp_path / "k400").code == 0
    words = (*one_split, "--out", f"{bucket.make_bucket('data')}/k400", "--engine", "ray")
    with pytest.MonkeyPatch.context() as patch:
        for name in bucket.environment:
            if "KEY" in name:
                patch.delenv(name)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        poor = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1", object_store_memory=80_000_000)
        refused = kconvert(*words, "--ray.address", cluster.address, env=bucket.environment)
        cluster.remove_node(poor)
    assert refused.code == 2, refused.err
    assert re.search(r"kconvert: node 127.0.0.1: --out s3://data/k400/.kconvert: .* does not see there", refused.err)
    ran = kconvert(*words, "--ray.address", cluster.address)
    assert ran.code == 0, ran.err
    assert bucket.tree("data", "k400/") == tree(tmp_path / "k400")


def test_a_command_that_the_lock_refuses_touches_nothing_of_the_first(mini: Path, tmp_path: Path) -> None:
    """It would cancel what the first one has in the queue."""
    out = tmp_path / "out"
    records = out / ".kconvert/slurm/array_tasks.json"
    records.parent.mkdir(parents=True)
    records.write_text('{"4711_0": "400/train/part_0.tar.gz"}')
    with local(out / ".kconvert" / "lock").lock() as is_ours:
        assert is_ours
        words = ("--engine", "slurm", "--slurm.executor", "local", "--slurm.folder", tmp_path / "jobs")
        ran = kconvert("k400", "--out", out, "--origin", mini, *words)
        assert ran.code == 2
        assert "another kconvert is working on this folder" in one_line(ran)
    assert records.read_text() == '{"4711_0": "400/train/part_0.tar.gz"}'
    assert not (tmp_path / "jobs").exists()
