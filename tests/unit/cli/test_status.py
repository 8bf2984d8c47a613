"""What `kconvert status` reads while a run changes it."""

import threading
from pathlib import Path

from kconvert.catalog.release import AnnotationFile
from kconvert.cli.status import read_status
from kconvert.staging.journal import Inputs, Journal
from kconvert.storage.folders import local


def test_a_folder_that_is_being_cleared_is_looked_at(tmp_path: Path) -> None:
    """As `--overwrite` does it: what was there at the first look is gone at the second."""
    split = Journal(local(tmp_path)).split("train")
    split.set_inputs(Inputs(("a.tar.gz",), 1, None, AnnotationFile("x.csv", "csv")), b"", [])
    inputs, aside = tmp_path / ".kconvert/train/inputs.json", tmp_path / "aside"
    is_over = threading.Event()

    def clear_and_begin() -> None:
        while not is_over.is_set():
            inputs.rename(aside)
            aside.rename(inputs)

    other = threading.Thread(target=clear_and_begin)
    other.start()
    try:
        seen = {tuple(split.num_archives for split in read_status(local(tmp_path)).splits) for _ in range(2000)}
    finally:
        is_over.set()
        other.join()
    assert (1,) in seen
    assert seen <= {(), (0,), (1,)}
