"""Fuzzes everything that reads data from outside with atheris, guided by coverage, for so long each.

Targets and seeds are those of the tests. What is found stands in a file that is named; its bytes then belong into
`CASES` of `tests/unit/test_fuzz.py`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from smoke import parse

TESTS = Path(__file__).parents[2] / "tests"


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/campaign fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=120, help="for each target")
    parser.add_argument("--targets", type=int, help="only the first so many targets; all without")
    parser.add_argument("--jobs", type=int, default=2, help="targets at a time")
    parser.add_argument("--one", help="run this target in this process")
    parser.add_argument("--folder", type=Path, default=None, help="for what is learned; a temporary one without")
    options = parse(parser, None, seconds=1, targets=2)
    if options.one:
        _fuzz(options.one, options.folder, options.seconds)
        return 0
    from fuzzing import TARGETS

    folder = options.folder or Path(tempfile.mkdtemp())
    with ThreadPoolExecutor(options.jobs) as pool:
        names = list(TARGETS)[: options.targets]
        found = list(pool.map(lambda name: _run(name, folder / name, options.seconds), names))
    print(f"in all: {sum(runs for runs, _, _ in found):,} inputs, {sum(size for _, size, _ in found):,} bytes")
    return max(code for _, _, code in found)


def _run(name: str, folder: Path, seconds: int) -> tuple[int, int, int]:
    """Fuzzes one target in a process of its own; returns how many inputs and bytes, and whether it failed."""
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "campaigns.fuzz",
        "--one",
        name,
        "--folder",
        str(folder),
        "--seconds",
        str(seconds),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (folder / "log").write_text(done.stdout + done.stderr)
    runs = re.findall(r"Done ([0-9]+) runs", done.stderr)
    sizes = (folder / "bytes").read_text() if (folder / "bytes").exists() else "0"
    state = "nothing found" if done.returncode == 0 else f"FAILED, see {folder}/log"
    print(f"{name}: {int(runs[0]) if runs else 0:,} inputs, {int(sizes):,} bytes, {state}", flush=True)
    return int(runs[0]) if runs else 0, int(sizes), done.returncode


def _fuzz(name: str, folder: Path, seconds: int) -> None:
    import atheris

    with atheris.instrument_imports(include=["kconvert"]):
        from fuzzing import TARGETS
    spec = importlib.util.spec_from_file_location("test_fuzz", TESTS / "unit/test_fuzz.py")
    assert spec is not None
    assert spec.loader is not None
    tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)
    for number, data in enumerate(tests.seeds(name)):
        (folder / "corpus" / f"seed-{number}").write_bytes(data)
    target, num_bytes = TARGETS[name], 0

    def run(data: bytes) -> None:
        nonlocal num_bytes
        num_bytes += len(data)
        if num_bytes // 100_000 != (num_bytes - len(data)) // 100_000:
            (folder / "bytes").write_text(str(num_bytes))
        target(data)

    limits = [
        f"-max_total_time={seconds}",
        "-max_len=20000",
        "-rss_limit_mb=4000",
        "-timeout=20",
        "-print_final_stats=1",
    ]
    atheris.Setup([name, str(folder / "corpus"), f"-artifact_prefix={folder}/", *limits], run)
    os.chdir(folder)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
