"""Disks that refuse. `tools/faults` has them refuse every kind of operation with every error."""

import itertools
import json
import subprocess
from pathlib import Path

import pytest
from faults import Operation
from harness import COMMAND, kconvert, one_line, tree
from interrupting import ERRORS, Job, one_of_each_kind
from measuring import clips_origin


@pytest.mark.parametrize("what", ["open", "write", "fsync", "rename"])
def test_a_disk_that_refuses_is_named_and_the_next_run_completes(
    job: Job, operations: list[Operation], what: str
) -> None:
    """Every eighth kind of file at each operation; all four errors in turn."""
    first = ["open", "write", "fsync", "rename"].index(what)
    kinds = [operation for operation in one_of_each_kind(operations) if operation.what == what][first::8]
    errors = itertools.cycle(ERRORS[first:] + ERRORS[:first])
    problems = [problem for place, error in zip(kinds, errors, strict=False) for problem in job.refuse_at(place, error)]
    assert len(kinds) >= 2
    assert not problems, "\n".join(problems)


def on_small_disk(disk: Path, size: int, *words: object) -> subprocess.CompletedProcess[str]:
    """Runs the command with a file system of so many bytes at `disk`; it is gone afterwards."""
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("`unshare -rm` is not permitted here, so that no small disk can be made")
    disk.mkdir(exist_ok=True)
    command = " ".join([str(COMMAND), *map(str, words)])
    script = f"mount -t tmpfs -o size={size} none {disk} && {command}; code=$?; find {disk} -type f >&2; exit $code"
    return subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False)


def test_the_first_archive_that_finds_the_disk_full_stops_the_run(mini: Path, tmp_path: Path) -> None:
    """The space looks enough, as the server names no sizes; it is not."""
    disk = tmp_path / "disk"
    ran = on_small_disk(disk, 700_000, "k400", "--out", disk / "out", "--origin", mini, "--workers", 1)
    # The check before the start needs a mebibyte an archive, so that this is too little.
    assert ran.returncode == 2
    assert "too little disk" in ran.stderr


def test_a_disk_that_fills_up_stops_the_run_with_what_is_needed(job: Job, operations: list[Operation]) -> None:
    place = next(operation for operation in operations if operation.kind == "write #.part.#")
    out = job.folder / "full"
    environment = job.faults.environment(out, "full", at=place.number, do=28, lasts=1)
    ran = kconvert(*job.words, "--out", out, "--workers", 1, env=environment)
    assert ran.code == 3, ran.err
    failed = [line for line in ran.out.splitlines() if "No space left on device" in line]
    assert len(failed) == 1
    assert "make space there and run the same command again" in failed[0]
    assert "staging and output of train take up to" in failed[0]
    assert "are free" in failed[0]
    assert kconvert(*job.words, "--out", out).code == 0
    assert job.problems_of(out) == []


def predicted_and_enough(disk: Path, *words: object) -> int:
    """The bytes that `plan` predicts. The system enforces that the run has no more, but for what fills its last page."""
    planned = on_small_disk(disk, 1 << 30, "plan", *words, "--json", "--out", disk / "out")
    size = int(json.loads(planned.stdout)["max_disk_bytes"])
    ran = on_small_disk(disk, size, *words, "--out", disk / "out")
    assert ran.returncode == 0, ran.stderr
    too_small = on_small_disk(disk, size - 100_000, *words, "--out", disk / "out")
    assert too_small.returncode == 2, too_small.stderr
    return size


def test_the_disk_that_plan_predicts_is_enough(real_mini: Path, tmp_path: Path) -> None:
    for window in (0, 1):
        predicted_and_enough(tmp_path / "disk", "k400", "--origin", real_mini, "--shuffle.window", window)


def test_shards_that_are_packed_make_room_for_others(tmp_path: Path) -> None:
    origin, num_archives, clips_per_archive, clip_bytes = tmp_path / "origin", 6, 10, 500_000
    clips_origin(origin, num_archives, clips_per_archive, clip_bytes)
    words = ("k400", "--split", "val", "--origin", origin, "--shard.max_bytes", "6MB", "--workers", 1)
    size = predicted_and_enough(tmp_path / "disk", *words)
    # What the shards take at most, with a twentieth and a mebibyte an archive; twice would be all clips staged beside.
    assert size < 1.25 * num_archives * (1.05 * clips_per_archive * clip_bytes + (1 << 20))


def test_a_folder_that_may_not_be_written_to_is_told_before_anything_is_fetched(mini: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = f"mount -t tmpfs -o ro none {disk} && {COMMAND} k400 --out {disk}/out --origin {mini}"
    ran = subprocess.run(["unshare", "-rm", "sh", "-c", command], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "cannot be written to (Read-only file system)" in ran.stderr


def test_a_disk_that_refuses_to_keep_an_archive_fails_it(job: Job, operations: list[Operation], tmp_path: Path) -> None:
    assert operations
    from miniature.server import serving

    with serving(job.folder.parent / "origin") as http:
        words: list[str | Path] = [
            *job.words[:3],
            "--origin",
            http.url,
            *job.words[5:],
            "--archives",
            tmp_path / "kept",
        ]
        environment = job.faults.environment(tmp_path / "kept", "kept", at=4, do=28, lasts=1)
        ran = kconvert(*words, "--out", tmp_path / "out", "--workers", 1, env=environment)
        assert ran.code == 3, ran.err
        assert f"{tmp_path}/kept/" in ran.out
        assert "No space left on device" in ran.out
        assert kconvert(*words, "--out", tmp_path / "out").code == 0
    assert tree(tmp_path / "out") == job.reference


def test_an_unreadable_origin_folder_is_one_line(mini: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    ran = kconvert("k400", "--out", tmp_path / "out", "--origin", tmp_path / "file")
    assert ran.code == 2
    assert "no such folder" in one_line(ran)
