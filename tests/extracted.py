"""Extracts the miniature as the public scripts do, each of which is named where it is followed."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from kconvert.catalog.shelf import load_release

SPLITS = ("train", "val", "test")


def untar(archive: Path, folder: Path) -> None:
    """As `tar xf` does."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")


def archives(mini: Path, release: str, split: str) -> list[Path]:
    return sorted((mini / load_release(release).root / split).glob("*.tar.gz"))


def clips(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.mp4") if not path.name.startswith("._"))


def labels(mini: Path, release: str, split: str) -> Mapping[str, str]:
    """The labels of annotated clips, by name."""
    found = json.loads((mini / "expected" / f"{release}-{split}.json").read_text())
    return {row["name"]: row["label"] for row in found if row["label_source"] == "annotation"}


def official(mini: Path, release: str, root: Path) -> None:
    """What k400_extractor.sh, k600_extractor.sh and k700_2020_extractor.sh leave: `tar zxf` of each archive in the
    folder of its split."""
    for split in SPLITS:
        for archive in archives(mini, release, split):
            untar(archive, root / release / split)
        # The second archive of k400's miniature was packed many folders deep.
        for path in (root / release / split).glob("home/**/*.mp4"):
            path.rename(root / release / split / path.name)
        shutil.rmtree(root / release / split / "home", ignore_errors=True)
    shutil.copytree(mini / load_release(release).root / "annotations", root / release / "annotations")
    if release == "k400":
        untar(mini / "400/replacement_for_corrupted_k400.tgz", root / "k400/replacement")


def flat_root(mini: Path, release: str, root: Path) -> None:
    """The same, the folder of the release itself being what is given."""
    official(mini, release, root / "x")
    (root / "x" / release).rename(root / "given")
    shutil.rmtree(root / "x")


def arranged(mini: Path, root: Path) -> None:
    """What arrange_by_classes.py leaves below `videos`: absolute links, to the replacement of each clip that has one,
    and none for clips that are not annotated."""
    official(mini, "k400", root / "x")
    (root / "x/k400").rename(root / "k400")
    better = {path.name: path for path in clips(root / "k400/replacement")}
    for split in SPLITS:
        of = labels(mini, "k400", split)
        for path in clips(root / "k400" / split):
            if of.get(path.stem):
                link = root / "k400/videos" / split / of[path.stem] / path.name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(better.get(path.name, path).absolute())
    (root / "k400/annotations").rename(root / "k400/videos/annotations")


def into(
    folder: str, spell: Callable[[str], str], rename: Callable[[Path], str] = lambda path: path.name
) -> Callable[[Path, str, Path], None]:
    """A folder of each split with one of each class, however both are spelt; unlabelled splits are left out."""

    def make(mini: Path, release: str, root: Path) -> None:
        official(mini, release, root / "x")
        for split in SPLITS:
            of = labels(mini, release, split)
            for path in clips(root / "x" / release / split):
                if of.get(path.stem):
                    target = root / folder.format(split=split) / spell(of[path.stem]) / rename(path)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    path.rename(target)
        (root / "x" / release / "annotations").rename(root / "annotations")
        shutil.rmtree(root / "x")

    return make


def torchvision(label: str) -> str:
    """As `torchvision.datasets.Kinetics` names its folders."""
    return label.replace(" ", "_").replace("'", "").replace("(", "").replace(")", "")


def underscored(label: str) -> str:
    return label.replace(" ", "_")


def without_times(mini: Path, release: str, root: Path) -> None:
    """OpenMMLab's copy of k400: `videos_val/ID.mp4`."""
    official(mini, release, root / "x")
    for split in ("val",):
        (root / f"videos_{split}").mkdir(parents=True)
        for path in clips(root / "x" / release / split):
            path.rename(root / f"videos_{split}" / f"{path.stem[:11]}.mp4")
    (root / "x" / release / "annotations").rename(root / "annotations")
    shutil.rmtree(root / "x")


def torrent(mini: Path, release: str, root: Path) -> None:
    """The k400 torrent: train with times, val without, of several formats."""
    official(mini, release, root / "x")
    for split in ("train", "val"):
        of = labels(mini, release, split)
        endings = iter(("mp4", "mkv", "webm") * 1000)
        for path in clips(root / "x" / release / split):
            if of.get(path.stem):
                leaf = path.name if split == "train" else f"{path.stem[:11]}.{next(endings)}"
                target = root / f"{split}_256" / underscored(of[path.stem]) / leaf
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
    (root / "x" / release / "annotations").rename(root / "annotations")
    shutil.rmtree(root / "x")


def written(rows: Iterable[Mapping[str, object]]) -> dict[str, tuple[object, ...]]:
    """What must be equal of clips that are written, by key."""
    return {
        str(row["key"]): (row["sha256"], row["label"], row["label_id"]) for row in rows if row["status"] == "written"
    }


def there(origin: Path) -> tuple[set[str], set[str]]:
    """The names without endings, and the digests, of the files below a folder, or that links there lead to."""
    found = [path for path in origin.rglob("*") if path.suffix in (".mp4", ".mkv", ".webm") and path.is_file()]
    return {path.stem for path in found}, {hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def stems_of(key: str) -> set[str]:
    """What the file of a sample's clip may be called, without its ending."""
    name = key.split("_", 1)[1]
    return {name, name[:11]}
