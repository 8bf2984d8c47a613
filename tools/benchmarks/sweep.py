"""What encoders cost and give: CPU time, bytes and SSIM of clips at many settings, from which the preset is chosen."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from av.video.reformatter import Interpolation
from smoke import parse

from benchmarks.encoding import made_clips, reference, ssim
from benchmarks.machine import describe
from benchmarks.material import clip_parser
from kconvert.video.child import Clip
from kconvert.video.encoding import encoder, pictures
from kconvert.video.encoding.encode import encode
from kconvert.video.encoding.encoded import Known
from kconvert.video.encoding.options import AudioOptions, Encoding, VideoSettings
from kconvert.video.metadata import MediaMetadata

_OURS = encoder.BALANCED_PRESETS["h264"]
_EXACT = Interpolation.ACCURATE_RND | Interpolation.BITEXACT
_SCALERS = {
    "bicubic": pictures.SCALER,
    "bilinear": Interpolation.BILINEAR | _EXACT,
    "area": Interpolation.AREA | _EXACT,
    "lanczos": Interpolation.LANCZOS | _EXACT,
}


@dataclass(frozen=True)
class Setting:
    """One way to encode."""

    name: str
    preset: str
    params: str = ""
    """Of x264, beside ours."""
    crf: float = 21.5
    keyframes: int = 16
    scaler: str = "bicubic"


def settings() -> Iterator[Setting]:
    """What is compared: presets, and one thing changed at a time in ours."""
    preset, params = _OURS
    ours = Setting("balanced", preset, params)
    yield ours
    for name in ("ultrafast", "superfast", "veryfast", "faster", "medium"):
        yield Setting(name, name)
    for more in (
        "mbtree=0",
        "rc-lookahead=8",
        "rc-lookahead=40",
        "b-adapt=1",
        "bframes=0",
        "me=hex:subme=2",
        "subme=4",
        "trellis=1",
    ):
        yield replace(ours, name=f"balanced, {more}", params=f"{params}:{more}")
    for crf in (18.0, 20.0, 23.0, 26.0):
        yield replace(ours, name=f"balanced, crf {crf:g}", crf=crf)
    for every in (4, 8, 32, 250):
        yield replace(ours, name=f"balanced, keyframes {every}", keyframes=every)
    for scaler in _SCALERS:
        if scaler != ours.scaler:
            yield replace(ours, name=f"balanced, {scaler}", scaler=scaler)


def main(words: Sequence[str]) -> int:
    parser = clip_parser("sweep", __doc__)
    parser.add_argument("--sources", type=Path, nargs="*", help="videos to use instead of those that are made here")
    parser.add_argument("--settings", type=int, default=None, help="only so many")
    options = parse(parser, words, settings=2)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        sources = [path.read_bytes() for path in options.sources or ()] or made_clips(folder, options.smoke)
        (folder / "clips").mkdir()
        references = []
        for number, data in enumerate(sources):
            (folder / "clips" / f"{number}.mp4").write_bytes(data)
            references.append(reference(folder, str(number)))
        print(f"{describe()}; {len(sources)} clips, {sum(map(len, sources)):,} bytes, short side 256, without sound\n")
        print("| x264 | CPU s a clip | bytes | SSIM |\n|---|--:|--:|--:|")
        base = None
        for setting in list(settings())[: options.settings]:
            seconds, videos = measured(setting, sources)
            size = sum(map(len, videos))
            base = base or size
            similar = statistics.mean(ssim(folder, video, path) for video, path in zip(videos, references, strict=True))
            print(f"| {setting.name} | {seconds / len(sources):.2f} | {size / base:.2f} | {similar:.4f} |", flush=True)
        shutil.rmtree(folder / "clips")
    return 0


def measured(setting: Setting, sources: Sequence[bytes]) -> tuple[float, list[bytes]]:
    """CPU seconds for all clips, and the videos."""
    encoder.BALANCED_PRESETS = {**encoder.BALANCED_PRESETS, "h264": (setting.preset, setting.params)}
    pictures.SCALER = _SCALERS[setting.scaler]
    asked = VideoSettings(short_side=256, crf=setting.crf, keyframes=setting.keyframes, reencode="always")
    encoding = Encoding(asked, AudioOptions("drop"))
    videos, start = [], time.process_time()
    for data in sources:
        made = encode(Clip(data), lambda what: None, encoding, Known(MediaMetadata()))
        assert made.about.how == "encoded", made.about
        videos.append(made.data)
    return time.process_time() - start, videos
