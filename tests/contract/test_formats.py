"""The promises of all formats, whatever their libraries do."""

import dataclasses
import hashlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kconvert.catalog.shelf import load_release
from kconvert.dataset.formats.format import Format, Sample
from kconvert.dataset.formats.open import open_format
from kconvert.dataset.layout import ExpectedSamples
from kconvert.dataset.manifest import FORMAT_NAMES, LabelsEntry, Manifest, ShardEntry, SplitCounts
from kconvert.dataset.open import open_layout
from kconvert.errors import StagingError
from kconvert.storage.folders import local
from kconvert.storage.store import StorePath

# Libraries leave files for the garbage collector to close.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::DeprecationWarning"
)
SPLIT = "train"
RELEASE = load_release("k400")
NAMES = [name for name in FORMAT_NAMES if name != "archives"]


@pytest.fixture(params=NAMES)
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Format]:
    # What `streaming` imports and does not use is not installed; other tests are not to find it.
    stubs = Path(__file__).parents[1] / "stubs"
    monkeypatch.syspath_prepend(str(stubs))
    yield open_format(request.param)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(stubs)):
            del sys.modules[name]


def sample(number: int, video: bytes) -> Sample:
    label_id = number * 7 - 1
    label = "" if label_id < 0 else RELEASE.labels[label_id]
    key = f"{SPLIT}_{number:011d}_000000_000010"
    metadata = {
        "key": key, "release": RELEASE.name, "split": SPLIT, "youtube_id": f"{number:011d}", "start_seconds": 0,
        "end_seconds": 10, "label": label, "label_id": label_id, "duration_seconds": 10.0, "num_frames": 300,
        "fps": 29.97, "width": 340, "height": 256, "video_codec": "h264", "audio_codec": "", "size_bytes": len(video),
        "sha256": hashlib.sha256(video).hexdigest(), "source": "original", "short": number == 2,
    }  # fmt: skip
    return Sample(key, label_id, metadata, video)


def samples() -> list[Sample]:
    draw = random.Random(3)
    return [sample(number, draw.randbytes(size)) for number, size in enumerate((1000, 1, 70_000, 4096))]


def files(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def shard_of(form: Format, number: int = 0) -> str:
    return form.shard_path(RELEASE.name, SPLIT, number, 1)


def write(form: Format, out: Path) -> StorePath:
    out.mkdir(exist_ok=True)
    written = form.write(local(out), shard_of(form), samples(), RELEASE.labels)
    counts: Any = {field.name: 0 for field in dataclasses.fields(SplitCounts)}
    entry = ShardEntry(shard_of(form), SPLIT, len(samples()), written.size_bytes, written.sha256)
    labels = LabelsEntry(len(RELEASE.labels), "")
    form.commit(
        local(out),
        Manifest(RELEASE.name, {"to": form.name}, {SPLIT: SplitCounts(**counts)}, (entry,), (), labels, {}, "0"),
    )
    return local(out)


def rows(form: Format) -> tuple[dict[str, Any], ...]:
    """What the table says of these samples."""
    return tuple({**one.metadata, "defects": ["short"] * one.metadata["short"]} for one in samples())


def test_what_is_written_is_read_back(form: Format, tmp_path: Path) -> None:
    out = write(form, tmp_path)
    with (out / shard_of(form)).digested() as file:
        found = [stored.sample for stored in form.read(out, shard_of(form), file)]
    assert [(one.key, one.label_id, one.video) for one in found] == [
        (one.key, one.label_id, one.video) for one in samples()
    ]
    # A file that only lists videos has no more to say of them.
    assert all(not one.metadata or one.metadata == two.metadata for one, two in zip(found, samples(), strict=True))


def test_equal_samples_give_equal_bytes(form: Format, tmp_path: Path) -> None:
    write(form, tmp_path / "one")
    write(form, tmp_path / "two")
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    # The version files of Lance's own have times and random names.
    assert {name: data for name, data in one.items() if not form.is_foreign(name)} == {
        name: data for name, data in two.items() if not form.is_foreign(name)
    }


def test_what_is_said_of_a_shard_is_true(form: Format, tmp_path: Path) -> None:
    shard = shard_of(form)
    written = form.write(local(tmp_path), shard, samples())
    data = (tmp_path / shard).read_bytes()
    assert (written.size_bytes, written.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    paths = list(form.video_files(local(tmp_path), shard)) * (len(samples()) if len(written.offsets) > 1 else 1)
    for one, offset, path in zip(samples(), written.offsets, paths, strict=False):
        if offset is not None:
            assert (tmp_path / path).read_bytes()[offset : offset + len(one.video)] == one.video


def test_no_sample_is_larger_than_its_bound(form: Format, tmp_path: Path) -> None:
    out = write(form, tmp_path)
    bound = form.overhead_bytes + sum(form.max_sample_bytes(len(one.video)) for one in samples())
    own = {shard_of(form), *form.video_files(out, shard_of(form))}
    assert sum(len(data) for name, data in files(tmp_path).items() if name in own) <= bound


def test_it_is_whole_with_its_sidecars_and_not_without(form: Format, tmp_path: Path) -> None:
    out = write(form, tmp_path)
    assert form.is_whole(out, shard_of(form))
    for name in form.sidecar_paths(shard_of(form)):
        (tmp_path / name).unlink()
        assert not form.is_whole(out, shard_of(form))


def test_nothing_is_half_made_under_the_name_of_a_shard(form: Format, tmp_path: Path) -> None:
    def ends_early() -> Iterator[Sample]:
        yield from samples()[:2]
        raise StagingError("the part is gone")

    with pytest.raises(StagingError, match="the part is gone"):
        form.write(local(tmp_path), shard_of(form), ends_early())
    assert not (tmp_path / shard_of(form)).exists()


def test_samples_that_are_as_their_rows_say_are_no_problem(form: Format, tmp_path: Path) -> None:
    out = write(form, tmp_path)
    with (out / shard_of(form)).digested() as file:
        stored = list(form.read(out, shard_of(form), file))
    expected = tuple(
        {**row, "sample_index": form.sample_index(0, number), "offset_bytes": one.offset_bytes}
        for number, (row, one) in enumerate(zip(rows(form), stored, strict=True))
    )
    assert problems(form, out, expected) == []
    wrong = ({**expected[0], "sha256": "0" * 64}, *expected[1:])
    assert len(problems(form, out, wrong)) == 1
    assert any("samples, the table says" in one for one in problems(form, out, expected[:-1]))


def problems(form: Format, out: StorePath, expected: tuple[dict[str, Any], ...]) -> list[str]:
    with (out / shard_of(form)).digested() as file:
        said = ExpectedSamples(expected, len(samples()), 0)
        return list(form.sample_problems(out, shard_of(form), file, said, lambda: None))


def test_a_shard_of_other_bytes_is_refused_or_differs(form: Format, tmp_path: Path) -> None:
    out = write(form, tmp_path)
    path = tmp_path / shard_of(form)
    whole = path.read_bytes()
    for data in (b"", whole[: len(whole) // 2], whole[:-1], b"\0" * len(whole)):
        path.write_bytes(data)
        assert problems(form, out, rows(form)) != [], len(data)


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_every_name_opens_a_layout_of_that_name(name: str) -> None:
    layout = open_layout(name)
    assert layout.name == name
    assert layout.title
    assert all("\n" not in line for line in layout.card_text())
