"""The report, in a real browser: every section is drawn, nothing complains, nothing is asked of the network."""

import dataclasses
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness import kconvert, one_line, tree
from selenium import webdriver
from selenium.webdriver.common.by import By

from kconvert.catalog.shelf import load_release
from kconvert.cli.report import expected_classes, flow, longest_run
from kconvert.columns.column import Column
from kconvert.conversion.finish import finish, labels_entry
from kconvert.dataset.manifest import Manifest, ShardEntry, SplitCounts, TableEntry
from kconvert.dataset.table import TABLE, columns_at, write_table
from kconvert.storage.folders import local

DESKTOP, PHONE = (1280, 900), (390, 844)
HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>"
SECTIONS = ["account", "media", "classes", "shards", "encoding", "flagged", "sheets", "supplements", "provenance"]
Browser = webdriver.Chrome


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for word in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):  # fmt: skip
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    yield started
    started.quit()


def look_at(browser: Browser, path: Path, size: tuple[int, int] = DESKTOP) -> None:
    """Opens a page in a window whose inner size is that."""
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(path.as_uri())
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
    assert browser.execute_script("return document.documentElement.dataset.drawn") == "yes"


def count(browser: Browser, selector: str) -> int:
    return len(browser.find_elements(By.CSS_SELECTOR, selector))


@pytest.fixture(scope="module")
def reported(any_mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a report."""
    out = tmp_path_factory.mktemp("reported") / "k400"
    assert kconvert("k400", "--out", out, "--origin", any_mini, "--shard.max_samples", 7).code == 0
    before = tree(out)
    ran = kconvert("report", out)
    assert (ran.code, ran.out, ran.err) == (0, f"{out}/report.html\n", "")
    page = (out / "report.html").read_bytes()
    assert kconvert("report", out).code == 0
    assert tree(out) == {**before, "report.html": page}
    return out


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_section_is_drawn(browser: Browser, reported: Path, size: tuple[int, int]) -> None:
    look_at(browser, reported / "report.html", size)
    assert [one.get_attribute("id") for one in browser.find_elements(By.TAG_NAME, "section")] == SECTIONS
    charts = browser.find_elements(By.CSS_SELECTOR, ".chart")
    assert len(charts) == 9
    for chart in charts:
        # Something in it is drawn, and it is as wide as it may be.
        assert len(chart.find_elements(By.CSS_SELECTOR, "svg path")) > 3, chart.get_attribute("id")
        assert chart.size["width"] > 300
    # Nothing hangs over the edge of the window.
    assert browser.execute_script("return document.documentElement.scrollWidth") <= size[0]
    stills = browser.execute_script("return [...document.images].map((image) => image.complete && image.naturalWidth)")
    assert len(stills) > 12
    assert set(stills) == {160}
    resources = browser.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert [name for name in resources if not name.startswith("data:")] == []


def test_the_numbers_are_those_of_the_manifest(browser: Browser, reported: Path) -> None:
    look_at(browser, reported / "report.html")
    splits = json.loads((reported / "manifest.json").read_text())["splits"]
    boxes = {
        one.text.split("\n")[1]: one.text.split("\n")[0]
        for one in browser.find_elements(By.CSS_SELECTOR, "#numbers div")
    }
    assert boxes["written"] == str(sum(split["num_written"] for split in splits.values()))
    assert boxes["rejected"] == str(sum(sum(split["num_rejected"].values()) for split in splits.values()))
    rows = {
        cells[0].text: [cell.text for cell in cells[1:]]
        for row in browser.find_elements(By.CSS_SELECTOR, "#account-table tbody tr")
        if (cells := row.find_elements(By.TAG_NAME, "td"))
    }
    assert rows["written"][:-1] == [str(split["num_written"]) for split in splits.values()]
    assert rows["missing: in no archive"][:-1] == [f"{split['num_missing']:,}" for split in splits.values()]


def test_the_search_finds(browser: Browser, reported: Path) -> None:
    look_at(browser, reported / "report.html")
    flagged = [
        row
        for split in ("train", "val", "test")
        for row in pq.read_table(reported / "metadata" / f"{split}.parquet").to_pylist()
        if row["status"] == "rejected" or row["defects"] or row["original_defects"]
    ]
    assert count(browser, "#flagged-table tbody tr") == len(flagged) > 10
    reason, number = Counter(row["reason"] for row in flagged if row["reason"]).most_common(1)[0]
    label = next(row["label"] for row in flagged if row["reason"] == reason and row["label"])
    field = browser.find_element(By.ID, "search")
    field.send_keys(f"REJECTED {reason}")
    found = [row.text for row in browser.find_elements(By.CSS_SELECTOR, "#flagged-table tbody tr")]
    assert len(found) >= number
    assert all(reason in text for text in found)
    field.send_keys(f" {label}")
    assert 0 < count(browser, "#flagged-table tbody tr") <= len(found)
    field.send_keys(" nothing has this")
    assert count(browser, "#flagged-table tbody tr") == 0
    assert browser.find_element(By.ID, "matches").text.startswith("0 of")


def test_the_flow_of_one_split_can_be_chosen(browser: Browser, reported: Path) -> None:
    look_at(browser, reported / "report.html")
    before = browser.find_element(By.CSS_SELECTOR, "#flow-chart svg").get_attribute("outerHTML")
    browser.find_element(By.CSS_SELECTOR, "#flow-split option[value=val]").click()
    after = browser.find_element(By.CSS_SELECTOR, "#flow-chart svg").get_attribute("outerHTML")
    assert before != after


def test_what_comes_in_goes_out(reported: Path) -> None:
    for split, found in json.loads((reported / "manifest.json").read_text())["splits"].items():
        links = flow(SplitCounts(**found))
        into: Counter[str] = Counter()
        out_of: Counter[str] = Counter()
        for source, target, number in links:
            out_of[source] += number
            into[target] += number
        for place in into.keys() & out_of.keys():
            assert into[place] == out_of[place], (split, place)
        assert out_of["annotated"] == found["num_annotations"]


def made_release(out: Path, num_rows: int, detail: str) -> None:
    """A finished folder of made rows: tables and a manifest, without the shards."""
    release = load_release("k700-2020")
    draw = random.Random(7)
    per_shard = 750
    label_ids = [draw.randrange(len(release.labels)) for _ in range(num_rows)]
    is_bad = [draw.random() < 0.04 for _ in range(num_rows)]
    written = [number for number in range(num_rows) if not is_bad[number]]
    place = {number: index for index, number in enumerate(written)}
    columns: dict[str, Any] = {
        "key": [f"train_{number:011d}_{number % 1000:06d}_{number % 1000 + 10:06d}" for number in range(num_rows)],
        "label": [release.labels[one] for one in label_ids],
        "label_id": label_ids,
        "status": ["rejected" if bad else "written" for bad in is_bad],
        "reason": ["truncated" if bad else "" for bad in is_bad],
        "defects": [["truncated"] if bad else [] for bad in is_bad],
        "detail": [detail if bad else "" for bad in is_bad],
        "source": ["original"] * num_rows,
        "duration_seconds": [10.0] * num_rows,
        "width": [340 - number % 7 for number in range(num_rows)],
        "height": [256] * num_rows,
        "fps": [29.97] * num_rows,
        "shard": ["" if bad else f"train/{place[number] // per_shard:06d}.tar" for number, bad in enumerate(is_bad)],
        "sample_index": [None if bad else place[number] % per_shard for number, bad in enumerate(is_bad)],
    }
    for name in TABLE.names:
        empty: Any = (
            []
            if TABLE.field(name).type == pa.list_(pa.string())
            else ""
            if TABLE.field(name).type == pa.string()
            else None
        )
        columns.setdefault(name, [empty] * num_rows)
    (out / "metadata").mkdir(parents=True)
    made = {name: Column(pa.array(values, TABLE.field(name).type)) for name, values in columns.items()}
    sha256 = write_table(local(out / "metadata" / "train.parquet"), made["key"], columns_at(made))
    shards = tuple(
        ShardEntry(
            f"train/{number:06d}.tar", "train", min(per_shard, len(written) - number * per_shard), 10**9, "0" * 64
        )
        for number in range(-(-len(written) // per_shard))
    )
    zeros = {field.name: 0 for field in dataclasses.fields(SplitCounts)}
    counts: Any = {
        **zeros, "num_annotations": num_rows, "num_written": len(written), "num_shards": len(shards),
        "num_rejected": {"truncated": num_rows - len(written)}, "num_excluded_by": {},
    }  # fmt: skip
    manifest = Manifest(
        "k700-2020", {"to": "webdataset"}, {"train": SplitCounts(**counts)}, shards,
        (TableEntry("metadata/train.parquet", num_rows, (out / "metadata" / "train.parquet").stat().st_size, sha256),),
        labels_entry(release), {"prober": "libav"}, "0",
    )  # fmt: skip
    finish(local(out), manifest)


def test_a_whole_release_stays_under_ten_megabytes_and_its_messages_are_text(browser: Browser, tmp_path: Path) -> None:
    made_release(tmp_path, 545_000, HOSTILE + " and a message as long as tools write them, of some ninety more letters")
    assert kconvert("report", tmp_path).code == 0
    path = tmp_path / "report.html"
    assert path.stat().st_size < 10_000_000
    look_at(browser, path)
    assert browser.title == "kconvert report: k700-2020"
    assert browser.find_element(By.CSS_SELECTOR, "#flagged-table tbody tr td:nth-child(7)").text.startswith(HOSTILE)
    assert count(browser, "#flagged-table tbody tr") == 200
    assert "more are in the tables only" in browser.find_element(By.ID, "matches").text
    assert "Shards hold 100 % of the classes" in browser.find_element(By.ID, "mixing").text


def test_what_cannot_be_reported_on_is_told_in_one_line(converted: Path, tmp_path: Path, copy_of: Any) -> None:
    ran = kconvert("report", tmp_path)
    assert ran.code == 2
    assert "expected a folder that a conversion has finished" in one_line(ran)
    out = copy_of(converted)
    (out / "metadata" / "val.parquet").write_bytes(b"PAR1")
    ran = kconvert("report", out)
    assert ran.code == 2
    assert "val.parquet: not a Parquet file" in one_line(ran)


def test_expected_classes_are_those_of_drawing_at_random() -> None:
    sizes, num_drawn = [1, 2, 3, 10], 5
    clips = [number for number, size in enumerate(sizes) for _ in range(size)]
    draw = random.Random(1)
    mean = sum(len(set(draw.sample(clips, num_drawn))) for _ in range(20_000)) / 20_000
    assert expected_classes(sizes, num_drawn) == pytest.approx(mean, abs=0.03)
    assert expected_classes(sizes, sum(sizes)) == len(sizes)


def test_the_longest_run() -> None:
    assert longest_run([1, 1, 2, 3, 3, 3, 1]) == 3
    assert longest_run([]) == 0


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_supplements_are_drawn(browser: Browser, any_mini: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    out = tmp_path / "out"
    assert kconvert("k700-2020", "--out", out, "--origin", any_mini, "--with", "ava,countix").code == 0
    assert kconvert("report", out).code == 0
    look_at(browser, out / "report.html", size)
    section = browser.find_element(By.ID, "supplements")
    assert [one.text for one in section.find_elements(By.TAG_NAME, "h3")] == ["AVA-Kinetics v1.0", "Countix"]
    counts = {
        entry["name"]: entry["counts"] for entry in json.loads((out / "manifest.json").read_text())["supplements"]
    }
    rows = [
        [cell.text for cell in row.find_elements(By.TAG_NAME, "td")]
        for row in section.find_elements(By.CSS_SELECTOR, "tbody tr")
    ]
    assert rows[0] == ["keyframes", *(str(one["num_keyframes"]) for one in counts["ava"].values())]
    assert rows[4] == ["repetitions", *(str(one["num_repetitions"]) for one in counts["countix"].values())]
    for chart in section.find_elements(By.CSS_SELECTOR, ".chart"):
        assert len(chart.find_elements(By.CSS_SELECTOR, "svg path")) > 3
    figures = section.find_elements(By.TAG_NAME, "figure")
    assert len(figures) == 12
    boxes = pq.read_table(out / "metadata/ava_boxes.parquet").to_pylist()
    frames = pq.read_table(out / "metadata/ava_keyframes.parquet").to_pylist()
    for figure in figures:
        image, key = figure.find_element(By.TAG_NAME, "img"), figure.find_element(By.CSS_SELECTOR, ".mono").text
        about = figure.find_element(By.TAG_NAME, "figcaption").text
        frame = next(
            one
            for one in frames
            if one["key"] == key
            and f"frame {one['frame_index']}," in about
            and f"{one['seconds_in_clip']:.2f} s" in about
        )
        own = [
            one
            for one in boxes
            if all(one[name] == frame[name] for name in ("split", "youtube_id", "timestamp_seconds"))
        ]
        shown = figure.find_elements(By.CSS_SELECTOR, ".box")
        assert len(shown) == len(own) == frame["num_boxes"]
        for one, box in zip(own, shown, strict=True):
            # Where the box is on the picture, as a share of that.
            left = (box.rect["x"] - image.rect["x"]) / image.rect["width"]
            bottom = (box.rect["y"] + box.rect["height"] - image.rect["y"]) / image.rect["height"]
            assert (round(left, 2), round(bottom, 2)) == (round(one["x1"], 2), round(one["y2"], 2))
    assert browser.execute_script("return document.documentElement.scrollWidth") <= size[0]
