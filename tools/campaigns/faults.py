"""Kills at every commit boundary and at random moments, interruptions, and disks that refuse every kind of operation.

Every run is the installed command in a process group of its own; after each fault the same command runs again, and the
folder is compared with that of an undisturbed run. While runs go on, everything that a reader might glob is looked at.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import kconvert
from interrupting import ERRORS, Job, boundaries, joined_job, one_of_each_kind, tiny_job
from miniature.build import build
from miniature.server import serving
from miniature.sources import MadeRows, MadeVideos
from smoke import parse

Trial = Callable[[], list[str]]
Fault = tuple[str, int, list[signal.Signals]]
"""What it is called, how often it is tried, and with which signals."""
SLOWLY = ("--video.short_side", "64", "--video.preset", "veryslow", "--audio", "resample")
"""So that most of a run is encoding."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/campaign faults", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder without")
    parser.add_argument("--moments", type=int, default=200, help="kills at random moments")
    parser.add_argument("--interruptions", type=int, default=60, help="SIGTERM and SIGINT at random moments")
    parser.add_argument("--encoding-kills", type=int, default=50, help="kills at random moments of encoding")
    parser.add_argument("--only", choices=["boundaries", "disks", "moments", "encoding"], help="only this part")
    parser.add_argument("--trials", type=int, help="at most so many boundaries, and refusals; all without")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    options = parse(parser, None, moments=2, interruptions=2, encoding_kills=2, trials=1)
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    problems: list[str] = []
    try:
        if options.only in (None, "boundaries", "disks"):
            for job in (tiny_job(folder / "operations"), joined_job(folder / "joined")):
                problems += at_operations(job, options)
        if options.only in (None, "moments", "encoding"):
            build(folder / "mini", MadeVideos(), MadeRows())
        if options.only in (None, "moments"):
            kills = ("kills at random moments", options.moments, [signal.SIGKILL])
            interruptions = (
                "interruptions at random moments", options.interruptions, [signal.SIGTERM, signal.SIGINT]
            )  # fmt: skip
            problems += at_moments(folder, "moments", options, [kills, interruptions])
        if options.only in (None, "encoding"):
            kills = ("kills at random moments of encoding", options.encoding_kills, [signal.SIGKILL])
            problems += at_moments(folder, "encoding", options, [kills], *SLOWLY)
    finally:
        if not problems:
            shutil.rmtree(folder)
    for problem in problems:
        print(problem)
    print(f"{len(problems)} problems" + (f"; see {folder}" if problems else ""))
    return 1 if problems else 0


def at_operations(job: Job, options: argparse.Namespace) -> list[str]:
    """Kills at all boundaries, and has the disk refuse each kind of operation with each error."""
    operations = job.run_undisturbed()
    problems: list[str] = []
    if options.only != "disks":
        points = boundaries(operations)[: options.trials]
        trials: list[Trial] = [lambda point=point, act=act: job.kill_at(point, act) for point, act in points]  # type: ignore[misc]
        problems += run_all(f"kills at commit boundaries (of {len(operations)} operations)", trials, options.jobs, job)
    if options.only != "boundaries":
        refusing = [(point, error) for point in one_of_each_kind(operations) for error in ERRORS][: options.trials]
        trials = [lambda point=point, error=error: job.refuse_at(point, error) for point, error in refusing]  # type: ignore[misc]
        problems += run_all("refusals of the disk", trials, options.jobs, job)
    return problems


def at_moments(folder: Path, name: str, options: argparse.Namespace, faults: Sequence[Fault], *words: str) -> list[str]:
    """Kills and interrupts runs of the miniature of a release, over HTTP, several times each before it may finish."""
    problems: list[str] = []
    with serving(folder / "mini") as http:
        job = Job(["k400", "--origin", http.url, "--shard.max_samples", "5", *words], folder / name)
        job.run_undisturbed()
        draw = random.Random(options.seed)
        for what, number, numbers in faults:
            trials: list[Trial] = []
            for trial in range(-(-number // 4)):
                moments = [draw.uniform(0.3, job.seconds) for _ in range(4)]
                signals = [draw.choice(numbers) for _ in range(4)]
                out = job.folder / f"{what.split()[0]}-{trial}"
                trials.append(lambda out=out, moments=moments, signals=signals: interrupt(job, out, moments, signals))  # type: ignore[misc]
            problems += run_all(f"{what}, four to a folder", trials, options.jobs, job)
    return problems


def interrupt(job: Job, out: Path, moments: Sequence[float], signals: Sequence[signal.Signals]) -> list[str]:
    """Interrupts a run again and again, every second one of them keeping its archives, and then lets it finish."""
    kept = out.with_name(f"{out.name}-kept")
    more = ["--archives", str(kept)] if int(out.name.rpartition("-")[2]) % 2 else []
    problems = [
        problem
        for seconds, number in zip(moments, signals, strict=True)
        for problem in job.interrupt_at(out, seconds, number, *more)
    ]
    ran = kconvert(*job.words, "--out", out, *more)
    if ran.code:
        problems.append(f"going on exited with {ran.code}: {ran.err}")
    problems += job.problems_of(out)
    problems += [f"{path} was left" for path in kept.rglob("*.partial*")]
    if not problems:
        shutil.rmtree(out)
        shutil.rmtree(kept, ignore_errors=True)
    return problems


def run_all(what: str, trials: Sequence[Trial], num_jobs: int, job: Job) -> list[str]:
    start = time.monotonic()
    with ThreadPoolExecutor(num_jobs) as pool:
        found = list(pool.map(lambda trial: trial(), trials))
    bad = sum(bool(problems) for problems in found)
    seconds = time.monotonic() - start
    print(f"{what}: {len(trials)} tried, {bad} with problems, {job.num_looks:,} looks, {seconds:.0f} s", flush=True)
    return [problem for problems in found for problem in problems]


if __name__ == "__main__":
    sys.exit(main())
