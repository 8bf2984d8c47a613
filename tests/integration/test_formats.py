"""Every format, written through the installed command and read by its own library."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from harness import COMMAND, ROOT, Ran, kconvert, one_line, python, tree
from miniature.server import serving
from reading_ranks import NUM_RANKS

READERS = {
    "folder": ["list", "videofolder", "kconvert"],
    "parquet": ["datasets", "datasets_streaming", "kconvert"],
    "mds": ["mds"],
    "litdata": ["litdata"],
    "lance": ["lance"],
    # Whoever reads tars; see the test of using them again.
    "archives": [],
}
FORMATS = list(READERS)
SPLIT = "train"
ENVIRONMENT = {"PYTHONPATH": str(ROOT / "tests" / "stubs"), "PYTHONWARNINGS": "ignore"}
"""What `streaming` imports and does not use is not installed; see there."""


def small_shards(name: str) -> list[str]:
    """The option that makes several shards of a miniature; archives are the shards themselves."""
    return [] if name == "archives" else ["--shard.max_samples", "5"]


def convert(name: str, origin: Path, out: Path, *more: str | int) -> Ran:
    # One worker, as each imports the library, and some of those import torch.
    words: list[str | int | Path] = [
        "--to",
        name,
        "--out",
        out,
        "--origin",
        origin,
        *small_shards(name),
        "--workers",
        1,
    ]
    return kconvert("k400", *words, *more, env=ENVIRONMENT)


def verify(out: Path) -> Ran:
    return kconvert("verify", out, "--workers", 1, env=ENVIRONMENT)


@pytest.fixture(scope="module")
def converted_to(mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A conversion to a format. Not to be changed."""

    @cache
    def make(name: str) -> Path:
        out: Path = tmp_path_factory.mktemp("formats") / name
        ran = convert(name, mini, out)
        assert ran.code == 0, ran.err
        return out

    return make


@pytest.fixture(params=FORMATS)
def folder(request: pytest.FixtureRequest, converted_to: Callable[[str], Path]) -> Path:
    """A conversion to each format. Not to be changed."""
    return converted_to(request.param)


def rows(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(out / "metadata" / f"{SPLIT}.parquet").to_pylist()
    return found


def test_its_own_library_reads_every_clip_once(folder: Path) -> None:
    expected = {row["key"]: [row["label_id"], row["sha256"]] for row in rows(folder) if row["status"] == "written"}
    assert len(expected) > 10
    for reader in READERS[folder.name]:
        words = (ROOT / "tests" / "reading.py", reader, folder, SPLIT)
        said = python(*words, env={**os.environ, **ENVIRONMENT}, folder=folder.parent)
        assert json.loads(said.splitlines()[-1]) == expected, reader


def test_the_account_is_the_same_as_of_tars(folder: Path, converted: Path) -> None:
    names = [name for name in rows(converted)[0] if name not in ("shard", "sample_index", "offset_bytes")]
    assert [[row[name] for name in names] for row in rows(folder)] == [
        [row[name] for name in names] for row in rows(converted)
    ]
    counts, expected = (json.loads((out / "manifest.json").read_text())["splits"] for out in (folder, converted))
    for split in expected:
        for name in ("num_bytes", "num_shards"):
            assert counts[split].pop(name) > 0
            expected[split].pop(name)
        assert counts[split] == expected[split]


def own_bytes(out: Path) -> dict[str, bytes]:
    """All files but those that Lance puts times and random names into."""
    return {name: data for name, data in tree(out).items() if ".lance/_" not in name}


def test_bytes_are_the_same_however_it_is_run(folder: Path, mini: Path, tmp_path: Path) -> None:
    """Killed once a shard is there, gone on with, by another number of workers."""
    out = tmp_path / folder.name
    words = ["k400", "--to", folder.name, "--out", out, "--origin", mini, *small_shards(folder.name), "--workers", "2"]
    env = {**os.environ, **ENVIRONMENT}
    command = [str(COMMAND), *map(str, words)]
    with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL, start_new_session=True) as run:
        until = time.monotonic() + 60
        while not list(out.glob(".kconvert/*/shards/*.json")) and time.monotonic() < until:
            time.sleep(0.01)
        os.killpg(run.pid, signal.SIGKILL)
    assert not (out / "manifest.json").exists()
    ran = convert(folder.name, mini, out)
    assert ran.code == 0, ran.err
    assert own_bytes(out) == own_bytes(folder)
    ran = verify(out)
    assert ran.code == 0, ran.out
    assert "31 samples" in ran.out
    assert not list(out.glob(".kconvert/*.part*"))


def test_doing_it_again_does_nothing(folder: Path, mini: Path) -> None:
    before = tree(folder)
    assert convert(folder.name, mini, folder).code == 0
    assert tree(folder) == before


def test_what_was_changed_or_added_is_found(folder: Path, copy_of: Callable[[Path], Path]) -> None:
    """A bit is flipped in a file, another one is cut, a third comes from nowhere."""
    out = copy_of(folder)
    names = list(dict.fromkeys(row["shard"] for row in rows(out) if row["status"] == "written"))
    assert len(names) >= 2
    data, other = ((out / name).read_bytes() for name in names[:2])
    middle = len(data) // 2
    (out / names[0]).write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    (out / names[1]).write_bytes(other[: len(other) // 2])
    (out / names[0]).with_name("other.bin").write_bytes(b"x")
    ran = verify(out)
    assert ran.code == 4, ran.out
    assert "Traceback" not in ran.out + ran.err
    assert "other.bin: is not in the manifest" in ran.out
    for name in names[:2]:
        assert (Path(name).stem if folder.name == "folder" else name) in ran.out


@pytest.mark.parametrize("name", ["mds", "litdata"])
def test_an_index_of_a_shard_that_was_changed_is_found_and_made_again(
    name: str, mini: Path, converted_to: Callable[[str], Path], copy_of: Callable[[Path], Path]
) -> None:
    out = copy_of(converted_to(name))
    before = tree(out)
    flipped, cut = out / "train/000001/index.json", out / "val/000001/index.json"
    data = flipped.read_bytes()
    place = data.index(b"column_sizes" if name == "mds" else b"chunk_bytes") + 3
    flipped.write_bytes(data[:place] + bytes([data[place] ^ 2]) + data[place + 1 :])
    cut.write_bytes(cut.read_bytes()[:40])
    ran = verify(out)
    assert ran.code == 4
    assert "Traceback" not in ran.err
    for split in ("train", "val"):
        assert f"{split}/index.json: differs" in ran.out
    flipped.unlink()
    cut.unlink()
    assert "missing files" in kconvert("status", out).out
    ran = convert(name, mini, out)
    assert ran.code == 0, ran.err
    assert tree(out) == before


def test_a_clip_that_is_gone_from_the_tree_is_put_there_again(
    mini: Path, converted_to: Callable[[str], Path], copy_of: Callable[[Path], Path]
) -> None:
    out = copy_of(converted_to("folder"))
    before = tree(out)
    next(out.glob("val/*/*.mp4")).unlink()
    assert convert("folder", mini, out).code == 0
    assert tree(out) == before


def test_what_a_kill_left_half_written_is_removed(folder: Path, mini: Path, copy_of: Callable[[Path], Path]) -> None:
    out = copy_of(folder)
    name = next(row["shard"] for row in rows(out) if row["status"] == "written")
    half = (out / name).with_name("half.1234.kconvert-tmp")
    half.write_bytes(b"x")
    assert convert(folder.name, mini, out).code == 0
    assert not half.exists()


@pytest.mark.parametrize("name", ["folder", "parquet", "lance", "archives"])
def test_windows_and_a_second_start_are_verified(name: str, mini: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words: list[str | int | Path] = ["k400", "--to", name, "--out", out, "--origin", mini, "--split", "train"]
    options = [["--shuffle.window", "1"], ["--shuffle.window", "2", "--shuffle.seed", "5", "--overwrite"]]
    if name == "archives":
        # They are not mixed.
        options = [[], ["--check.depth", "header", "--overwrite"]]
    for more in options:
        ran = kconvert(*words, *more, *small_shards(name), env=ENVIRONMENT)
        assert ran.code == 0, ran.err
        ran = verify(out)
        assert ran.code == 0, ran.out


def test_an_origin_in_the_folder_is_refused(mini: Path, tmp_path: Path) -> None:
    ran = kconvert("k400", "--out", tmp_path, "--origin", tmp_path / "mirror", "--overwrite")
    assert ran.code == 2
    assert "is in --out, which --overwrite clears" in one_line(ran)


def test_the_tables_of_parquet_are_a_config_of_their_own(converted_to: Callable[[str], Path], tmp_path: Path) -> None:
    out = converted_to("parquet")
    script = "import sys, datasets; print(datasets.load_dataset(sys.argv[1], 'metadata', split='train').num_rows)"
    said = python("-c", script, out, env={**os.environ, "HF_HOME": str(tmp_path / "cache")}, folder=tmp_path)
    assert int(said) == len(rows(out))


def test_parquet_is_as_hugging_face_advises(converted_to: Callable[[str], Path]) -> None:
    paths = sorted((converted_to("parquet") / "data").iterdir())
    assert [path.name for path in paths if path.name.startswith("train")] == [
        f"train-0000{number}-of-00003.parquet" for number in range(3)
    ]
    for path in paths:
        metadata = pq.ParquetFile(path).metadata
        for group in (metadata.row_group(number) for number in range(metadata.num_row_groups)):
            column = group.column(0)
            assert group.total_byte_size < 100e6
            assert (column.path_in_schema, column.compression) == ("video.bytes", "UNCOMPRESSED")
            assert not column.has_dictionary_page
            assert column.has_offset_index


def test_clips_of_folders_that_an_earlier_plan_had_do_not_stay(
    mini: Path, converted_to: Callable[[str], Path], copy_of: Callable[[Path], Path]
) -> None:
    out = copy_of(converted_to("folder"))
    stray = out / "train" / "zumba" / "abcdefghijk_000000_000010.mp4"
    stray.write_bytes(b"of an earlier plan")
    (out / "metadata" / "train.parquet").unlink()
    ran = convert("folder", mini, out)
    assert ran.code == 0, ran.err
    assert not stray.exists()
    assert verify(out).code == 0


def test_archives_are_kept_as_they_are_and_used_again(mini: Path, tmp_path: Path) -> None:
    out = tmp_path / "archives"
    with serving(mini) as http:
        ran = kconvert("k400", "--to", "archives", "--out", out, "--origin", http.url)
        assert ran.code == 0, ran.err
        kept = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.suffix in (".gz", ".tgz")}
        assert len(kept) == 8
        assert kept == {name: (mini / name).read_bytes() for name in kept}
        http.requests.clear()
        again = kconvert("k400", "--archives", out, "--out", tmp_path / "shards", "--origin", http.url)
        assert again.code == 0, again.err
        fetched = [name for method, name in http.requests if method == "GET" and name.endswith("gz")]
        assert fetched == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "archives", "--archives", "elsewhere"], "--to archives keeps them in --out"),
        (["--to", "mds", "--shard.max_bytes", "5GB"], "as a file of the format mds cannot be larger"),
        (["--to", "litdata", "--shard.max_bytes", "4GiB"], "--shard.max_bytes 4GiB: expected less than 4GiB"),
        (["--to", "lance", "--out", "s3://bucket/x"], "expected a folder"),
        (["--to", "tar"], "--to: got 'tar', expected one of 'webdataset', 'folder'"),
    ],
)
def test_what_a_format_cannot_do_is_told_before_anything_is_fetched(
    words: list[str], message: str, tmp_path: Path
) -> None:
    out = [] if "--out" in words else ["--out", str(tmp_path / "out")]
    ran = kconvert("k400", *words, *out, "--origin", "http://127.0.0.1:9/", env=ENVIRONMENT)
    assert ran.code == 2
    assert message in one_line(ran)
    assert not (tmp_path / "out").exists()


def test_folders_are_classes_and_clips_without_a_label_are_in_none(mini: Path, tmp_path: Path) -> None:
    """torchvision numbers folders by itself, so that none may be there that is no class."""
    out = tmp_path / "out"
    words = ("k700-2020", "--to", "folder", "--unlabelled", "keep", "--out", out, "--origin", mini)
    assert kconvert(*words).code == 0
    labels = (out / "labels.txt").read_text().splitlines()
    spelt = {label.replace(" ", "_").replace("'", "").replace("(", "").replace(")", ""): label for label in labels}
    for split in ("train", "test"):
        classes = {path.name for path in (out / split).iterdir() if path.is_dir()}
        assert classes <= set(spelt)
        assert bool(classes) == (split == "train")
        # What Python's own reader has of the metadata.
        with open(out / split / "metadata.csv", newline="") as file:
            found = {row["file_name"]: (row["label"], int(row["label_id"])) for row in csv.DictReader(file)}
        table = pq.read_table(out / f"metadata/{split}.parquet").to_pylist()
        written = {row["shard"].removeprefix(f"{split}/"): row for row in table if row["status"] == "written"}
        assert found == {path: (row["label"], row["label_id"]) for path, row in written.items()}
        assert {path.rpartition("/")[0] for path, row in written.items() if not row["label"]} <= {""}
        assert all(spelt[path.partition("/")[0]] == row["label"] for path, row in written.items() if row["label"])
    assert kconvert("verify", out).code == 0


def test_litdata_throws_its_cache_away_where_a_sample_is_another(mini: Path, tmp_path: Path) -> None:
    from litdata.streaming.resolver import Dir
    from litdata.utilities.dataset_utilities import _read_updated_at

    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        assert convert("litdata", mini, tmp_path / name, "--shuffle.seed", seed, "--split", "val").code == 0
    found = {name: _read_updated_at(Dir(str(tmp_path / name / "val"))) for name in ("one", "same", "other")}
    assert found["one"] == found["same"] != found["other"]
    assert "0" not in found.values()


def test_a_name_that_readers_take_for_a_pattern_is_told_at_the_start(mini: Path, tmp_path: Path) -> None:
    ran = kconvert("k400", "--split", "val", "--out", tmp_path / "a[1]", "--origin", mini)
    assert ran.code == 0
    assert "has '[' in it, which `load_dataset`, `glob` and brace patterns take for a pattern" in ran.err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("import a_library_of_its_own", "ModuleNotFoundError: No module named 'a_library_of_its_own'"),
        ("import os; os.kill(os.getpid(), 11)", "SIGSEGV"),
    ],
)
def test_a_library_that_cannot_be_imported_is_named_before_anything_is_fetched(
    mini: Path, tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / "litdata.py").write_text(content)
    out = tmp_path / "out"
    ran = kconvert("k400", "--to", "litdata", "--out", out, "--origin", mini, env={"PYTHONPATH": str(tmp_path)})
    assert ran.code == 2
    assert f"the Python module litdata, cannot be imported ({said})" in ran.err
    assert f"pip install '{ROOT}[litdata]', or choose another format" in ran.err
    assert tree(out) == {}


COUNT = """
import ast, shlex, subprocess, sys
block, expected = open("README.md").read().partition("```python\\n")[2].partition("```")[0], int(sys.argv[1])
num_ways, here = 0, {}
for line in block.splitlines():
    if line.startswith("# first: "):
        subprocess.run(shlex.split(line.partition(": ")[2]), check=True, capture_output=True)
for statement in ast.parse(block).body:
    line = ast.unparse(statement)
    exec(line, here)
    if line.startswith("samples = "):
        num_ways += 1
        assert sum(1 for _ in here["samples"]) == expected, line
        # Each stands by itself, with its imports.
        here = {}
print(num_ways)
"""
WAYS = {"folder": 3, "parquet": 2, "mds": 1, "litdata": 1, "lance": 1}


@pytest.mark.parametrize("name", WAYS)
def test_the_lines_of_the_card_read_every_sample(
    name: str, converted_to: Callable[[str], Path], tmp_path: Path
) -> None:
    assert lines_that_read(converted_to(name), tmp_path) == WAYS[name]


def test_the_lines_of_the_card_of_tars_read_every_sample(converted: Path, tmp_path: Path) -> None:
    assert lines_that_read(converted, tmp_path) == 7


def lines_that_read(out: Path, tmp_path: Path) -> int:
    """How many of the lines that the card has read every sample once, as they are printed."""
    copy = Path(shutil.copytree(out, tmp_path / "copy"))
    num = sum(row["status"] == "written" for row in rows(copy))
    assert f"the {num:,} samples of {SPLIT}" in (copy / "README.md").read_text()
    env = {**os.environ, **ENVIRONMENT, "HF_HOME": str(tmp_path / "cache"), "RAY_ADDRESS": "local"}
    # Begun cold, so that no line lacks an import.
    words = [sys.executable, "-W", "ignore", "-c", COUNT, str(num)]
    done = subprocess.run(words, capture_output=True, text=True, env=env, cwd=copy, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("reader", "format_name", "max_missing", "max_repeated", "max_difference"),
    [
        ("webdataset", "webdataset", 0, 0, None),
        ("datasets", "webdataset", 0, 0, None),
        ("litdata", "litdata", NUM_RANKS - 1, 0, 0),
        ("litdata_keeping", "litdata", 0, 0, NUM_RANKS - 1),
        ("mds", "mds", 0, NUM_RANKS - 1, 0),
        ("ray", "webdataset", 0, 0, None),
        ("ray_equal", "webdataset", NUM_RANKS - 1, 0, 0),
    ],
)
def test_a_reader_on_four_ranks_keeps_its_bound(
    reader: str, format_name: str, max_missing: int, max_repeated: int, max_difference: int | None,
    converted: Path, converted_to: Callable[[str], Path], tmp_path: Path,
) -> None:  # fmt: skip
    """What the libraries that know ranks by themselves make of a split on four ranks, with two workers each, that four do
    not divide: which clips nobody sees, and which are seen twice. The bounds are those that the guide states."""
    out = converted if format_name == "webdataset" else converted_to(format_name)
    expected = {row["key"] for row in rows(out) if row["status"] == "written"}
    assert len(expected) % NUM_RANKS
    script = ROOT / "tests" / "reading_ranks.py"
    env = {**os.environ, **ENVIRONMENT, "HF_HOME": str(tmp_path / "cache")}
    ranks = json.loads(python(script, reader, out, SPLIT, env=env, folder=tmp_path).splitlines()[-1])
    assert len(ranks) == NUM_RANKS
    seen = Counter(key for keys in ranks for key in keys)
    assert set(seen) <= expected
    assert len(expected - set(seen)) <= max_missing
    assert seen.total() - len(seen) <= max_repeated
    sizes = [len(keys) for keys in ranks]
    assert max_difference is None or max(sizes) - min(sizes) <= max_difference
