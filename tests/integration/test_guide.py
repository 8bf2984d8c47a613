"""README and guide are true: their commands run, their options are there, their lines of Python work, and their figures
say when they were measured."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from harness import COMMAND, ROOT, kconvert, only_ours

from kconvert.cli.arguments import batch_parser, conversion_parser, folder_parser, overlap_parser
from kconvert.cli.guide import TOPICS, page
from kconvert.dataset.manifest import FORMAT_NAMES

README = (ROOT / "README.md").read_text()
TEXTS = {"README": README, **{topic: page(topic) for topic in TOPICS}}
GUIDE = ROOT / "kconvert/cli/guide"


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """The lines of a text that are commands to be run as they stand."""
    lines = [line for block in blocks(text, "sh") for line in block.splitlines()]
    return [re.sub(r" +# .*$", "", line) for line in lines if line.strip()]


@pytest.fixture
def desk(mini: Path, tmp_path: Path) -> Path:
    """A folder in which the miniature is the origin, for which the commands of a page are meant."""
    (tmp_path / "kconvert.yaml").write_text(yaml.safe_dump({"origin": str(mini), "shard": {"max_samples": 3}}))
    return tmp_path


def run(command: str, desk: Path) -> str:
    environment = {**os.environ, "PATH": f"{COMMAND.parent}:{os.environ['PATH']}", "HOME": str(desk)}
    done = subprocess.run(
        ["bash", "-euc", command], cwd=desk, env=environment, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    only_ours(done.stderr)
    return done.stdout


@pytest.mark.parametrize("topic", [topic for topic, text in TEXTS.items() if commands(text)])
def test_the_commands_of_a_page_run_one_after_the_other(topic: str, desk: Path) -> None:
    for command in commands(TEXTS[topic]):
        # What is not there yet is told by the code: the first page has `status` after the conversion.
        run(command, desk)


def test_the_commands_of_the_readme_run(desk: Path) -> None:
    lines = [re.sub(r" +# .*$", "", line.strip()) for line in README.splitlines() if line.startswith("    kconvert ")]
    assert len(set(lines)) == 5
    for line in dict.fromkeys(lines):
        run(line, desk)
    # Lines of Python see the same folder.
    (example,) = blocks(README, "python")
    said = subprocess.run([sys.executable, "-c", example], cwd=desk, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert re.fullmatch(r"\d+ \S.* \d+\n", said.stdout)


@pytest.mark.parametrize("topic", ["reading", "training", "supplements"])
def test_the_lines_of_python_of_a_page_work(topic: str, desk: Path) -> None:
    for command in commands(TEXTS[topic]) if topic == "supplements" else ["kconvert k700-2020 --split train"]:
        run(command, desk)
    for block in blocks(TEXTS[topic], "python"):
        if "torchvision" not in block:
            ran(sys.executable, block, desk)


def ran(python: str, block: str, desk: Path) -> str:
    """What lines print that are run by that Python. They must end well."""
    script = desk / "script.py"
    script.write_text(block)
    # webdataset leaves it to the garbage collector to close its files.
    words: list[str | Path] = [python, "-W", "ignore", script]
    done = subprocess.run(words, cwd=desk, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_lines_with_torchvision_work_too(desk: Path) -> None:
    """Where KCONVERT_TORCHVISION names a Python that has it, and kconvert: they give what the lines without it give."""
    python = os.environ.get("KCONVERT_TORCHVISION")
    if python is None:
        pytest.skip("KCONVERT_TORCHVISION names no Python that has torchvision")
    run("kconvert k700-2020 --split train", desk)
    seed = "torch.manual_seed(1)\n"
    shown = 'found = samples[0]["video"]; print(tuple(found.shape), found.dtype, round(float(found.std()), 3))\n'
    said = []
    for block in blocks(TEXTS["training"], "python"):
        if "augmented" in block:
            said.append(ran(python, block.replace("\nsamples = ", f"\n{seed}samples = ") + shown, desk))
    assert len(said) == 2
    assert said[0].startswith("(3, 8, 224, 224) torch.float32")
    assert said[0].rpartition(" ")[0] == said[1].rpartition(" ")[0]


def test_every_option_that_is_named_is_there() -> None:
    parsers = [
        conversion_parser("kconvert", ""),
        folder_parser("kconvert", "", has_progress=True),
        batch_parser(),
        overlap_parser(),
    ]
    options = {option for parser in parsers for action in parser._actions for option in action.option_strings}
    foreign = {
        "--non-interactive", "--skip-dataset-yaml", "--split-parts",  # energon's
        "--head",  # Ray's
    }  # fmt: skip
    for topic, text in TEXTS.items():
        for option in re.findall(r"(?<![\w-])--[a-z][a-z_.]*[a-z](?:-[a-z-]+)?", text):
            assert option in options | foreign, (topic, option)


def test_every_topic_and_format_has_its_place() -> None:
    assert {path.stem for path in GUIDE.glob("*.md")} == set(TOPICS)
    listed = kconvert("help").out
    for topic in TOPICS:
        text = page(topic)
        assert re.match(r"# [A-Z][a-z]+: \S", text), topic
        assert f"kconvert help {topic}" in listed
        assert kconvert("help", topic).out == f"{text}\n"
        assert f"(kconvert/cli/guide/{topic}.md)" in README
        for other in re.findall(r"kconvert help ([a-z]+)", text):
            assert other in TOPICS, (topic, other)
    for name in FORMAT_NAMES:
        assert f"| `{name}` |" in page("formats")


def test_the_map_of_the_code_is_the_list_of_its_folders() -> None:
    package = ROOT / "kconvert"
    rows = re.findall(r"^\| `([a-z]+)` \| \S", README, re.MULTILINE)
    folders = sorted(path.parent.name for path in package.glob("*/__init__.py"))
    assert sorted(rows) == folders
    leaves = sorted(path.stem for path in package.glob("[a-z]*.py"))
    text = README[README.index("At the root:") :]
    assert sorted(re.findall(r"`([a-z_]+)`", text[: text.index("`tools/imports`")])) == leaves
    # In the order in which they import each other.
    said = subprocess.run([ROOT / "tools/imports"], capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^([a-z]+) +\d+ files", said, re.MULTILINE) == rows
    for folder in folders:
        text = (package / folder / "__init__.py").read_text()
        assert re.search(r"interface", text), folder
        assert "import " not in re.sub(r'""".*?"""', "", text, flags=re.DOTALL), folder


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    assert len(README.splitlines()) <= 200
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("https://") or (ROOT / link).exists(), link


@pytest.mark.parametrize("topic", ["README", "speed", "disk", "trust", "supplements"])
def test_figures_say_when_they_were_measured(topic: str) -> None:
    found = re.findall(r"(20\d\d-\d\d-\d\d)[^.:]{0,30}?commits? ([0-9a-f]{7})", TEXTS[topic])
    assert found, topic
    for _, commit in found:
        words = ["git", "-C", str(ROOT), "cat-file", "-e", f"{commit}^{{commit}}"]
        assert subprocess.run(words, check=False).returncode == 0, commit


def test_the_figures_of_the_readme_are_those_of_the_guide() -> None:
    def ways(text: str) -> dict[str, list[str]]:
        rows = re.findall(r"^\| (.*?) \| ([\d,]+) \| ([\d.]+) \|", text, re.MULTILINE)
        return {name: [rate, ratio] for name, rate, ratio in rows}

    assert len(ways(README)) == 3
    assert ways(README) == ways(page("speed"))
    dates = [re.search(r"(20\d\d-\d\d-\d\d), commit (\w+)", text) for text in (README, page("speed"))]
    assert dates[0] is not None
    assert dates[1] is not None
    assert dates[0].groups() == dates[1].groups()
