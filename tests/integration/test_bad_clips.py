"""Clips that crash, hang, or exhaust what looks into them: faults that are injected from outside the product."""

import gc
import gzip
import io
import multiprocessing
import os
import shutil
import stat
import tarfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
from groups import real_group
from harness import QUICK, kconvert, tree
from miniature.build import Archive, write
from miniature.made import make_clip
from miniature.sources import Row, Video
from ruining import ruining

from kconvert.catalog.release import AnnotationFile
from kconvert.catalog.shelf import load_release
from kconvert.conversion.ingest import IngestTask, ingest
from kconvert.sources.access import ArchiveRef, Streamed
from kconvert.staging.journal import Inputs, SplitJournal
from kconvert.storage.folders import local
from kconvert.video.open import open_prober
from kconvert.video.verdict import CheckOptions

NAMES = load_release("k400").names

PLAIN = {"PYTHONMALLOC": "default"}
"""Development mode overwrites what is freed, gigabytes of it."""
MARKS = {1: b"CRASHING", 3: b"HANGING!", 4: b"HOGGING!", 6: b"FLOODING"}
"""Clips by number, and what they do to the prober."""
FAKE_FFPROBE = """#!/bin/sh
for word; do file=$word; done
case "$1" in -version) echo ffprobe version 0 fake; exit;; esac
tail -c 8 "$file" >>{calls}; echo >>{calls}
case "$(tail -c 8 "$file")" in
    CRASHING) kill -SEGV $$;;
    HANGING!) exec sleep 1000;;
    HOGGING!) exec python3 -c 'import os; hog = bytes([1]) * int(os.environ.get("TOUCHED", 0)), [bytes(1 << 28) for _ in range(40)]';;
    FLOODING) yes 'moov atom not found' | head -c 1000000000 >&2; exit 1;;
esac
exec {real} "$@"
"""


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    """An origin with one split of eight clips, of which four are marked."""
    return origin_of(tmp_path / "server", 8, MARKS)


def origin_of(root: Path, num_clips: int, marks: Mapping[int, bytes]) -> Path:
    """An origin with one split of one archive, in which clips are marked, by number."""
    rows = [Row(f"clip-{number:06d}", 0, 10, "zumba") for number in range(num_clips)]
    archive = Archive("700_2020/val/k700_val_700.tar.gz", "zumba/")
    for number, row in enumerate(rows):
        mark = marks.get(number)
        data = make_clip("good", row.name) + (b"\0\0\0\x10free" + mark if mark else b"")
        archive.clips.append((row, Video(data, ())))
    archive.write(root)
    url = f"https://s3.amazonaws.com/kinetics/{archive.name}\n"
    write(root / "700_2020/val/k700_2020_val_path.txt", url.encode())
    lines = ["label,youtube_id,time_start,time_end,split", *(f"zumba,{row.youtube_id},0,10,validate" for row in rows)]
    write(root / "700_2020/annotations/val.csv", "\n".join(lines).encode())
    return root


def stand_in(prober: str, folder: Path) -> tuple[dict[str, str], Path]:
    """The environment in which a stand-in for the prober is found, and the file in which it notes its calls."""
    calls = folder / "calls"
    if prober == "libav":
        return {**ruining("kconvert.video.libav", folder / "site", calls), **PLAIN}, calls
    fake = folder / "bin/ffprobe"
    write(fake, FAKE_FFPROBE.format(real=shutil.which("ffprobe"), calls=calls).encode())
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    return {"PATH": f"{fake.parent}:{os.environ['PATH']}", **PLAIN}, calls


ENGINES = {
    "local": (),
    "ray": ("--engine", "ray", "--ray.address", "local"),
    "slurm": ("--engine", "slurm", "--slurm.executor", "local"),
}


@pytest.mark.parametrize("engine", ENGINES)
def test_of_a_hundred_clips_all_but_the_guilty_are_looked_into_once_on_every_engine(
    tmp_path: Path, engine: str
) -> None:
    guilty = {10: b"CRASHING", 50: b"HANGING!", 80: b"HOGGING!"}
    origin = origin_of(tmp_path / "server", 100, guilty)
    env, calls = stand_in("libav", tmp_path)
    out = tmp_path / "out"
    words = ("k700-2020", "--split", "val", "--out", out, "--origin", origin, "--check.timeout", "3", "--workers", 1)
    # Ray's own processes have much that development mode complains of.
    ran = kconvert(*words, *ENGINES[engine], env={**env, "PYTHONDEVMODE": "", "RAY_USAGE_STATS_ENABLED": "0"})
    assert ran.code == 0, ran.err
    rows: list[dict[str, Any]] = pq.read_table(out / "metadata/val.parquet").to_pylist()
    assert len(rows) == 100
    reasons = {int(row["youtube_id"][5:]): row["reason"] for row in rows if row["status"] != "written"}
    assert reasons == {10: "crashed", 50: "timeout", 80: "crashed"}
    opened = Counter(calls.read_text().splitlines())
    marks = {
        name.decode(): opened.pop(call)
        for name in guilty.values()
        for call in list(opened)
        if call.startswith(name.decode())
    }
    # A good clip is opened once, without its decoders.
    assert (len(opened), set(opened.values())) == (97, {1})
    # In a process that had seen others a clip is tried once more, alone.
    assert marks == {"CRASHING": 2, "HANGING!": 1, "HOGGING!": 2}


@pytest.mark.parametrize("prober", ["libav", "ffprobe"])
def test_a_clip_that_ruins_the_prober_costs_itself_only_and_once(marked: Path, tmp_path: Path, prober: str) -> None:
    env, calls = stand_in(prober, tmp_path)
    outs = [tmp_path / "1", tmp_path / "2"]
    for workers, out in enumerate(outs, start=1):
        words = ("k700-2020", "--split", "val", "--out", out, "--origin", marked, "--check.prober", prober)
        more = ("--check.timeout", "3", "--workers", workers)
        ran = kconvert(*words, *more, env=env)
        assert ran.code == 0, ran.err
        assert "\x1b" not in ran.out + ran.err
        assert len(ran.err) < 10_000
        rows: list[dict[str, Any]] = pq.read_table(out / "metadata/val.parquet").to_pylist()
        bad = {int(row["youtube_id"][5:]): row["reason"] for row in rows if row["status"] == "rejected"}
        assert bad == {1: "crashed", 3: "timeout", 4: "crashed", 6: "crashed"}
        details = {int(row["youtube_id"][5:]): row["detail"] for row in rows}
        assert details[4] == "the check needs more than 2 GiB of memory"
        assert details[3] == "the check took longer than 3 s"
        assert "SIGSEGV" in details[1]
        assert details[6] == (
            "ffprobe printed more than 64 MiB" if prober == "ffprobe" else "the check was ended by SIGABRT"
        )
        assert kconvert("verify", out).code == 0
        # Once more as if killed after the last receipt: no clip is looked at again.
        before = calls.read_bytes()
        for name in ("manifest.json", "metadata/val.parquet", ".kconvert/val/record.json"):
            (out / name).unlink()
        assert kconvert(*words, *more, env=env).code == 0
        assert kconvert("verify", out).code == 0
        assert calls.read_bytes() == before
    assert tree(outs[0]) == tree(outs[1])


@pytest.mark.parametrize("prober", ["libav", "ffprobe"])
def test_a_kill_for_memory_is_told_as_that_and_not_as_a_crash_of_the_clip(
    marked: Path, tmp_path: Path, prober: str
) -> None:
    """A check that would be stopped at 2 GiB, in a container of 400 MB."""
    env, _ = stand_in(prober, tmp_path)
    words = ("k700-2020", "--split", "val", "--origin", marked, "--check.prober", prober, "--check.timeout", "10")
    out = tmp_path / "out"
    with real_group("memory", "400000000") as within:
        # Memory that is only asked for is none yet.
        ran = kconvert(*words, "--out", out, env={**env, "TOUCHED": "402653184"}, within=within)
    assert ran.code == 3, ran.err
    assert (
        "k700_val_700.tar.gz: the kernel killed its process for memory (the container's memory limit is 400 MB)"
    ) in ran.out
    assert "-> run again with fewer --workers, or with more memory" in ran.out
    # With more of it, the same command finds what is wrong with that clip itself.
    ran = kconvert(*words, "--out", out, env=env)
    assert ran.code == 0, ran.err
    rows = pq.read_table(out / "metadata/val.parquet").to_pylist()
    details = {row["youtube_id"]: row["detail"] for row in rows}
    assert details["clip-000004"] == "the check needs more than 2 GiB of memory"


def archive_of(path: Path, num_clips: int) -> None:
    """An archive of clips, half of them broken in several ways."""
    kinds = ("good", "cut", "html", "empty")
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for number in range(num_clips):
            data = make_clip(kinds[number % 4], f"{number}")
            info = tarfile.TarInfo(f"clip-{number:06d}_000000_000010.mp4")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def held() -> tuple[int, int, int]:
    """Descriptors, threads and children that this process has."""
    gc.collect()
    me = psutil.Process()
    return me.num_fds(), me.num_threads(), len(me.children(recursive=True))


def _ingest_and_tell(
    sender: "multiprocessing.connection.Connection", folder: Path, prober: str, nums: list[int]
) -> None:
    found = []
    for num_clips in nums:
        journal = SplitJournal(local(folder / f"{num_clips}"))
        journal.set_inputs(Inputs((), 0, None, AnnotationFile("x", "csv")), b"", [])
        ref = ArchiveRef("x", str(folder / f"{num_clips}.tar.gz"), NAMES)
        check = CheckOptions(prober=prober)  # type: ignore[arg-type]
        task = IngestTask(ref, "000000", journal, check, QUICK, Streamed(), "fail")
        assert ingest(task, lambda event: None).num_clips == num_clips
        found.append(held())
    sender.send(found)
    sender.close()


@pytest.mark.parametrize("prober", ["libav", "ffprobe"])
def test_a_thousand_clips_leave_no_descriptor_thread_or_process(
    tmp_path: Path, prober: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if prober == "ffprobe":
        fake = tmp_path / "bin/ffprobe"
        printed = '{"streams": [{"codec_type": "video", "duration_ts": 10, "time_base": "1/1"}], "format": {}}'
        write(fake, f"#!/bin/sh\necho '{printed}'\n".encode())
        fake.chmod(0o755)
        monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    nums = [10, 1000, 1001]
    for num_clips in nums:
        archive_of(tmp_path / f"{num_clips}.tar.gz", num_clips)
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_ingest_and_tell, args=(sender, tmp_path, prober, nums))
    process.start()
    sender.close()
    with receiver:
        found = receiver.recv()
    process.join()
    process.close()
    assert found[0] == found[1] == found[2]


def test_clips_that_are_looked_at_in_processes_of_their_own_leave_nothing(tmp_path: Path) -> None:
    prober = open_prober(CheckOptions())
    counts = []
    for _ in range(3):
        for kind in ("good", "html") * 10:
            prober.probe(make_clip(kind, "x"))
        counts.append(held())
    assert counts[1] == counts[2]


def test_a_decoder_that_complains_of_everything_does_not_fill_the_memory(tmp_path: Path) -> None:
    """The real libraries, on pictures that are spoilt throughout."""
    data = make_clip("flipped", "x")
    assert gzip.compress(data)
    probed = open_prober(CheckOptions(depth="decode")).probe(data)
    assert probed.fault is not None
    assert probed.fault.defect == "undecodable"
