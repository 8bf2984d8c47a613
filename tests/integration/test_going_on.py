"""Failing, going on, adding to a folder, and refusing to mix."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from harness import COMMAND, kconvert, one_line, tree
from miniature.server import Handler, Server, serving

from kconvert.staging.journal import Journal
from kconvert.storage.folders import local

SMALL = ("--shard.max_samples", "5")
QUICK = (
    "--fetch.max_retries=2", "--fetch.min_backoff_seconds=0.01", "--fetch.max_backoff_seconds=0.05",
)  # fmt: skip


@pytest.fixture
def server_copy(mini: Path, tmp_path: Path) -> Path:
    """A miniature that a test may change."""
    return Path(shutil.copytree(mini, tmp_path / "server"))


def statuses(out: Path, split: str) -> dict[str, str]:
    rows = pq.read_table(out / "metadata" / f"{split}.parquet").to_pylist()
    return {row["key"]: row["status"] for row in rows}


def test_a_second_run_does_nothing_and_asks_nobody(server: Server, tmp_path: Path) -> None:
    first = kconvert("k400", "--out", tmp_path / "out", "--origin", server.url)
    assert first.code == 0, first.err
    before, asked = tree(tmp_path / "out"), sum(server.requests.values())
    second = kconvert("k400", "--out", tmp_path / "out", "--origin", server.url)
    assert (second.code, second.out) == (0, first.out)
    assert tree(tmp_path / "out") == before
    assert sum(server.requests.values()) == asked


@pytest.mark.parametrize("fault", ["absent", "cut", "html", "flipped"])
def test_a_bad_archive_fails_alone_and_the_next_run_reads_only_it(
    server_copy: Path, converted: Path, tmp_path: Path, fault: str
) -> None:
    path = server_copy / "400/val/part_1.tar.gz"
    good = path.read_bytes()
    spoilt = {
        "cut": good[: len(good) // 2],
        "html": b"<html>Slow down</html>",
        "flipped": good[:5000] + bytes([good[5000] ^ 1]) + good[5001:],
    }
    path.unlink() if fault == "absent" else path.write_bytes(spoilt[fault])
    out = tmp_path / "out"
    with serving(server_copy) as http:
        command = ("k400", "--out", out, "--origin", http.url, *SMALL, *QUICK)
        ran = kconvert(*command)
        assert ran.code == 3
        assert "400/val/part_1.tar.gz" in ran.out
        assert not (out / "manifest.json").exists()
        assert not (out / "val").exists()
        assert tree(out / "train") == tree(converted / "train")
        status = kconvert("status", out)
        assert status.code == 3
        assert "400/val/part_1.tar.gz failed: " in status.out
        path.write_bytes(good)
        http.requests.clear()
        ran = kconvert(*command)
        assert ran.code == 0, ran.err
        fetched = [name for method, name in http.requests if method == "GET" and name.endswith("gz")]
        assert fetched == ["400/val/part_1.tar.gz"]
    assert tree(out) == tree(converted)
    assert "failed: " not in kconvert("status", out).out


def test_an_archive_that_is_replaced_while_it_is_read_is_started_again(
    server_copy: Path, converted: Path, tmp_path: Path
) -> None:
    """The first answer is cut and of another version; the bytes that came of it must not be used."""
    path = server_copy / "400/train/part_0.tar.gz"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"?")
    replaced: list[str] = []

    class Replacing(Handler):
        def send_data(self, name: str, data: bytes) -> None:
            if name.endswith("train/part_0.tar.gz") and not replaced:
                replaced.append(name)
                self.wfile.write(data[: len(data) // 2])
                self.wfile.flush()
                path.write_bytes(good)
                self.connection.close()
                self.close_connection = True
            else:
                super().send_data(name, data)

    with serving(server_copy, Replacing) as http:
        ran = kconvert("k400", "--out", tmp_path / "out", "--origin", http.url, *SMALL, *QUICK)
    assert ran.code == 0, ran.err
    assert replaced
    assert tree(tmp_path / "out") == tree(converted)


def kconvert_is_working(out: Path) -> bool:
    return out.is_dir() and Journal(local(out)).is_locked()


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_ended_goes_on_to_the_same_bytes(
    mini: Path, converted: Path, tmp_path: Path, signal_number: signal.Signals
) -> None:
    out = tmp_path / "out"

    class Slow(Handler):
        def send_data(self, name: str, data: bytes) -> None:
            for start in range(0, len(data), 100_000):
                time.sleep(0.05 if name.endswith("gz") else 0)
                super().send_data(name, data[start : start + 100_000])

    with serving(mini, Slow) as http:
        command = ["k400", "--out", str(out), "--origin", http.url, *SMALL]
        for pause in (0.1, 0.7, 1.3, 1.9):
            run = subprocess.Popen(
                [str(COMMAND), *command],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            while run.poll() is None and not kconvert_is_working(out):
                time.sleep(0.02)
            time.sleep(pause)
            os.killpg(run.pid, signal_number)
            start = time.monotonic()
            _, err = run.communicate(timeout=30)
            assert time.monotonic() - start < 10
            if signal_number != signal.SIGKILL and run.returncode != 0:
                assert run.returncode == 130
                assert "run the same command again" in err
            for shard in out.glob("*/*.tar"):
                assert shard.read_bytes() == (converted / shard.relative_to(out)).read_bytes()
        ran = kconvert(*command)
    assert ran.code == 0, ran.err
    assert tree(out) == tree(converted)
    assert not [path for path in out.rglob("*") if path.name.endswith("tmp") or path.suffix == ".part"]


def test_splits_can_be_added_to_a_folder(server: Server, converted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for split, expected in (("val", {"val"}), ("train", {"train", "val"}), ("test,train", {"train", "val", "test"})):
        ran = kconvert("k400", "--out", out, "--origin", server.url, "--split", split, *SMALL)
        assert ran.code == 0, ran.err
        assert set(json.loads((out / "manifest.json").read_text())["splits"]) == expected
        assert kconvert("verify", out).code == 0
    assert tree(out) == tree(converted)


def test_other_options_for_the_same_folder_are_refused_with_the_differences(
    server: Server, tmp_path: Path, mini: Path
) -> None:
    out = tmp_path / "out"
    command = ("k400", "--out", out, "--origin", server.url, "--split", "val")
    assert kconvert(*command).code == 0
    before = tree(out)
    ran = kconvert(*command, "--shuffle.seed", "7", "--check.depth", "decode")
    assert ran.code == 2
    assert "check.depth was 'index', is now 'decode'; shuffle.seed was 0, is now 7" in one_line(ran)
    ran = kconvert("k600", "--out", out, "--origin", server.url)
    assert ran.code == 2
    assert "release was 'k400', is now 'k600'" in one_line(ran)
    shutil.rmtree(out / ".kconvert")
    assert "shuffle.seed was 0" in one_line(kconvert(*command, "--shuffle.seed", "7"))
    assert tree(out) == before
    ran = kconvert(*command, "--shuffle.seed", "7", "--overwrite")
    assert ran.code == 0, ran.err
    assert tree(out) != before
    assert kconvert("verify", out).code == 0


def test_a_shard_that_is_removed_before_the_end_is_made_again(mini: Path, converted: Path, tmp_path: Path) -> None:
    """What it was made of has given its space back by then, so that its archives are read once more."""
    out = tmp_path / "out"
    words = ("k400", "--out", out, "--origin", mini, "--workers", 1, *SMALL)
    with subprocess.Popen([str(COMMAND), *map(str, words)], stderr=subprocess.DEVNULL) as run:
        # The space of the first shard's clips is given back by the time there is a second.
        while len(list(out.glob(".kconvert/train/shards/*.json"))) < 2:
            time.sleep(0.01)
        run.kill()
    shard = out / "train" / "k400-train-000000.tar"
    shard.unlink()
    ran = kconvert(*words)
    assert ran.code == 0, ran.err
    assert "train: reading" in ran.err
    assert ran.err.count("archive(s) again, as clips that are to be packed are staged no more") == 1
    assert tree(out) == tree(converted)


def test_two_runs_on_one_folder_are_refused(mini: Path, tmp_path: Path) -> None:
    out, go_on = tmp_path / "out", threading.Event()

    class Waiting(Handler):
        def send_data(self, name: str, data: bytes) -> None:
            if name.endswith("gz"):
                go_on.wait(60)
            super().send_data(name, data)

    with serving(mini, Waiting) as http:
        command = [str(COMMAND), "k400", "--out", str(out), "--origin", http.url, "--split", "val"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
            while not (out / ".kconvert" / "identity.json").exists():
                time.sleep(0.05)
            second, status = kconvert(*command[1:]), kconvert("status", out)
            go_on.set()
            assert second.code == 2
            assert "another kconvert is working on this folder" in one_line(second)
            assert "a run is working on it" in status.out
            assert first.wait(60) == 0


def test_a_window_bounds_what_is_staged_and_changes_only_the_order(mini: Path, tmp_path: Path) -> None:
    outs = {}
    for window in (0, 1, 2):
        out = tmp_path / str(window)
        ran = kconvert("k700-2020", "--out", out, "--origin", mini, "--shuffle.window", window)
        assert ran.code == 0, ran.err
        assert kconvert("verify", out).code == 0
        outs[window] = out
    assert len({json.dumps(statuses(out, "train"), sort_keys=True) for out in outs.values()}) == 1
    # An archive holds one class, so that a window of one archive mixes nothing.
    rows = pq.read_table(outs[1] / "metadata/train.parquet").to_pylist()
    labels_of: dict[str, set[str]] = {}
    for row in rows:
        if row["shard"]:
            labels_of.setdefault(row["shard"], set()).add(row["label"])
    assert [len(labels) for labels in labels_of.values()] == [1, 1, 1]
    mixed = pq.read_table(outs[0] / "metadata/train.parquet").to_pylist()
    assert len({row["label"] for row in mixed if row["shard"]}) == 3


def test_archives_are_kept_where_that_is_asked_for_and_used_again(
    server: Server, mini: Path, converted: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    for number in range(2):
        out = tmp_path / str(number)
        ran = kconvert("k400", "--out", out, "--origin", server.url, "--archives", kept, *SMALL)
        assert ran.code == 0, ran.err
        assert tree(out) == tree(converted)
    fetched = {name: num for (method, name), num in server.requests.items() if method == "GET" and name.endswith("gz")}
    assert set(fetched.values()) == {1}
    for name in fetched:
        assert (kept / name).read_bytes() == (mini / name).read_bytes()


def test_without_that_no_archive_is_ever_on_the_disk(converted: Path) -> None:
    assert not [path for path in converted.rglob("*") if "tar.gz" in path.name or path.suffix == ".part"]


def test_classes_of_k700_fetch_only_their_archives_once(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("k700-2020", "--out", out, "--origin", server.url, "--split", "train,val", "--classes")
    chosen = (*command, "driving car,zumba")
    expected = {f"700_2020/{split}/k700_{split}_{rank}.tar.gz" for split in ("train", "val") for rank in ("171", "700")}
    assert (ran := kconvert(*chosen)).code == 0, ran.err
    assert {name for method, name in server.requests if method == "GET" and name.endswith("gz")} == expected
    # A shard that is gone is made from its archives again; nothing else is asked for.
    next(out.glob("val/*.tar")).unlink()
    server.requests.clear()
    assert (ran := kconvert(*chosen)).code == 0, ran.err
    again = {name for method, name in server.requests if method == "GET" and name.endswith("gz")}
    assert again == {name for name in expected if "/val/" in name}
    server.requests.clear()
    assert kconvert(*chosen).code == 0
    assert not server.requests


def test_classes_fetch_only_their_archives(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("k600", "--out", out, "--origin", server.url)
    ran = kconvert(*command, "--classes", "abseiling,zumba", "--split", "train,val")
    assert ran.code == 0, ran.err
    fetched = {name for method, name in server.requests if method == "GET" and name.endswith("gz")}
    assert fetched == {"600/train/abseiling.tar.gz", "600/val/zumba.tar.gz"}
    rows = pq.read_table(out / "metadata/train.parquet").to_pylist()
    assert {row["label"] for row in rows} == {"abseiling"}
    counts = json.loads((out / "manifest.json").read_text())["splits"]["train"]
    # The annotations of the two other classes are left out, and counted.
    assert counts["num_unread_annotations"] == 24
    assert counts["num_annotations"] == 36
    assert (out / "labels.txt").read_text().count("\n") == 600


def test_classes_of_mixed_archives_read_all_and_write_only_theirs(mini: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = kconvert("k400", "--out", out, "--origin", mini, "--classes", "zumba")
    assert ran.code == 0, ran.err
    for split in ("train", "val"):
        counts = json.loads((out / "manifest.json").read_text())["splits"][split]
        rows = pq.read_table(out / f"metadata/{split}.parquet").to_pylist()
        assert {row["label"] for row in rows} == {"zumba"}
        assert counts["num_unselected_members"] > 0
        assert counts["num_clip_members"] + counts["num_replacement_only"] + counts["num_missing"] == len(rows)
    assert kconvert("verify", out).code == 0


def test_where_the_annotation_is_incomplete_a_class_is_all_of_its_archive(mini: Path, tmp_path: Path) -> None:
    """k600's csv names half of the clips; those that it does not name have the label of their archive."""
    root = Path(shutil.copytree(mini / "600", tmp_path / "origin/600")).parent
    (root / "600/annotations/val.txt").unlink()
    words = ("--origin", root, "--split", "val")
    assert kconvert("k600", "--out", tmp_path / "all", *words).code == 0
    assert kconvert("k600", "--out", tmp_path / "one", *words, "--classes", "zumba").code == 0
    found = statuses(tmp_path / "one", "val")
    rows = pq.read_table(tmp_path / "all/metadata/val.parquet").to_pylist()
    assert found == {row["key"]: row["status"] for row in rows if row["label"] == "zumba"}
    assert {row["label_source"] for row in rows if row["label"] == "zumba"} == {"annotation", "archive"}


def test_a_split_without_labels_is_left_out_with_classes(mini: Path, tmp_path: Path) -> None:
    ran = kconvert("k600", "--out", tmp_path / "out", "--origin", mini, "--classes", "zumba")
    assert ran.code == 0, ran.err
    assert "test: left out" in ran.err
    assert set(json.loads((tmp_path / "out/manifest.json").read_text())["splits"]) == {"train", "val"}
    ran = kconvert("k600", "--out", tmp_path / "x", "--origin", mini, "--classes", "zumba", "--split", "test")
    assert ran.code == 2
    assert "has no labels" in one_line(ran)


@pytest.mark.parametrize("release", ["k400", "k700-2020"])
def test_a_trial_reads_only_the_first_archives_and_calls_nothing_missing_that_it_did_not_look_for(
    mini: Path, tmp_path: Path, release: str
) -> None:
    out = tmp_path / "out"
    ran = kconvert(release, "--out", out, "--origin", mini, "--max_archives", 1)
    assert ran.code == 0, ran.err
    manifest = json.loads((out / "manifest.json").read_text())
    for split, counts in manifest["splits"].items():
        assert counts["num_archives"] == 1
        rows = pq.read_table(out / f"metadata/{split}.parquet").to_pylist()
        named = counts["num_annotations"] - counts["num_unread_annotations"]
        assert len(rows) == named + counts["num_unannotated"]
        missing = {row["label"] for row in rows if row["status"] == "missing"}
        # In k700-2020 the first archive holds all of the first class.
        assert missing == ({"abseiling"} if release == "k700-2020" and split != "test" else set())
    assert kconvert("verify", out).code == 0


def test_unlabelled_clips_are_kept_where_that_is_asked_for(mini: Path, tmp_path: Path) -> None:
    for policy in ("keep", "drop"):
        out = tmp_path / policy
        ran = kconvert("k700-2020", "--out", out, "--origin", mini, "--unlabelled", policy)
        assert ran.code == 0, ran.err
        rows = {row["key"]: row for row in pq.read_table(out / "metadata/train.parquet").to_pylist()}
        row = rows["train_hosted_only_000040_000050"]
        said = (row["label"], row["label_id"], row["label_source"])
        assert (row["status"], *said) == ("written" if policy == "keep" else "rejected", "abseiling", 0, "archive")
        counts = json.loads((out / "manifest.json").read_text())["splits"]["test"]
        assert bool(counts["num_written"]) == (policy == "keep")
        assert kconvert("verify", out).code == 0


def test_short_clips_are_dropped_where_that_is_asked_for(mini: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = kconvert("k700-2020", "--out", out, "--origin", mini, "--check.short", "drop", "--split", "test")
    assert ran.code == 0, ran.err
    rows = pq.read_table(out / "metadata/test.parquet").to_pylist()
    assert {row["reason"] for row in rows if row["defects"] == ["short"]} == {"short"}


@pytest.mark.parametrize("depth", ["header", "decode"])
def test_deeper_checks_reject_more(mini: Path, tmp_path: Path, depth: str) -> None:
    for prober in ("libav", "ffprobe"):
        out = tmp_path / prober
        ran = kconvert("k400", "--out", out, "--origin", mini, "--check.depth", depth, "--check.prober", prober)
        assert ran.code == 0, ran.err
        tools = json.loads((out / "manifest.json").read_text())["tools"]
        assert ("ffprobe" in tools) == (prober == "ffprobe")
    found = [
        [
            (row["key"], row["defects"], row["reason"])
            for row in pq.read_table(tmp_path / p / "metadata/train.parquet").to_pylist()
        ]
        for p in ("libav", "ffprobe")
    ]
    assert found[0] == found[1]
    defects = {defect for _, defects, _ in found[0] for defect in defects}
    assert ("undecodable" in defects) == (depth == "decode")
    assert ("truncated" in defects) == (depth == "decode")


@pytest.mark.parametrize("change", ["part", "shard", "table", "rows"])
def test_what_disappears_is_made_again_and_the_same(
    server: Server, converted: Path, copy_of: Callable[[Path], Path], change: str
) -> None:
    out = copy_of(converted)
    (out / "manifest.json").unlink()
    if change == "shard":
        (out / "train/k400-train-000001.tar").unlink()
    elif change == "table":
        (out / "metadata/val.parquet").unlink()
    elif change == "rows":
        (out / ".kconvert/train/record.json").unlink()
        (out / ".kconvert/train/archives/000000.rows").unlink()
    ran = kconvert("k400", "--out", out, "--origin", server.url, *SMALL)
    assert ran.code == 0, ran.err
    assert tree(out) == tree(converted)


def test_a_run_that_was_refused_fixes_nothing(server_copy: Path, converted: Path, tmp_path: Path) -> None:
    """Its archives are those of other options, perhaps."""
    out = tmp_path / "out"
    path = server_copy / "400/annotations/val.csv"
    good = path.read_bytes()
    path.write_bytes(good + b"?\n")
    command = ("k400", "--out", out, "--origin", server_copy, *SMALL)
    assert kconvert(*command, "--max_archives", 1).code == 2
    path.write_bytes(good)
    assert kconvert(*command).code == 0
    assert tree(out) == tree(converted)


def test_an_archive_that_changed_since_it_was_packed_is_packed_again_where_it_is_read_again(
    server_copy: Path, converted: Path, copy_of: Callable[[Path], Path]
) -> None:
    """A shard is lost, its archives are read again, and one of them has other bytes under the same names by now."""
    out = copy_of(converted)
    (out / "manifest.json").unlink()
    (out / "train/k400-train-000000.tar").unlink()
    (out / "train/k400-train-000001.tar").unlink()
    archive = server_copy / "400/train/part_0.tar.gz"
    data = gzip.decompress(archive.read_bytes())
    changed = data.replace(b"Lavc", b"lAVC")
    assert changed != data
    archive.write_bytes(gzip.compress(changed))
    ran = kconvert("k400", "--out", out, "--origin", server_copy, *SMALL)
    assert ran.code == 0, ran.err
    assert ran.err.count("400/train/part_0.tar.gz has other clips than when it was first read") == 1
    assert kconvert("verify", out).code == 0
    assert tree(out) != tree(converted)


def test_a_plan_to_start_again_plans_everything(mini: Path, converted: Path, copy_of: Callable[[Path], Path]) -> None:
    out = copy_of(converted)
    command = ("plan", "k400", "--out", out, "--origin", mini, "--json")
    assert json.loads(kconvert(*command, *SMALL).out)["splits"] == {}
    assert kconvert(*command).code == 2
    assert set(json.loads(kconvert(*command, "--overwrite").out)["splits"]) == {"train", "val", "test"}
    assert tree(out) == tree(converted)


@pytest.mark.parametrize(
    "words", [("--origin", "nowhere"), ("--origin", "http://127.0.0.1:9/", *QUICK), ("--classes", "no such label")]
)
def test_overwriting_that_cannot_work_leaves_what_is_there(
    converted: Path, mini: Path, copy_of: Callable[[Path], Path], words: tuple[str, ...]
) -> None:
    out = copy_of(converted)
    ran = kconvert("k400", "--out", out, "--overwrite", *words)
    assert ran.code == 2
    assert tree(out) == tree(converted)
    assert kconvert("verify", out).code == 0


def test_a_half_cleared_folder_is_refused_to_other_options(
    converted: Path, mini: Path, copy_of: Callable[[Path], Path]
) -> None:
    """As a kill in the middle of --overwrite leaves it."""
    out = copy_of(converted)
    for name in ("manifest.json", "README.md", "labels.txt"):
        (out / name).unlink()
    shutil.rmtree(out / "train")
    shutil.rmtree(out / ".kconvert/train")
    command = ("k400", "--out", out, "--origin", mini, *SMALL, "--shuffle.seed", 9)
    ran = kconvert(*command)
    assert ran.code == 2
    assert "shuffle.seed was 0" in one_line(ran)
    assert kconvert(*command, "--overwrite").code == 0
    assert kconvert("verify", out).code == 0


def test_shards_of_an_earlier_plan_do_not_stay(
    server_copy: Path, converted: Path, copy_of: Callable[[Path], Path]
) -> None:
    """A shard is lost, and by now its archive has fewer clips, so that there are fewer shards."""
    out = copy_of(converted)
    (out / "train/k400-train-000000.tar").unlink()
    shutil.copy(server_copy / "400/test/part_1.tar.gz", server_copy / "400/train/part_0.tar.gz")
    ran = kconvert("k400", "--out", out, "--origin", server_copy, *SMALL)
    assert ran.code == 0, ran.err
    assert "train/k400-train-000000.tar is gone" in ran.err
    assert kconvert("verify", out).code == 0
    assert len(list((out / "train").iterdir())) < len(list((converted / "train").iterdir()))


def test_a_folder_of_the_scripts_with_some_archives_calls_nothing_missing_that_others_may_hold(
    mini: Path, tmp_path: Path
) -> None:
    for release, root, name in (("k400", "400", "part_0"), ("k700-2020", "700_2020", "k700_train_001")):
        folder = tmp_path / release
        (folder / f"{release}_targz/train").mkdir(parents=True)
        shutil.copy(mini / root / f"train/{name}.tar.gz", folder / f"{release}_targz/train")
        (folder / f"{release}_targz/train/._{name}.tar.gz").write_bytes(b"AppleDouble")
        shutil.copytree(mini / root / "annotations", folder / release / "annotations")
        out = tmp_path / f"{release}-out"
        ran = kconvert(release, "--out", out, "--origin", folder, "--split", "train")
        assert ran.code == 0, ran.err
        rows = pq.read_table(out / "metadata/train.parquet").to_pylist()
        missing = {row["label"] for row in rows if row["status"] == "missing"}
        assert missing == ({"abseiling"} if release == "k700-2020" else set())
        assert kconvert("verify", out).code == 0


def test_a_damaged_kept_archive_is_downloaded_again_by_the_next_run(server: Server, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    command = ("k400", "--origin", server.url, "--split", "val", "--archives", kept)
    assert kconvert(*command, "--out", tmp_path / "a").code == 0
    path = kept / "400/val/part_0.tar.gz"
    data = path.read_bytes()
    path.write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
    assert kconvert(*command, "--out", tmp_path / "b").code == 3
    assert kconvert(*command, "--out", tmp_path / "b").code == 0
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
