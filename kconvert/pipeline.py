"""A split as a pipeline of webdataset's, split over the ranks and workers of a training run as that library does it.

    loader = torch.utils.data.DataLoader(kconvert.webdataset("data/k400", "train", shardshuffle=100), batch_size=None)

Each rank reads shards of its own, and of these each of its workers (`webdataset.split_by_node` and `split_by_worker`),
so that ranks have different numbers of samples: as many as `len` says.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from kconvert.errors import UsageError
from kconvert.files import AnyPath, to_path
from kconvert.folder import finished_manifest
from kconvert.frames import decode
from kconvert.objects import ObjectPath

if TYPE_CHECKING:
    from webdataset import WebDataset

_PREFIX = "kconvert+"
"""Of the URLs that are opened by us: of stores, for which webdataset has no handler, and of paths that it would cut."""


def open_webdataset(folder: str | os.PathLike[str], split: str, *, frames: bool = False, **options: Any) -> WebDataset:
    """The samples of a split of a folder, or of a place in an object store, as webdataset's own `WebDataset`.

    A sample is a dictionary: `__key__`; `cls`, the label id (-1 without a label); `json`, a dictionary of what is known
    of the clip; `mp4`, the bytes of the video, or, with `frames`, its pictures (T × height × width × 3, RGB, uint8).
    `options` are those of `webdataset.WebDataset`, as `shardshuffle=100` or `handler=webdataset.warn_and_continue`; the
    shards are in order without them. `len` is the number of samples of this rank; ranks come from `torch.distributed`,
    or from RANK and WORLD_SIZE.

    Raises: `UsageError` if the folder is not a finished one of format webdataset, has no such split, or has fewer
    shards of it than there are ranks; where a worker begins, if there are fewer than ranks × workers.
    """
    import webdataset

    out = to_path(os.fspath(folder))
    manifest = finished_manifest(out)
    if manifest.format != "webdataset":
        raise UsageError(f"{out}: is in the format {manifest.format}, expected webdataset; see `kconvert help reading`")
    if split not in manifest.splits:
        raise UsageError(f"{out}: no split {split!r}, expected one of {', '.join(manifest.splits)}")
    shards = [shard for shard in manifest.shards if shard.split == split]
    if not shards:
        raise UsageError(f"{out}: the split {split} has no shard, as none of its clips was written")
    apportion = _Apportion(f"{split} of {out}", len(shards))
    rank, num_ranks, *_ = apportion.require_enough(num_workers=1)
    dataset = webdataset.WebDataset(
        [_url(out / shard.path) for shard in shards],
        nodesplitter=apportion,
        **{"shardshuffle": False, **options},
    )
    decoders = [_decode_frames] if frames else []
    own = sum(shard.num_samples for shard in shards[rank::num_ranks])
    found: WebDataset = dataset.decode(*decoders).with_length(own, silent=True)
    return found


@dataclass(frozen=True)
class _Apportion:
    """Gives a rank its shards, once it is sure that there is one for each worker of each rank."""

    name: str
    num_shards: int

    def __call__(self, shards: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        import webdataset

        shards = list(shards)
        # In whatever process this comes to be.
        for protocol in {shard["url"].partition(":")[0] for shard in shards}:
            if protocol.startswith(_PREFIX):
                webdataset.gopen_schemes[protocol] = _open
        self.require_enough()
        yield from webdataset.split_by_node(shards)

    def require_enough(self, num_workers: int | None = None) -> tuple[int, int]:
        """The rank of this process, and how many there are. Raises `UsageError` if there are too few shards."""
        import webdataset

        rank, num_ranks, _, found_workers = webdataset.utils.pytorch_worker_info()
        num_workers = found_workers if num_workers is None else num_workers
        if self.num_shards < num_ranks * num_workers:
            raise UsageError(
                f"{self.name}: {self.num_shards} shards for {num_ranks} ranks of {num_workers} workers each, expected "
                f"{num_ranks * num_workers} or more; use fewer workers, or convert with a smaller --shard.max_bytes"
            )
        return rank, num_ranks


def _url(path: AnyPath) -> str:
    """What webdataset is to open a shard by."""
    if isinstance(path, ObjectPath):
        return f"{_PREFIX}{path}"
    # It takes a path for a URL, and cuts what looks like its query or its fragment.
    return f"{_PREFIX}file://{path}" if {"?", "#", ";", "%"} & set(str(path)) else str(path)


def _open(url: str, mode: str = "rb", bufsize: int = 0, **more: Any) -> BinaryIO:
    """Opens one of our URLs; webdataset calls it."""
    path = to_path(url.removeprefix(_PREFIX))
    return path.open_to_read() if isinstance(path, ObjectPath) else open(path, "rb")


def _decode_frames(name: str, data: bytes) -> Any:
    """The pictures of a video; `None` for any other member."""
    if name.rpartition(".")[2] != "mp4":
        return None
    import numpy

    return numpy.stack([frame.to_ndarray(format="rgb24") for frame in decode(data)])
