"""Further annotations joined with the clips (`--with ava,countix`): expected rows are computed by DuckDB from the csv
files and the tables of clips, expected frames are those of ffprobe."""

import gzip
import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from harness import Ran, kconvert, one_line, tree
from miniature.server import serving

SPLITS = ("train", "val", "test")
WITH = ("--with", "ava,countix")


EMPTY = gzip.compress(bytes(10_240))
"""An archive without members."""


def convert(out: Path, origin: Path | str, *words: str | Path) -> Ran:
    return kconvert("k700-2020", "--out", out, "--origin", origin, *words)


def unpacked(mini: Path, folder: Path) -> Path:
    """The files of both archives, in one folder."""
    for name in ("ava_kinetics_v1_0", "countix"):
        with tarfile.open(mini / f"700_2020/annotations/{name}.tar.gz") as tar:
            tar.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def joined(mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Converted with further annotations from the start. Not to be changed."""
    out = tmp_path_factory.mktemp("joined") / "out"
    assert convert(out, mini, *WITH).code == 0
    return out


CLIPS = """
create temp table clips as
    select split, youtube_id, start_seconds, end_seconds, substr(key, length(split) + 2) as name,
        max(case when status = 'written' then key else '' end) as key,
        bool_or(status = 'written') as is_written,
        min(case when status = 'written' then '' when reason = '' then status else reason end) as reason
    from (select * from read_parquet({tables}) where reason <> 'duplicate')
    group by all
"""
LINES = """
create temp table lines as
    select regexp_extract(filename, '(kinetics|countix)_(\\w+?)(_v1.0)?.csv', 1) as kind,
        regexp_extract(filename, '(kinetics|countix)_(\\w+?)(_v1.0)?.csv', 2) as split, string_split(line, ',') as f
    from (select filename, unnest(string_split(replace(content, chr(13), ''), chr(10))) as line from read_text({files}))
    where line <> '' and not starts_with(line, 'video_id')
"""
AVA = """
create temp table rows_of_ava as
    select split, f[1] as youtube_id, round(f[2]::double, 6) as t, f[3]::double as x1, f[4]::double as y1,
        f[5]::double as x2, f[6]::double as y2, f[7]::int as action
    from lines where kind = 'kinetics';
create temp table ava as
    select split, youtube_id, t, count(distinct case when x1 is null then null else (x1, y1, x2, y2) end) as num_boxes
    from rows_of_ava group by all
"""
BOXES = """
select split, youtube_id, t, x1, y1, x2, y2, list_sort(list_distinct(list(action)))
from rows_of_ava where x1 is not null group by all
"""
COUNTIX = """
with countix as (
    select split, f[1] as youtube_id, case when len(f) = 7 then f[2] else '' end as label, f[-5]::int as clip_start,
        f[-4]::int as clip_end, f[-3]::double as first, f[-2]::double as last, f[-1]::double::int as num
    from lines where kind = 'countix')
select countix.split, countix.youtube_id, coalesce(name, ''), coalesce(key, ''), coalesce(reason, case when
    exists (from clips c where c.split = countix.split and c.youtube_id = countix.youtube_id) then 'other_times'
    else 'no_clip' end), label, clip_start, clip_end, first, last, round(first - start_seconds, 6),
    round(last - start_seconds, 6), num, coalesce(start_seconds <= first and last <= end_seconds, false)
from countix left join clips on clips.split = countix.split and clips.youtube_id = countix.youtube_id
    and start_seconds = clip_start and end_seconds = clip_end
"""
KEYFRAMES = """
select split, youtube_id, t, coalesce(name, '') as name, coalesce(key, '') as key, coalesce(reason, 'no_clip'),
    round(t - start_seconds, 6), num_boxes,
    row_number() over (partition by split, youtube_id, t order by coalesce(is_written, false) desc,
        round(abs(2 * t - start_seconds - end_seconds), 6), start_seconds) = 1
from ava left join clips using (split, youtube_id)
where start_seconds is null or t between start_seconds and end_seconds
union all
select split, youtube_id, t, '', '', 'no_clip', null, num_boxes, true from ava
where exists (from clips where clips.split = ava.split and clips.youtube_id = ava.youtube_id)
    and not exists (from clips where clips.split = ava.split and clips.youtube_id = ava.youtube_id
        and t between start_seconds and end_seconds)
"""


def database(out: Path, files: Path) -> duckdb.DuckDBPyConnection:
    """What the clips of a folder and the rows of AVA-Kinetics are."""
    base = duckdb.connect()
    base.execute(CLIPS.format(tables=[str(path) for path in tables(out)]))
    base.execute(LINES.format(files=[str(path) for path in sorted(files.rglob("[kc]*_*.csv"))]))
    base.execute(AVA)
    return base


def tables(out: Path) -> list[Path]:
    return [path for split in SPLITS if (path := out / f"metadata/{split}.parquet").exists()]


def read(out: Path, name: str) -> list[tuple[Any, ...]]:
    rows = pq.read_table(out / f"metadata/{name}.parquet").to_pylist()
    return [tuple(row.values()) for row in rows]


def test_keyframes_and_boxes_are_those_that_duckdb_joins(joined: Path, mini: Path, tmp_path: Path) -> None:
    base = database(joined, unpacked(mini, tmp_path))
    found = read(joined, "ava_keyframes")
    assert [row[:3] for row in found] == sorted(
        [row[:3] for row in found], key=lambda row: (SPLITS.index(row[0]), *row[1:])
    )
    expected = base.execute(KEYFRAMES).fetchall()
    assert sorted(map(str, (row[:9] for row in found))) == sorted(map(str, expected))
    assert sorted(read(joined, "ava_boxes"), key=str) == sorted(base.execute(BOXES).fetchall(), key=str)
    # Nearer clip written, rejected, missing; a tie; nobody on it; in no clip: the miniature has all of it.
    reasons = {row[5] for row in found}
    assert {"", "missing", "truncated", "no_clip"} <= reasons
    assert sum(not row[8] for row in found) > 5


def test_repetitions_are_those_that_duckdb_joins(joined: Path, mini: Path, tmp_path: Path) -> None:
    base = database(joined, unpacked(mini, tmp_path))
    found = read(joined, "countix")
    assert sorted(map(str, found)) == sorted(map(str, base.execute(COUNTIX).fetchall()))
    assert {row[4] for row in found} >= {"", "missing", "other_times", "no_clip"}
    assert any(row[3] and not row[13] for row in found)


def shown_seconds(path: Path) -> list[float]:
    """When the frames of a video are shown, by ffprobe; nothing if it does not know, as of AVI with B frames."""
    words = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "packet=pts_time,flags"]
    done = subprocess.run([*words, "-of", "json", str(path)], capture_output=True, text=True, check=True)
    packets = json.loads(done.stdout)["packets"]
    times = [packet.get("pts_time") for packet in packets if "D" not in packet["flags"]]
    return [] if None in times else sorted(map(float, times))


def nearest(times: list[float], seconds: float) -> int:
    return min(range(len(times)), key=lambda index: (round(abs(times[index] - seconds), 6), index))


@pytest.mark.parametrize(
    ("any_mini", "to"),
    [
        *(("made", to) for to in ("folder", "webdataset", "parquet", "lance", "archives")),
        ("real", "webdataset"),
        ("real", "archives"),
    ],
    indirect=["any_mini"],
)
def test_frames_are_those_that_are_shown_nearest(any_mini: Path, tmp_path: Path, to: str) -> None:
    out, files = tmp_path / "out", tmp_path / "files"
    small = [] if to == "archives" else ["--shard.max_samples", "3"]
    assert convert(out, any_mini, "--to", to, "--with", "ava", *small).code == 0
    assert kconvert("verify", out).code == 0
    videos = out if to == "folder" else files
    if to != "folder":
        assert convert(files, any_mini, "--to", "folder", *small).code == 0
    paths = {
        row["key"]: videos / row["shard"]
        for split in SPLITS
        for row in pq.read_table(videos / f"metadata/{split}.parquet").to_pylist()
    }
    rows = pq.read_table(out / "metadata/ava_keyframes.parquet").to_pylist()
    times = {key: shown_seconds(paths[key]) for key in {row["key"] for row in rows} - {""}}
    known = [row for row in rows if not row["key"] or times[row["key"]]]
    expected = [nearest(times[row["key"]], row["seconds_in_clip"]) if row["key"] else -1 for row in known]
    assert [row["frame_index"] for row in known] == expected
    assert len(set(expected)) > 20
    assert len(rows) - len(known) < 10


def test_added_to_a_finished_folder_it_is_as_if_it_had_been_there_from_the_start(
    joined: Path, mini: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert convert(out, mini, "--split", "val").code == 0
    shards = {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")}
    assert shards
    assert convert(out, mini, "--split", "val", "--with", "countix").code == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")} == shards
    assert kconvert("verify", out).code == 0
    # Once it is there, it is kept up to date.
    assert convert(out, mini).code == 0
    assert {row[0] for row in read(out, "countix")} == set(SPLITS)
    shutil.rmtree(out / ".kconvert")
    assert convert(out, mini, "--with", "ava").code == 0
    assert tree(out) == tree(joined)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    nowhere = tmp_path / "nowhere"
    shutil.copytree(mini, nowhere)
    shutil.rmtree(nowhere / "700_2020/annotations")
    # Nothing is to be done, so that nothing is asked for.
    assert convert(out, nowhere, *WITH).code == 0
    assert {path: path.stat().st_mtime_ns for path in before if path.exists()} == before
    (out / "ava_val.csv").unlink()
    assert kconvert("verify", out).code == 4
    assert convert(out, mini).code == 0
    assert tree(out) == tree(joined)
    assert convert(out, mini, "--overwrite").code == 0
    assert not [path for path in out.rglob("*") if "ava" in path.name or "countix" in path.name]
    assert kconvert("verify", out).code == 0


def test_a_file_of_a_persons_own_counts(joined: Path, mini: Path, tmp_path: Path) -> None:
    files, out = unpacked(mini, tmp_path / "files"), tmp_path / "out"
    shutil.copytree(joined, out)
    own = ("--annotations.ava", files, "--annotations.countix", files)
    assert convert(out, mini, *WITH, *own).code == 0
    assert tree(out) == tree(joined)
    path = next(files.rglob("kinetics_val_v1.0.csv"))
    path.write_text("twicewrite_,107,0.1,0.1,0.5,0.5,12\n")
    assert convert(out, mini, *WITH, *own).code == 0
    rows = [row for row in read(out, "ava_keyframes") if row[0] == "val"]
    assert [(row[2], row[3], row[7]) for row in rows] == [
        (107.0, "twicewrite__000100_000110", 1), (107.0, "twicewrite__000104_000114", 1),
    ]  # fmt: skip
    assert (out / "ava_val.csv").read_bytes() == path.read_bytes()
    assert kconvert("verify", out).code == 0
    # Over HTTP, and with only what is needed.
    with serving(mini) as http:
        assert convert(out, http.url, *WITH).code == 0
    assert tree(out)["metadata/countix.parquet"] == tree(joined)["metadata/countix.parquet"]
    few = tmp_path / "few"
    assert convert(few, mini, "--split", "val", "--with", "ava", "--annotations.ava", path).code == 0


def evaluated(path: Path) -> tuple[set[str], set[str]]:
    """The keyframes of a csv, and those of them with a box of a counted action, as the format's README tells an
    evaluation to read it: keys are the id and the time with six decimals, and a row of two fields is an empty frame."""
    counted = {11, 12, 14}
    frames, positive = set(), set()
    for line in path.read_text().splitlines():
        fields = line.split(",")
        assert len(fields) in (2, 7)
        key = f"{fields[0]},{float(fields[1]):.6f}"
        frames.add(key)
        if len(fields) == 7 and int(fields[6]) in counted:
            positive.add(key)
    return frames, positive


def test_the_official_evaluation_finds_the_keyframes_that_are_there(joined: Path, mini: Path, tmp_path: Path) -> None:
    files = unpacked(mini, tmp_path)
    rows = pq.read_table(joined / "metadata/ava_keyframes.parquet").to_pylist()
    boxes = pq.read_table(joined / "metadata/ava_boxes.parquet").to_pylist()
    for split in SPLITS:
        official = next(files.rglob(f"kinetics_{split}_v1.0.csv"))
        own = joined / f"ava_{split}.csv"
        lines = iter(official.read_bytes().splitlines(keepends=True))
        # The original lines, in their order.
        assert all(line in lines for line in own.read_bytes().splitlines(keepends=True))
        frames, positive = evaluated(own)
        written = {
            f"{one['youtube_id']},{one['timestamp_seconds']:.6f}"
            for one in rows
            if one["split"] == split and one["key"]
        }
        assert frames == written
        assert frames == evaluated(official)[0] & written
        counted = {
            f"{one['youtube_id']},{one['timestamp_seconds']:.6f}"
            for one in boxes
            if one["split"] == split and {11, 12, 14} & set(one["action_ids"])
        }
        assert positive == counted & written == evaluated(official)[1] & written
    actions = (joined / "ava_action_list_v2.2.pbtxt").read_bytes()
    assert actions == next(files.rglob("ava_action_list_v2.2.pbtxt")).read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--with", "contix"), "has no 'contix'; expected ava or countix; did you mean 'countix'?"),
        (("--with", ""), "--with: is empty"),
        (("--annotations.ava", "x"), "--annotations.ava: would be ignored; leave it out, or give --with ava, too"),
        (("--with", "ava", "--annotations.ava", "nowhere.tar.gz"), "nowhere.tar.gz: no such file"),
        (("--with", "ava", "--annotations.ava", "{mini}/700_2020/annotations/countix.tar.gz"), "looked for kinetics_"),
    ],
)
def test_what_cannot_be_had_is_refused(mini: Path, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    ran = convert(tmp_path / "out", mini, *(word.format(mini=mini) for word in words))
    assert (ran.code, said in one_line(ran)) == (2, True), ran.err
    assert not (tmp_path / "out/manifest.json").exists()


def test_a_release_without_further_annotations_says_which_has_some(mini: Path, tmp_path: Path) -> None:
    ran = kconvert("k400", "--out", tmp_path / "out", "--origin", mini, "--with", "ava")
    assert (ran.code, "k400 has no 'ava'; k700-2020 has further annotations" in one_line(ran)) == (2, True), ran.err


def test_all_that_cannot_be_read_is_told_at_once_and_before_anything_is_fetched(mini: Path, tmp_path: Path) -> None:
    files = unpacked(mini, tmp_path / "files")
    bad = next(files.rglob("kinetics_train_v1.0.csv"))
    bad.write_text(
        "twicewrite_,107\ntwicewrite_,x\nshort,1\ntwicewrite_,1,0.1,0.1,1.5,0.5,12\ntwicewrite_,1,0.5,0.1,0.1,0.5,12\n"
        'twicewrite_,1,0.1,0.1,0.5,0.5\ntwicewrite_,1,0.1,0.1,0.5,0.5,sit\n\n"twicewrite_","1"\n'
    )
    ran = convert(tmp_path / "out", mini, *WITH, "--annotations.ava", files)
    assert ran.code == 2
    line = one_line(ran)
    assert "kinetics_train_v1.0.csv: 6 problem(s)" in line
    assert all(f"line {number}:" in line for number in (2, 3, 4, 5, 6, 7))
    assert not list((tmp_path / "out").rglob("*.part"))
    counted = next(files.rglob("countix_train.csv"))
    counted.write_text(
        counted.read_text().replace(",abseiling,", ",abseilling,", 1).replace(",2.5,3.5,2", ",3.5,2.5,0")
    )
    ran = convert(tmp_path / "out", mini, "--with", "countix", "--annotations.countix", files)
    assert (ran.code, "2 problem(s)" in one_line(ran), "abseilling" in ran.err) == (2, True, True), ran.err


@pytest.fixture(scope="module")
def of_real_lists(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of the real lists of val and test, none of whose clips is hosted, and the files that it was joined with.
    Not to be changed."""
    folder = tmp_path_factory.mktemp("real")
    origin, files = folder / "origin", folder / "files"
    (origin / "700_2020/annotations").mkdir(parents=True)
    for split, name in (("val", "k700-2020_val.csv"), ("test", "k700-2020_test_unlabelled.csv")):
        shutil.copy(shared_data / "annotations" / name, origin / f"700_2020/annotations/{split}.csv")
        (origin / f"700_2020/{split}").mkdir()
        num_archives = {"val": 700, "test": 1}[split]
        archives = [f"k700_{split}_{number:03d}.tar.gz" for number in range(1, num_archives + 1)]
        for archive in archives:
            (origin / "700_2020" / split / archive).write_bytes(EMPTY)
        path_list = "".join(f"https://s3.amazonaws.com/kinetics/700_2020/{split}/{archive}\n" for archive in archives)
        (origin / f"700_2020/{split}/k700_2020_{split}_path.txt").write_text(path_list)
    shutil.copytree(shared_data / "ava_kinetics", files / "ava")
    shutil.copytree(shared_data / "countix", files / "countix")
    words = ("--split", "val,test", "--annotations.ava", files / "ava", "--annotations.countix", files / "countix")
    ran = convert(folder / "out", origin, *WITH, *words)
    assert ran.code == 0, ran.err
    return folder / "out", files


def test_the_real_files_come_to_what_is_known_of_them(of_real_lists: tuple[Path, Path]) -> None:
    out, _ = of_real_lists
    base = duckdb.connect()
    keyframes = f"from '{out}/metadata/ava_keyframes.parquet' where split ="
    count = "select count(*), sum(is_primary::int), sum((name = '')::int), sum((is_primary and num_boxes > 0)::int)"
    assert base.execute(f"{count} {keyframes} 'val'").fetchone() == (31_292, 31_272, 0, 22_636)
    assert base.execute(f"{count} {keyframes} 'test'").fetchone() == (64_217 + 230, 64_304, 230, 0)
    twice = "select count(*) from (select 1 {} '{}' group by youtube_id, timestamp_seconds having count(*) = 2)"
    assert base.execute(twice.format(keyframes, "val")).fetchone() == (20,)
    assert base.execute(twice.format(keyframes, "test")).fetchone() == (143,)
    boxes = f"from '{out}/metadata/ava_boxes.parquet'"
    assert base.execute(f"select count(*), count(distinct youtube_id) > 0 {boxes}").fetchone() == (32_667, True)
    assert base.execute(f"select count(distinct a) from (select unnest(action_ids) as a {boxes})").fetchone() == (78,)
    rows = base.execute(f"select sum(len(action_ids))::int {boxes}").fetchone()
    assert rows == (65_172,)
    reasons = f"select split, count(*), count_if(reason = 'missing'), count_if(reason = 'other_times'), count_if(reason = 'no_clip') from '{out}/metadata/countix.parquet' group by all order by all desc"
    assert base.execute(reasons).fetchall() == [("val", 1436, 1417, 16, 3), ("test", 2650, 2622, 4, 24)]
    outside = f"select count(*), max(end_seconds - kinetics_end_seconds) from '{out}/metadata/countix.parquet' where name <> '' and not is_inside"
    found = base.execute(outside).fetchone()
    assert found is not None
    assert (found[0], round(found[1], 4)) == (1, 0.0003)


def test_the_real_files_are_joined_as_duckdb_does(of_real_lists: tuple[Path, Path]) -> None:
    out, files = of_real_lists
    base = database(out, files)
    own = f"select * exclude (frame_index) from '{out}/metadata/ava_keyframes.parquet'"
    # Ids of other splits stand in the same folder.
    wanted = f"select * from ({KEYFRAMES}) where split in ('val', 'test')"
    for one, other in ((own, wanted), (wanted, own)):
        assert base.execute(f"select count(*) from ({one} except all {other})").fetchone() == (0,)
    own = f"select * from '{out}/metadata/ava_boxes.parquet'"
    wanted = f"select * from ({BOXES}) where split in ('val', 'test')"
    for one, other in ((own, wanted), (wanted, own)):
        assert base.execute(f"select count(*) from ({one} except all {other})").fetchone() == (0,)
    own = f"select * from '{out}/metadata/countix.parquet'"
    wanted = f"select * from ({COUNTIX}) where split in ('val', 'test')"
    for one, other in ((own, wanted), (wanted, own)):
        assert base.execute(f"select count(*) from ({one} except all {other})").fetchone() == (0,)
    assert not (out / "ava_val.csv").read_bytes()


def test_an_archive_of_texts_may_unpack_to_many_times_its_size(mini: Path, tmp_path: Path) -> None:
    files = unpacked(mini, tmp_path / "files")
    films = "".join(f"1j20qq1JyX4,{number:07d},0.002,0.118,0.714,0.977,12,1\n" for number in range(1_000_000))
    (files / "ava_kinetics_v1_0/ava_train_v2.2.csv").write_text(films)
    packed = tmp_path / "ava.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(files / "ava_kinetics_v1_0", "ava_kinetics_v1_0")
    assert packed.stat().st_size * 1.5 + (1 << 24) < len(films)
    ran = convert(tmp_path / "out", mini, "--split", "val", "--with", "ava", "--annotations.ava", packed)
    assert ran.code == 0, ran.err


def test_files_of_a_persons_own_stay(mini: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert convert(out, mini, "--split", "val").code == 0
    own = [
        out / "ava_val_excluded_timestamps_v2.2.csv",
        out / "ava_predictions.csv",
        out / "ava_action_list_mine.pbtxt",
    ]
    for path in own:
        path.write_text("mine")
    assert convert(out, mini, "--split", "val", "--with", "ava").code == 0
    assert convert(out, mini, "--split", "val,test").code == 0
    assert convert(out, mini, "--split", "val", "--overwrite").code == 0
    assert all(path.read_text() == "mine" for path in own)
    assert not (out / "ava_val.csv").exists()


def test_a_table_that_was_changed_is_made_anew(joined: Path, mini: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(joined, out)
    with open(out / "metadata/ava_boxes.parquet", "r+b") as file:
        file.seek(100)
        file.write(b"X")
    assert kconvert("verify", out).code == 4
    assert convert(out, mini).code == 0
    assert tree(out) == tree(joined)


def test_counts_and_lists_that_make_no_sense_are_refused_before_anything_is_fetched(mini: Path, tmp_path: Path) -> None:
    files = unpacked(mini, tmp_path / "files")
    path = next(files.rglob("countix_val.csv"))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0].rpartition(",")[0] + ",3000000000\n", *lines[1:]]))
    ran = convert(tmp_path / "out", mini, "--with", "countix", "--annotations.countix", files)
    assert (ran.code, "line 1" in one_line(ran)) == (2, True), ran.err
    (files / "again").mkdir()
    for folder in (files / "again", files):
        (folder / "ava_action_list_v9.pbtxt").write_bytes(b"")
    ran = convert(tmp_path / "out", mini, "--with", "ava", "--annotations.ava", files)
    assert (ran.code, "has ava_action_list_v9.pbtxt twice" in one_line(ran)) == (2, True), ran.err
    assert not list((tmp_path / "out").rglob("*.part"))
