"""What a person, or a program, sees while a run goes on."""

import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from harness import COMMAND, RELEASES, kconvert, one_line
from miniature.server import Handler, serving
from terminal import in_terminal


class Slow(Handler):
    """Sends the second half of an archive after a while."""

    seconds = 4.0

    def send_data(self, name: str, data: bytes) -> None:
        if not name.endswith("gz"):
            super().send_data(name, data)
            return
        middle = len(data) // 2
        self.wfile.write(data[:middle])
        self.wfile.flush()
        time.sleep(self.seconds)
        self.wfile.write(data[middle:])


class Held(Handler):
    """Sends the second half of an archive when it is told to."""

    released = threading.Event()

    def send_data(self, name: str, data: bytes) -> None:
        middle = len(data) // 2 if name.endswith("gz") else len(data)
        self.wfile.write(data[:middle])
        self.wfile.flush()
        assert middle == len(data) or self.released.wait(240)
        self.wfile.write(data[middle:])


def flagged_rows(out: Path, split: str) -> Counter[str]:
    rows = pq.read_table(out / "metadata" / f"{split}.parquet").to_pylist()
    return Counter(defect for row in rows for defect in row["defects"])


def test_events_are_an_object_a_line_and_add_up(mini: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = kconvert("k400", "--out", out, "--origin", mini, "--split", "val", "--json", "--shard.max_samples", 5)
    assert ran.code == 0
    assert json.loads(ran.out)["is_complete"]
    events = [json.loads(line) for line in ran.err.splitlines()]
    assert {event["event"] for event in events} >= {"begin", "end", "task_begin", "task_end", "note"}
    tasks = [event["task"] for event in events if event["event"] == "task_begin"]
    assert sorted(tasks) == sorted(event["task"] for event in events if event["event"] == "task_end")
    manifest = json.loads((out / "manifest.json").read_text())
    assert {shard["path"] for shard in manifest["shards"]} <= set(tasks)
    (done,) = [event for event in events if event["event"] == "split_end"]
    assert (done["split"], done["num_written"]) == ("val", manifest["splits"]["val"]["num_written"])
    assert done["num_rejected"] == sum(manifest["splits"]["val"]["num_rejected"].values())
    assert done["num_bytes"] == sum(shard["size_bytes"] for shard in manifest["shards"])
    reading, packing = [event for event in events if event["event"] == "end"]
    assert reading["num_clips"] == manifest["splits"]["val"]["num_clip_members"]
    assert reading["num_bytes"] == reading["total_bytes"]
    assert reading["flagged"] == dict(flagged_rows(out, "val"))
    assert packing["num_clips"] == packing["total_clips"] == manifest["splits"]["val"]["num_written"]


def test_an_error_is_an_event_as_well(tmp_path: Path) -> None:
    ran = kconvert("k400", "--out", tmp_path / "out", "--origin", tmp_path / "none", "--json")
    assert (ran.code, ran.out) == (2, "")
    (event,) = [json.loads(line) for line in ran.err.splitlines()]
    assert (event["event"], event["exit_code"]) == ("error", 2)
    assert "no such folder" in event["message"]


def test_quiet_prints_the_result_only(mini: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = kconvert("k400", "--out", out, "--origin", mini, "--split", "val", "--quiet")
    assert (ran.code, ran.err) == (0, "")
    assert "done: " in ran.out
    assert kconvert("verify", out, "--quiet").err == ""
    wrong = kconvert("k400", "--out", out, "--origin", tmp_path / "none", "--quiet", "--overwrite")
    assert wrong.code == 2
    assert "no such folder" in one_line(wrong)


def test_a_terminal_has_two_bars_with_rates_and_flagged_clips(mini: Path, tmp_path: Path) -> None:
    with serving(mini, Slow) as http:
        words = ["k400", "--out", str(tmp_path / "out"), "--split", "val", "--workers", "1", "--origin", http.url]
        drawn, code = in_terminal(words)
    assert code == 0
    lines = re.split(r"[\r\n]+|\x1b\[A", drawn)
    bars = [line for line in lines if "%" in line and "|" in line]
    assert {re.split(r": +\d+%", line)[0].strip() for line in bars} <= {
        "val: reading 2 archives", "val: packing 1 shard", "clips",
    }  # fmt: skip
    assert any(re.search(r"val: reading 2 archives: +[1-9]\d*% .*B/s, .* remaining", line) for line in bars)
    assert any("flagged: " in line and "clips: " in line for line in lines)
    # The bars are gone in the end, and a line tells what the split came to.
    assert any(
        re.search(r"val: done: 8 clips in 1 shards \(.*B\), 2 flagged, 4 rejected, in \d+ s", line) for line in lines
    )


def status(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kconvert("status", out, "--json").out)
    return found


def test_status_tells_what_a_run_is_doing(mini: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with serving(mini, Held) as http:
        words = ["k400", "--out", str(out), "--split", "val", "--workers", "1", "--origin", http.url]
        with subprocess.Popen([str(COMMAND), *words], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as run:
            found: dict[str, Any] = {}
            until = time.monotonic() + 240
            while time.monotonic() < until and not (found and found["progress"]):
                time.sleep(0.2)
                if (out / ".kconvert" / "snapshot.json").is_file():
                    found = status(out)
            text = kconvert("status", out).out
            Held.released.set()
            assert run.wait(240) == 0
    progress = found["progress"]
    snapshot = progress["snapshot"]
    assert found["is_running"]
    assert snapshot["step"] == "val: reading 2 archives"
    assert 0 < snapshot["num_bytes"] <= snapshot["total_bytes"]
    assert snapshot["num_clips"] + len(progress["running"]) > 0
    assert set(progress["running"]) <= {f"400/val/part_{number}.tar.gz" for number in range(2)}
    assert "val: reading 2 archives, " in text
    assert f"running: {progress['running'][0]}" in text
    after = status(out)
    assert (after["is_running"], after["progress"], after["is_complete"]) == (False, None, True)
    assert not (out / ".kconvert" / "snapshot.json").exists()


def test_a_batch_goes_on_after_whatever_fails_and_its_code_is_the_worst(mini: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "something").write_text("of somebody else")
    damaged = tmp_path / "damaged"
    subprocess.run(["cp", "-r", mini, damaged], check=True)
    archive = next(iter(sorted((damaged / "400" / "val").glob("*.tar.gz"))))
    archive.write_bytes(archive.read_bytes()[:-9])
    entries = [
        {"release": "k400", "out": str(taken), "origin": str(mini)},
        {"release": "k400", "out": str(tmp_path / "partly"), "origin": str(damaged)},
        {"release": "k400", "out": str(tmp_path / "whole"), "origin": str(mini)},
    ]
    file = tmp_path / "batch.yaml"
    file.write_text(yaml.safe_dump({"defaults": {"split": "val"}, "conversions": entries}))
    ran = kconvert("batch", file)
    assert ran.code == 2
    lines = ran.out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [entry["out"] for entry in entries]
    assert re.search(r"error: .*is not empty and was not made by kconvert", lines[1])
    assert lines[2].endswith("1 failed")
    assert lines[3].endswith("done")
    file.write_text(yaml.safe_dump({"defaults": {"split": "val"}, "conversions": entries[1:]}))
    assert kconvert("batch", file, "--quiet").code == 3
    archive.write_bytes((mini / archive.relative_to(damaged)).read_bytes())
    again = kconvert("batch", file, "--json")
    assert again.code == 0
    assert [found["is_complete"] for found in json.loads(again.out)] == [True, True]


def test_versions_are_those_that_the_tools_say_themselves() -> None:
    ran = kconvert("--version")
    assert ran.code == 0
    versions = dict(line.split(" ", 1) for line in ran.out.splitlines())
    said = subprocess.run(["ffprobe", "-version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"ffprobe version {versions['ffprobe']} ")
    installed = subprocess.run([sys.executable, "-m", "pip", "show", "av"], capture_output=True, text=True, check=True)
    assert f"Version: {versions['pyav']}\n" in installed.stdout
    assert {"kconvert", "ffmpeg_libraries", "ffmpeg"} <= versions.keys()


def completions(*words: str) -> set[str]:
    """What bash offers for the last of these words."""
    script = f"""
        eval "$({COMMAND} completion bash)"
        COMP_WORDS=({" ".join(words)}); [ -n "{words[-1]}" ] || COMP_WORDS+=("")
        COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        "$(complete -p kconvert | sed 's/.*-F \\([^ ]*\\) .*/\\1/')"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("kconvert", "k"), {*RELEASES, "k710"}),
        (("kconvert", "ver"), {"verify"}),
        (("kconvert", "k400", "--shu"), {"--shuffle", "--shuffle.window", "--shuffle.seed"}),
        (("kconvert", "k600", "--check.depth", ""), {"header", "index", "decode"}),
        (("kconvert", "plan", "k7"), {"k700-2020", "k710"}),
        (("kconvert", "verify", "--qu"), {"--quiet"}),
    ],
)
def test_bash_completes(words: tuple[str, ...], expected: set[str]) -> None:
    assert completions(*words) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_scripts_are_accepted_by_their_shells(shell: str, tmp_path: Path) -> None:
    ran = kconvert("completion", shell)
    assert ran.code == 0
    assert "--shuffle.window" in ran.out
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=ran.out, text=True, check=True)
