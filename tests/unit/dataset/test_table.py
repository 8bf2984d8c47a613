import pickle
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness import write_staged

from kconvert.columns.column import Column
from kconvert.dataset.staged_rows import STAGED, StagedClip, StagedRows
from kconvert.dataset.table import TABLE, FinalTable, columns_at, write_table
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
    assert rows.archives.values == ["b", "b", "c"]
    assert rows.column("member").values == ["./0.mp4", "./1.mp4", "./2.mp4"]
    assert rows.column("sound_rate").values == [None] * 3
    assert [row["part_offset"] for row in rows.take(Column.of([2, 0], "index"), ["part_offset"]).rows()] == [2, 0]
    found = rows.take(Column.of([None, 1], "index"), ["width", "sound_rate"])
    assert found.rows() == [{"width": None, "sound_rate": None}, {"width": 64, "sound_rate": None}]
    assert found.archives.values == [None, "b"]
    assert len(StagedRows.read({})) == 0


def test_rows_that_were_looked_at_are_followed_by_any_others(tmp_path: Path) -> None:
    """What few texts are held by, many may not fit into."""
    for archive, numbers in (("a", range(2)), ("b", range(2, 300))):
        rows = [replace(clip(number), detail=f"detail {number}") for number in numbers]
        write_staged(local(tmp_path / archive), rows)
    first = StagedRows.read({"a": local(tmp_path / "a")})
    assert first.column("detail").values == ["detail 0", "detail 1"]
    both = first.followed_by(StagedRows.read({"b": local(tmp_path / "b")}))
    assert both.column("detail").values == [f"detail {number}" for number in range(300)]


def final_columns(keys: list[str]) -> dict[str, Column]:
    columns = {field.name: Column(pa.nulls(len(keys), field.type)) for field in TABLE}
    return columns | {
        "key": Column.of(keys),
        "shard": Column.constant("s", len(keys)),
        "sample_index": Column.numbers(0, len(keys)),
    }


def write(path: Path, columns: dict[str, Column]) -> str:
    return write_table(local(path), columns["key"], columns_at(columns))


def test_a_table_is_sorted_by_key_and_its_strings_are_never_null(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", final_columns(["b", "a", "c", "a"]))
    table = pq.read_table(tmp_path / "x.parquet")
    assert table.schema.equals(TABLE)
    assert table["key"].to_pylist() == ["a", "a", "b", "c"]
    assert table["sample_index"].to_pylist() == [1, 3, 0, 2]
    assert table["label"].to_pylist() == [""] * 4
    assert table["defects"].to_pylist() == [[]] * 4
    assert table["width"].to_pylist() == [None] * 4


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    digests = {write(tmp_path / str(number), final_columns(["b", "a"])) for number in range(2)}
    assert len(digests) == 1


def test_rows_are_given_by_shard_in_the_order_of_their_samples(tmp_path: Path) -> None:
    columns = final_columns(["c", "b", "a", "d"])
    columns |= {"shard": Column.of(["2", "1", "1", ""]), "sample_index": Column.of([0, 1, 0, None], "index")}
    write(tmp_path / "x", columns)
    table = FinalTable.read(local(tmp_path / "x"))
    places = table.indexes_by_file()
    found = {shard: [row["key"] for row in table.take(places[shard]).dicts()] for shard in places}
    assert found == {"1": ["a", "b"], "2": ["c"]}


def test_some_rows_of_a_table_are_pickled_without_the_others(tmp_path: Path) -> None:
    keys = [f"key-{number:05d}" for number in range(5000)]
    write(tmp_path / "x", final_columns(keys))
    table = FinalTable.read(local(tmp_path / "x"))
    some = table.take(Column.of([4321, 7], "index"))
    data = pickle.dumps(some)
    assert len(data) < len(pickle.dumps(table)) / 10
    assert [row["key"] for row in pickle.loads(data).dicts()] == ["key-04321", "key-00007"]
    assert some.row(1) == table.row(7)


def test_what_is_no_table_of_this_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="not a Parquet file"):
        FinalTable.read(local(tmp_path / "x"))
    lacking = {name: [None] for name in TABLE.names} | {"key": ["a"]}
    pq.write_table(pa.table(lacking, schema=TABLE), tmp_path / "z")
    with pytest.raises(ValueError, match="its column split lacks values"):
        FinalTable.read(local(tmp_path / "z"))
    pq.write_table(STAGED.empty_table(), tmp_path / "y")
    with pytest.raises(ValueError, match="columns"):
        FinalTable.read(local(tmp_path / "y"))
