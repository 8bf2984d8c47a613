"""Leases on a real S3 server: one holder at a time, and none for ever."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from buckets import Asked, Store, store

from kconvert.errors import LostLockError
from kconvert.storage import lease
from kconvert.storage.lease import is_leased, leased
from kconvert.storage.objects import object_path
from kconvert.storage.store import StorePath

pytestmark = pytest.mark.server


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with store() as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        found.make_bucket(f"lease-{found.url.rpartition(':')[2]}")
        yield found


@pytest.fixture
def path(bucket: Store) -> StorePath:
    # A bucket, and with it a file system of fsspec, of this test alone.
    return object_path(f"s3://lease-{bucket.url.rpartition(':')[2]}/k400/.kconvert/lease")


def test_one_has_it_and_gives_it_back(path: StorePath) -> None:
    assert not is_leased(path)
    with leased(path) as is_ours:
        assert is_ours
        assert is_leased(path)
    assert not is_leased(path)
    assert not path.exists()


def test_of_many_at_once_one_has_it(path: StorePath) -> None:
    held: list[bool] = []

    def take() -> None:
        with leased(path, dead_seconds=8) as is_ours:
            held.append(is_ours)
            time.sleep(9)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(held) == [False, False, False, True]


def test_one_that_writes_late_waits_for_whom_it_has_written_over(
    path: StorePath, bucket: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written first comes six seconds after the other one has looked, written, and read back."""
    for name, seconds in (("RENEW_SECONDS", 1.0), ("LOST_SECONDS", 8.0), ("SETTLE_SECONDS", 1.0)):
        monkeypatch.setattr(lease, name, seconds)
    writes = threading.Lock()

    def late(asked: Asked) -> str:
        if asked.method == "PUT" and writes.acquire(blocking=False):
            time.sleep(6)
        return ""

    bucket.misbehave = late
    ended: list[str] = []

    def take() -> None:
        try:
            with leased(path) as is_ours:
                time.sleep(9)
        except LostLockError:
            ended.append("lost it")
        else:
            ended.append("had it" if is_ours else "was refused")

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == ["lost it", "had it"]


def test_that_of_a_dead_process_of_this_machine_is_taken_at_once(path: StorePath) -> None:
    code = (
        "import os, signal, sys; from kconvert.storage.lease import leased; from kconvert.storage.objects import object_path\n"
        "with leased(object_path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert path.exists()
    start = time.monotonic()
    with leased(path) as is_ours:
        assert is_ours
    assert time.monotonic() - start < 5


def test_that_of_another_machine_is_taken_once_it_has_stood_still(path: StorePath) -> None:
    path.show(b"elsewhere 4711 0123 0\n")
    assert is_leased(path)
    start = time.monotonic()
    with leased(path, dead_seconds=2) as is_ours:
        assert is_ours
        assert time.monotonic() - start > 2


def test_one_that_is_taken_over_is_told_when_it_ends(path: StorePath) -> None:
    def work() -> None:
        with leased(path) as is_ours:
            assert is_ours
            path.show(b"elsewhere 4711 0123 0\n")
            time.sleep(6)

    with ThreadPoolExecutor() as pool, pytest.raises(LostLockError, match="another run has taken it over"):
        pool.submit(work).result()
    assert path.read_bytes() == b"elsewhere 4711 0123 0\n"


def test_one_that_cannot_be_renewed_is_lost(path: StorePath, bucket: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.2)
    monkeypatch.setattr(lease, "LOST_SECONDS", 1.0)

    started: list[float] = []

    def work() -> None:
        with leased(path):
            started.append(time.monotonic())
            bucket.misbehave = lambda asked: "500"
            time.sleep(60)

    with pytest.raises(LostLockError, match="could not be renewed"):
        work()
    # What waits in the main thread is interrupted, however long the store's library tries again.
    assert time.monotonic() - started[0] < 30
