from pathlib import Path

import pytest
from harness import RELEASES

from kconvert.catalog.release import Release
from kconvert.catalog.shelf import RELEASE_NAMES, load_release


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> Release:
    return load_release(request.param)


def test_the_labels_are_the_official_ones(release: Release, shared_data: Path) -> None:
    official = shared_data / "labels" / f"{release.name.removesuffix('-2020')}.txt"
    assert list(release.labels) == official.read_text().splitlines()


def test_every_release_has_its_three_splits(release: Release) -> None:
    assert tuple(release.splits) == ("train", "val", "test")


def test_a_label_id_is_the_rank_of_the_label(release: Release) -> None:
    assert [release.label_ids[label] for label in sorted(release.labels)] == list(range(len(release.labels)))


def test_a_k700_archive_holds_the_class_of_its_number() -> None:
    release = load_release("k700-2020")
    info = release.splits["train"]
    # Known from the official server: archive 171 is driving car.
    assert info.label_of("700_2020/train/k700_train_171.tar.gz", release.labels) == "driving car"
    assert info.label_of("700_2020/train/k700_train_701.tar.gz", release.labels) is None
    assert info.label_of("700_2020/train/k700_train_000.tar.gz", release.labels) is None
    assert release.splits["test"].label_of("700_2020/test/k700_test_001.tar.gz", release.labels) is None


def test_a_k600_archive_holds_the_class_of_its_name_in_either_spelling(shared_data: Path) -> None:
    release = load_release("k600")
    info = release.splits["train"]
    urls = (shared_data / "pathlists" / "filtered_k600_train_path.txt").read_text().splitlines()
    names = [url.removeprefix("https://s3.amazonaws.com/kinetics/") for url in urls]
    assert len(names) == 229
    for name in names:
        label = name.rpartition("/")[2].removesuffix(".tar.gz")
        assert info.label_of(name, release.labels) == label
        assert info.label_of(name.replace(" ", "_"), release.labels) == label


def test_the_archives_of_k400_mix_classes() -> None:
    release = load_release("k400")
    assert not release.splits["train"].archives_hold_one_class
    assert release.splits["train"].label_of("400/train/part_0.tar.gz", release.labels) is None


@pytest.mark.parametrize("name", RELEASE_NAMES)
def test_every_file_of_the_catalogue_is_read(name: str) -> None:
    assert load_release(name).name == name
    assert load_release(name).splits
