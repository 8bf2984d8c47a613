import fcntl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from harness import write_staged

from kconvert.catalog.release import AnnotationFile
from kconvert.errors import LostLockError, UsageError
from kconvert.events import Advance
from kconvert.staging.journal import ArchiveReceipt, Inputs, Journal, ShardReceipt, SplitJournal, guarded
from kconvert.storage.folders import local

INPUTS = Inputs(("400/train/part_0.tar.gz",), 3, "400/better.tgz", AnnotationFile("400/annotations/train.csv", "csv"))


@pytest.fixture
def journal(tmp_path: Path) -> SplitJournal:
    journal = Journal(local(tmp_path)).split("train")
    journal.set_inputs(INPUTS, b"the annotations", ["a", "b"])
    return journal


def receipt(journal: SplitJournal) -> ArchiveReceipt:
    digest = write_staged(journal.rows_path("000000"), [])
    return ArchiveReceipt("400/train/part_0.tar.gz", 5, '"e"', 1, 1, 0, 0, 0, ("x: y",), ("odd",), 3, digest)


def test_what_was_written_is_read(journal: SplitJournal) -> None:
    assert journal.inputs() == INPUTS
    assert INPUTS.ids() == {"400/train/part_0.tar.gz": "000000", "400/better.tgz": "replacement"}
    assert journal.annotations_path.read_bytes() == b"the annotations"
    assert journal.selection_path.read_bytes().decode() == "a\nb\n"
    shard = ShardReceipt("train/x.tar", 2, 5, "ff", (512, 1024), "ee")
    journal.set_shard_receipt(7, shard)
    assert journal.shard_receipt(7) == shard
    assert journal.shard_receipt(8) is None
    assert journal.num_shard_receipts() == 1


def test_a_receipt_counts_only_while_its_rows_are_what_it_says(journal: SplitJournal) -> None:
    assert journal.archive_receipt("000000") is None
    found = receipt(journal)
    journal.set_archive_receipt("000000", found)
    assert journal.archive_receipt("000000") == found
    assert journal.staged({"000000": found}) == set()
    journal.part_path("000000").write_bytes(b"abc")
    assert journal.staged({"000000": found}) == {"000000"}
    journal.rows_path("000000").write_bytes(b"spoilt")
    assert journal.archive_receipt("000000") is None


def test_a_failure_lasts_until_the_archive_is_read(journal: SplitJournal) -> None:
    journal.set_failure("000000", "HTTP 404\udcff")
    assert journal.failure("000000").startswith("HTTP 404")
    journal.set_archive_receipt("000000", receipt(journal))
    assert journal.failure("000000") == ""


def test_a_spoilt_receipt_is_told_by_name(journal: SplitJournal) -> None:
    (journal.folder / "archives" / "000000.json").write_bytes(b"{")
    with pytest.raises(UsageError, match=r"000000\.json"):
        journal.archive_receipt("000000")


def test_two_processes_cannot_hold_the_lock_and_a_killed_one_frees_it(tmp_path: Path) -> None:
    code = (
        "import sys; from kconvert.staging.journal import Journal; from kconvert.storage.open import to_path\n"
        "with Journal(to_path(sys.argv[1])).lock(): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    with holder, holder.stdout, holder.stdin:
        assert holder.stdout.readline() == "held\n"
        assert Journal(local(tmp_path)).is_locked()
        with pytest.raises(UsageError, match="another kconvert"), Journal(local(tmp_path)).lock():
            pass
        holder.kill()
        holder.wait()
    assert not Journal(local(tmp_path)).is_locked()
    with Journal(local(tmp_path)).lock():
        pass


@pytest.mark.parametrize(
    "name", ["inputs.json", "record.json", "listings.json", "archives/000000.json", "shards/000000.json"]
)
@pytest.mark.parametrize("text", ["[1]", "{}", '{"archive": 5}', "7", '"x"'])
def test_a_record_of_another_shape_is_told_by_name(journal: SplitJournal, name: str, text: str) -> None:
    (journal.folder / name).write_bytes(text.encode())
    with pytest.raises(UsageError, match=name.rpartition("/")[2]):
        journal.inputs()
        journal.record()
        journal.listings()
        journal.archive_receipt("000000")
        journal.shard_receipt(0)


def test_a_glance_at_the_lock_does_not_keep_a_run_out(tmp_path: Path) -> None:
    with Journal(local(tmp_path)).lock():
        pass
    with open(tmp_path / ".kconvert/lock") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        timer = threading.Timer(0.15, fcntl.flock, (file, fcntl.LOCK_UN))
        timer.start()
        with Journal(local(tmp_path)).lock():
            pass
        timer.join()


def test_a_conversion_ignores_what_another_one_leaves_late(tmp_path: Path) -> None:
    journal = Journal(local(tmp_path))
    journal.folder.make_folder()
    journal.set_identity({"release": "k400"})
    first = journal.split("train")
    first.set_inputs(INPUTS, b"", [])
    shard = ShardReceipt("train/x.tar", 2, 5, "ff", (512, 1024), "ee")
    first.set_shard_receipt(0, shard)
    # Going on with it changes nothing.
    journal.set_identity({"release": "k400"})
    assert journal.split("train").shard_receipt(0) == shard
    journal.forget_identity()
    journal.set_identity({"release": "k400", "seed": 3})
    second = journal.split("train")
    assert second.shard_receipt(0) is None
    told: list[Advance] = []
    guarded(first, told.append)(Advance(num_clips=1))
    assert len(told) == 1
    for work in (first.require_current, lambda: first.set_shard_receipt(1, shard)):
        with pytest.raises(LostLockError, match="another conversion has begun"):
            work()
    second.require_current()
    second.set_shard_receipt(0, shard)
    assert (second.shard_receipt(0), second.shard_receipt(1)) == (shard, None)
