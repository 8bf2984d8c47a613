"""A worker's memory does not grow with its archive."""

import io
import multiprocessing
import random
import resource
import tarfile
from pathlib import Path

import pytest
from harness import QUICK
from miniature.made import make_clip

from kconvert.catalog.release import AnnotationFile
from kconvert.catalog.shelf import load_release
from kconvert.conversion.ingest import IngestTask, ingest
from kconvert.sources.access import ArchiveRef, Streamed
from kconvert.staging.journal import Inputs, SplitJournal
from kconvert.storage.folders import local
from kconvert.video.verdict import CheckOptions

NAMES = load_release("k400").names

CLIP_BYTES = 2_000_000


def make_archive(path: Path, num_clips: int) -> None:
    good = make_clip("good", "x")
    data = good + (CLIP_BYTES - len(good) - 8).to_bytes(4, "big") + b"free"
    data += random.Random(0).randbytes(CLIP_BYTES - len(data))
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for number in range(num_clips):
            info = tarfile.TarInfo(f"clip-{number:06d}_000000_000010.mp4")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def peak_bytes(archive: Path, folder: Path) -> int:
    """The peak of a process that ingests an archive."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_ingest, args=(sender, archive, folder))
    process.start()
    sender.close()
    with receiver:
        num_clips, peak = receiver.recv()
    process.join()
    process.close()
    assert num_clips > 0
    return int(peak)


def _ingest(sender: "multiprocessing.connection.Connection", archive: Path, folder: Path) -> None:
    journal = SplitJournal(local(folder))
    journal.set_inputs(Inputs((), 0, None, AnnotationFile("x", "csv")), b"", [])
    task = IngestTask(
        ArchiveRef("x", str(archive), NAMES), "000000", journal, CheckOptions(), QUICK, Streamed(), "fail"
    )
    receipt = ingest(task, lambda event: None)
    sender.send((receipt.num_clips, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
    sender.close()


@pytest.mark.parametrize("factor", [20])
def test_an_archive_twenty_times_as_large_costs_no_more_than_a_clip_or_two(tmp_path: Path, factor: int) -> None:
    peaks = []
    for num_clips in (5, 5 * factor):
        make_archive(tmp_path / f"{num_clips}.tar.gz", num_clips)
        peaks.append(peak_bytes(tmp_path / f"{num_clips}.tar.gz", tmp_path / str(num_clips)))
    assert peaks[1] - peaks[0] < 2 * CLIP_BYTES, peaks
