"""Releases that a file describes: UCF101 and HMDB51 by their real lists, files of one's own, and mistakes in them."""

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import datasets
import duckdb
import pytest
import webdataset
from conftest import Once
from harness import kconvert, one_line
from miniature.made import make_clip

import kconvert as product
from kconvert.catalog.shelf import RELEASE_NAMES

FOLDS = ("1", "2", "3")


def shell(command: str, folder: Path) -> list[str]:
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=folder, capture_output=True, check=True)
    return sorted(done.stdout.decode().splitlines())


LISTS = {
    # release: what of `data/datasets` stands where, and the lines `SPLIT PATH` of a fold, by a pipeline
    "ucf101": (
        "ucfTrainTestlist",
        "UCF-101",
        "for split in train test; do cat ${{split}}list0{fold}.txt | tr -d '\\r' | cut -d' ' -f1 | sed \"s/^/$split /\"; done",
    ),
    "hmdb51": (
        "testTrainMulti_7030_splits",
        "hmdb51_org",
        "for file in *_test_split{fold}.txt; do label=${{file%_test_split{fold}.txt}}; "
        'awk -v l="$label" \'{{ print ($2 == 1 ? "train" : $2 == 2 ? "test" : "unused"), l "/" $1 }}\' $file; done',
    ),
}
NUM_CLIPS = {"ucf101": 13320, "hmdb51": 6766}
NUM_UNUSED = {"ucf101": 0, "hmdb51": 1666}


@pytest.fixture(scope="session")
def both(once: Once, shared_data: Path) -> Path:
    """Every clip of both under its real name, a few of them good, the others empty."""

    def make(folder: Path) -> None:
        good = folder / "good.avi"
        good.write_bytes(make_clip("good", "x"))
        (folder / "empty.avi").touch()
        for release, (lists, clips, pipeline) in LISTS.items():
            shutil.copytree(shared_data / "datasets" / release, folder / release / lists)
            names = {
                line.split(" ", 1)[1]
                for fold in FOLDS
                for line in shell(pipeline.format(fold=fold), folder / release / lists)
            }
            assert len(names) == NUM_CLIPS[release]
            for number, name in enumerate(sorted(names)):
                path = folder / release / clips / name
                path.parent.mkdir(parents=True, exist_ok=True)
                os.link(good if number % 200 == 0 else folder / "empty.avi", path)

    return once("datasets", make)


@pytest.mark.parametrize("fold", FOLDS)
@pytest.mark.parametrize("release", sorted(LISTS))
def test_every_clip_of_a_fold_is_accounted_for_as_its_lists_say(
    release: str, fold: str, both: Path, tmp_path: Path
) -> None:
    lists, _, pipeline = LISTS[release]
    ran = kconvert(
        release, "--choose", f"fold={fold}", "--origin", both / release, "--out", tmp_path / "out", "--workers", 2
    )
    assert ran.code == 0, ran.err
    assert "clips lie in" not in ran.err
    query = f"select split, label, name, status, reason, label_id from '{tmp_path}/out/metadata/*.parquet'"
    found = duckdb.sql(query).fetchall()
    expected = [line.split(" ", 1) for line in shell(pipeline.format(fold=fold), both / release / lists)]
    of_splits = [(split, path) for split, path in expected if split != "unused"]
    assert Counter((split, f"{label}/{name}.avi") for split, label, name, *_ in found) == Counter(of_splits)
    assert {(status, reason) for *_, status, reason, _ in found} == {("written", ""), ("rejected", "empty")}
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest.get("num_unused", 0) == NUM_UNUSED[release]
    assert len(found) + manifest.get("num_unused", 0) == NUM_CLIPS[release]
    labels = (tmp_path / "out/labels.txt").read_text().splitlines()
    assert all(labels[number] == label for _, label, *_, number in found)
    assert kconvert("verify", tmp_path / "out").code == 0
    # Another fold is another conversion.
    other = FOLDS[FOLDS.index(fold) - 1]
    ran = kconvert(release, "--choose", f"fold={other}", "--origin", both / release, "--out", tmp_path / "out")
    assert (ran.code, "was made with other options" in one_line(ran)) == (2, True)


def test_the_ids_of_labels_are_those_of_the_lists(both: Path) -> None:
    known = kconvert("releases", "ucf101", "--json").out
    pairs = [line.split(" ", 1) for line in shell("tr -d '\\r' < classInd.txt", both / "ucf101/ucfTrainTestlist")]
    assert json.loads(known)["ucf101"]["labels"] == [label for _, label in sorted(pairs, key=lambda one: int(one[0]))]


FILE = """\
name: mine
title: Mine
splits:
  train:
    annotations: [{path: "lists/train.csv", form: csv, name: "{id}", label: what}]
  val:
    annotations: [{path: "lists/val.csv", form: csv, name: "{id}", label: what}]
names: {source: '(?P<id>.{11})_(?P<start>[0-9]+)'}
extracted: [{title: as they are, folder: clips}]
"""


def mine(folder: Path, text: str = FILE) -> Path:
    """Six clips of two labels under names that hold anything, with a file that describes them; returns that."""
    odd = "a b.c#[1]/é"
    names = {
        "train": {
            "AAAAAAAAAAA_000012": "run, fast",
            "x~y": "sit",
            odd.replace("/", "-"): "sit",
            "n" * 130: "run, fast",
        },
        "val": {"AAAAAAAAAAB_7": "sit", "x~z": "run, fast"},
    }
    (folder / "in/clips/deep").mkdir(parents=True)
    (folder / "in/lists").mkdir()
    for split, clips in names.items():
        lines = [f'{name},"{label}"\n' for name, label in clips.items()]
        (folder / f"in/lists/{split}.csv").write_text("id,what\n" + "".join(lines))
        for name in clips:
            (folder / f"in/clips/deep/{name}.mp4").write_bytes(make_clip("good", "x"))
    (folder / "in/clips/in no list.mp4").write_bytes(make_clip("good", "x"))
    (folder / "mine.yaml").write_text(text)
    return folder / "mine.yaml"


@pytest.mark.parametrize("kind", ["webdataset", "folder", "parquet"])
def test_a_file_of_ones_own_is_converted_and_read_without_it(kind: str, tmp_path: Path) -> None:
    path = mine(tmp_path)
    ran = kconvert(path, "--origin", tmp_path / "in", "--out", tmp_path / "out", "--to", kind)
    assert ran.code == 0, ran.err
    whole = (tmp_path / "out/manifest.json").read_bytes()
    assert json.loads(whole)["num_unused"] == 1
    for name in ("manifest.json", ".kconvert/train/record.json", "metadata/train.parquet"):
        (tmp_path / "out" / name).unlink()
    # As if the run had been killed before its end.
    assert kconvert(path, "--origin", tmp_path / "in", "--out", tmp_path / "out", "--to", kind).code == 0
    assert (tmp_path / "out/manifest.json").read_bytes() == whole
    path.unlink()
    for command in ("verify", "status", "report"):
        assert kconvert(command, tmp_path / "out").code == 0
    clips = product.open(str(tmp_path / "out"), "train")
    assert sorted(clip.label for clip in clips) == ["run, fast", "run, fast", "sit", "sit"]
    query = f"select name, key, youtube_id, start_seconds, end_seconds from '{tmp_path}/out/metadata/*.parquet'"
    found = {row[0]: row[1:] for row in duckdb.sql(query).fetchall()}
    assert found["AAAAAAAAAAA_000012"] == ("train_AAAAAAAAAAA_000012", "AAAAAAAAAAA", 12, -1)
    assert found["x~y"] == ("train_x~7Ey", "", -1, -1)
    assert found["a b.c#[1]-é"][0] == "train_a~20b~2Ec~23~5B1~5D-~C3~A9"
    assert found["n" * 130][0].startswith("train_" + "n" * 54 + "~~")
    assert (tmp_path / "out/labels.txt").read_text().splitlines() == ["run, fast", "sit"]
    if kind != "folder":
        samples = datasets.load_dataset(str(tmp_path / "out"), split="train", streaming=True).decode(False)
        first = next(iter(samples))
        name = first["json"]["name"] if kind == "webdataset" else first["name"]
        assert found[name][0] == first["__key__" if kind == "webdataset" else "key"]
    if kind == "webdataset":
        samples = {}
        for shard in sorted((tmp_path / "out").glob("*/*.tar")):
            with shard.open("rb") as file:
                decoded = webdataset.tariterators.tar_file_expander([{"stream": file, "url": str(shard)}])
                for one in webdataset.tariterators.group_by_keys(decoded):
                    samples[one["__key__"]] = json.loads(one["json"])
        assert {sample["name"] for sample in samples.values()} == set(found)
        assert all(found[sample["name"]][0] == key for key, sample in samples.items())


MISTAKES = {
    # what stands there: what is said
    "title: Mine": ("titel: Mine", "line 2: titel: unknown 'titel'; did you mean 'title'?"),
    "name: mine": ("name: My Data", "name 'My Data': expected small letters"),
    "splits:": ("spilts:", "line 3: spilts: unknown 'spilts'; did you mean 'splits'?"),
    "  train:": ("  Train:", "splits: 'Train': expected small letters and digits"),
    "form: csv, name": (
        "form: csvs, name",
        "got 'csvs', expected one of csv, lines, listing, json, none, union; did you mean 'csv'?",
    ),
    'path: "lists/train.csv", ': ("", "line 5: splits.train.annotations.0: path is missing"),
    'name: "{id}", label: what}]\n  val': (
        'name: "{id", label: what}]\n  val',
        "template '{id': expected '}' before end",
    ),
    "label: what}]\n  val": ("lable: what}]\n  val", "unknown 'lable'; did you mean 'label'?"),
    "(?P<start>[0-9]+)'": ("(?P<start>[0-9]+'", "line 8: names: source: missing ), unterminated subpattern"),
    "(?P<id>.{11})": ("(?P<ident>.{11})", "line 8: names: source: expected a group named id"),
    "folder: clips": ("folder: [clips]", "line 9: extracted.0.folder: got ['clips'], expected a text"),
    "title: as they are, ": ("", "line 9: extracted.0: title is missing"),
    "extracted:": ("extracted: 7\nx:", "line 9: extracted.0: got 7, expected title, folder"),
    "names:": ("names: none\nx:", "line 8: names: got 'none', expected member"),
    "title: Mine\n": ("title: {a: b}\n", "line 2: title: got {'a': 'b'}, expected a text"),
    "name: mine\n": (
        "name: mine\nchoices: {fold: {a: b}}\n",
        "line 2: choices.fold.0: got {'a': 'b'}, expected a text",
    ),
    "names: {": (
        "labels: {known: [a, b], aliases: {c: d}}\nnames: {",
        "aliases: 'c' stands for 'd', which is no label",
    ),
    "title": ("name: other\ntitle", "line 2: name stands there twice (line 1)"),
    'form: csv, name: "{id}", label: what}]\n  val': (
        "form: csv, is_complete: 3, name: id}]\n  val",
        "is_complete: got 3, expected true or false",
    ),
    "  val:": ("  val: [", "is no YAML"),
    "label: what}]\nnames": ("label: {template: what, pattern: 'x'}}]\nnames", "pattern 'x': expected a group in it"),
    "splits": ("supplements: {boxes: {title: x, archive: y, rows: z}}\nsplits", "supplements: unknown 'boxes'"),
}


@pytest.mark.parametrize("right", sorted(MISTAKES))
def test_a_mistake_in_a_file_is_told_with_its_line(right: str, tmp_path: Path) -> None:
    wrong, said = MISTAKES[right]
    assert right in FILE
    path = tmp_path / "mine.yaml"
    path.write_text(FILE.replace(right, wrong, 1))
    for words in ((path, "--out", tmp_path / "out"), ("releases", path)):
        ran = kconvert(*words)
        assert ran.code == 2
        assert said in one_line(ran)
        assert f"{path}" in one_line(ran)
    assert not (tmp_path / "out").exists()


def test_aliases_that_multiply_are_refused(tmp_path: Path) -> None:
    """Ten to the ninth labels, in nine lines; a list that holds itself."""
    doubled = "\n".join(f"  - &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]" for n in range(9))
    for labels in (f"  - &a0 x\n{doubled}", "  &me [*me]"):
        path = tmp_path / "mine.yaml"
        path.write_text(f"name: mine\nlabels:\n{labels}\n")
        ran = kconvert(path, "--out", tmp_path / "out")
        assert ran.code == 2
        assert "holds itself, or more than 1,000,000 values; write it without aliases" in one_line(ran)


def test_what_is_no_release_and_no_choice_is_told(both: Path, tmp_path: Path) -> None:
    for words, said in (
        (("absent.yaml",), "cannot be read (No such file or directory)"),
        (("ucf101", "--choose", "fold=4"), "--choose fold=4: expected one of 1, 2, 3"),
        (("ucf101", "--choose", "half=1"), "ucf101 has no choice 'half'; expected fold"),
        (("k400", "--choose", "fold=1"), "k400 has no choice 'fold'; it has none"),
        (("ucf101", "--choose", "fold"), "expected NAME=VALUE"),
        (("ucf101", "--split", "val"), "expected one or more of train, test"),
        (("ufc101",), "did you mean `kconvert ucf101"),
    ):
        ran = kconvert(*words, "--origin", both, "--out", tmp_path / "out")
        assert ran.code == 2
        assert said in one_line(ran)


def test_lists_that_are_not_there_are_told_with_where_they_were_looked_for(both: Path, tmp_path: Path) -> None:
    os.symlink(both / "hmdb51/hmdb51_org", tmp_path / "hmdb51_org")
    ran = kconvert("hmdb51", "--origin", tmp_path, "--links", "anywhere", "--out", tmp_path / "out")
    assert ran.code == 2
    assert "looked for *_test_split1.txt in testTrainMulti_7030_splits" in one_line(ran)


def test_all_releases_are_listed() -> None:
    listed = kconvert("releases").out
    assert all(name in listed for name in RELEASE_NAMES)


def test_other_datasets_by_lists_in_the_form_that_theirs_have(shared_data: Path, tmp_path: Path) -> None:
    """The forms are those of `DATASETS.md`; rows of VGGSound are real."""
    video = make_clip("good", "x")

    def clip(path: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(video)

    real = (shared_data / "datasets/vggsound/vggsound_first_rows.csv").read_text()
    (tmp_path / "vggsound").mkdir()
    (tmp_path / "vggsound/vggsound.csv").write_text(real)
    rows = duckdb.sql(f"select * from read_csv('{tmp_path}/vggsound/vggsound.csv', header=false)").fetchall()
    for youtube_id, start, *_ in rows:
        clip(f"vggsound/video/{youtube_id}_{start:06d}.mp4")
    templates = {"train": [("1", "Holding [something] next to [something]"), ("2", "Lifting [something]")], "val": []}
    templates["val"] = [("3", "Lifting [something]")]
    for split, spelt in (("train", "train"), ("val", "validation"), ("test", "test")):
        entries = [{"id": number, "template": text} for number, text in templates.get(split, [])] or [{"id": "4"}]
        (tmp_path / "ssv2/labels").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"ssv2/labels/{spelt}.json").write_text(json.dumps(entries))
        for entry in entries:
            clip(f"ssv2/20bn-something-something-v2/{entry['id']}.webm")
    for split, name in (("training", "trainingSet"), ("validation", "validationSet")):
        paths = [f"clapping/yt-{split}-1.mp4", f"raining/yt-{split}-1.mp4"]
        for path in paths:
            clip(f"moments/Moments_in_Time_Raw/{split}/{path}")
        lines = [f"{path},{path.partition('/')[0]},3,0\n" for path in paths]
        (tmp_path / f"moments/Moments_in_Time_Raw/{name}.csv").write_text("".join(lines))
    subprocess.run(
        ["zip", "-qr", tmp_path / "moments.zip", "Moments_in_Time_Raw"], cwd=tmp_path / "moments", check=True
    )
    expected = {
        "vggsound": {(split, f"{one}_{start:06d}", label) for one, start, label, split in rows},
        "ssv2": {
            ("train", "1", "Holding something next to something"),
            ("train", "2", "Lifting something"),
            ("val", "3", "Lifting something"),
            ("test", "4", ""),
        },
        "moments": {
            (split, f"{label}/yt-{spelt}-1", label)
            for split, spelt in (("train", "training"), ("val", "validation"))
            for label in ("clapping", "raining")
        },
    }
    for release, clips in expected.items():
        origin = tmp_path / ("moments.zip" if release == "moments" else release)
        ran = kconvert(release, "--origin", origin, "--out", tmp_path / f"out-{release}")
        assert ran.code == 0, ran.err
        found = duckdb.sql(
            f"select split, name, label, status from '{tmp_path}/out-{release}/metadata/*.parquet'"
        ).fetchall()
        assert {row[:3] for row in found} == clips
        assert {row[3] for row in found} == {"written"}
        assert kconvert("verify", tmp_path / f"out-{release}").code == 0


def test_archives_that_hold_all_splits_also_in_parts(tmp_path: Path) -> None:
    path = mine(tmp_path, FILE.replace("extracted:", 'archives: ["more_*.tar"]\nparts: ["clips.tgz.??"]\nextracted:'))
    ran = kconvert(path, "--origin", tmp_path / "in", "--out", tmp_path / "a")
    assert ran.code == 0, ran.err
    clips = sorted((tmp_path / "in/clips/deep").iterdir())
    for pieces, command in ((clips[:3], "tar czf"), (clips[3:], "tar cf")):
        target = tmp_path / ("in/clips.tgz" if "z" in command else "in/more_1.tar")
        subprocess.run(
            [*command.split(), target, "-C", tmp_path / "in/clips", *(f"deep/{one.name}" for one in pieces)], check=True
        )
    subprocess.run(["split", "-b", "40000", "clips.tgz", "clips.tgz."], cwd=tmp_path / "in", check=True)
    (tmp_path / "in/clips.tgz").unlink()
    assert len(list((tmp_path / "in").glob("clips.tgz.*"))) > 2
    shutil.rmtree(tmp_path / "in/clips")
    ran = kconvert(path, "--origin", tmp_path / "in", "--out", tmp_path / "b")
    assert ran.code == 0, ran.err
    query = "select key, name, sha256, label, status from '{}/metadata/*.parquet' order by key"
    assert duckdb.sql(query.format(tmp_path / "a")).fetchall() == duckdb.sql(query.format(tmp_path / "b")).fetchall()
    assert kconvert("verify", tmp_path / "b").code == 0
    ran = kconvert(path, "--origin", tmp_path / "in", "--out", tmp_path / "c", "--classes", "sit")
    assert ran.code == 0, ran.err
    assert {row[3] for row in duckdb.sql(query.format(tmp_path / "c")).fetchall()} == {"sit"}
    ran = kconvert(path, "--origin", tmp_path / "in", "--out", tmp_path / "d", "--to", "archives")
    assert (ran.code, "has no official archives" in one_line(ran)) == (2, True)


def converted(
    folder: Path, text: str, files: Mapping[str, str | None]
) -> tuple[int, str, dict[str, tuple[object, ...]]]:
    """What a file of a release makes of clips (`None`) and lists: exit code, what was said, and rows by name."""
    for path, content in files.items():
        (folder / "in" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "in" / path).write_bytes(make_clip("good", "x") if content is None else content.encode())
    (folder / "it.yaml").write_text("name: it\ntitle: It\n" + text)
    ran = kconvert(folder / "it.yaml", "--origin", folder / "in", "--out", folder / "out", "--overwrite")
    rows = {}
    if ran.code == 0:
        query = f"select name, label, label_id, status, reason from '{folder}/out/metadata/*.parquet'"
        rows = {row[0]: row[1:] for row in duckdb.sql(query).fetchall()}
    return ran.code, ran.err + ran.out, rows


def test_labels_that_agree_in_letters_alone_are_told_apart(tmp_path: Path) -> None:
    labels = ("C++", "C#", "pull up", "pullup", "+", "-")
    _, _, rows = converted(
        tmp_path,
        "splits: {train: {}}\nnames: {member: '(?:.*/)?(?P<label>[^/]+)/(?P<name>[^/]+)\\.mp4'}\n"
        "extracted: [{title: x, folder: ''}]\n",
        {f"{label}/{number}.mp4": None for number, label in enumerate(labels)},
    )
    assert {name: row[0] for name, row in rows.items()} == {str(number): label for number, label in enumerate(labels)}


LISTED = """\
splits:
  train:
    annotations: [{path: l.%s, form: %s, name: id, label: %s}]
labels: %s
extracted: [{title: x, folder: clips}]
"""


def test_numbers_of_labels_are_those_of_their_file(tmp_path: Path) -> None:
    clips = {"clips/a.mp4": None, "clips/b.mp4": None, "l.csv": "id,what\na,1\nb,3\n"}
    number = "{template: '{what}', first_id: 1}"
    listed = "{path: labels.txt, order: listed, pattern: '[0-9]+ (.+)'}"
    _, _, rows = converted(
        tmp_path, LISTED % ("csv", "csv", number, listed), {**clips, "labels.txt": "1 zoo\n2 run\n3 bar\n"}
    )
    assert {name: row[:2] for name, row in rows.items()} == {"a": ("zoo", 0), "b": ("bar", 2)}
    for labels, content, said in (
        ("{path: labels.txt}", "zoo\nrun\n", "first_id: expected `labels`"),
        ("{path: labels.txt, order: listed}", '{"run": 1, "sit": 3}', "without a gap"),
        ("{path: labels.txt, order: listed}", '{"run": 1, "sit": 1}', "without a gap"),
        ("{path: labels.txt, order: listed}", "zoo\nzoo\n", "'zoo' stands there twice"),
        ("[a, b]", "", "'3' is no number of a label"),
    ):
        code, said_here, _ = converted(tmp_path, LISTED % ("csv", "csv", number, labels), {"labels.txt": content})
        assert code == 2
        assert said in said_here


def test_json_within_json_several_lists_and_other_names_of_labels(tmp_path: Path) -> None:
    entries = [{"id": "007", "info": {"what": "run"}}, {"id": "8", "info": {"what": "jog"}}, {"id": "9", "info": None}]
    text = LISTED % ("json", "json", "'{info.what}'", "{known: [run, sit], aliases: {jog: run}}")
    _, said, rows = converted(
        tmp_path, text + "name_: x\n", {"l.json": json.dumps(entries), "clips/007.mp4": None, "clips/8.mp4": None}
    )
    assert "unknown 'name_'" in said
    code, said, rows = converted(tmp_path, text, {})
    # Of three rows, one lacks the label's column.
    assert (code, "expected a column info.what" in said) == (2, True)
    code, _, rows = converted(tmp_path, text, {"l.json": json.dumps(entries[:2])})
    assert {name: row[0] for name, row in rows.items()} == {"007": "run", "8": "run"}
    text = LISTED % ("*", "csv", "what", "[run]")
    (tmp_path / "in/l.json").unlink()
    code, said, rows = converted(tmp_path, text, {"l.1": "id,what\n007,run\n"})
    assert (code, set(rows)) == (0, {"007"})
    assert json.loads((tmp_path / "out/manifest.json").read_text())["num_unused"] == 1


def test_columns_are_carried_into_the_table_and_lists_of_described_releases_exclude(tmp_path: Path) -> None:
    text = LISTED.replace("name: id", "name: id, carry: [more, id]") % ("csv", "csv", "what", "[run]")
    text += "names: {source: '(?P<id>.{11})_[0-9]+'}\n"
    names = ("AAAAAAAAAAA_000001", "AAAAAAAAAAB_000001")
    rows = "".join(f"{name},run,more of {name}\n" for name in names)
    files = {"l.csv": f"id,what,more\n{rows}", **{f"clips/{name}.mp4": None for name in names}}
    assert converted(tmp_path, text, files)[0] == 0
    query = f"select name, list_more, list_id from '{tmp_path}/out/metadata/*.parquet' order by name"
    assert duckdb.sql(query).fetchall() == [(name, f"more of {name}", name) for name in names]
    clips = product.open(str(tmp_path / "out"), "train")
    assert sorted(str(clip.metadata["list_more"]) for clip in clips) == [f"more of {name}" for name in names]
    assert len(clips.filter(list_more=f"more of {names[0]}")) == 1
    assert kconvert("verify", tmp_path / "out").code == 0
    (tmp_path / "vggsound.csv").write_text("AAAAAAAAAAA,30,run,train\nAAAAAAAAAAB,30,run,test\n")
    ran = kconvert(
        tmp_path / "it.yaml", "--origin", tmp_path / "in", "--out", tmp_path / "out", "--overwrite",
        "--exclude", f"vggsound:train={tmp_path / 'vggsound.csv'}",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    query = f"select name, excluded_by from '{tmp_path}/out/metadata/*.parquet' where reason = 'excluded'"
    assert duckdb.sql(query).fetchall() == [(names[0], ["vggsound:train"])]


@pytest.mark.parametrize("kind", ["webdataset", "parquet", "folder", "litdata", "lance"])
def test_a_clip_may_have_several_labels(kind: str, tmp_path: Path) -> None:
    text = LISTED % ("csv", "csv", "{template: '{what}', separator: '|'}", "{known: [run, sit, fly]}")
    files = {"l.csv": "id,what\na,sit|Fly\nb,run\n", "clips/a.mp4": None, "clips/b.mp4": None}
    assert converted(tmp_path, text, {**files, "l.csv": "id,what\na,sit|eat\nb,run\n"})[0] == 2
    converted(tmp_path, text, files)
    ran = kconvert(tmp_path / "it.yaml", "--origin", tmp_path / "in", "--out", tmp_path / "o", "--to", kind)
    assert ran.code == 0, ran.err
    labels = (tmp_path / "o/labels.txt").read_text().splitlines()
    query = f"select name, label, label_id, label_ids, status from '{tmp_path}/o/metadata/*.parquet' order by name"
    assert duckdb.sql(query).fetchall() == [
        ("a", "", -1, [labels.index("sit"), labels.index("fly")], "written"),
        ("b", "", -1, [labels.index("run")], "written"),
    ]
    assert kconvert("verify", tmp_path / "o").code == 0
    if kind in ("webdataset", "parquet"):
        samples = datasets.load_dataset(str(tmp_path / "o"), split="train", streaming=True).decode(False)
        ids = [(one["json"] if kind == "webdataset" else one)["label_ids"] for one in samples]
        assert sorted(map(len, ids)) == [1, 2]
    assert "have several labels" in one_line(kconvert(tmp_path / "it.yaml", "--origin", tmp_path, "--classes", "run"))


def test_numbers_are_padded_where_that_is_asked_for_and_left_elsewhere(tmp_path: Path) -> None:
    text = LISTED.replace("name: id", 'name: "{id}_{start:03d}"') % ("csv", "csv", "what", "[run]")
    _, _, rows = converted(tmp_path, text, {"l.csv": "id,start,what\n007,5,run\n", "clips/007_005.mp4": None})
    assert rows["007_005"][2] == "written"


def test_what_no_pattern_takes_is_counted_and_nothing_at_all_is_told(tmp_path: Path) -> None:
    text = (
        "splits: {train: {}, test: {}}\nnames: {member: '(?:.*/)?(?P<split>[a-z]+)_(?P<label>run|sit)(?P<name>[0-9]+)\\.mp4'}\n"
        "extracted: [{title: x, folder: ''}]\n"
    )
    files = {f"{name}.mp4": None for name in ("train_run1", "test_sit2", "dev_run3", "Test_run4", "zzz")}
    code, _, rows = converted(tmp_path, text, files)
    assert (code, set(rows)) == (0, {"1", "2"})
    assert json.loads((tmp_path / "out/manifest.json").read_text())["num_unused"] == 3
    text = LISTED % ("csv", "csv", "what", "[run]")
    code, said, _ = converted(tmp_path, text, {"l.csv": "id,what\na.mp4,run\n", "clips/a.mp4": None})
    assert code == 2
    assert "none of its clips is of train, as its lists name them" in said


def test_a_union_of_ones_own_has_the_names_and_labels_of_its_releases(mini: Path, tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text("name: two\ntitle: Two\nunion: [k400, k600]\nsplits: {train: {}}\n")
    ran = kconvert(tmp_path / "two.yaml", "--origin", mini, "--out", tmp_path / "out", "--workers", 2)
    assert ran.code == 0, ran.err
    query = f"select count(*) from '{tmp_path}/out/metadata/*.parquet' where status = 'written' and label_id >= 0"
    assert duckdb.sql(query).fetchall()[0][0] > 20
    assert "train" in json.loads(kconvert("releases", "k710", "--origin", mini, "--json").out)
    for text, said in (
        ("union: [k400, k500]\nsplits: {train: {}}", "union: 'k500' is none of"),
        ("union: [k400]\nsplits: {dev: {}}", "union: k400 has no split 'dev'"),
        ("union: [k400]\nsplits: {train: {}}\nexclude_lists: {zzz: a.csv}", "exclude_lists: 'zzz'"),
        ("choices: {fold: []}\nsplits: {train: {}}", "choices.fold: expected a value"),
        ("splits: {train: {annotations: [{path: a, form: lines}]}}", "form lines: expected csv, lines or json, and"),
        ("splits: {train: {}}\nlabels: {path: a, pattern: '('}", "pattern: missing ), unterminated"),
    ):
        (tmp_path / "bad.yaml").write_text(f"name: bad\ntitle: Bad\n{text}\n")
        ran = kconvert(tmp_path / "bad.yaml", "--origin", mini, "--out", tmp_path / "bad")
        assert ran.code == 2
        assert said in one_line(ran)


def test_a_release_without_labels_is_kept_if_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.mp4").write_bytes(make_clip("good", "x"))
    assert kconvert("new", tmp_path / "in", "--out", tmp_path / "it.yaml").code == 0
    words = (tmp_path / "it.yaml", "--out", tmp_path / "out")
    assert "--origin: expected where the clips of in are" in one_line(kconvert(*words))
    ran = kconvert(*words, "--origin", tmp_path / "in")
    assert (ran.code, "or --unlabelled keep" in one_line(ran)) == (2, True)
    assert kconvert(*words, "--origin", tmp_path / "in", "--unlabelled", "keep").code == 0
    assert kconvert("verify", tmp_path / "out").code == 0


def test_folders_that_are_splits_in_part_are_not_guessed_at(tmp_path: Path) -> None:
    for folders in (("dev", "test"), ("train", "Train"), ("train", "training")):
        root = tmp_path / "-".join(folders)
        for folder in folders:
            (root / folder / "run").mkdir(parents=True)
            (root / folder / "run/1.mp4").write_bytes(b"x")
        ran = kconvert("new", root, "--out", tmp_path / "x.yaml")
        assert (ran.code, "rename the folders to train, val and test" in one_line(ran)) == (2, True)
        assert not (tmp_path / "x.yaml").exists()


def test_a_first_file_is_written_by_looking_at_a_folder(tmp_path: Path) -> None:
    for path in ("train/run/1.mp4", "train/sit/2.mp4", "val/run/1.mp4", "val/sit/3.avi", "val/list.csv"):
        (tmp_path / "My Clips" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "My Clips" / path).write_bytes(make_clip("good", "x") if path[-1] != "v" else b"a,b\n")
    file = tmp_path / "file.yaml"
    assert kconvert("new", tmp_path / "My Clips", "--out", file).code == 0
    assert "Perhaps these are lists of clips: val/list.csv" in file.read_text()
    assert "is there already" in one_line(kconvert("new", tmp_path / "My Clips", "--out", file))
    said = json.loads(kconvert("releases", file, "--origin", tmp_path / "My Clips", "--json").out)
    assert {split: one["num_files"] for split, one in said.items()} == {"train": 2, "val": 2}
    ran = kconvert(file, "--origin", tmp_path / "My Clips", "--out", tmp_path / "out")
    assert ran.code == 0, ran.err
    found = duckdb.sql(f"select split, label, status from '{tmp_path}/out/metadata/*.parquet'").fetchall()
    written = {(split, label, "written") for split in ("train", "val") for label in ("run", "sit")}
    assert sorted(found) == sorted(written)
    assert "no video is there" in one_line(kconvert("new", tmp_path / "out/metadata"))


def test_what_a_file_matches_is_shown_with_lines(tmp_path: Path) -> None:
    path = mine(tmp_path)
    with (tmp_path / "in/lists/val.csv").open("a") as file:
        file.write("not there,sit\nthree,values,here\n")
    ran = kconvert("releases", path, "--origin", tmp_path / "in")
    assert ran.code == 0, ran.err
    assert "val: in lists, not there: 'not there'" in ran.out
    assert "val: line 5:" in ran.out
