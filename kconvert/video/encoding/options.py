"""What a person asks for when clips are encoded, and the recipes: named sets of it.

Practice that the recipes follow: MMAction2's `tools/data/resize_videos.py` (short side 256, `libx264 -g 16 -an`), that
of VideoMAE and UniFormer (short side 320, the same script), and DALI's advice for random access (`-g 5`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, get_args

RecipeName = Literal["train-256", "train-320", "dense-256", "mmaction2-256"]
VideoCodec = Literal["h264", "hevc", "av1"]
PixelFormat = Literal["yuv420p", "yuv420p10le"]
Reencode = Literal["needed", "always"]
AudioTrack = Literal["keep", "drop", "resample"]
AudioMember = Literal["flac", "wav", "m4a"]

X264_PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow",
)  # fmt: skip
AAC_RATES = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
"""ISO/IEC 14496-3, 1.6.3.4, up to what is of use."""
BALANCED = "balanced"
"""The preset of ours: the best point of a sweep over those of each encoder (see the guide)."""
MAX_AV1_PRESET = 13
_CODECS: tuple[str, ...] = get_args(VideoCodec)
_MAX_SIDE = 16_384
"""What x264 takes."""
_MIN_FPS, _MAX_FPS = 0.01, 1000
MAX_AV1_FPS = 240
"""SVT-AV1 takes no more."""
_MAX_DENOMINATOR = 1001
_MAX_CRF: Mapping[str, int] = {"h264": 51, "hevc": 51, "av1": 63}
DEFAULT_CRF: Mapping[str, float] = {"h264": 21.5, "hevc": 24.0, "av1": 32.0}
"""In each encoder's own measure."""


@dataclass(frozen=True)
class VideoOptions:
    """How clips are encoded for training; they stay as they are hosted unless one of these is given."""

    recipe: RecipeName | None = None
    """A named set of the options below; those that are given, too, count more. `kconvert help training` says what each
    is for."""
    short_side: int | None = None
    """The shorter side in pixels, of the upright picture with square pixels; smaller clips are not enlarged. Default:
    as it is."""
    fps: float | None = None
    """Frames a second, constant: of each time, the frame that is shown nearest to it. Default: every frame, at its
    time."""
    keyframes: int | None = None
    """Every so many frames, and nowhere else, is a keyframe, from which decoding can begin. Default: 16."""
    codec: VideoCodec | None = None
    """What the video is encoded with. Default: h264."""
    crf: float | None = None
    """The quality, where less is better: 0 to 51 for h264 and hevc, to 63 for av1. Default: 21.5, 24, 32."""
    preset: str | None = None
    """The encoder's effort: x264's and x265's names from ultrafast to veryslow, 0 to 13 for av1. Default: balanced,
    the best point of a sweep."""
    pix_fmt: PixelFormat | None = None
    """How pixels are stored. Default: yuv420p."""
    reencode: Reencode | None = None
    """Whether clips that are already as asked keep their bytes (needed), or are encoded, too (always). Default:
    needed."""

    def __post_init__(self) -> None:
        for name, most in (("short_side", _MAX_SIDE), ("keyframes", 10_000)):
            value = getattr(self, name)
            least = 2 if name == "short_side" else 1
            if value is not None and not least <= value <= most:
                raise ValueError(f"--video.{name} {value}: expected {least} to {most}")
        if self.short_side is not None and self.short_side % 2:
            raise ValueError(f"--video.short_side {self.short_side}: expected an even number")
        if self.fps is not None and not _MIN_FPS <= self.fps <= _MAX_FPS:
            raise ValueError(f"--video.fps {self.fps:g}: expected {_MIN_FPS} to {_MAX_FPS}")

    @property
    def is_asked(self) -> bool:
        """Whether any of them is given."""
        return self != VideoOptions()


@dataclass(frozen=True)
class AudioOptions:
    """What becomes of the sound."""

    track: AudioTrack = "keep"
    """Keep the sound as it is, where mp4 can hold it; drop it; or resample it. Also as --audio keep."""
    rate: int | None = None
    """Samples a second, with --audio resample, or of the member. Default: as they are."""
    channels: int | None = None
    """1 or 2, with --audio resample, or of the member. Default: 2, or 1 where there is one; as many as there are in the
    member."""
    member: AudioMember | None = None
    """Store the sound as a member of its own, too. flac and wav have 16 bits and as many samples as the sound, none
    where there is none; m4a is exact in neither. Default: none."""

    def __post_init__(self) -> None:
        if self.rate is not None and self.rate not in AAC_RATES:
            raise ValueError(f"--audio.rate {self.rate}: expected one of {', '.join(map(str, AAC_RATES))}")
        if self.channels is not None and self.channels not in (1, 2):
            raise ValueError(f"--audio.channels {self.channels}: expected 1 or 2")
        for name in ("rate", "channels"):
            if getattr(self, name) is not None and self.track != "resample" and self.member is None:
                raise ValueError(
                    f"--audio.{name}: would be ignored; leave it out, or give --audio resample or --audio.member"
                )


@dataclass(frozen=True)
class VideoSettings:
    """The same with nothing left open."""

    short_side: int | None = None
    """In pixels; `None` for as it is."""
    fps: Fraction | None = None
    """Frames a second; `None` for every frame at its time."""
    keyframes: int = 16
    """From one keyframe to the next, in frames."""
    codec: VideoCodec = "h264"
    """Of the encoder."""
    crf: float = 21.5
    """In the encoder's own measure."""
    preset: str = BALANCED
    """In the encoder's own words, or `BALANCED`."""
    pix_fmt: PixelFormat = "yuv420p"
    """Of what is written."""
    reencode: Reencode = "needed"
    """Whether clips that conform are encoded, too."""


@dataclass(frozen=True)
class Recipe:
    """A named set of settings; a change of one is a new version."""

    version: int
    """From 1."""
    video: VideoOptions
    """What it sets."""
    audio: AudioTrack
    """What becomes of the sound unless a person says."""
    serves: str
    """Which practice it follows."""


RECIPES: Mapping[str, Recipe] = {
    "train-256": Recipe(
        1, VideoOptions(short_side=256, keyframes=16), "keep", "crops of 224: SlowFast, MViT, R(2+1)D, X3D, TimeSformer"
    ),
    "train-320": Recipe(
        1, VideoOptions(short_side=320, keyframes=16), "keep", "crops of up to 288: VideoMAE, UniFormer, large X3D"
    ),
    "dense-256": Recipe(
        1, VideoOptions(short_side=256, keyframes=4, crf=23), "keep", "random access: short samples from anywhere"
    ),
    "mmaction2-256": Recipe(
        1,
        VideoOptions(short_side=256, keyframes=16, crf=23, preset="medium", reencode="always"),
        "drop",
        "as MMAction2's resize_videos.py --dense would make them, but upright and whole",
    ),
}


@dataclass(frozen=True)
class Encoding:
    """What becomes of each clip."""

    video: VideoSettings | None = None
    """How the video is encoded; `None` where it stays as it is."""
    audio: AudioOptions = field(default_factory=AudioOptions)
    """What becomes of the sound."""

    @property
    def is_any(self) -> bool:
        """Whether anything becomes of them at all."""
        return self.video is not None or self.audio != AudioOptions()

    def identity(self) -> dict[str, Any]:
        """All that changes bytes, for the manifest; nothing if nothing becomes of clips."""
        if not self.is_any:
            return {}
        video = None if self.video is None else dataclasses.asdict(self.video)
        if video is not None and video["fps"] is not None:
            video["fps"] = str(video["fps"])
        return {"video": video, "audio": dataclasses.asdict(self.audio)}


def encoding_of(video: VideoOptions, audio: AudioOptions) -> Encoding:
    """What the options come to. Raises `ValueError` for what the codec does not take."""
    settings = _settings(video) if video.is_asked else None
    recipe = RECIPES.get(video.recipe or "")
    if recipe is not None and dataclasses.replace(audio, member=None) == AudioOptions():
        audio = dataclasses.replace(audio, track=recipe.audio)
    return Encoding(settings, audio)


def _settings(options: VideoOptions) -> VideoSettings:
    recipe = RECIPES.get(options.recipe or "")
    given = {} if recipe is None else _given(recipe.video)
    given |= _given(options)
    given.pop("recipe", None)
    codec = str(given.setdefault("codec", "h264"))
    given["crf"] = float(given.get("crf", DEFAULT_CRF[codec]))
    if "fps" in given:
        # As it is written: 29.97 is 2997/100, 23.976023976 is 24000/1001.
        given["fps"] = Fraction(str(given["fps"])).limit_denominator(_MAX_DENOMINATOR)
        if codec == "av1" and given["fps"] > MAX_AV1_FPS:
            raise ValueError(f"--video.fps {options.fps:g}: expected at most {MAX_AV1_FPS} with av1")
    settings = VideoSettings(**given)
    if not 0 <= settings.crf <= _MAX_CRF[codec]:
        raise ValueError(f"--video.crf {settings.crf:g}: expected 0 to {_MAX_CRF[codec]} with {codec}")
    _require_preset(settings)
    return settings


def _require_preset(settings: VideoSettings) -> None:
    names = tuple(map(str, range(MAX_AV1_PRESET + 1))) if settings.codec == "av1" else X264_PRESETS
    if settings.preset not in (BALANCED, *names):
        shown = f"0 to {MAX_AV1_PRESET}" if settings.codec == "av1" else ", ".join(names)
        raise ValueError(f"--video.preset {settings.preset}: expected {BALANCED}, or with {settings.codec} {shown}")


def _given(options: VideoOptions) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(options).items() if value is not None}
