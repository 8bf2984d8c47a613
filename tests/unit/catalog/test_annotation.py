import csv
import io
import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kconvert.catalog.annotation import Annotations, AnnotationText, parse_annotations
from kconvert.catalog.release import AnnotationFile, AnnotationForm
from kconvert.catalog.shelf import load_release
from kconvert.errors import AnnotationError

LABELS = load_release("k600").label_ids


def parse(
    text: str | bytes, form: AnnotationForm = "csv", split: str = "train", max_malformed: float = 0
) -> Annotations:
    data = text if isinstance(text, bytes) else text.encode()
    return parse_annotations(AnnotationText(data, AnnotationFile("annotations/x", form)), split, LABELS, max_malformed)


def problems(text: str | bytes, form: AnnotationForm = "csv", split: str = "train") -> list[str]:
    with pytest.raises(AnnotationError) as caught:
        parse(text, form, split)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("file", "release", "split", "num_rows", "has_labels"),
    [
        ("k400_val.csv", "k400", "val", 19_906, True),
        ("k400_test_unlabelled.csv", "k400", "test", 38_685, False),
        ("k600_val.csv", "k600", "val", 30_000, True),
        ("k600_test_unlabelled.csv", "k600", "test", 72_924, False),
        ("k700-2020_val.csv", "k700-2020", "val", 34_198, True),
        ("k700-2020_test_unlabelled.csv", "k700-2020", "test", 67_767, False),
    ],
)
def test_the_official_files_are_read_whole(
    shared_data: Path, file: str, release: str, split: str, num_rows: int, has_labels: bool
) -> None:
    data = (shared_data / "annotations" / file).read_bytes()
    found = parse_annotations(
        AnnotationText(data, AnnotationFile(file, "csv")), split, load_release(release).label_ids, 0
    )
    # The numbers of rows are those of `wc -l` less the header.
    assert len(found.labels) == num_rows
    assert found.has_labels == has_labels
    assert found.repeated == ()


def test_deepminds_json_is_read(shared_data: Path) -> None:
    path = shared_data / "annotations" / "deepmind_json_subset.json"
    file = AnnotationText(path.read_bytes(), AnnotationFile(path.name, "json"))
    found = parse_annotations(file, "train", load_release("k400").label_ids, 0)
    entries = json.loads(path.read_text())
    assert len(found.labels) == len(entries) == 1030
    assert found.labels["-4J9Cg84umY_000004_000014"] == "blowing glass"


def test_csv_comes_quoted_or_not_with_is_cc_or_not_with_a_mark_or_not() -> None:
    plain = "label,youtube_id,time_start,time_end,split\nair drumming,0wR5jVB-WPk,417,427,train\n"
    quoted = '\ufefflabel,youtube_id,time_start,time_end,split,is_cc\r\n"air drumming",0wR5jVB-WPk,417,427,train,0\r\n'
    assert parse(plain).labels == parse(quoted).labels == {"0wR5jVB-WPk_000417_000427": "air drumming"}


def test_val_may_be_spelt_validate() -> None:
    rows = "label,youtube_id,time_start,time_end,split\nabseiling,0wR5jVB-WPk,0,10,validate\n"
    assert len(parse(rows, split="val").labels) == 1
    assert "a row of split train" in problems(rows)[0]


def test_all_problems_are_told_with_their_lines() -> None:
    text = (
        "label,youtube_id,time_start,time_end,split\n"
        "abseiling,tooshort,0,10,train\n"
        "abseiling,0wR5jVB-WPk,10,5,train\n"
        "no such label,0wR5jVB-WPk,0,10,train\n"
        "abseiling,0wR5jVB-WPk,0.5,10,train\n"
        "abseiling,0wR5jVB-WPk,0,10\n"
        "abseiling,0wR5jVB-WPk,0,10,train\n"
    )
    found = problems(text)
    assert [problem.partition(":")[0] for problem in found] == [f"line {number}" for number in range(2, 7)]


@pytest.mark.parametrize(
    "text",
    ["", "<!DOCTYPE html><html></html>", "label,youtube_id,time_start,time_end,split\n", b"\xff\xfe\x00", "a,b\n"],
)
def test_what_is_no_annotation_file_is_refused(text: str | bytes) -> None:
    assert problems(text)


ODD_ROWS = (
    "#NAME?,0wR5jVB-WPk,0,10,val", "abseiling,#NAME?,0,10,val", "abseiling,0wR5jVB-WPk,nan,10,val",
    "abseiling,0wR5jVB-WPk,0.5,10.5,val", "abseiling,0wR5jVB-WPk,-1,9,val", "abseiling,0wR5jVB-WPk",
    "abseiling,0wR5jVB-WPk,,,val", "abseiling,\xff\xfeR5jVB-WPk,0,10,val",
)  # fmt: skip
"""Rows that nobody can read, as they stand in files that went through a spreadsheet."""
BLANK_ROWS = ("", ",,,,", "  , ,,,", '"",,,,')


def test_of_an_official_file_with_some_odd_rows_the_others_are_read(shared_data: Path) -> None:
    text = (shared_data / "annotations/k400_val.csv").read_text()
    lines = text.splitlines()
    for number, row in enumerate((*ODD_ROWS, *BLANK_ROWS)):
        lines.insert(1000 * number + 1000, row)
    known = load_release("k400").label_ids
    file = AnnotationText("\n".join(lines).encode("latin-1") + b"\n", AnnotationFile("val.csv", "csv"))
    found = parse_annotations(file, "val", known, 0.01)
    # What Python's own reader has of the official file.
    rows = csv.DictReader(io.StringIO(text))
    assert list(found.labels.values()) == [row["label"] for row in rows]
    assert [problem.where for problem in found.malformed] == [f"line {1000 * n + 1001}" for n in range(len(ODD_ROWS))]
    with pytest.raises(AnnotationError) as caught:
        parse_annotations(file, "val", known, 0.0001)
    assert "8 problem(s), of at most 1 of 19,914 rows (--max_malformed)" in str(caught.value)


def test_the_share_of_malformed_rows_is_held_to_the_row() -> None:
    header, good = "label,youtube_id,time_start,time_end,split\n", "abseiling,0wR5jVB-WPk,{},{},train\n"
    rows = "".join(good.format(number, number + 10) for number in range(99))
    assert len(parse(header + rows + "x\n", max_malformed=0.01).malformed) == 1
    with pytest.raises(AnnotationError):
        parse(header + rows + "x\nx\n", max_malformed=0.01)


@pytest.mark.parametrize("form", ["csv", "listing"])
def test_a_file_that_was_cut_is_refused_however_much_may_be_malformed(form: AnnotationForm) -> None:
    whole = {
        "csv": "label,youtube_id,time_start,time_end\n" + "abseiling,0wR5jVB-WPk,0,10\n" * 9,
        "listing": "train/abseiling:\n" + "0wR5jVB-WPk_000000_000010.mp4\n" * 9,
    }[form]
    assert len(parse(whole, form, max_malformed=0.5).labels) == 1
    assert len(parse(whole.rstrip(), form).labels) == 1
    with pytest.raises(AnnotationError, match="the file was cut"):
        parse(whole[:-8], form, max_malformed=0.5)


@pytest.mark.parametrize("options", [[], ["--quoting-style=shell-always"], ["--quoting-style=c"]])
def test_the_listing_of_the_real_ls_is_read_however_it_quotes(tmp_path: Path, options: list[str]) -> None:
    for label in ("abseiling", "massaging person's head"):
        (tmp_path / "train" / label).mkdir(parents=True)
        for number in range(60):
            (tmp_path / "train" / label / f"{label[:3]}R5jVB-W{number % 10}_{number:06d}_000090.mp4").touch()
    (tmp_path / "train/abseiling/0wR5jVB-WPk_000000_000010.mp4.part").touch()
    words = ["ls", "-R", "-1", *options, "train"]
    text = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    # As `ls -s` has it below the name of each folder.
    text = text.replace(":\n", ":\ntotal 4.0K\n")
    found = parse(text, "listing", max_malformed=0.01)
    assert sorted(set(found.labels.values())) == ["abseiling", "massaging person's head"]
    assert len(found.labels) == 120
    assert [problem.got for problem in found.malformed] == ["0wR5jVB-WPk_000000_000010.mp4.part"]


def test_a_clip_that_is_annotated_twice_counts_once_and_is_told() -> None:
    row = "0wR5jVB-WPk,0,10,train\n"
    found = parse("label,youtube_id,time_start,time_end,split\nabseiling," + row + "zumba," + row)
    assert found.labels == {"0wR5jVB-WPk_000000_000010": "abseiling"}
    assert found.repeated == ("0wR5jVB-WPk_000000_000010",)


def test_the_listing_of_ls_is_read_in_any_order_and_depth() -> None:
    text = (
        "train/massaging person's head:\n0wR5jVB-WPk_000000_000010.mp4\n._0wR5jVB-WPk_000000_000010.mp4\n\n"
        "./deep/er/train/abseiling/:\n__R5jVB-WPk_000000_000010.mp4\n\n"
        "train:\nabseiling\nmassaging person's head\n\n.:\ntrain\n"
    )
    assert parse(text, "listing").labels == {
        "0wR5jVB-WPk_000000_000010": "massaging person's head",
        "__R5jVB-WPk_000000_000010": "abseiling",
    }


def test_a_listing_with_clips_in_no_class_or_other_names_in_one_is_refused() -> None:
    text = "train/no such label:\n0wR5jVB-WPk_000000_000010.mp4\n\ntrain/abseiling:\nreadme.txt\n"
    found = problems(text, "listing")
    assert sorted(problem.partition(":")[0] for problem in found) == ["line 2", "line 5"]


def test_a_class_in_another_spelling_is_the_class_and_one_that_is_none_refuses_the_list() -> None:
    names = "".join(f"0wR5jVB-WPk_{number:06}_{number + 9:06}.mp4\n" for number in range(300))
    text = f"./val/zumba:\n{names}\n./val/Abseiling:\n0wR5jVB-WPk_000900_000910.mp4\n"
    assert parse(text, "listing").labels["0wR5jVB-WPk_000900_000910"] == "abseiling"
    # Under one row of a hundred: but what it says is of a whole class.
    with pytest.raises(AnnotationError, match="abzeiling"):
        parse(text.replace("Abseiling", "abzeiling"), "listing", max_malformed=0.5)


@pytest.mark.parametrize("closing", [9000, 19_999, None])
def test_a_quote_that_nothing_closes_costs_its_line_alone(closing: int | None) -> None:
    rows = [f"abseiling,0wR5jVB-WPk,{number},{number + 10},train" for number in range(20_000)]
    odd = [5000] if closing is None else [5000, closing]
    for number in odd:
        rows[number] = rows[number].replace(",", ',"', 1)
    found = parse("\n".join(["label,youtube_id,time_start,time_end,split", *rows]) + "\n", max_malformed=0.01)
    assert len(found.labels) == 20_000 - len(odd)
    assert [problem.where for problem in found.malformed] == [f"line {number + 2}" for number in odd]


def test_a_time_that_was_cut_is_no_time() -> None:
    text = "label,youtube_id,time_start,time_end\nabseiling,0wR5jVB-WPk,20,30\nabseiling,0wR5jVB-WPk,0,1"
    with pytest.raises(AnnotationError, match="the file was cut"):
        parse(text, max_malformed=0.5)
    assert len(parse(text + "\n").labels) == 2
    assert len(parse(text + "0").labels) == 2


def test_a_key_of_json_that_stands_there_twice_gives_two_rows() -> None:
    entry = '"0wR5jVB-WPk": {"annotations": {"label": "abseiling", "segment": [%d, %d]}}'
    text = "{" + ", ".join(entry % times for times in ((1, 11), (20, 30), (1, 11))) + "}"
    found = parse(text, "json")
    assert list(found.labels) == ["0wR5jVB-WPk_000001_000011", "0wR5jVB-WPk_000020_000030"]
    assert found.repeated == ("0wR5jVB-WPk_000001_000011",)


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"0wR5jVB-WPk": {}}', '{"0wR5jVB-WPk": {"annotations": {"segment": [1]}}}']
)
def test_malformed_json_is_refused(text: str) -> None:
    assert problems(text, "json")


@given(st.binary(max_size=200), st.sampled_from(["csv", "listing", "json"]))
def test_any_bytes_give_rows_or_an_annotation_error(data: bytes, form: AnnotationForm) -> None:
    try:
        assert parse(data, form).labels != {}
    except AnnotationError as error:
        assert error.problems


@given(st.text("abeil,\n\"'\r:/.0_mp4-{}[]", max_size=200), st.sampled_from(["csv", "listing", "json"]))
def test_any_text_after_a_good_row_gives_rows_or_an_annotation_error(text: str, form: AnnotationForm) -> None:
    good = {
        "csv": "label,youtube_id,time_start,time_end\nabseiling,0wR5jVB-WPk,0,10\n",
        "listing": "train/abseiling:\n0wR5jVB-WPk_000000_000010.mp4\n",
        "json": "",
    }[form]
    try:
        parse(good + text, form)
    except AnnotationError as error:
        assert error.problems
