"""A split as a pipeline of webdataset's, split over the ranks and workers of a training run as that library does it.

    loader = torch.utils.data.DataLoader(kconvert.webdataset("data/k400", "train", shardshuffle=100), batch_size=None)

Each rank reads shards of its own, and of these each of its workers (as `webdataset.split_by_node` and `split_by_worker`
do), so that ranks have different numbers of samples: as many as `len` says.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy
import webdataset

from kconvert.dataset.manifest import finished_manifest, require_split
from kconvert.errors import UsageError
from kconvert.storage.open import to_path
from kconvert.storage.store import StorePath
from kconvert.video.frames import decode, upright

_PREFIX = "kconvert+"
"""Of the URLs that are opened by us: of stores, for which webdataset has no handler, and of paths that it would cut."""


class Clips(webdataset.WebDataset):  # type: ignore[misc]
    """webdataset's `WebDataset` that knows its length. (What its `with_length` makes cannot be sent to workers that are
    not forked.)"""

    apportion: _Apportion

    def __len__(self) -> int:
        """Samples of this rank."""
        rank, num_ranks = self.apportion.ranks()
        return sum(self.apportion.num_samples[rank::num_ranks])


def open_webdataset(folder: str | os.PathLike[str], split: str, *, frames: bool = False, **options: Any) -> Clips:
    """The samples of a split of a folder, or of a place in an object store, as webdataset's own `WebDataset`.

    A sample is a dictionary: `__key__`; `cls`, the label id (-1 without a label); `json`, a dictionary of what is known
    of the clip; `mp4`, the bytes of the video, or, with `frames`, its pictures (T × height × width × 3, RGB, uint8).
    `options` are those of `webdataset.WebDataset`, as `shardshuffle=100` or `handler=webdataset.warn_and_continue`; the
    shards are in order without them. `len` is the number of samples of this rank; ranks come from `torch.distributed`,
    or from RANK and WORLD_SIZE.

    Raises: `UsageError` if the folder is not a finished one of format webdataset, has no such split, or has fewer
    shards of it than there are ranks; where a worker begins, if there are fewer than ranks × workers.
    """
    out = to_path(os.fspath(folder))
    manifest = finished_manifest(out)
    if manifest.format != "webdataset":
        raise UsageError(f"{out}: is in the format {manifest.format}, expected webdataset; see `kconvert help reading`")
    require_split(out, manifest, split)
    shards = [shard for shard in manifest.shards if shard.split == split]
    if not shards:
        raise UsageError(f"{out}: the split {split} has no shard, as none of its clips was written; see its table")
    apportion = _Apportion(f"{split} of {out}", tuple(shard.num_samples for shard in shards))
    apportion.require_enough(num_workers=1)
    urls = [_url(out / shard.path) for shard in shards]
    dataset = Clips(urls, nodesplitter=apportion, **{"shardshuffle": False, **options})
    dataset.apportion = apportion
    decoders = [_decode_frames] if frames else []
    # What is to become of a clip that does not decode is the user's word.
    found: Clips = dataset.decode(*decoders, handler=options.get("handler", webdataset.reraise_exception))
    return found


@dataclass
class _Apportion:
    """Gives a rank its shards, once it is sure that there is one for each worker of each rank.

    A worker that is not forked knows nothing of the ranks that its parent has joined: they are sent to it.
    """

    name: str
    """What a message calls the split."""
    num_samples: tuple[int, ...]
    """Of each shard."""
    sent: tuple[int, int] | None = None
    """The rank, and how many there are, in the process that started this one; `None` in that itself."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "sent": self.ranks()}

    def ranks(self) -> tuple[int, int]:
        """The rank of this process, and how many there are: as it knows itself, or else as it was sent."""
        rank, num_ranks, *_ = webdataset.utils.pytorch_worker_info()
        return (rank, num_ranks) if num_ranks > 1 or self.sent is None else self.sent

    def __call__(self, shards: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        rank, num_ranks = self.require_enough()
        # Endless, where they are drawn with repetition.
        for shard in itertools.islice(shards, rank, None, num_ranks):
            # In whatever process this comes to be.
            protocol = shard["url"].partition(":")[0]
            if protocol.startswith(_PREFIX):
                webdataset.gopen_schemes[protocol] = _open
            yield shard

    def require_enough(self, num_workers: int | None = None) -> tuple[int, int]:
        """The rank of this process, and how many there are. Raises `UsageError` if there are too few shards."""
        rank, num_ranks = self.ranks()
        num_workers = webdataset.utils.pytorch_worker_info()[3] if num_workers is None else num_workers
        num_shards = len(self.num_samples)
        if num_shards < num_ranks * num_workers:
            raise UsageError(
                f"{self.name}: {num_shards} shards for {num_ranks} ranks of {num_workers} workers each, expected "
                f"{num_ranks * num_workers} or more; use fewer workers, or convert with a smaller --shard.max_bytes"
            )
        return rank, num_ranks


def _url(path: StorePath) -> str:
    """What webdataset is to open a shard by."""
    if path.local_path is None:
        return f"{_PREFIX}{path}"
    # It takes a path for a URL, and cuts what looks like its query or its fragment.
    return f"{_PREFIX}file://{path}" if set("?#;%\r\n\t") & set(str(path)) else str(path)


def _open(url: str, mode: str = "rb", bufsize: int = 0, **more: Any) -> BinaryIO:
    """Opens one of our URLs; webdataset calls it."""
    return to_path(url.removeprefix(_PREFIX)).open_to_read()


def _decode_frames(name: str, data: bytes) -> Any:
    """The pictures of a video; `None` for any other member."""
    if name.rpartition(".")[2] != "mp4":
        return None
    return numpy.stack([upright(frame) for frame in decode(data)])
