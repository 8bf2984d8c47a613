"""A folder that is not what a conversion would go on with is refused with the exact differences, never mixed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from faults import Faults
from harness import kconvert, one_line, tree

COMMAND = ("--shard.max_samples", 5)


@pytest.fixture
def out(converted: Path, copy_of: Callable[[Path], Path]) -> Path:
    return copy_of(converted)


def refused(out: Path, mini: Path, *words: object) -> str:
    """The line that refuses to go on; nothing may have changed."""
    before = tree(out)
    ran = kconvert("k400", "--out", out, "--origin", mini, *COMMAND, *map(str, words))
    assert ran.code == 2, ran.err
    assert tree(out) == before
    return one_line(ran)


def edit(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def in_manifest(*names: str | int, value: object) -> Callable[[Any], None]:
    """A change of one value of the manifest."""

    def change(content: Any) -> None:
        for name in names[:-1]:
            content = content[name]
        content[names[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (in_manifest("splits", "train", "num_written", value=7), "train.counts.num_written was 14, is now 7"),
        (in_manifest("shards", 1, "sha256", value="0" * 64), "train.shards.1.sha256 was "),
        (in_manifest("tables", 2, "num_rows", value=1), "test.table.num_rows was 30, is now 1"),
        (in_manifest("options", "shuffle", "seed", value=3), "shuffle.seed was 0, is now 3"),
        (in_manifest("tools", "pyav", value="17"), "tools.pyav was "),
    ],
)
def test_a_manifest_that_was_edited_is_refused(
    converted: Path, mini: Path, out: Path, change: Callable[[Any], None], said: str
) -> None:
    edit(out / "manifest.json", change)
    line = refused(out, mini)
    assert "manifest.json: was changed since it was written" in line
    assert said in line
    (out / "manifest.json").unlink()
    assert kconvert("k400", "--out", out, "--origin", mini, *COMMAND).code == 0
    assert tree(out) == tree(converted)


@pytest.mark.parametrize("has_journal", [True, False])
def test_a_table_that_was_edited_is_refused(converted: Path, mini: Path, out: Path, has_journal: bool) -> None:
    path = out / "metadata/val.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    if not has_journal:
        shutil.rmtree(out / ".kconvert")
    line = refused(out, mini)
    assert "metadata/val.parquet: was changed since it was written: sha256 was " in line
    assert "remove it to have it made again" in line
    path.unlink()
    ran = kconvert("k400", "--out", out, "--origin", mini, *COMMAND)
    assert ran.code == 0, ran.err
    assert tree(out) == tree(converted)


def test_a_folder_of_another_format_or_of_other_tools_is_refused(mini: Path, out: Path) -> None:
    (out / "manifest.json").unlink()
    identity = out / ".kconvert/identity.json"
    good = identity.read_text()
    for name, value, said in (
        ("format_version", 1, "format_version was 1, is now 2"),
        ("tools", {"ffprobe": "4.4"}, "tools.ffprobe was '4.4', is now None"),
        ("release", "k600", "release was 'k600', is now 'k400'"),
    ):
        identity.write_text(json.dumps(json.loads(good) | {name: value}))
        assert said in refused(out, mini)
    identity.write_text(good[:-9])
    assert "identity.json: was changed by hand" in refused(out, mini)


def test_a_manifest_that_was_edited_is_refused_where_only_the_card_knows_better(mini: Path, out: Path) -> None:
    shutil.rmtree(out / ".kconvert")
    edit(out / "manifest.json", in_manifest("splits", "train", "num_archives", value=999))
    assert "is not the one that README.md names by its digest" in refused(out, mini)


def test_a_kill_between_card_and_manifest_is_no_change(converted: Path, mini: Path, out: Path, tmp_path: Path) -> None:
    """Splits are added to a folder without a journal: the new card stands beside the old manifest for a moment."""
    first = ("k400", "--origin", mini, *COMMAND, "--split", "val")
    assert kconvert(*first, "--out", tmp_path / "grown").code == 0
    shutil.rmtree(tmp_path / "grown/.kconvert")
    faults = Faults(tmp_path)
    words = ("k400", "--origin", mini, *COMMAND, "--workers", 1)
    # Where the machine is slow, a run notes how far it is once more or less often: another one is then the operation.
    for attempt in range(5):
        whole, grown = (
            shutil.copytree(tmp_path / "grown", tmp_path / f"{name}{attempt}") for name in ("whole", "killed")
        )
        assert kconvert(*words, "--out", whole, env=faults.environment(whole, "whole")).code == 0
        (place,) = [done.number for done in faults.operations("whole") if done.kind == "rename manifest.json"]
        ran = kconvert(*words, "--out", grown, env=faults.environment(grown, "killed", at=place, do="kill"), group=True)
        if ran.code == -9 and (grown / "README.md").read_bytes() == (converted / "README.md").read_bytes():
            break
    assert ran.code == -9
    assert list(json.loads((grown / "manifest.json").read_text())["splits"]) == ["val"]
    assert (grown / "README.md").read_bytes() == (converted / "README.md").read_bytes()
    ran = kconvert(*words, "--out", grown)
    assert ran.code == 0, ran.err
    assert tree(grown) == tree(converted)


def test_receipts_that_were_edited_never_get_into_a_result(converted: Path, mini: Path, out: Path) -> None:
    """As if killed before the end, and somebody changed a count."""
    for name in ("manifest.json", "metadata/train.parquet", ".kconvert/train/record.json"):
        (out / name).unlink()
    receipt = out / ".kconvert/train/archives/000001.json"
    edit(receipt, lambda content: content.update(num_members=99))
    ran = kconvert("k400", "--out", out, "--origin", mini, *COMMAND)
    assert ran.code == 1
    assert "the account does not close (num_members: " in ran.err
    assert not (out / "manifest.json").exists()
    shutil.rmtree(out / ".kconvert/train")
    assert kconvert("k400", "--out", out, "--origin", mini, *COMMAND).code == 0
    assert tree(out) == tree(converted)


def test_overwriting_takes_any_folder_of_ours(converted: Path, mini: Path, out: Path) -> None:
    (out / "metadata/val.parquet").write_bytes(b"")
    (out / "manifest.json").write_text("{")
    (out / ".kconvert/identity.json").write_text("{")
    ran = kconvert("k400", "--out", out, "--origin", mini, *COMMAND, "--overwrite")
    assert ran.code == 0, ran.err
    assert tree(out) == tree(converted)


def test_a_kill_while_a_split_is_made_anew_of_changed_archives_is_gone_on_with(
    mini: Path, out: Path, tmp_path: Path
) -> None:
    """The new table stands beside no old record of it."""
    server = shutil.copytree(mini, tmp_path / "server")
    shutil.copy(server / "400/test/part_1.tar.gz", server / "400/train/part_0.tar.gz")
    (out / "train/k400-train-000000.tar").unlink()
    faults = Faults(tmp_path)
    words = ("k400", "--origin", server, *COMMAND, "--workers", 1)
    whole = shutil.copytree(out, tmp_path / "whole")
    assert kconvert(*words, "--out", whole, env=faults.environment(whole, "whole")).code == 0
    records = [done.number for done in faults.operations("whole") if done.kind == "rename record.json"]
    ran = kconvert(*words, "--out", out, env=faults.environment(out, "killed", at=records[0], do="kill"), group=True)
    assert ran.code == -9
    assert (out / "metadata/train.parquet").read_bytes() == (whole / "metadata/train.parquet").read_bytes()
    ran = kconvert(*words, "--out", out)
    assert ran.code == 0, ran.err
    assert tree(out) == tree(whole)


@pytest.mark.parametrize("identity", ["[]", '{"options": 1}', '{"options": {"to": "tape"}}'])
def test_a_spoilt_identity_is_told_of_without_a_traceback(out: Path, mini: Path, identity: str) -> None:
    (out / ".kconvert/identity.json").write_text(identity)
    for words in (("k400", "--out", out, "--origin", mini, *COMMAND), ("status", out)):
        ran = kconvert(*words)
        assert ran.code in (0, 2)
        assert "Traceback" not in ran.err
    ran = kconvert("k400", "--out", out, "--origin", mini, *COMMAND, "--overwrite")
    assert ran.code == 0, ran.err
