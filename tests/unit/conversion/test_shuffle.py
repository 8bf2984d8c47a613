import subprocess

from hypothesis import given
from hypothesis import strategies as st

from kconvert.columns.column import Column
from kconvert.conversion.shuffle import ShuffleOptions, windows
from kconvert.conversion.shuffled import shuffled

ARCHIVES = tuple(f"part_{number}" for number in range(20))


def in_order(names: list[str], options: ShuffleOptions, split: str) -> list[str]:
    column = Column.of(names)
    return column.take(shuffled(column, options, split)).values


def test_no_window_mixes_a_whole_split() -> None:
    assert windows(ARCHIVES, ShuffleOptions(), "train") == [ARCHIVES]
    assert windows(ARCHIVES, ShuffleOptions(window=20), "train") == [ARCHIVES]
    assert windows((), ShuffleOptions(), "train") == [()]


@given(st.integers(1, 25), st.integers())
def test_windows_hold_every_archive_once_each_in_the_order_of_the_path_list(window: int, seed: int) -> None:
    groups = windows(ARCHIVES, ShuffleOptions(window, seed), "train")
    assert sorted(name for group in groups for name in group) == sorted(ARCHIVES)
    assert all(len(group) <= max(window, 1) or len(groups) == 1 for group in groups)
    assert all(list(group) == sorted(group, key=ARCHIVES.index) for group in groups)


@given(st.permutations([f"clip{number}" for number in range(30)]), st.integers())
def test_the_order_depends_on_the_seed_and_the_names_only(names: list[str], seed: int) -> None:
    options = ShuffleOptions(seed=seed)
    found = in_order(names, options, "train")
    assert found == in_order(sorted(names), options, "train")
    assert sorted(found) == sorted(names)


def test_another_seed_or_split_gives_another_order() -> None:
    names = [f"clip{number}" for number in range(30)]
    orders = [
        tuple(in_order(names, ShuffleOptions(seed=seed), split))
        for seed, split in ((0, "train"), (1, "train"), (0, "val"))
    ]
    assert len(set(orders)) == 3


def test_the_order_is_that_of_the_documented_hash() -> None:
    """BLAKE2b of 128 bits over seed, split and name, as coreutils computes it: no other order may come of a seed."""
    names = [f"clip{number}" for number in range(10)]
    digests = {
        name: subprocess.run(
            ["b2sum", "-l", "128"], input=f"7\nval\n{name}".encode(), capture_output=True, check=True
        ).stdout
        for name in names
    }
    found = in_order(names, ShuffleOptions(seed=7), "val")
    assert found == sorted(names, key=lambda name: digests[name])


def test_classes_are_mixed_evenly() -> None:
    """Of 100 classes with 50 clips each, every run of 500 clips holds nearly all."""
    names = [f"class{label:03d}-{number:02d}" for label in range(100) for number in range(50)]
    order = [name[:8] for name in in_order(names, ShuffleOptions(), "train")]
    assert min(len(set(order[start : start + 500])) for start in range(0, 5000, 500)) > 95
