"""All odd files that were met in the world, packed beside good clips, through one command: each gets its verdict, and
nothing that one of them names is opened."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from harness import COMMAND, ROOT, kconvert
from miniature.made import make_clip
from packing import clip_name, origin

NUM_GOOD = 10


def opened_paths(log: str) -> set[str]:
    """What was opened, by path, according to strace; what was not there, and what is named by a handle, apart."""
    calls = re.findall(r'\b(?:open|openat|openat2|creat)\((?:AT_FDCWD, )?"([^"]*)".*\) = (-?\d+)', log)
    return {path for path, handle in calls if not handle.startswith("-")}


@pytest.mark.parametrize(("depth", "prober"), [("decode", "libav"), ("index", "ffprobe")])
def test_every_odd_clip_has_its_verdict_and_opens_nothing(
    shared_data: Path, tmp_path: Path, depth: str, prober: str
) -> None:
    with open(ROOT / "tests/contract/odd_verdicts.tsv", newline="") as file:
        verdicts = {row["file"]: row[depth] for row in csv.DictReader(file, delimiter="\t")}
    with open(ROOT / "tests/contract/ffmpeg_versions.tsv", newline="") as file:
        differing = [row for row in csv.DictReader(file, delimiter="\t") if row["depth"] == depth]
    verdicts |= {row["file"]: row[prober] for row in differing if row["file"] in verdicts}
    names = {file: clip_name(number) for number, file in enumerate(sorted(verdicts))}
    clips = {name: (shared_data / "odd" / file).read_bytes() for file, name in names.items()}
    good = {clip_name(5000 + number): make_clip("good", str(number)) for number in range(NUM_GOOD)}
    root, out, work = origin(tmp_path / "origin", clips | good), tmp_path / "out", tmp_path / "work"
    work.mkdir()
    for name in ("base.mp4",):
        # What a text may name, where a relative name would be looked for.
        (work / name).write_bytes(make_clip("good", name))
    command = [str(COMMAND), "k400", "--split", "val", "--out", str(out), "--origin", str(root), "--quiet"]
    checks = ["--check.depth", depth, "--check.prober", prober]
    log = tmp_path / "trace"
    tracer = ["strace", "-f", "-qq", "-s", "4096", "-e", "trace=file,network", "-o", str(log)]
    done = subprocess.run([*tracer, *command, *checks], cwd=work, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    table = pq.read_table(out / "metadata/val.parquet").to_pylist()
    found = {f"{row['youtube_id']}_000000_000010": row for row in table}
    flags = {"short", "few_frames"}
    said = {
        file: next((defect for defect in found[name]["defects"] if defect not in flags), "")
        for file, name in names.items()
    }
    assert said == verdicts
    assert all(found[name]["status"] == "written" for name in good)
    assert kconvert("verify", out).code == 0
    text = log.read_text(errors="replace")
    ours = (str(root), str(out), sys.prefix, sys.base_prefix, str(ROOT))
    system = ("/usr/", "/lib", "/etc/", "/proc/", "/sys/", "/dev/", "/bin/", "/sbin/")
    strange = {path for path in opened_paths(text) if path.startswith("/") and not path.startswith((*ours, *system))}
    relative = {path for path in opened_paths(text) if not path.startswith("/")}
    # The folder above the new one is flushed.
    assert strange <= {str(tmp_path)}
    assert relative <= {"/", ".", "kconvert.yaml"}
    assert not re.search(r"\bconnect\(\d+, \{sa_family=AF_INET6?,", text)
