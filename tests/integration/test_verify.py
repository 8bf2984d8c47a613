"""`verify` finds any change of any byte of any shard or table, and anything added, removed or exchanged."""

import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from harness import kconvert

from kconvert.conversion.verification import folder_differences, verify
from kconvert.dataset.manifest import read_manifest
from kconvert.engines.open import EngineChoice, open_engine
from kconvert.errors import ManifestError
from kconvert.events import Silent
from kconvert.storage.folders import local

FoundIn = Callable[[Path], list[str]]


@pytest.fixture(scope="module")
def found_in() -> Iterator[FoundIn]:
    """The files of a folder that differ."""
    with closing(open_engine(EngineChoice("local", 2))) as engine:

        def find(out: Path) -> list[str]:
            manifest = read_manifest(local(out))
            assert manifest is not None
            return sorted({difference.path for difference in verify(local(out), manifest, engine, Silent())})

        yield find


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_a_change_of_any_byte_is_found_and_its_file_named(
    converted: Path, copy_of: Callable[[Path], Path], found_in: FoundIn
) -> None:
    out = copy_of(converted)
    assert found_in(out) == []
    draw = random.Random(0)
    files = [path for path in out.rglob("*") if path.suffix in (".tar", ".parquet") and ".kconvert" not in path.parts]
    assert len(files) == 7 + 3
    for path in files:
        size = path.stat().st_size
        for place in {0, size - 1, *(draw.randrange(size) for _ in range(4))}:
            flip(path, place)
            assert path.relative_to(out).as_posix() in found_in(out), (path, place)
            flip(path, place)
    assert found_in(out) == []


def test_the_command_names_the_file_and_exits_with_4(converted: Path, copy_of: Callable[[Path], Path]) -> None:
    out = copy_of(converted)
    path = out / "val/k400-val-000000.tar"
    flip(path, path.stat().st_size // 2)
    ran = kconvert("verify", out)
    assert ran.code == 4
    assert "val/k400-val-000000.tar: sha256" in ran.out
    paths = [difference["path"] for difference in json.loads(kconvert("verify", out, "--json").out)]
    assert set(paths) == {"val/k400-val-000000.tar"}


@pytest.mark.parametrize("name", ["labels.txt", "README.md", "train/k400-train-000001.tar", "metadata/test.parquet"])
def test_a_removed_file_is_named(
    converted: Path, copy_of: Callable[[Path], Path], name: str, found_in: FoundIn
) -> None:
    out = copy_of(converted)
    (out / name).unlink()
    assert name in found_in(out)


@pytest.mark.parametrize("name", ["labels.txt", "README.md"])
def test_a_changed_label_or_card_is_named(
    converted: Path, copy_of: Callable[[Path], Path], name: str, found_in: FoundIn
) -> None:
    out = copy_of(converted)
    flip(out / name, 5)
    assert found_in(out) == [name]


def test_exchanged_and_added_files_are_named(
    converted: Path, copy_of: Callable[[Path], Path], found_in: FoundIn
) -> None:
    out = copy_of(converted)
    one, other = (out / f"train/k400-train-00000{number}.tar" for number in (0, 1))
    one.rename(out / "x")
    other.rename(one)
    (out / "x").rename(other)
    shutil.copy(one, out / "train/k400-train-000099.tar")
    assert found_in(out) == [f"train/k400-train-0000{number}.tar" for number in ("00", "01", "99")]


def test_a_table_that_fits_its_digest_but_not_the_shards_is_named(
    converted: Path, copy_of: Callable[[Path], Path], mini: Path, tmp_path: Path, found_in: FoundIn
) -> None:
    """A manifest, with all its digests right, of tables that were made with another shuffle."""
    out = copy_of(converted)
    other = tmp_path / "other"
    assert kconvert("k400", "--out", other, "--origin", mini, "--shard.max_samples", 5, "--shuffle.seed", 9).code == 0
    manifest, another = (json.loads((folder / "manifest.json").read_text()) for folder in (out, other))
    manifest["tables"] = another["tables"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    shutil.rmtree(out / "metadata")
    shutil.copytree(other / "metadata", out / "metadata")
    assert {"train/k400-train-000000.tar", "val/k400-val-000000.tar"} <= set(found_in(out))


def test_counts_that_do_not_fit_the_rows_are_named(
    converted: Path, copy_of: Callable[[Path], Path], found_in: FoundIn
) -> None:
    out = copy_of(converted)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["splits"]["val"]["num_missing"] += 1
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert "metadata/val.parquet" in found_in(out)


@pytest.mark.parametrize("name", ["manifest.json", "labels.txt", "README.md"])
def test_a_flipped_bit_anywhere_in_the_small_files_is_found(
    converted: Path, copy_of: Callable[[Path], Path], name: str, found_in: FoundIn
) -> None:
    """Without the journal, so that the files have only each other."""
    out = copy_of(converted)
    shutil.rmtree(out / ".kconvert")
    data = (out / name).read_bytes()
    draw = random.Random(name)
    for _ in range(150):
        place, bit = draw.randrange(len(data)), 1 << draw.randrange(8)
        (out / name).write_bytes(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
        try:
            manifest = read_manifest(local(out))
            assert manifest is not None
            found = list(folder_differences(local(out), manifest))
        except ManifestError:
            continue
        assert found, (place, bit)
    (out / name).write_bytes(data)
    assert found_in(out) == []


def test_a_file_that_nobody_wrote_is_named_wherever_it_is(
    converted: Path, copy_of: Callable[[Path], Path], found_in: FoundIn
) -> None:
    out = copy_of(converted)
    added = ["stray.tar", "train/._k400-train-000000.tar", "other/x", "metadata/train.parquet.1.kconvert-tmp"]
    for name in added:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).touch()
    (out / "train/folder.tar").mkdir()
    (out / "train/more").symlink_to(out / "val")
    assert found_in(out) == sorted([*added, "other", "train/folder.tar", "train/more"])


def test_a_manifest_that_cannot_be_read_is_a_difference_and_one_of_another_format_is_told(
    converted: Path, copy_of: Callable[[Path], Path]
) -> None:
    out = copy_of(converted)
    text = (out / "manifest.json").read_text()
    (out / "manifest.json").write_text(text[:-20])
    ran = kconvert("verify", out)
    assert ran.code == 4
    assert "manifest.json: not a kconvert manifest" in ran.out.replace(f"{out}/", "")
    (out / "manifest.json").write_text(text.replace('"format_version": 2', '"format_version": 1'))
    ran = kconvert("verify", out)
    assert ran.code == 2
    assert "format_version 1, this kconvert reads 2; use the kconvert that wrote the folder" in ran.err
    shutil.rmtree(out / ".kconvert")
    ran = kconvert("k400", "--out", out)
    assert ran.code == 2
    assert "format_version 1, this kconvert reads 2" in ran.err


def test_verify_shows_progress(converted: Path) -> None:
    ran = kconvert("verify", converted)
    assert ran.code == 0
    assert re.search(r"verifying 7 shards: .* of .*, ([0-9]+) of \1 clips", ran.err)
