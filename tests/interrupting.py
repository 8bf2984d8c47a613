"""Runs of the installed command that are killed or refused by the disk, and what must hold of each."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from faults import Faults, Operation
from harness import COMMAND, kconvert, tree
from miniature.build import Archive, annotation_csv, write
from miniature.made import make_clip
from miniature.sources import Row, Video
from miniature.supplements import ava_archive, countix_archive

OFFICIAL = "https://s3.amazonaws.com/kinetics/"
ERRORS = ("ENOSPC", "EDQUOT", "EROFS", "EIO")


def tiny_origin(root: Path) -> None:
    """An origin with all that a run can do in little: a replacement archive, two archives to a split, a bad clip."""
    rows = {split: [Row(f"{split:_<5}clip{n:02d}", n, n + 10, "zumba") for n in range(5)] for split in ("train", "val")}
    for split, names in rows.items():
        archives = [Archive(f"400/{split}/part_{number}.tar.gz", "./") for number in range(2)]
        for number, row in enumerate(names[:4]):
            archives[number // 2].clips.append((row, Video(make_clip("cut" if number == 1 else "good", row.name), ())))
        for archive in archives:
            archive.write(root)
        write(root / f"400/{split}/k400_{split}_path.txt", "".join(f"{OFFICIAL}{a.name}\n" for a in archives).encode())
        lines = [
            "label,youtube_id,time_start,time_end,split",
            *(f"zumba,{r.youtube_id},{r.start},{r.end},{split}" for r in names),
        ]
        write(root / f"400/annotations/{split}.csv", "\n".join(lines).encode())
    better = Archive("400/replacement_for_corrupted_k400.tgz", "./")
    better.clips.append((rows["train"][1], Video(make_clip("good", "better"), ())))
    better.write(root)


def joined_origin(root: Path) -> None:
    """An origin of k700-2020's val, with further annotations of its clips."""
    labels = ("abseiling", "acting in play")
    rows = [Row(f"val__clip{n:02d}", n, n + 10, labels[n % 2]) for n in range(6)]
    archives = [Archive(f"700_2020/val/k700_val_{rank:03d}.tar.gz", f"{labels[rank - 1]}/") for rank in (1, 2)]
    for number, row in enumerate(rows[:5]):
        kind = "cut" if number == 1 else "good"
        archives[number % 2].clips.append((row, Video(make_clip(kind, row.name), ())))
    for archive in archives:
        archive.write(root)
    lines = "".join(f"{OFFICIAL}{archive.name}\n" for archive in archives)
    write(root / "700_2020/val/k700_2020_val_path.txt", lines.encode())
    write(root / "700_2020/annotations/val.csv", annotation_csv(rows, "validate"))
    of_splits = dict.fromkeys(("train", "val", "test"), rows)
    write(root / "700_2020/annotations/ava_kinetics_v1_0.tar.gz", ava_archive(of_splits))
    write(root / "700_2020/annotations/countix.tar.gz", countix_archive(of_splits))


@dataclass
class Watch:
    """Looks, as long as a run goes on, at everything that a reader might glob."""

    out: Path
    reference: Mapping[str, bytes]
    num_looks: int = 0
    problems: list[str] = field(default_factory=list)

    def look(self) -> None:
        patterns = ("*/*.tar", "metadata/*.parquet", "ava_*", "manifest.json")
        for path in [path for pattern in patterns for path in self.out.glob(pattern)]:
            if path.name.endswith(".kconvert-tmp"):
                continue
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue
            if data != self.reference.get(path.relative_to(self.out).as_posix()):
                self.problems.append(
                    f"{path.relative_to(self.out)} was seen with {len(data)} bytes that are not its own"
                )
        self.num_looks += 1


@contextmanager
def watching(out: Path, reference: Mapping[str, bytes]) -> Iterator[Watch]:
    """Watches a folder during the block."""
    watch, is_over = Watch(out, reference), threading.Event()

    def go_on() -> None:
        while not is_over.wait(0.002):
            watch.look()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield watch
    finally:
        is_over.set()
        thread.join()
        watch.look()


@dataclass
class Job:
    """A conversion, and what it comes to if nothing happens to it."""

    words: Sequence[str]
    folder: Path
    """Its output folders stand in here, and what the faults need."""
    reference: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0
    """What an undisturbed run takes."""
    num_looks: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.faults = Faults(self.folder)

    def run_undisturbed(self) -> list[Operation]:
        """Runs the job for the first time; returns what it does to files, which is the same with one worker."""
        out = self.folder / "reference"
        start = time.monotonic()
        ran = kconvert(*self.words, "--out", out, "--workers", 1, env=self.faults.environment(out, "reference"))
        self.seconds = time.monotonic() - start
        assert ran.code == 0, ran.err
        self.reference = tree(out)
        return self.faults.operations("reference")

    def start(self, out: Path, environment: Mapping[str, str], *more: str) -> subprocess.Popen[str]:
        """Starts the job in a process group of its own."""
        return subprocess.Popen(
            [str(COMMAND), *self.words, "--out", str(out), *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, **environment},
        )

    def kill_at(self, operation: Operation, act: str) -> list[str]:
        """Kills a run before an operation, or when half of a write is done, and goes on; what was wrong."""
        name = f"{act}-{operation.number}"
        out = self.folder / name
        with watching(out, self.reference) as watch:
            environment = self.faults.environment(out, name, at=operation.number, do=act)
            process = self.start(out, environment, "--workers", "1")
            _, err = process.communicate(timeout=120)
        problems = watch.problems
        if process.returncode != -signal.SIGKILL:
            problems.append(f"was not killed, but exited with {process.returncode}: {err}")
        return self._name(operation, act, problems + self._go_on(out))

    def refuse_at(self, operation: Operation, error: str) -> list[str]:
        """Has the disk refuse an operation with an error, and goes on when it does not any more; what was wrong."""
        name = f"{error}-{operation.number}"
        out = self.folder / name
        lasts = {} if error == "EIO" else {"lasts": 1}
        number = getattr(errno, error)
        with watching(out, self.reference) as watch:
            environment = self.faults.environment(out, name, at=operation.number, do=number, **lasts)
            process = self.start(out, environment, "--workers", "1")
            said, err = process.communicate(timeout=120)
        problems = watch.problems
        told = [line for line in (said + err).splitlines() if os.strerror(number) in line]
        if process.returncode in (1, 2, 3):
            if not told:
                problems.append(f"does not say {os.strerror(number)!r}: {said}{err}")
            if not any(str(out) in line for line in told):
                problems.append(f"does not name the path: {told}")
            if any("kconvert-tmp" in line or "Traceback" in line for line in (said + err).splitlines()):
                problems.append(f"names what no person knows: {said}{err}")
        elif process.returncode != 0 or not _is_only_tried(operation):
            problems.append(f"exited with {process.returncode}: {said}{err}")
        return self._name(operation, error, problems + self._go_on(out))

    def interrupt_at(self, out: Path, seconds: float, number: signal.Signals, *more: str) -> list[str]:
        """Signals the whole process group after that time; what was wrong."""
        with watching(out, self.reference) as watch:
            process = self.start(out, {}, *more)
            time.sleep(seconds)
            is_begun = seconds >= 0.3
            os.killpg(process.pid, number)
            start = time.monotonic()
            said, err = process.communicate(timeout=60)
        self.num_looks += watch.num_looks
        problems = watch.problems
        if time.monotonic() - start > 5:
            problems.append(f"took {time.monotonic() - start:.1f} s to end")
        if number != signal.SIGKILL and is_begun:
            is_told = "run the same command again" in err
            if (process.returncode, is_told) != (130, True) and process.returncode != 0:
                problems.append(f"exited with {process.returncode}: {said}{err}")
        return [f"{number.name} after {seconds:.3f} s: {problem}" for problem in problems]

    def _go_on(self, out: Path) -> list[str]:
        """Runs the job to its end; what is then wrong with its folder, which is removed if nothing is."""
        with watching(out, self.reference) as watch:
            process = self.start(out, {})
            said, err = process.communicate(timeout=120)
        self.num_looks += watch.num_looks
        problems = watch.problems
        if process.returncode != 0:
            problems.append(f"going on exited with {process.returncode}: {said}{err}")
        problems += self.problems_of(out)
        if not problems:
            shutil.rmtree(out)
        return problems

    def problems_of(self, out: Path) -> list[str]:
        """What is wrong with the folder of a run that came to its end."""
        found = tree(out)
        problems = [
            f"{name} differs" for name in {*found, *self.reference} if found.get(name) != self.reference.get(name)
        ]
        left = [path for path in out.rglob("*") if "kconvert-tmp" in path.name or path.suffix in (".part", ".failed")]
        return problems + [f"{path} was left" for path in left]

    def _name(self, operation: Operation, act: str, problems: list[str]) -> list[str]:
        return [f"{act} at {operation.number}, {operation.what} {operation.path}: {problem}" for problem in problems]


def _is_only_tried(operation: Operation) -> bool:
    """Whether nothing is lost where this is refused: whether a file without a name can be made is tried, and one with a
    name made where it cannot; so is whether a folder is empty by now, and giving a part's space back."""
    is_punched = operation.what == "open" and operation.path.endswith(".part")
    return operation.path.endswith("/reference") or operation.what == "rmdir" or is_punched


def tiny_job(folder: Path) -> Job:
    """A conversion of the tiny origin with windows and several shards."""
    tiny_origin(folder / "origin")
    words = ["k400", "--split", "train,val", "--origin", str(folder / "origin"), "--shard.max_samples", "2"]
    return Job([*words, "--shuffle.window", "1"], folder / "job")


def joined_job(folder: Path) -> Job:
    """A conversion of clips with further annotations, in tables and in samples."""
    joined_origin(folder / "origin")
    words = ["k700-2020", "--split", "val", "--origin", str(folder / "origin"), "--shard.max_samples", "2"]
    return Job([*words, "--with", "ava,countix", "--members"], folder / "job")


def boundaries(operations: Sequence[Operation]) -> list[tuple[Operation, str]]:
    """Everything at which a run may be killed: before each operation, and in the middle of each write."""
    return [(operation, "kill") for operation in operations] + [
        (operation, "half") for operation in operations if operation.what == "write"
    ]


def one_of_each_kind(operations: Sequence[Operation]) -> list[Operation]:
    """The first operation of each kind, whatever the split."""
    found: dict[str, Operation] = {}
    for operation in operations:
        kind = operation.kind
        for split in ("train", "val"):
            kind = kind.replace(split, "SPLIT")
        found.setdefault(kind, operation)
    return list(found.values())
