import hashlib
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import pytest

from kconvert.catalog.release import AnnotationFile
from kconvert.columns.column import Column
from kconvert.conversion.pack import PackTask, is_packed, pack, plan_digest
from kconvert.conversion.samples import PackSample
from kconvert.dataset.formats.webdataset import FORMAT
from kconvert.errors import StagingError
from kconvert.events import Advance
from kconvert.staging.journal import Inputs, ShardReceipt, SplitJournal
from kconvert.staging.part import StagedBytes, is_freed
from kconvert.storage.folders import local
from kconvert.storage.store import StorePath


def on_disk(path: StorePath) -> Path:
    assert path.local_path is not None
    return path.local_path


def make_task(tmp_path: Path, videos: list[bytes]) -> PackTask:
    journal = SplitJournal(local(tmp_path / ".kconvert" / "train"))
    journal.set_inputs(Inputs((), 0, None, AnnotationFile("x", "csv")), b"", [])
    journal.part_path("000000").write_bytes(b"".join(videos))
    samples = []
    offset = 0
    for number, video in enumerate(videos):
        metadata: dict[str, str | int] = {
            "key": f"train_clip{number}",
            "label_id": number,
            "size_bytes": len(video),
            "sha256": hashlib.sha256(video).hexdigest(),
            "source": "",
        }
        samples.append(PackSample(metadata, "000000", StagedBytes(offset, len(video), crc32(video))))
        offset += len(video)
    return PackTask(3, "train/x-000003.tar", local(tmp_path), journal, "webdataset", samples, digest(samples))


def digest(samples: Iterable[PackSample]) -> str:
    """Of the lines that receipts have had since there are any: resumed runs compare them."""
    found = ([str(sample.metadata[name]) for name in ("key", "sha256", "source")] for sample in samples)
    return hashlib.sha256("".join(f"{' '.join(line)}\n" for line in found).encode()).hexdigest()


def test_a_shard_is_packed_with_its_receipt(tmp_path: Path) -> None:
    videos = [b"one" * 1000, b"", b"two" * 77]
    task = make_task(tmp_path, videos)
    told: list[Advance] = []
    receipt = pack(task, told.append)
    shard = (tmp_path / task.path).read_bytes()
    assert receipt == task.journal.shard_receipt(3)
    assert receipt.size_bytes == len(shard)
    for offset, video in zip(receipt.offsets, videos, strict=True):
        assert offset is not None
        assert shard[offset : offset + len(video)] == video
    assert sum(event.num_clips for event in told) == 3
    names = ("key", "sha256", "source")
    keys, digests, sources = (Column.of(sample.metadata[name] for sample in task.samples) for name in names)
    planned = plan_digest(keys, [digests], sources)
    assert task.plan_sha256 == planned
    assert is_packed(receipt, local(tmp_path), task.path, FORMAT, planned)
    back, front, source = (Column.of(column.values[::-1]) for column in (keys, digests, sources))
    other = Column.constant("other bytes", 3)
    for changed in ((back, [front], source), (keys, [other], sources), (keys, [digests, other], sources)):
        assert not is_packed(receipt, local(tmp_path), task.path, FORMAT, plan_digest(*changed))
    longer = replace(receipt, offsets=(*receipt.offsets, 7))
    assert not is_packed(longer, local(tmp_path), task.path, FORMAT, planned)
    (tmp_path / task.path).write_bytes(b"short")
    assert not is_packed(receipt, local(tmp_path), task.path, FORMAT, planned)


def test_a_part_that_is_gone_or_cut_fails_the_shard_by_name(tmp_path: Path) -> None:
    task = make_task(tmp_path, [b"x" * 100])
    part = on_disk(task.journal.part_path("000000"))
    part.write_bytes(b"x" * 99)
    with pytest.raises(StagingError, match=r"000000\.part"):
        pack(task, lambda event: None)
    assert not part.exists()
    with pytest.raises(StagingError, match=r"000000\.part"):
        pack(task, lambda event: None)
    assert not list((tmp_path / "train").iterdir())


def test_a_part_that_was_spoilt_fails_the_shard_and_is_given_up(tmp_path: Path) -> None:
    task = make_task(tmp_path, [b"x" * 100, b"y" * 100])
    part = on_disk(task.journal.part_path("000000"))
    part.write_bytes(b"x" * 100 + b"y" * 99 + b"z")
    with pytest.raises(StagingError, match="are not what was staged"):
        pack(task, lambda event: None)
    assert not part.exists()
    assert not list((tmp_path / "train").iterdir())


def test_every_spoilt_part_of_a_shard_is_given_up_at_once(tmp_path: Path) -> None:
    """As where an output folder was copied, and the space that was given back became zeros."""
    task = make_task(tmp_path, [b"x" * 100, b"y" * 100, b"z" * 100])
    whole = task.journal.part_path("000000").read_bytes()
    for name, data in (("000000", whole), ("000001", bytes(300)), ("000002", bytes(300))):
        task.journal.part_path(name).write_bytes(data)
    samples = [replace(sample, archive_id=f"00000{number}") for number, sample in enumerate(task.samples)]
    with pytest.raises(StagingError, match="are not what was staged"):
        pack(replace(task, samples=samples), lambda event: None)
    assert [task.journal.part_path(f"00000{number}").exists() for number in range(3)] == [True, False, False]


def test_what_a_dead_worker_did_not_give_back_is_given_back_by_the_next(tmp_path: Path) -> None:
    task = make_task(tmp_path, [os.urandom(50_000)])
    part = on_disk(task.journal.part_path("000000"))
    data = part.read_bytes()
    receipt = pack(task, lambda event: None)
    part.write_bytes(data)
    assert pack(task, lambda event: None) == receipt
    assert is_freed(local(part), [sample.staged for sample in task.samples])


def used(path: Path) -> int:
    """Bytes that a file takes of its disk."""
    return path.stat().st_blocks * 512


def test_what_is_in_a_shard_gives_its_space_back_and_nothing_else_does(tmp_path: Path) -> None:
    videos = [os.urandom(50_000) for _ in range(4)]
    task = make_task(tmp_path, videos)
    part = on_disk(task.journal.part_path("000000"))
    before, size = used(part), part.stat().st_size
    first, _, third, _ = task.samples
    chosen = [first, third]
    assert not is_freed(local(part), (sample.staged for sample in task.samples))
    pack(replace(task, samples=chosen), lambda event: None)
    assert part.stat().st_size == size
    # Blocks that are shared with a neighbour stay.
    assert before - 2 * 50_000 <= used(part) <= before - 2 * (50_000 - 2 * part.stat().st_blksize)
    for sample, video in zip(task.samples, videos, strict=True):
        assert is_freed(local(part), [sample.staged]) == (sample in chosen)
        if sample not in chosen:
            assert part.read_bytes()[slice(*sample.staged.range)] == video


def test_two_that_are_given_one_shard_both_have_it(tmp_path: Path) -> None:
    """As where a machine was taken for lost: the second frees what the first is still reading."""
    task = make_task(tmp_path, [os.urandom(50_000) for _ in range(3)])
    found: list[ShardReceipt] = []

    def while_reading(event: Advance) -> None:
        if not found:
            found.append(pack(task, lambda event: None))

    assert pack(task, while_reading) == found[0]
    assert on_disk(task.journal.part_path("000000")).exists()
