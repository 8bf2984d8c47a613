"""Archives that are damaged for good: what `--damaged` makes of them."""

import gzip
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from harness import Ran, kconvert, one_line, tree
from miniature.build import write
from miniature.made import make_clip
from miniature.server import Handler, Server, serving

OFFICIAL = "https://s3.amazonaws.com/kinetics/"
ARCHIVE = "400/val/part_0.tar.gz"
NAMES = [f"clip-{number:06d}_000000_000010" for number in range(6)]
Rows = dict[str, dict[str, Any]]


def good_tar(names: list[str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in names:
            data = make_clip("good", name)
            info = tarfile.TarInfo(f"./{name}.mp4")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


GOOD = gzip.compress(good_tar(NAMES[:5]), mtime=0)
STORED = gzip.compress(good_tar(NAMES[:5]), compresslevel=0, mtime=0)
"""The same, not compressed, so that one byte of a clip is one byte of the archive."""


def origin(root: Path, first: bytes) -> Path:
    """k400's val of two archives; the second is good."""
    for number, data in enumerate((first, gzip.compress(good_tar(NAMES[5:]), mtime=0))):
        write(root / f"400/val/part_{number}.tar.gz", data)
    urls = "".join(f"{OFFICIAL}400/val/part_{number}.tar.gz\n" for number in range(2))
    write(root / "400/val/k400_val_path.txt", urls.encode())
    lines = ["label,youtube_id,time_start,time_end,split", *(f"zumba,{name[:11]},0,10,val" for name in NAMES)]
    write(root / "400/annotations/val.csv", "\n".join(lines).encode())
    return root


def convert(out: Path, root: Path | str, *words: str | Path) -> Ran:
    quick = ("--fetch.max_retries", "2", "--fetch.max_backoff_seconds", "0.05")
    return kconvert("k400", "--split", "val", "--out", out, "--origin", root, *quick, *words)


def rows(out: Path, split: str = "val") -> Rows:
    found = pq.read_table(out / f"metadata/{split}.parquet").to_pylist()
    return {f"{row['youtube_id']}_{row['start_seconds']:06d}_{row['end_seconds']:06d}": row for row in found}


def said(found: Rows) -> dict[str, tuple[str, str]]:
    return {name: (row["status"], row["reason"]) for name, row in found.items()}


def damaged(out: Path) -> list[tuple[str, str, str, int]]:
    entries = json.loads((out / "manifest.json").read_bytes())["damaged"]
    return [(one["archive"], one["split"], one["handling"], one["num_clips"]) for one in entries]


def at_clip(archive: bytes, name: str) -> int:
    """Where the bytes of a clip begin in an archive that is not compressed."""
    return archive.index(f"./{name}.mp4".encode()) + 512


def with_a_ruined_picture(archive: bytes, name: str) -> bytes:
    """One clip has other bytes where its pictures are; only the checksum at the end of the archive says so."""
    start = at_clip(archive, name) + make_clip("good", name).index(b"mdat") + 500
    return archive[:start] + bytes(3000) + archive[start + 3000 :]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    assert convert(folder / "out", origin(folder / "origin", GOOD)).code == 0
    return tree(folder / "out")


def test_by_default_it_fails_and_the_message_names_the_options(tmp_path: Path) -> None:
    ran = convert(tmp_path / "out", origin(tmp_path / "origin", GOOD[: len(GOOD) // 2]))
    assert ran.code == 3
    assert "--damaged salvage keeps the clips before the damage, --damaged skip leaves the archive out" in ran.out
    assert not (tmp_path / "out/manifest.json").exists()


def test_the_clips_before_a_cut_are_salvaged(tmp_path: Path) -> None:
    cut = at_clip(STORED, NAMES[3]) + 10_000
    root = origin(tmp_path / "origin", STORED[:cut])
    ran = convert(tmp_path / "out", root, "--damaged", "salvage")
    assert ran.code == 0, ran.err
    assert f"{ARCHIVE} is damaged for good, and salvaged" in ran.err
    lost = dict.fromkeys(NAMES[3:5], ("missing", "archive_damaged"))
    assert said(rows(tmp_path / "out")) == dict.fromkeys(NAMES, ("written", "")) | lost
    # Each was decoded, those of the good archive were not.
    counted = {name: row["num_decoded_frames"] for name, row in rows(tmp_path / "out").items()}
    assert counted == dict.fromkeys(NAMES[:3], 100) | dict.fromkeys(NAMES[3:], None)
    assert damaged(tmp_path / "out") == [(ARCHIVE, "val", "salvaged", 3)]
    assert kconvert("verify", tmp_path / "out").code == 0
    assert ARCHIVE in (tmp_path / "out/README.md").read_text()
    shown = kconvert("status", tmp_path / "out").out
    assert f"{ARCHIVE}: salvaged" in shown
    assert kconvert("report", tmp_path / "out").code == 0
    assert f"{ARCHIVE}: salvaged" in (tmp_path / "out/report.html").read_text()
    # A run that has nothing to do leaves it alone.
    before = tree(tmp_path / "out")
    assert convert(tmp_path / "out", root, "--damaged", "salvage").code == 0
    assert tree(tmp_path / "out") == before


def test_where_only_the_checksum_is_wrong_what_does_not_decode_is_rejected(tmp_path: Path) -> None:
    root = origin(tmp_path / "origin", with_a_ruined_picture(STORED, NAMES[1]))
    assert convert(tmp_path / "out", root, "--damaged", "salvage").code == 0
    found = said(rows(tmp_path / "out"))
    assert found.pop(NAMES[1]) == ("rejected", "undecodable")
    assert set(found.values()) == {("written", "")}
    assert damaged(tmp_path / "out") == [(ARCHIVE, "val", "salvaged", 5)]
    assert kconvert("verify", tmp_path / "out").code == 0


def test_nothing_of_a_skipped_archive_is_read(tmp_path: Path) -> None:
    root = origin(tmp_path / "origin", with_a_ruined_picture(STORED, NAMES[1]))
    ran = convert(tmp_path / "out", root, "--damaged", "skip")
    assert ran.code == 0, ran.err
    lost = dict.fromkeys(NAMES[:5], ("missing", "archive_skipped"))
    assert said(rows(tmp_path / "out")) == {NAMES[5]: ("written", "")} | lost
    assert damaged(tmp_path / "out") == [(ARCHIVE, "val", "skipped", 0)]
    counts = json.loads((tmp_path / "out/manifest.json").read_bytes())["splits"]["val"]
    assert (counts["num_members"], counts["num_missing"], counts["num_missing_in_damaged"]) == (1, 5, 5)
    assert kconvert("verify", tmp_path / "out").code == 0


@pytest.mark.parametrize(("handling", "to"), [("salvage", "webdataset"), ("skip", "parquet")])
def test_going_back_to_fail_replaces_it_once_the_copy_is_good(
    tmp_path: Path, whole: dict[str, bytes], handling: str, to: str
) -> None:
    words = ("--to", to)
    root = origin(tmp_path / "origin", STORED[: len(STORED) // 2])
    assert convert(tmp_path / "out", root, *words, "--damaged", handling).code == 0
    before = tree(tmp_path / "out")
    # It is still damaged: what --damaged had made stands as it was.
    ran = convert(tmp_path / "out", root, *words)
    assert ran.code == 3
    assert f"{ARCHIVE} was {'salvaged' if handling == 'salvage' else 'skipped'}; with --damaged fail" in ran.err
    assert tree(tmp_path / "out") == before
    status = json.loads(kconvert("status", tmp_path / "out", "--json").out)
    assert status["is_complete"]
    assert ARCHIVE in status["splits"][0]["failures"]
    assert convert(tmp_path / "out", root, *words, "--damaged", handling).code == 0
    assert tree(tmp_path / "out") == before
    # And now it is good.
    origin(root, GOOD)
    assert convert(tmp_path / "out", root, *words).code == 0
    assert kconvert("verify", tmp_path / "out").code == 0
    if to == "webdataset":
        assert tree(tmp_path / "out") == whole
    else:
        assert convert(tmp_path / "other", root, *words).code == 0
        assert tree(tmp_path / "out") == tree(tmp_path / "other")


def test_no_failure_and_nothing_staged_is_left_of_asking_too_early(tmp_path: Path) -> None:
    root = origin(tmp_path / "origin", STORED[: len(STORED) // 2])
    assert convert(tmp_path / "out", root, "--damaged", "salvage").code == 0
    assert convert(tmp_path / "out", root).code == 3
    assert f"{ARCHIVE} failed" in kconvert("status", tmp_path / "out").out
    assert convert(tmp_path / "out", root, "--damaged", "salvage").code == 0
    assert f"{ARCHIVE} failed" not in kconvert("status", tmp_path / "out").out
    assert list((tmp_path / "out/.kconvert").rglob("*.part")) == []


def test_a_clip_that_lies_whole_before_a_cut_is_not_lost(tmp_path: Path) -> None:
    """However little of the next one follows."""
    for beyond in (513, 600, 3000):
        out, root = tmp_path / f"out{beyond}", tmp_path / f"origin{beyond}"
        origin(root, STORED[: at_clip(STORED, NAMES[2]) + beyond])
        assert convert(out, root, "--damaged", "salvage").code == 0
        found = said(rows(out))
        assert [found[name] for name in NAMES[:3]] == [("written", ""), ("written", ""), ("missing", "archive_damaged")]


@pytest.mark.parametrize("handling", ["salvage", "skip"])
def test_an_archive_of_which_no_member_is_whole_fails_and_the_advice_is_of_use(tmp_path: Path, handling: str) -> None:
    for number, data in enumerate((b"", b"<html>", bytes(2048), STORED[: at_clip(STORED, NAMES[0]) + 900])):
        root = origin(tmp_path / f"origin{number}", data)
        ran = convert(tmp_path / f"out{number}", root, "--damaged", handling)
        assert ran.code == 3
        assert "--damaged" not in ran.out + ran.err
        assert "the origin's copy is no archive" in ran.out


def test_a_changed_letter_of_the_manifest_is_told_in_one_line(tmp_path: Path) -> None:
    root = origin(tmp_path / "origin", STORED[: len(STORED) // 2])
    assert convert(tmp_path / "out", root, "--damaged", "salvage").code == 0
    path = tmp_path / "out/manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"salvaged"', b'"salvagef"'))
    found = kconvert("verify", tmp_path / "out")
    assert found.code == 4
    assert "DamagedEntry.handling: got 'salvagef', expected one of 'salvaged', 'skipped'" in found.out
    for ran in (kconvert("status", tmp_path / "out"), convert(tmp_path / "out", root, "--damaged", "salvage")):
        assert ran.code == 2
        assert "manifest.json" in one_line(ran)


def test_salvaging_needs_what_decodes_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ffprobe").symlink_to(str(shutil.which("ffprobe")))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    root = origin(tmp_path / "origin", STORED)
    assert convert(tmp_path / "out", root, "--check.prober", "ffprobe").code == 0
    ran = convert(tmp_path / "other", root, "--check.prober", "ffprobe", "--damaged", "salvage")
    assert ran.code == 2
    assert "ffmpeg" in ran.err


@pytest.mark.parametrize("handling", ["salvage", "skip"])
def test_where_an_archive_holds_one_class_only_its_clips_may_have_been_in_it(
    mini: Path, tmp_path: Path, handling: str
) -> None:
    shutil.copytree(mini, tmp_path / "mini")
    archives = sorted((tmp_path / "mini/600/train").glob("*.tar.gz"))
    hurt = next(path for path in archives if path.name.startswith("abseiling"))
    hurt.write_bytes(gzip.compress(gzip.decompress(hurt.read_bytes())[:-40_000], mtime=0))
    command = ("k600", "--split", "train", "--origin", tmp_path / "mini", "--out", tmp_path / "out")
    assert kconvert("k600", "--split", "train", "--origin", mini, "--out", tmp_path / "good").code == 0
    assert kconvert(*command, "--damaged", handling).code == 0
    now, good = rows(tmp_path / "out", "train"), rows(tmp_path / "good", "train")
    reason = "archive_damaged" if handling == "salvage" else "archive_skipped"
    lost = {name for name, row in now.items() if row["reason"] == reason}
    assert lost
    assert {now[name]["label"] for name in lost} == {"abseiling"}
    others = {name for name, row in good.items() if row["label"] != "abseiling"}
    assert {name: said(now)[name] for name in others} == {name: said(good)[name] for name in others}


@contextmanager
def serving_bytes(root: Path, change: Callable[[int, bytes], bytes]) -> Iterator[Server]:
    """A server whose archive has, at the nth whole answer, the bytes that `change` makes of it."""
    asked = [0]

    class Changing(Handler):
        def send_data(self, name: str, data: bytes) -> None:
            if name == ARCHIVE:
                asked[0] += 1
                data = change(asked[0], data)
            super().send_data(name, data)

    with serving(root, Changing) as server:
        yield server


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("handling", ["salvage", "skip"])
def test_what_was_damaged_on_its_way_is_read_once_more(tmp_path: Path, whole: dict[str, bytes], handling: str) -> None:
    root = origin(tmp_path / "origin", STORED)
    with serving_bytes(root, lambda number, data: flipped(data, len(data) // 2) if number == 1 else data) as server:
        ran = convert(tmp_path / "out", server.url, "--damaged", handling)
    assert ran.code == 0, ran.err
    assert "damaged for good" not in ran.err
    assert tree(tmp_path / "out") == whole


@pytest.mark.parametrize("handling", ["salvage", "skip"])
def test_what_breaks_elsewhere_each_time_fails_its_task(tmp_path: Path, handling: str) -> None:
    root = origin(tmp_path / "origin", STORED)
    with serving_bytes(root, lambda number, data: flipped(data, len(data) // 2 + number)) as server:
        ran = convert(tmp_path / "out", server.url, "--damaged", handling)
    assert ran.code == 3
    assert f"{ARCHIVE}: the gzip stream is damaged (CRC check failed" in ran.out


@pytest.mark.parametrize("handling", ["salvage", "skip"])
def test_another_reason_is_no_damage(tmp_path: Path, handling: str) -> None:
    root = origin(tmp_path / "origin", b"<html>no archive</html>" * 100)
    ran = convert(tmp_path / "page", root, "--damaged", handling)
    assert ran.code == 3
    assert "expected a gzip or a tar" in ran.out
    (root / ARCHIVE).unlink()
    ran = convert(tmp_path / "gone", root, "--damaged", handling)
    assert ran.code == 3
    assert "part_0.tar.gz: " in ran.out


def test_a_mirror_leaves_out_what_is_skipped_and_salvages_nothing(tmp_path: Path) -> None:
    root = origin(tmp_path / "origin", STORED[: len(STORED) // 2])
    ran = convert(tmp_path / "out", root, "--to", "archives", "--damaged", "salvage")
    assert ran.code == 2
    assert "--damaged salvage: --to archives keeps archives whole" in ran.err
    for _ in range(2):
        assert convert(tmp_path / "out", root, "--to", "archives", "--damaged", "skip").code == 0
        assert kconvert("verify", tmp_path / "out").code == 0
        assert not (tmp_path / "out" / ARCHIVE).exists()
    origin(root, GOOD)
    assert convert(tmp_path / "out", root, "--to", "archives").code == 0
    assert (tmp_path / "out" / ARCHIVE).read_bytes() == GOOD
    assert kconvert("verify", tmp_path / "out").code == 0


def test_the_archive_cache_keeps_no_damaged_copy(tmp_path: Path) -> None:
    root = origin(tmp_path / "origin", STORED[: len(STORED) // 2])
    cache = tmp_path / "cache"
    with serving(root) as server:
        assert convert(tmp_path / "out", server.url, "--damaged", "salvage", "--archives", cache).code == 0
    assert sorted(path.name for path in (cache / "400/val").glob("*.tar.gz")) == ["part_1.tar.gz"]
