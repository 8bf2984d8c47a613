"""The first hour of a new user, and of one who is tired: the command as it is said, and what is read without asking."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from harness import COMMAND, Ran, kconvert, one_line, only_ours, tree
from miniature.server import Server
from terminal import in_terminal

CONFIG = "kconvert.yaml"


@pytest.fixture
def desk(mini: Path, tmp_path: Path) -> Path:
    """A folder in which the miniature is the origin without being named, as is a mirror that one has."""
    (tmp_path / CONFIG).write_text(yaml.safe_dump({"origin": str(mini), "shard": {"max_samples": 5}}))
    return tmp_path


def at(desk: Path, *words: str | int | Path, **more: str) -> Ran:
    """Runs the command in a folder."""
    environment = {**os.environ, "HOME": str(desk / "home"), **more}
    command = [str(COMMAND), *map(str, words)]
    done = subprocess.run(command, cwd=desk, capture_output=True, text=True, env=environment, check=False, timeout=120)
    return Ran(done.returncode, done.stdout, only_ours(done.stderr))


def test_the_command_as_it_is_said_is_whole(desk: Path, converted: Path) -> None:
    ran = at(desk, "k400", "--to", "webdataset")
    assert ran.code == 0, ran.err
    assert tree(desk / "k400-webdataset") == tree(converted)
    first, second = ran.err.splitlines()[:2]
    assert first == f"options of {desk / CONFIG} are read first"
    assert second.startswith(f"k400 to {desk / 'k400-webdataset'}: fetches 3.04 MB, takes up to ")
    assert re.search(r" of disk, with \d+ workers? \(.+\); --out, .* choose otherwise$", second)
    assert not at(desk, "k400", "--quiet").err
    events = [json.loads(line) for line in at(desk, "k400", "--out", "b", "--split", "val", "--json").err.splitlines()]
    assert [event["event"] for event in events[:2]] == ["note", "note"]


def test_the_file_of_this_folder_counts_before_that_of_the_user_and_the_words_most(desk: Path, mini: Path) -> None:
    user = desk / "home/.config/kconvert/config.yaml"
    user.parent.mkdir(parents=True)
    user.write_text(yaml.safe_dump({"origin": str(mini), "split": "val", "shuffle": {"seed": 1, "window": 1}}))
    printed = yaml.safe_load(at(desk, "k400", "--print_config").out)
    assert (printed["split"], printed["shard"]["max_samples"]) == (None, 5)
    (desk / CONFIG).unlink()
    more = desk / "more.yaml"
    more.write_text(yaml.safe_dump({"shuffle": {"seed": 2}}))
    words = ("k400", "--config", more, "--shuffle.window", 3)
    printed = yaml.safe_load(at(desk, *words, "--print_config").out)
    assert (printed["split"], printed["shuffle"]) == ("val", {"seed": 2, "window": 3})
    ran = at(desk, *words)
    assert ran.err.splitlines()[0] == f"options of {user} are read first"
    assert list(json.loads((desk / "k400-webdataset/manifest.json").read_text())["splits"]) == ["val"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"release: k400\nshufle:\n  window: 3\n", "c.yaml, line 2: unknown option 'shufle'; did you mean 'shuffle'?"),
        (b"release: k400\nshuffle:\n\n  windw: 3\n", "c.yaml, line 4: unknown option 'shuffle.windw'; did you mean"),
        (b"release: k400\nworkers: two\n", "c.yaml, line 2: --workers: got 'two', expected a whole number"),
        (b"release: k400\nworkers: 0\n", "c.yaml, line 2: --workers 0: expected 1 or more"),
        (b"release: k400\nout: [\n", "c.yaml, line 3: is no YAML"),
        (b"a: b: c\n", "c.yaml, line 1: is no YAML"),
        (b"- a\n- b\n", "c.yaml: got a list, expected options"),
        (b"out: \xff\n", "c.yaml: not UTF-8 text"),
        (b"out: \0\n", "c.yaml: is no YAML"),
        (b'overwrite: "no"\n', "c.yaml, line 1: overwrite: got 'no', expected true or false"),
        (b"quiet: maybe\n", "c.yaml, line 1: quiet: got 'maybe', expected true or false"),
        (b"to: null\n", "c.yaml, line 1: --to: got nothing, expected a value; leave it out to have the default"),
        (b"shuffle:\n  seed: null\n", "c.yaml, line 2: --shuffle.seed: got nothing, expected a value"),
        (b"shuffle:\n", "c.yaml, line 1: --shuffle: got nothing, expected options below it"),
        (b"shuffle: {window: 1}\nout: x\nshuffle: {seed: 3}\n", "c.yaml, line 3: shuffle stands there twice (line 1)"),
        (b"split: nope\n", "c.yaml, line 1: --split: unknown 'nope'"),
        (b"staging: 5\n", "c.yaml, line 1: --staging: got '5', expected a text"),
        (b"archives: []\n", "c.yaml, line 1: --archives: got '[]', expected a text"),
        (b"unlabelled: yes\n", "c.yaml, line 1: --unlabelled: got 'True', expected one of 'keep', 'drop'"),
        (b"slurm:\n  parameters: &a {b: *a}\n", "c.yaml: holds itself"),
        (b"out: !!int ''\n", "c.yaml: is no YAML"),
        (b"out: !!timestamp foo\n", "c.yaml: is no YAML"),
        (
            b"out: &a [x, x, x, x, x, x, x, x]\nsplit: &b [*a, *a, *a, *a, *a, *a, *a, *a]\nclasses: &c [*b, *b, *b, *b, *b, *b,"
            b" *b, *b]\norigin: &d [*c, *c, *c, *c, *c, *c, *c, *c]\nstaging: [*d, *d, *d, *d]",
            "values; write it without",
        ),
        (None, "c.yaml: cannot be read (No such file or directory)"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_line(tmp_path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "c.yaml").write_bytes(content)
    ran = kconvert("k400", "--config", tmp_path / "c.yaml", "--out", tmp_path / "out")
    assert ran.code == 2
    assert said in one_line(ran)
    # A value on the command line is not the file's fault.
    ran = kconvert("k400", "--config", tmp_path / "c.yaml", "--workers", "three")
    assert ran.code == 2
    assert content is None or b"workers" not in content or "c.yaml" not in ran.err


def test_a_group_of_options_in_a_file_of_its_own_is_read_as_carefully(tmp_path: Path) -> None:
    (tmp_path / "check.yaml").write_text("depth: index\nmin_duraton: 3\n")
    ran = kconvert("k400", "--check", tmp_path / "check.yaml", "--out", tmp_path / "out")
    assert ran.code == 2
    assert "check.yaml, line 2: unknown option 'min_duraton'; did you mean 'min_duration'?" in one_line(ran)


def test_without_a_word_it_shows_how_it_is_used() -> None:
    ran = kconvert()
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("usage: kconvert RELEASE [options]")
    assert len(ran.out.splitlines()) < 12
    assert kconvert("-V").out == kconvert("--version").out
    assert "kconvert help checks" in kconvert("help").out


def test_what_is_meant_is_accepted(desk: Path, mini: Path) -> None:
    ran = at(desk, "k400", "--split", "validation", "--origin", f"file://{mini}", "--out", f"file://{desk}/a")
    assert ran.code == 0, ran.err
    assert (desk / "a/metadata/val.parquet").exists()
    (desk / "cls.txt").write_text("\ufeffabseiling\n\nzumba\n", encoding="utf-8")
    assert at(desk, "k400", "--split", "val", "--classes", "cls.txt", "--out", "b").code == 0
    assert at(desk, "k400", "--split", "val", "--classes", "zumba,abseiling", "--out", "c").code == 0
    assert json.loads((desk / "b/manifest.json").read_text())["options"]["classes"] == ["abseiling", "zumba"]
    assert tree(desk / "b") == tree(desk / "c")
    ran = at(desk, "k400", "--split", "val", "--out", "d", "--shard.max_bytes", 100)
    assert ran.code == 0
    assert "--shard.max_bytes 100: less than a clip has, so that each gets a shard of its own" in ran.err


def test_the_folder_above_the_origin_is_guessed(mini: Path, server: Server, tmp_path: Path) -> None:
    for origin in (f"{server.url}700_2020", mini / "700_2020"):
        ran = kconvert("k700-2020", "--origin", origin, "--out", tmp_path / "out")
        assert ran.code == 2
        above = server.url.rstrip("/") if str(origin).startswith("http") else str(mini)
        assert one_line(ran).endswith(f"is the origin the folder above, {above}?")


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root may read everything")
def test_an_archive_that_may_not_be_read_is_told_as_that(mini: Path, tmp_path: Path) -> None:
    shutil.copytree(mini / "400", tmp_path / "server/400")
    (tmp_path / "server/400/val/part_1.tar.gz").chmod(0)
    # Root may read it all the same, unless it gives that up.
    within = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all"]
    words = ("k400", "--split", "val", "--out", tmp_path / "out", "--origin", tmp_path / "server")
    ran = kconvert(*words, within=within if os.geteuid() == 0 else [])
    assert ran.code == 3, ran.err
    assert "part_1.tar.gz" in ran.out
    assert "Permission denied; make it readable for this user" in ran.out


def test_plan_says_whether_it_fits_and_for_how_many_workers(mini: Path, tmp_path: Path) -> None:
    words = ("plan", "k400", "--origin", mini, "--out", tmp_path / "out", "--staging", tmp_path / "stage")
    ran = kconvert(*words, "--shard.max_samples", 5)
    assert ran.code == 0, ran.err
    assert re.search(rf"staging and output in {tmp_path}/out: .*B at most, .*B there: it fits", ran.out)
    assert "enough shards for so many training workers (ranks x workers): train 6, val 6, test 6" in ran.out
    found = json.loads(kconvert(*words, "--json").out)
    assert [disk["fits"] for disk in found["disks"]] == [True]
    assert found["splits"]["train"]["num_shards"] == 1
    if Path("/dev/shm").is_dir():
        ran = kconvert(*words[:-1], "/dev/shm/kconvert-test", "--quiet")
        assert "staging in /dev/shm/kconvert-test/kconvert-" in ran.out
        assert not Path("/dev/shm/kconvert-test").exists()


def test_status_says_why_a_run_was_refused_and_its_code_what_to_expect(mini: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert kconvert("status", out).code == 2
    words = ("k400", "--split", "val", "--out", out)
    assert kconvert(*words, "--origin", "http://127.0.0.1:9/", "--fetch.min_backoff_seconds=0.01").code == 2
    ran = kconvert("status", out)
    assert ran.code == 3
    assert re.match(r"nothing was begun: http://127.0.0.1:9/400/val/k400_val_path.txt: .*refused", ran.out)
    assert "refused" in json.loads(kconvert("status", out, "--json").out)["refusal"]
    assert kconvert(*words, "--origin", mini).code == 0
    ran = kconvert("status", out)
    assert ran.code == 0
    assert ran.out.startswith("complete")
    # A finished folder is left as it is.
    before = sorted(path for path in out.rglob("*"))
    assert kconvert(*words, "--origin", mini, "--shuffle.seed", 9).code == 2
    assert sorted(path for path in out.rglob("*")) == before
    # And so is one of somebody else's.
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").touch()
    assert kconvert("k400", "--out", tmp_path / "mine", "--origin", mini).code == 2
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_report_may_be_written_elsewhere(converted: Path, copy_of: Callable[[Path], Path], tmp_path: Path) -> None:
    out = copy_of(converted)
    ran = kconvert("report", out, "--out", tmp_path / "page.html")
    assert (ran.code, ran.out) == (0, f"{tmp_path / 'page.html'}\n")
    assert not (out / "report.html").exists()
    assert kconvert("report", out).code == 0
    assert (out / "report.html").read_bytes() == (tmp_path / "page.html").read_bytes()


def test_a_path_that_is_not_text_is_a_path(mini: Path, converted: Path, tmp_path: Path) -> None:
    out = os.fsencode(tmp_path) + b"/out-\xff"
    words = [os.fsencode(COMMAND), b"k400", b"--origin", os.fsencode(mini), b"--shard.max_samples", b"5", b"--out", out]
    done = subprocess.run(words, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert tree(Path(os.fsdecode(out))) == tree(converted)
    for command, code in ((b"status", 0), (b"verify", 0), (b"report", 0)):
        for more in ([], [b"--json"]):
            done = subprocess.run([words[0], command, out, *more], capture_output=True, check=False, timeout=120)
            assert done.returncode == code, done.stderr
            assert b"Traceback" not in done.stderr
            done.stdout.decode("ascii" if more else "utf-8")


@pytest.mark.parametrize("stream", [1, 2])
@pytest.mark.parametrize("words", [["help"], ["help", "checks"], ["releases"], ["k700"], []])
def test_nobody_listens(words: list[str], stream: int) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {stream}>&-', str(COMMAND), *words], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == (2 if words == ["k700"] else 0)
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(("columns", "term"), [(40, "xterm"), (40, "dumb"), (150, "dumb")])
def test_narrow_and_dumb_terminals_are_served(mini: Path, tmp_path: Path, columns: int, term: str) -> None:
    words = ["k400", "--split", "val", "--out", str(tmp_path / "out"), "--origin", str(mini)]
    drawn, code = in_terminal(words, columns, {"TERM": term, "NO_COLOR": "1"})
    assert code == 0
    # Nothing is coloured; the cursor is moved only where a terminal can do that.
    assert not re.search(r"\x1b\[[0-9;]*m", drawn)
    assert ("\x1b" in drawn or "\r\r" in drawn or "%|" in drawn) <= (term != "dumb")
    assert "val: done: 8 clips in 1 shards" in drawn.replace("\r\n", "\n")
    bars = [line for line in re.split(r"[\r\n]+|\x1b\[A", drawn) if "%" in line and "|" in line]
    assert all(len(line) <= columns for line in bars)


def test_what_a_file_says_that_is_always_read_waits_for_the_runs_that_it_is_for(desk: Path, mini: Path) -> None:
    options = {"origin": str(mini), "shard": {"max_samples": 5}, "slurm": {"partition": "cpu"}}
    (desk / CONFIG).write_text(yaml.safe_dump(options))
    assert at(desk, "k400", "--split", "val", "--to", "archives").code == 0
    # What somebody names is meant for this run.
    (desk / "mine.yaml").write_text(yaml.safe_dump({"slurm": {"partition": "gpu"}}))
    for words in (("--config", "mine.yaml"), ("--slurm.partition", "gpu")):
        ran = at(desk, "k400", *words)
        assert ran.code == 2
        assert "--slurm.partition: would be ignored" in ran.err


def test_a_file_that_holds_nothing_yet_says_nothing(desk: Path) -> None:
    """As the shell leaves it of `kconvert k400 --print_config > kconvert.yaml`, before that prints."""
    printed = at(desk, "k400", "--print_config")
    assert printed.code == 0
    for content in ("", "# nothing yet\n", "---\n", "null\n"):
        (desk / CONFIG).write_text(content)
        assert at(desk, "k400", "--print_config").code == 0
    # What is printed can be fed back to whatever takes options.
    (desk / CONFIG).write_text(printed.out)
    assert at(desk, "plan", "k400").code == 0
    batch = yaml.safe_load(printed.out)
    for name in ("json", "quiet"):
        del batch[name]
    (desk / "b.yaml").write_text(yaml.safe_dump({"conversions": [{**batch, "split": "val", "out": "b"}]}))
    ran = at(desk, "batch", "b.yaml")
    assert ran.code == 0, ran.err


def test_a_batch_reads_the_file_that_is_always_read_as_well(desk: Path) -> None:
    (desk / "b.yaml").write_text("conversions: [{release: k400, split: val}, {release: k600, split: val, out: b}]")
    ran = at(desk, "batch", "b.yaml")
    assert ran.code == 0, ran.err
    assert json.loads((desk / "b/manifest.json").read_text())["options"]["shard"]["max_samples"] == 5
    assert (desk / "k400-webdataset/manifest.json").exists()


def test_overwriting_is_never_done_by_a_file_that_nobody_named(desk: Path, mini: Path) -> None:
    (desk / CONFIG).write_text(f"origin: {mini}\noverwrite: true\n")
    ran = at(desk, "k400")
    assert ran.code == 2
    assert "kconvert.yaml, line 2: --overwrite is not for a file that is always read" in ran.err


def test_what_a_refused_run_leaves_makes_no_folder_ours(mini: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert kconvert("k400", "--out", out, "--origin", tmp_path / "absent").code == 2
    assert (out / ".kconvert/refused").exists()
    assert kconvert("k400", "--split", "val", "--out", out, "--origin", mini).code == 0
    assert not (out / ".kconvert/refused").exists()
    other = tmp_path / "other"
    other.mkdir()
    assert kconvert("k400", "--out", other, "--origin", tmp_path / "absent").code == 2
    (other / "train").mkdir()
    (other / "train/mine.tar").write_bytes(b"mine")
    for more in ([], ["--overwrite"]):
        ran = kconvert("k400", "--out", other, "--origin", mini, *more)
        assert ran.code == 2
        assert "was not made by kconvert" in one_line(ran)
    assert (other / "train/mine.tar").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "words",
    [
        ["status", "a", "b"],
        ["verify", "a", "k400"],
        ["report", "a", "b"],
        ["batch", "a", "b"],
        ["releases", "k400", "k600"],
        ["help", "checks", "more"],
        ["completion", "bash", "zsh"],
    ],
)
def test_one_word_too_many_is_told_as_that(words: list[str]) -> None:
    ran = kconvert(*words)
    assert ran.code == 2
    assert f"unknown {words[-1]!r}, expected nothing after what was given" in one_line(ran)


def test_versions_are_printed_wherever_they_are_asked_for(tmp_path: Path) -> None:
    ran = kconvert("k400", "--out", tmp_path / "out", "-V")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("kconvert ")
    assert not (tmp_path / "out").exists()


def test_a_home_that_nobody_has_is_a_folder_of_that_name(mini: Path, desk: Path) -> None:
    ran = at(desk, "k400", "--split", "val", "--out", "~nobody-here/x", "--origin", mini)
    assert ran.code == 0, ran.err
    assert (desk / "~nobody-here/x/manifest.json").exists()
