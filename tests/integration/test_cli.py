"""The command line as a person meets it: wrong use, the other commands, configs, the README."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from harness import COMMAND, RELEASES, ROOT, kconvert, one_line, tree
from miniature.server import Server


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["k500", "--out", "OUT"], "'k500' is neither a release"),
        (["k400", "--out", "OUT", "--to", "zip"], "zip"),
        (["k400", "--out", "OUT", "--split", "train,dev"], "unknown 'dev'; expected one or more of train, val, test"),
        (["k400", "--out", "OUT", "--classes", "zumba,Abseiling"], "did you mean 'abseiling'"),
        (["k400", "--out", "OUT", "--classes", "no such"], "kconvert releases k400"),
        (["k400", "--out", "OUT", "--check.depth", "deep"], "check.depth"),
        (["k400", "--out", "OUT", "--check.min_duration", "-1"], "--check.min_duration -1.0: expected 0 or more"),
        (["k400", "--out", "OUT", "--shard.max_bytes", "1XB"], "1XB"),
        (["k400", "--out", "OUT", "--workers", "0"], "--workers 0: expected 1 or more"),
        (["k400", "--out", "OUT", "--nonsense", "1"], "nonsense"),
        (["k400", "parquet"], "did you mean `kconvert k400 --to parquet`?"),
        (["k400", "--to", "Folder"], "did you mean 'folder'?"),
        (["k400", "--split", "train", "val"], "did you mean `--split train,val`?"),
        (["k400", "k600"], "one release at a time; `kconvert batch` does several"),
        (["k400", "--overwrite", "yes"], "--overwrite takes no value"),
        (["k400", "--dry-run"], "did you mean `kconvert plan`?"),
        (["k400", "--resume"], "running again resumes"),
        (["k400", "-o", "OUT"], "did you mean '--out'?"),
        (["k400", "--num_workers", "3"], "did you mean '--workers'?"),
        (["plan", "k700", "--split", "val"], "did you mean `kconvert plan k700-2020 --split val`?"),
        (["convert", "k400", "--to", "lance"], "did you mean `kconvert k400 --to lance`?"),
        (["completion", "powershell"], "unknown shell, expected one of bash, zsh, tcsh"),
        (["report", ".", "--out", "/absent/x.html"], "expected a file, in a folder that is there"),
        (["k700", "--to", "folder"], "did you mean `kconvert k700-2020 --to folder`?"),
        (["kinetics-600"], "did you mean `kconvert k600`?"),
        (["Kinetics400", "--out", "my data"], "did you mean `kconvert k400 --out 'my data'`?"),
        (["k400", "OUT"], "did you mean `kconvert k400 --out /"),
        (["k400", "--split", "vaildation"], "expected one or more of train, val, test"),
        (["k400", "--split", "tain"], "did you mean 'train'?"),
        (["k400", "--classes", "absent.txt"], "absent.txt is no file here"),
        (["k400", "--slurm.partition", "cpu"], "did you mean --engine slurm?"),
        (["k400", "--ray.cpus_per_task", "2"], "did you mean --engine ray?"),
        (["k400", "--engine", "slurm", "--ray.address", "local"], "--ray.address: would be ignored"),
        (["k400", "--to", "archives", "--shuffle.window", "3"], "--shuffle.window: would be ignored"),
        (["k400", "--out", "s3:/bucket/x"], "--out: s3:/bucket/x: did you mean s3://bucket/x?"),
        (["k400", "--out", "gs:bucket"], "did you mean gs://bucket?"),
        (["k400", "--out", "me@server:/data"], "does not reach other machines"),
        (["k400", "--out", "server.example.org:/data"], "does not reach other machines"),
        (["k400", "--origin", "ftp://server/kinetics"], "--origin: ftp://server/kinetics: kconvert does not reach"),
        (["k400", "--archives", "s3://bucket/x"], "--archives s3://bucket/x: expected a folder"),
        (["k400", "--staging", "/absent/disk/x"], "/absent/disk is not there; is that disk mounted?"),
        (["k400", "--slurm.parameters", "account=mine"], "expected names with values that are texts, as"),
        (["k400", "--to", "mds", "--shard.max_bytes", "5GB"], "--shard.max_bytes 5GB: expected less than 4GiB"),
        (["k400", "--check.depth"], "--check.depth: expected a value after it"),
        (["k400", "--config"], "--config: expected a YAML file after it"),
        (["help", "chekcs"], "did you mean 'checks'?"),
        (["k400", "--out", "OUT", "--spl", "val"], "--spl"),
        (["--out", "OUT", "k400"], "the release k400 has to be the first word"),
        (["k40", "--out", "OUT"], "did you mean `kconvert k400 --out"),
        (["plam", "k400"], "did you mean `kconvert plan k400`?"),
        (["k400", "--out", "OUT", "--max_archives", "two"], "--max_archives: got 'two', expected a whole number"),
        (["k400", "--out", "OUT", "--max-archives", "2"], "did you mean '--max_archives'"),
        (["k400", "--out", "OUT", "--shuffle", "100"], "--shuffle.OPTION"),
        (["k400", "--out", "OUT", "--split", ""], "--split: is empty"),
        (["k400", "--out", "OUT", "--classes", ","], "--classes: is empty"),
        (["k400", "--out", "OUT", "--split", "val", "--split", "test"], "--split: given twice"),
        (["k400", "--out", "OUT", "--check.timeout", "1e300"], "at most a day"),
        (["k400", "--out", "OUT", "--config", "/bin/true"], "kconvert"),
        (["verify", ".", "--workers", "-1"], "--workers -1: expected 1 or more"),
        (["k400", "--out", "OUT", "--config", "absent.yaml"], "absent.yaml"),
        (["k400", "--out", "OUT", "--engine", "spark"], "engine"),
        (["verify"], "missing DIR"),
        (["verify", "OUT"], "no such folder"),
        (["status", "OUT"], "no kconvert run has worked on this folder"),
        (["batch", "absent.yaml"], "absent.yaml"),
        (["releases", "k500"], "expected one of hmdb51, k400, k600, k700-2020"),
    ],
)
def test_wrong_use_is_one_clear_line(tmp_path: Path, words: list[str], said: str) -> None:
    ran = kconvert(*[str(tmp_path / "out") if word == "OUT" else word for word in words])
    assert ran.code == 2
    assert said in one_line(ran)
    assert ran.out == ""
    assert not (tmp_path / "out").exists()


def test_surroundings_that_cannot_work_are_told_before_anything_is_fetched(
    server: Server, mini: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ran = kconvert("k400", "--out", out, "--origin", "http://127.0.0.1:9/", "--fetch.min_backoff_seconds=0.01")
    assert ran.code == 2
    assert "refused" in one_line(ran)
    ran = kconvert("k400", "--out", out, "--origin", tmp_path / "absent")
    assert ran.code == 2
    assert "no such folder" in one_line(ran)
    (tmp_path / "empty").mkdir()
    ran = kconvert("k400", "--out", out, "--origin", tmp_path / "empty")
    assert ran.code == 2
    assert "looked for 400/" in one_line(ran)
    ran = kconvert("k400", "--out", mini / "expected" / "k400-val.json", "--origin", server.url)
    assert ran.code == 2
    assert "is not a folder" in one_line(ran)
    ran = kconvert("k400", "--out", "/dev/null", "--origin", server.url)
    assert ran.code == 2
    assert "is not a folder" in one_line(ran)
    ran = kconvert("k400", "--out", mini / "expected" / "k400-val.json" / "below", "--origin", server.url)
    assert ran.code == 2
    assert "cannot be written to" in one_line(ran)
    ran = kconvert("k400", "--out", "/proc/out", "--origin", server.url)
    assert ran.code == 2
    assert "cannot be written to" in one_line(ran)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    ran = kconvert("k400", "--out", tmp_path / "mine", "--origin", server.url, "--overwrite")
    assert ran.code == 2
    assert "was not made by kconvert" in one_line(ran)
    assert (tmp_path / "mine" / "thesis.tex").exists()
    ran = kconvert(
        "k400", "--out", out, "--origin", server.url, "--check.prober", "ffprobe", env={"PATH": str(COMMAND.parent)}
    )
    assert ran.code == 2
    assert "ffprobe is not on the PATH" in one_line(ran)
    assert not [name for method, name in server.requests if name.endswith("gz")]


def test_malformed_annotations_are_told_with_all_their_lines(mini: Path, tmp_path: Path) -> None:
    shutil.copytree(mini / "400", tmp_path / "server/400")
    path = tmp_path / "server/400/annotations/val.csv"
    path.write_text(path.read_text() + "zumba,tooshort,0,10,val,0\nno label,0wR5jVB-WPk,0,10,val,0\n")
    command = ("k400", "--out", tmp_path / "out", "--origin", tmp_path / "server", "--split", "val")
    ran = kconvert(*command)
    assert ran.code == 2
    assert "400/annotations/val.csv: 2 problem(s), of at most 0 of 32 rows (--max_malformed): line 32" in ran.err
    assert "line 33" in ran.err
    assert kconvert("k400", "--out", tmp_path / "good", "--origin", mini, "--split", "val").code == 0
    ran = kconvert(*command, "--max_malformed", "0.1")
    assert ran.code == 0, ran.err
    assert "val: 2 rows of 400/annotations/val.csv cannot be read, and count for nothing; the first: line 32" in ran.err
    assert (tmp_path / "out/metadata/val.parquet").read_bytes() == (tmp_path / "good/metadata/val.parquet").read_bytes()
    counts = json.loads((tmp_path / "out/manifest.json").read_bytes())["splits"]["val"]
    assert counts["num_malformed_annotations"] == 2
    assert "val: 2 malformed annotations:\n  line 32: got 'tooshort" in kconvert("status", tmp_path / "out").out
    assert kconvert("verify", tmp_path / "out").code == 0
    assert kconvert("report", tmp_path / "out").code == 0
    assert "no label" in (tmp_path / "out/report.html").read_text()


def test_too_little_disk_is_told_with_the_window_that_would_fit(tmp_path: Path) -> None:
    """On a disk of a known size: a small tmpfs in a mount namespace of its own."""
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("`unshare -rm` is not permitted here, so that no small disk can be made")
    server = tmp_path / "server/700_2020"
    (server / "val").mkdir(parents=True)
    (server / "annotations").mkdir()
    (server / "annotations/val.csv").write_text(
        "label,youtube_id,time_start,time_end,split\nabseiling,0wR5jVB-WPk,0,10,validate\n"
    )
    names = [f"700_2020/val/k700_val_{rank:03d}.tar.gz" for rank in range(1, 11)]
    (server / "val/k700_2020_val_path.txt").write_text(
        "".join(f"https://s3.amazonaws.com/kinetics/{name}\n" for name in names)
    )
    for name in names:
        with open(tmp_path / "server" / name, "wb") as file:
            file.truncate(10_000_000)
    disk = tmp_path / "disk"
    disk.mkdir()

    def run(size: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = f"mount -t tmpfs -o size={size} none {disk} && exec {COMMAND} k700-2020 --split val --out {disk}/out "
        command += f"--origin {tmp_path / 'server'} " + " ".join(words)
        return subprocess.run(["unshare", "-rm", "sh", "-c", command], capture_output=True, text=True, check=False)

    too_small = run("160m")
    assert too_small.returncode == 2, too_small.stderr
    assert "too little disk" in too_small.stderr
    found = re.search(r"--shuffle\.window ([0-9]+) would fit", too_small.stderr)
    assert found
    fitting = run("160m", "--shuffle.window", found[1])
    # The archives are no archives, so that it fails there, having started.
    assert fitting.returncode == 3, fitting.stderr
    one_more = run("160m", "--shuffle.window", str(int(found[1]) + 1))
    assert one_more.returncode == 2
    assert "not even --shuffle.window 1" in run("100m").stderr


def test_plan_tells_what_a_conversion_would_do_and_writes_nothing(server: Server, mini: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = kconvert(
        "plan", "k600", "--out", out, "--origin", server.url, "--classes", "zumba", "--split", "val", "--json"
    )
    assert ran.code == 0, ran.err
    plan = json.loads(ran.out)
    size = (mini / "600/val/zumba.tar.gz").stat().st_size
    assert plan["splits"]["val"]["archives"] == {"600/val/zumba.tar.gz": size}
    assert plan["num_bytes"] == size
    assert not out.exists()
    assert not [name for method, name in server.requests if method == "GET" and name.endswith("gz")]
    ran = kconvert("plan", "k600", "--out", out, "--origin", server.url)
    assert ran.code == 0
    assert "disk at most" in ran.out


def test_what_plan_says_of_the_disk_is_enough(mini: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    plan = json.loads(kconvert("plan", "k400", "--out", out, "--origin", mini, "--json").out)
    assert kconvert("k400", "--out", out, "--origin", mini).code == 0
    assert sum(len(data) for data in tree(out).values()) < plan["max_disk_bytes"]
    after = json.loads(kconvert("plan", "k400", "--out", out, "--origin", mini, "--json").out)
    assert (after["num_bytes"], after["max_disk_bytes"], after["splits"]) == (0, 0, {})


def test_releases_lists_the_catalogue() -> None:
    assert "k700-2020 train" in kconvert("releases").out
    found = json.loads(kconvert("releases", "k400", "--json").out)
    assert len(found["k400"]["labels"]) == 400
    assert "  0 abseiling" in kconvert("releases", "k400").out


def test_status_lists_what_a_person_may_want_to_look_at(converted: Path) -> None:
    found = json.loads(kconvert("status", converted, "--json").out)
    assert found["is_complete"]
    train = found["splits"][0]
    assert train["listings"]["unmatched_replacements"] == ["matchesnone_000000_000010"]
    assert "not_a_clip_name.mp4" in train["listings"]["refused_members"][0]


def test_a_split_has_as_many_shards_as_are_asked_for(mini: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words: list[str | int | Path] = ["k400", "--origin", mini, "--out", out, "--split", "val", "--shard.num_shards"]
    ran = kconvert(*words, 9)
    assert ran.code == 2
    assert "--shard.num_shards 9: the split val has 8 clips to write; expected 1 to 8" in ran.err
    # What was read is not read again: nothing is packed yet, so that how large shards are may still change.
    ran = kconvert(*words, 3)
    assert ran.code == 0, ran.err
    assert "reading" not in ran.err
    shards = sorted((out / "val").glob("*.tar"))
    listed = [
        subprocess.run(["tar", "tf", shard], check=True, capture_output=True, text=True).stdout for shard in shards
    ]
    assert [text.count(".mp4\n") for text in listed] == [2, 3, 3]
    assert kconvert("verify", out).code == 0
    refused = kconvert(*words, 2)
    assert refused.code == 2
    assert "shard.num_shards was 3, is now 2" in one_line(refused)


def test_batch_does_several_and_goes_on_after_a_failing_one(mini: Path, tmp_path: Path) -> None:
    file = tmp_path / "batch.yaml"
    content = {
        "defaults": {"origin": str(mini), "split": ["val"]},
        "conversions": [
            {"release": "k400", "out": str(tmp_path / "a")},
            {"release": "k600", "out": str(tmp_path / "b"), "origin": str(tmp_path)},
            {"release": "k700-2020", "out": str(tmp_path / "c"), "check": {"depth": "header"}},
        ],
    }
    file.write_text(yaml.safe_dump(content))
    ran = kconvert("batch", file)
    assert ran.code == 2
    assert [line.split()[-1] for line in ran.out.splitlines()[1::2]] == ["done", "done"]
    assert "error: " in ran.out.splitlines()[2]
    assert kconvert("verify", tmp_path / "a").code == kconvert("verify", tmp_path / "c").code == 0
    content["conversions"][1]["origin"] = str(mini)  # type: ignore[index]
    file.write_text(yaml.safe_dump(content))
    assert kconvert("batch", file, "--json").code == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "expected a list `conversions`"),
        ("conversions: [{release: k400}, {release: k400}]", "same folder"),
        (
            "conversions:\n- release: k400\n  shufle: {window: 2}",
            "b.yaml, line 3: unknown option 'shufle'; did you mean",
        ),
        ("conversion:\n- release: k400", "line 1: unknown 'conversion', expected `conversions`"),
        ("x: &x [{release: k400, workers: 0}]\nconversions: *x", "unknown 'x'"),
        ("defaults: &d {release: k400, workers: 0}\nconversions: [*d]", "conversion 1: --workers 0"),
        ("defaults: {workers: two}\nconversions: [{release: k400}]", "line 1: conversion 1: --workers: got 'two'"),
        ("conversions: [{release: k400, out: x, nonsense: 1}]", "nonsense"),
        ("conversions: [{release: k400, out: x}, {release: k400, out: ./x}]", "same folder"),
        ("conversions: [{release: k400, out: x}]\nmore: 1", "unknown 'more'"),
        ("conversions: [", "YAML"),
        ("conversions: [7]", "conversion 1"),
        ("conversions: [{release: k400, out: x}, {release: k400, out: y, split: dev}]", "conversion 2: --split"),
        ("conversions: [{release: k400, out: x, config: y}]", "line 1: unknown option 'config'"),
    ],
)
def test_a_wrong_batch_file_is_refused_before_anything_runs(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "b.yaml").write_text(content)
    ran = kconvert("batch", tmp_path / "b.yaml")
    assert ran.code == 2
    assert said in one_line(ran)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_config_loads_and_differs_from_the_defaults(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    if path.name == "batch.yaml":
        listed = yaml.safe_load(text)
        assert [entry["release"] for entry in listed["conversions"]] == list(RELEASES)
        # Loaded whole: its origins are then not reachable, as there is no network in tests.
        copy = tmp_path / "batch.yaml"
        listed["defaults"]["origin"] = str(tmp_path)
        for number, entry in enumerate(listed["conversions"]):
            entry["out"] = str(tmp_path / str(number))
        copy.write_text(yaml.safe_dump(listed))
        assert "looked for" in kconvert("batch", copy).err
        return
    words = ["k400"] if path.name == "trial.yaml" else []
    ran = kconvert(*words, "--config", path, "--out", tmp_path, "--print_config")
    assert ran.code == 0, ran.err
    printed = yaml.safe_load(ran.out)
    defaults = yaml.safe_load(kconvert(printed["release"], "--out", tmp_path, "--print_config").out)
    for name, value in yaml.safe_load(text).items():
        assert printed[name] == value or name != "release"
        assert name == "release" or printed[name] != defaults[name]


def test_what_print_config_prints_is_a_config(mini: Path, tmp_path: Path) -> None:
    words = ("--out", tmp_path / "out", "--origin", mini, "--split", "val", "--shard.max_bytes", "2MB")
    ran = kconvert("k400", *words, "--print_config")
    (tmp_path / "c.yaml").write_text(ran.out)
    ran = kconvert("--config", tmp_path / "c.yaml")
    assert ran.code == 0, ran.err
    assert json.loads((tmp_path / "out/manifest.json").read_text())["options"]["shard"]["max_bytes"] == 2_000_000


def test_json_is_printed_where_it_is_asked_for(mini: Path, tmp_path: Path) -> None:
    found = json.loads(kconvert("k400", "--out", tmp_path / "o", "--origin", mini, "--split", "val", "--json").out)
    assert found["is_complete"]
    assert found["failures"] == []
    assert json.loads(kconvert("verify", tmp_path / "o", "--json").out) == []


def test_every_option_says_what_it_is_for() -> None:
    help_text = kconvert("--help", env={"COLUMNS": "200"}).out
    options = re.findall(r"^  --([a-z_.]+)[ ,].*?\n?(.*)$", help_text, re.MULTILINE)
    assert len(options) > 30
    for name in re.findall(r"--((?:check|shard|shuffle|fetch)\.[a-z_]+)", help_text):
        section = help_text[help_text.index(f"--{name}") :][:400]
        assert re.search(r"[A-Za-z]{3,} [a-z]{2,} [a-z]+", section), name


def test_verify_needs_a_folder_that_is_finished(converted: Path, copy_of: Callable[[Path], Path]) -> None:
    out = copy_of(converted)
    (out / "manifest.json").unlink()
    ran = kconvert("verify", out)
    assert ran.code == 2
    assert "it is not finished" in one_line(ran)


def test_words_count_more_than_a_config_wherever_it_stands(tmp_path: Path) -> None:
    config = ROOT / "configs/k700-2020.yaml"
    ran = kconvert("k400", "--shuffle.window", 7, "--config", config, "--out", tmp_path, "--print_config")
    printed = yaml.safe_load(ran.out)
    assert (printed["release"], printed["shuffle"]["window"]) == ("k400", 7)


def test_groups_of_a_batch_entry_are_laid_over_the_defaults(mini: Path, tmp_path: Path) -> None:
    content = {
        "defaults": {"origin": str(mini), "split": "val", "shuffle": {"window": 1}},
        "conversions": [{"release": "k400", "out": str(tmp_path / "a"), "shuffle": {"seed": 5}}],
    }
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(content))
    assert kconvert("batch", tmp_path / "b.yaml").code == 0
    options = json.loads((tmp_path / "a/manifest.json").read_text())["options"]
    assert options["shuffle"] == {"window": 1, "seed": 5}


def test_a_folder_with_a_manifest_of_another_program_is_not_ours(mini: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "a web app"}')
    (tmp_path / "train").mkdir()
    (tmp_path / "train/precious.txt").touch()
    ran = kconvert("k400", "--out", tmp_path, "--origin", mini, "--overwrite")
    assert ran.code == 2
    assert "was not made by kconvert" in one_line(ran)
    assert (tmp_path / "train/precious.txt").exists()


def test_a_terminal_that_cannot_show_a_name_is_no_error(mini: Path, tmp_path: Path) -> None:
    env = {"PYTHONIOENCODING": "ascii"}
    ran = kconvert("k400", "--out", tmp_path / "größe", "--origin", mini, "--split", "val", env=env)
    assert ran.code == 0, ran.err


def test_a_removed_label_list_or_card_is_written_again(
    converted: Path, mini: Path, copy_of: Callable[[Path], Path]
) -> None:
    out = copy_of(converted)
    (out / "labels.txt").unlink()
    (out / "README.md").write_text("mine")
    assert kconvert("k400", "--out", out, "--origin", mini, "--shard.max_samples", 5).code == 0
    assert tree(out) == tree(converted)


@pytest.mark.parametrize("is_closed", [True, False])
@pytest.mark.parametrize("stream", [1, 2])
def test_a_run_whose_reader_goes_away_does_its_work(
    converted: Path, mini: Path, tmp_path: Path, stream: int, is_closed: bool
) -> None:
    out = tmp_path / "out"
    command = f"{COMMAND} k400 --out {out} --origin {mini} --shard.max_samples 5"
    gone = f"{stream}>&-" if is_closed else f"{stream}> >(true)"
    done = subprocess.run(["bash", "-c", f"{command} {gone}"], check=False, timeout=60, capture_output=True)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert tree(out) == tree(converted)


def test_archives_are_not_kept_among_the_shards(mini: Path, tmp_path: Path) -> None:
    ran = kconvert("k400", "--out", tmp_path, "--origin", mini, "--archives", tmp_path / "archives")
    assert ran.code == 2
    assert "is in --out" in one_line(ran)
