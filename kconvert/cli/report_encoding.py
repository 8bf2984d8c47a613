"""What the report shows of clips that were encoded: their sizes before and after, why, how near they are, and pairs of
pictures: a frame of the source, and what was written of it."""

from __future__ import annotations

import base64
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from kconvert.catalog.clip import sample_key
from kconvert.dataset.manifest import Manifest
from kconvert.dataset.table import FinalTable
from kconvert.dataset.videos import Videos
from kconvert.staging.journal import Journal
from kconvert.staging.source_stills import SourceStill, source_stills, stills_path
from kconvert.storage.store import StorePath
from kconvert.units import format_bytes
from kconvert.video.process import VideoProcess
from kconvert.video.stills import STILL_PIXELS, still_at

_NUM_PAIRS = 12
_SSIM_STEP = 0.01


def encoding_shown(out: StorePath, manifest: Manifest, written: Mapping[str, FinalTable]) -> dict[str, Any] | None:
    """What the page shows of it; `None` where nothing was encoded."""
    if not manifest.options.get("video") and not manifest.options.get("audio"):
        return None
    return {
        "sizes": [[split, *_sizes(rows)] for split, rows in written.items()],
        "reasons": {split: _counted(rows, "encoding_reasons") for split, rows in written.items()},
        "notes": {split: _counted(rows, "encoding_notes") for split, rows in written.items()},
        "ssim": {split: _similarities(rows) for split, rows in written.items()},
        "pairs": list(itertools.islice(_pairs(out, manifest, written), _NUM_PAIRS)),
    }


def _sizes(rows: FinalTable) -> list[Any]:
    """How many clips are unchanged, remuxed and encoded, and the sizes of the latter two together, before and after."""
    how = Counter(rows.column("encoding"))
    before = [size for size in rows.column("source_size_bytes") if size is not None]
    sizes = zip(rows.column("size_bytes"), rows.column("source_size_bytes"), strict=True)
    after = sum(size for size, source in sizes if source is not None)
    return [how["unchanged"], how["remuxed"], how["encoded"], sum(before), after]


def _counted(rows: FinalTable, column: str) -> list[tuple[str, int]]:
    """How many clips have each of the words of a column, without the numbers in them; the most frequent first."""
    counts = Counter(word.partition("=")[0] for words in rows.column(column) for word in set(words))
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _similarities(rows: FinalTable) -> list[tuple[float, int]]:
    """How many of the compared clips are in each bin of SSIM, by its start."""
    bins = Counter(int(ssim / _SSIM_STEP + 1e-9) for ssim in rows.column("encoding_ssim") if ssim is not None)
    return [(round(number * _SSIM_STEP, 2), bins[number]) for number in sorted(bins)]


def _pairs(out: StorePath, manifest: Manifest, written: Mapping[str, FinalTable]) -> Iterator[dict[str, Any]]:
    """Frames of sources, as long as the journal has them, and what was written of them."""
    found = sorted(_stills(out, manifest), key=lambda pair: pair[1].sha256)
    with VideoProcess() as process:
        for split, still in found:
            rows = written[split].where({"key": sample_key(split, still.name)})
            if not len(rows):
                # It was rejected, as a duplicate perhaps.
                continue
            row = rows.row(0)
            video = Videos(out).read(row)
            try:
                image = still_at(process, video, still.frame_index, STILL_PIXELS)
            except ValueError:
                continue
            before, after = row["source_size_bytes"], row["size_bytes"]
            yield {
                "key": row["key"],
                "label": row["label"],
                "about": f"SSIM {still.ssim:.4f}, {format_bytes(before or after)} to {format_bytes(after)}",
                "images": [f"data:image/jpeg;base64,{one}" for one in (still.still, base64.b64encode(image).decode())],
            }


def _stills(out: StorePath, manifest: Manifest) -> Iterator[tuple[str, SourceStill]]:
    for split in manifest.splits:
        journal = Journal(out).split(split)
        for archive_id in journal.ids().values():
            for still in source_stills(stills_path(journal, archive_id)):
                yield split, still
