"""The main job into object stores of four kinds, each by a server of its own, and what keeps two runs apart there."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import COMMAND, kconvert, only_ours, tree
from miniature.server import Handler, serving
from stores import SERVERS, Location

VAL = ["--shard.max_samples", "5", "--split", "val"]


@pytest.fixture(params=SERVERS)
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Location]:
    (tmp_path / "store").mkdir()
    with SERVERS[request.param](tmp_path / "store") as found:
        yield found


@pytest.fixture(scope="module")
def expected(mini: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a conversion of one split comes to, in a folder."""
    out = tmp_path_factory.mktemp("expected") / "k400"
    assert kconvert("k400", "--out", out, "--origin", mini, *VAL).code == 0
    return tree(out)


def test_the_main_job(location: Location, mini: Path, expected: dict[str, bytes]) -> None:
    words = ["k400", "--out", location.url, "--origin", str(mini), *VAL]
    ran = kconvert(*words, env=location.environment)
    assert ran.code == 0, ran.err
    assert location.tree() == expected
    again = kconvert(*words, env=location.environment)
    assert again.code == 0, again.err
    verified = kconvert("verify", location.url, env=location.environment)
    assert verified.code == 0, verified.out + verified.err
    status = kconvert("status", location.url, env=location.environment)
    assert (status.code, status.out.split()[0]) == (0, "complete"), status.out
    # With other options, over what is there.
    ran = kconvert(*words, "--shuffle.seed", "3", "--overwrite", env=location.environment)
    assert ran.code == 0, ran.err
    assert set(location.tree()) == set(expected)
    assert location.tree() != expected
    verified = kconvert("verify", location.url, env=location.environment)
    assert verified.code == 0, verified.out + verified.err


class Unhurried(Handler):
    """Takes a while for each archive, so that a run is still at it when something is done to it."""

    def send_data(self, name: str, data: bytes) -> None:
        if name.endswith("gz"):
            time.sleep(6)
        super().send_data(name, data)


def start(location: Location, origin: str) -> subprocess.Popen[str]:
    command = [str(COMMAND), "k400", "--out", location.url, "--origin", origin, *VAL]
    environment = {**os.environ, **location.environment}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_of_three_runs_at_once_one_works_and_two_are_refused(
    location: Location, mini: Path, expected: dict[str, bytes]
) -> None:
    with serving(mini, Unhurried) as http:
        runs = [start(location, http.url) for _ in range(3)]
        said = [run.communicate(timeout=120) for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 2, 2], said
    refused = [err for run, (_, err) in zip(runs, said, strict=True) if run.returncode == 2]
    assert ["another kconvert is working on this folder" in err for err in refused] == [True, True], refused
    assert location.tree() == expected


def test_a_run_whose_lock_is_taken_away_ends_before_it_writes_more(
    location: Location, mini: Path, expected: dict[str, bytes]
) -> None:
    key = ".kconvert/lock"
    with serving(mini, Unhurried) as http:
        running = start(location, http.url)
        until = time.monotonic() + 30
        while key not in location.names() and time.monotonic() < until:
            time.sleep(0.1)
        # It is held once it was read back.
        time.sleep(3.5)
        location.put(key, b"elsewhere 4711 0123 0\n")
        out, err = running.communicate(timeout=60)
    assert running.returncode == 3, out + err
    assert "the lock on this folder is lost, as another run has taken it over" in err
    only_ours(err)
    # What is somebody else's by now is left alone.
    assert location.get(key) == b"elsewhere 4711 0123 0\n"
    assert location.tree() == {}
    location.delete(key)
    ran = kconvert("k400", "--out", location.url, "--origin", mini, *VAL, env=location.environment)
    assert ran.code == 0, ran.err
    assert location.tree() == expected
