"""Clips that are extracted already: each layout that people have is converted to what its archives are."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import extracted
import pytest
from conftest import Once
from harness import kconvert

Rows = dict[str, tuple[object, ...]]

MAKERS: dict[str, tuple[str, Callable[[Path, str, Path], None], str, str]] = {
    # name: release, how it is made, where the origin is below that, what the first line says
    "the k400 extractor": ("k400", extracted.official, "", "by the official k400 extractor: 400 classes flat"),
    "the k600 extractor": (
        "k600",
        extracted.official,
        "",
        "by the official k600 extractor: 600 classes flat",
    ),
    "the k700-2020 extractor": (
        "k700-2020",
        extracted.official,
        "",
        "by the official k700-2020 extractor: 3 class folders",
    ),
    "the folder of k600": ("k600", extracted.flat_root, "given", "into folders of splits: 600 classes flat"),
    "arrange_by_classes": (
        "k400",
        lambda mini, _, root: extracted.arranged(mini, root),
        "k400/videos",
        "by arrange_by_classes.py: ",
    ),
    "torchvision": (
        "k600",
        extracted.into("{split}", extracted.torchvision),
        "",
        "as torchvision has them: 3 class folders;",
    ),
    "MMAction2": ("k400", extracted.into("videos_{split}", extracted.underscored), "", "for MMAction2: "),
    "OpenMMLab": ("k400", extracted.without_times, "", "for MMAction2: 400 classes flat"),
    "the torrent": ("k400", extracted.torrent, "", "as in the k400 torrent: "),
}


def rows(out: Path) -> list[dict[str, object]]:
    relation = duckdb.sql(f"select key, sha256, label, label_id, status from '{out}/metadata/*.parquet'")
    return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


@pytest.fixture(scope="session")
def of_archives(once: Once, mini: Path) -> Callable[[str], Rows]:
    """What the archives of a release are converted to."""

    def made(release: str) -> Rows:
        def make(folder: Path) -> None:
            ran = kconvert(release, "--origin", mini, "--out", folder, "--workers", 2)
            assert ran.code == 0, ran.err

        return extracted.written(rows(once(f"archives-{release}", make)))

    return made


@pytest.mark.parametrize("layout", sorted(MAKERS))
def test_each_layout_is_converted_to_what_its_archives_are(
    layout: str, mini: Path, tmp_path: Path, of_archives: Callable[[str], Rows]
) -> None:
    release, make, below, title = MAKERS[layout]
    make(mini, release, tmp_path / "in")
    origin = tmp_path / "in" / below
    ran = kconvert(release, "--origin", origin, "--out", tmp_path / "out", "--workers", 2)
    assert ran.code == 0, ran.err
    assert f"clips extracted {title}" in ran.err.splitlines()[0]
    found, expected = extracted.written(rows(tmp_path / "out")), of_archives(release)
    assert found == {key: expected[key] for key in found}
    stems, digests = extracted.there(origin)
    lies_here = {
        key
        for key, (digest, label, _) in expected.items()
        if label and digest in digests and not stems.isdisjoint(extracted.stems_of(key))
    }
    assert len(lies_here) > 5
    assert {key for key, row in found.items() if row[1]} == lies_here
    assert kconvert("verify", tmp_path / "out").code == 0
