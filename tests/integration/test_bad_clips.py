"""Clips that crash or hang what looks into them: faults that are injected from outside the product."""

import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from harness import kconvert, tree
from miniature.build import Archive, write
from miniature.made import make_clip
from miniature.sources import Row, Video

CRASHING = b"\0\0\0\x10freeCRASHING"
HANGING = b"\0\0\0\x10freeHANGING!"
SITECUSTOMIZE = f"""
# Read by every Python process that has this folder on its path: makes PyAV crash or hang on marked clips.
import importlib.abc, importlib.util, os, signal, sys, time

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "kconvert.probe.libav":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module
        def exec_module(module):
            execute(module)
            real = module.av.open
            def open_(file, *args, **kwargs):
                data = file.getvalue()
                if data.endswith({CRASHING!r}):
                    os.kill(os.getpid(), signal.SIGSEGV)
                if data.endswith({HANGING!r}):
                    time.sleep(1000)
                return real(file, *args, **kwargs)
            module.av.open = open_
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""
FAKE_FFPROBE = """#!/bin/sh
for word; do file=$word; done
case "$1" in -version) echo ffprobe version 0 fake; exit;; esac
case "$(tail -c 8 "$file")" in
    CRASHING) kill -SEGV $$;;
    HANGING!) exec sleep 1000;;
esac
exec {real} "$@"
"""


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    """An origin with one split of five clips, of which one crashes and one hangs the prober."""
    rows = [Row(f"clip-{number:06d}", 0, 10, "zumba") for number in range(5)]
    archive = Archive("700_2020/val/k700_val_700.tar.gz", "zumba/")
    for row in rows:
        data = make_clip("good", row.name) + {1: CRASHING, 3: HANGING}.get(int(row.youtube_id[5:]), b"")
        archive.clips.append((row, Video(data, ())))
    root = tmp_path / "server"
    archive.write(root)
    url = f"https://s3.amazonaws.com/kinetics/{archive.name}\n"
    write(root / "700_2020/val/k700_2020_val_path.txt", url.encode())
    lines = ["label,youtube_id,time_start,time_end,split", *(f"zumba,{row.youtube_id},0,10,validate" for row in rows)]
    write(root / "700_2020/annotations/val.csv", "\n".join(lines).encode())
    return root


def outcome(out: Path) -> dict[str, tuple[str, str]]:
    rows: list[dict[str, Any]] = pq.read_table(out / "metadata/val.parquet").to_pylist()
    return {row["youtube_id"]: (row["status"], row["reason"]) for row in rows}


@pytest.mark.parametrize("prober", ["libav", "ffprobe"])
def test_a_clip_that_crashes_or_hangs_the_prober_costs_itself_only(marked: Path, tmp_path: Path, prober: str) -> None:
    env = {}
    if prober == "libav":
        (tmp_path / "site").mkdir()
        (tmp_path / "site/sitecustomize.py").write_text(SITECUSTOMIZE)
        env["PYTHONPATH"] = str(tmp_path / "site")
    else:
        fake = tmp_path / "bin/ffprobe"
        fake.parent.mkdir()
        fake.write_text(FAKE_FFPROBE.format(real=shutil.which("ffprobe")))
        fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
        env["PATH"] = f"{fake.parent}:{os.environ['PATH']}"
    outs = [tmp_path / "1", tmp_path / "2"]
    for workers, out in enumerate(outs, start=1):
        ran = kconvert(
            "k700-2020", "--split", "val", "--out", out, "--origin", marked, "--check.prober", prober,
            "--check.timeout", "2", "--workers", workers, env=env,
        )  # fmt: skip
        assert ran.code == 0, ran.err
        assert outcome(out) == {
            "clip-000000": ("written", ""),
            "clip-000001": ("rejected", "crashed"),
            "clip-000002": ("written", ""),
            "clip-000003": ("rejected", "timeout"),
            "clip-000004": ("written", ""),
        }
        assert kconvert("verify", out).code == 0
    assert tree(outs[0]) == tree(outs[1])
