"""How much memory and disk a run takes at most, measured from outside while it runs."""

from __future__ import annotations

import io
import random
import subprocess
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from harness import COMMAND
from miniature.build import OFFICIAL, write
from miniature.made import make_clip


@dataclass
class Peaks:
    """Of one run."""

    driver_bytes: int = 0
    worker_bytes: int = 0
    """Of the largest worker."""
    disk_bytes: int = 0
    """Everything in the output folder."""
    staging_bytes: int = 0
    """In its journal."""
    seconds: float = 0.0
    code: int = -1
    err: str = ""


def clips_origin(root: Path, num_archives: int, clips_per_archive: int, clip_bytes: int) -> None:
    """k400's val, of archives of clips of that size that do not compress."""
    good = make_clip("good", "x")
    names = []
    for number in range(num_archives):
        path = root / f"400/val/part_{number}.tar.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = random.Random(number)
        with tarfile.open(path, "w:gz", compresslevel=1) as tar:
            for place in range(clips_per_archive):
                names.append(f"{number:05d}-{place:05d}")
                padding = noise.randbytes(clip_bytes - len(good) - 8)
                data = good + (len(padding) + 8).to_bytes(4, "big") + b"free" + padding
                info = tarfile.TarInfo(f"./{names[-1]}_000000_000010.mp4")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    urls = "".join(f"{OFFICIAL}400/val/part_{number}.tar.gz\n" for number in range(num_archives))
    write(root / "400/val/k400_val_path.txt", urls.encode())
    lines = ["label,youtube_id,time_start,time_end,split", *(f"zumba,{name},0,10,val" for name in names)]
    write(root / "400/annotations/val.csv", "\n".join(lines).encode())


def measured(words: Sequence[object], out: Path, interval_seconds: float = 0.02) -> Peaks:
    """Runs a conversion and looks at it all the time."""
    peaks = Peaks()
    start = time.monotonic()
    command = [str(COMMAND), *map(str, words), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    driver = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            peaks.driver_bytes = max(peaks.driver_bytes, driver.memory_info().rss)
            for worker in driver.children(recursive=True):
                peaks.worker_bytes = max(peaks.worker_bytes, worker.memory_info().rss)
        except psutil.NoSuchProcess:
            continue
        staging = _used_bytes(out / ".kconvert")
        peaks.staging_bytes = max(peaks.staging_bytes, staging)
        peaks.disk_bytes = max(peaks.disk_bytes, _used_bytes(out))
        time.sleep(interval_seconds)
    peaks.err = process.communicate()[1]
    peaks.code = process.returncode
    peaks.seconds = time.monotonic() - start
    return peaks


def _used_bytes(folder: Path) -> int:
    used = 0
    for path in folder.rglob("*"):
        try:
            used += path.stat().st_blocks * 512 if path.is_file() else 0
        except FileNotFoundError:
            continue
    return used
