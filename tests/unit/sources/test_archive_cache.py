"""The archive cache, filled from a real server on loopback that is made to misbehave."""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness import QUICK
from serving import DATA, NAME, drop_after, kept_copy, serving_data

from kconvert.errors import FetchError, SourceChangedError
from kconvert.sources import archive_cache

pytestmark = pytest.mark.server


def test_a_kept_archive_is_reused_while_size_and_version_agree(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    told: list[int] = []
    with serving_data(tmp_path / "server") as http:
        path = kept_copy(http.url + NAME, folder, NAME, QUICK, told.append)
        assert path.read_bytes() == DATA
        assert sum(told) == len(DATA)
        kept_copy(http.url + NAME, folder, NAME, QUICK, told.append)
        assert http.requests["GET", NAME] == 1
        assert sum(told) == 2 * len(DATA)
        (tmp_path / "server" / NAME).write_bytes(DATA[::-1])
        assert kept_copy(http.url + NAME, folder, NAME, QUICK, told.append).read_bytes() == DATA[::-1]
    assert sorted(path.name for path in folder.rglob("part*")) == ["part_0.tar.gz", "part_0.tar.gz.etag"]


def test_a_kept_archive_goes_on_from_what_a_killed_run_left(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    sent: list[int] = []

    def behave(handler: Any, name: str, data: bytes) -> None:
        sent.append(len(data))
        drop_after(700_000, 1 if len(sent) <= 1 else 0)(handler, name, data)

    with serving_data(tmp_path / "server", behave) as http:
        with pytest.raises(FetchError):
            kept_copy(http.url + NAME, folder, NAME, replace(QUICK, max_retries=0), lambda num_bytes: None)
        assert (folder / f"{NAME}.partial").stat().st_size == 700_000
        path = kept_copy(http.url + NAME, folder, NAME, QUICK, lambda num_bytes: None)
    assert path.read_bytes() == DATA
    assert sent == [len(DATA), len(DATA) - 700_000]


def test_an_archive_that_another_run_fetches_is_waited_for(tmp_path: Path) -> None:
    """Two runs with one archive cache: one of them fetches, the other takes what came."""
    folder = tmp_path / "kept"

    def slowly(handler: Any, name: str, data: bytes) -> None:
        for start in range(0, len(data), len(data) // 4):
            time.sleep(0.5)
            handler.wfile.write(data[start : start + len(data) // 4])

    with serving_data(tmp_path / "server", slowly) as http, ThreadPoolExecutor(2) as runs:
        paths = runs.map(lambda _: kept_copy(http.url + NAME, folder, NAME, QUICK, lambda num_bytes: None), range(2))
        assert {path.read_bytes() for path in paths} == {DATA}
        assert http.requests["GET", NAME] == 1


def test_a_run_that_holds_an_archive_and_fetches_nothing_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "kept"
    lock = (folder / NAME).with_name(".part_0.tar.gz.lock")
    lock.parent.mkdir(parents=True)
    monkeypatch.setattr(archive_cache, "_MAX_IDLE_SECONDS", 2.0)
    with serving_data(tmp_path / "server") as http:
        with (
            subprocess.Popen(["flock", lock, "sh", "-c", "echo held; cat"], stdin=-1, stdout=-1) as other,
            pytest.raises(FetchError, match=r"another run holds it \(.part_0.tar.gz.lock\)"),
        ):
            assert other.stdout is not None
            assert other.stdin is not None
            assert other.stdout.readline() == b"held\n"
            try:
                kept_copy(http.url + NAME, folder, NAME, QUICK, lambda num_bytes: None)
            finally:
                other.stdin.close()
        assert kept_copy(http.url + NAME, folder, NAME, QUICK, lambda num_bytes: None).read_bytes() == DATA


def test_a_complete_partial_file_needs_no_further_byte(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    with serving_data(tmp_path / "server") as http:
        path = kept_copy(http.url + NAME, folder, NAME, QUICK, lambda num_bytes: None)
        path.rename(path.with_name(path.name + ".partial"))
        path.with_name(path.name + ".etag").rename(path.with_name(path.name + ".partial.etag"))
        assert kept_copy(http.url + NAME, folder, NAME, QUICK, lambda num_bytes: None).read_bytes() == DATA
        assert http.requests["GET", NAME] == 1


def test_a_partial_file_is_given_up_where_the_server_does_not_go_on_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    drop = drop_after(700_000, 1)
    with serving_data(tmp_path / "server", drop) as http:
        http.RequestHandlerClass._range_start = lambda self, etag: None  # type: ignore[attr-defined]
        with pytest.raises(FetchError):
            kept_copy(http.url + NAME, folder, NAME, replace(QUICK, max_retries=0), lambda num_bytes: None)
        with pytest.raises(SourceChangedError):
            kept_copy(http.url + NAME, folder, NAME, QUICK, lambda num_bytes: None)
        assert kept_copy(http.url + NAME, folder, NAME, QUICK, lambda num_bytes: None).read_bytes() == DATA


def test_a_partial_file_of_another_version_is_not_gone_on_with_wherever_a_kill_came(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    with serving_data(tmp_path / "server", drop_after(700_000, 1)) as http:
        with pytest.raises(FetchError):
            kept_copy(http.url + NAME, folder, NAME, replace(QUICK, max_retries=0), lambda num_bytes: None)
        (tmp_path / "server" / NAME).write_bytes(DATA[::-1])
        assert kept_copy(http.url + NAME, folder, NAME, QUICK, lambda num_bytes: None).read_bytes() == DATA[::-1]


def test_a_partial_file_that_is_too_long_is_given_up(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    with serving_data(tmp_path) as http:
        (kept / "part_0.partial").write_bytes(DATA + b"more")
        (kept / "part_0.partial.etag").write_text(http.etag(tmp_path / NAME))
        path = kept_copy(http.url + NAME, kept, "part_0", QUICK, lambda num_bytes: None)
    assert path.read_bytes() == DATA
