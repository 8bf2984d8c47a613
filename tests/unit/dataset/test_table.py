from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness import write_staged

from kconvert.dataset.table import STAGED, TABLE, FinalTable, StagedClip, StagedRows, write_table
from kconvert.storage.folders import local
from kconvert.video.metadata import MediaMetadata


def clip(number: int) -> StagedClip:
    facts = MediaMetadata(duration_seconds=10.0, width=64) if number else MediaMetadata()
    return StagedClip(f"clip{number}", f"./{number}.mp4", ("short",) * (number % 2), "x", number, "", facts, number)


def test_staged_rows_come_back_in_order_with_their_archives(tmp_path: Path) -> None:
    for archive, numbers in (("b", [0, 1]), ("a", []), ("c", [2])):
        write_staged(local(tmp_path / archive), [clip(number) for number in numbers])
    rows = StagedRows.read({name: local(tmp_path / name) for name in ("b", "a")}).followed_by(
        StagedRows.read({"c": local(tmp_path / "c")})
    )
    assert len(rows) == 3
    assert rows.archive_column() == ["b", "b", "c"]
    assert rows.column("name") == ["clip0", "clip1", "clip2"]
    assert [row["part_offset"] for row in rows.take([2, 0])] == [2, 0]
    assert dict(rows.gather([None, 1], ["width"]))["width"].to_pylist() == [None, 64]
    assert len(StagedRows.read({})) == 0


def final_columns(keys: list[str]) -> dict[str, object]:
    columns: dict[str, object] = {}
    for field in TABLE:
        columns[field.name] = pa.nulls(len(keys), field.type)
    return columns | {"key": keys, "shard": ["s"] * len(keys), "sample_index": list(range(len(keys)))}


def test_a_table_is_sorted_by_key_and_its_strings_are_never_null(tmp_path: Path) -> None:
    write_table(local(tmp_path / "x.parquet"), final_columns(["b", "a", "c", "a"]).items())
    table = pq.read_table(tmp_path / "x.parquet")
    assert table.schema.equals(TABLE)
    assert table["key"].to_pylist() == ["a", "a", "b", "c"]
    assert table["sample_index"].to_pylist() == [1, 3, 0, 2]
    assert table["label"].to_pylist() == [""] * 4
    assert table["defects"].to_pylist() == [[]] * 4
    assert table["width"].to_pylist() == [None] * 4


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    digests = {write_table(local(tmp_path / str(number)), final_columns(["b", "a"]).items()) for number in range(2)}
    assert len(digests) == 1


def test_rows_are_given_by_shard_in_the_order_of_their_samples(tmp_path: Path) -> None:
    columns = final_columns(["c", "b", "a", "d"]) | {"shard": ["2", "1", "1", ""], "sample_index": [0, 1, 0, None]}
    write_table(local(tmp_path / "x"), columns.items())
    table = FinalTable.read(local(tmp_path / "x"))
    found = {shard: [row["key"] for row in table.take(places)] for shard, places in table.indexes_by_file().items()}
    assert found == {"1": ["a", "b"], "2": ["c"]}


def test_what_is_no_table_of_this_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="not a Parquet file"):
        FinalTable.read(local(tmp_path / "x"))
    pq.write_table(STAGED.empty_table(), tmp_path / "y")
    with pytest.raises(ValueError, match="columns"):
        FinalTable.read(local(tmp_path / "y"))
