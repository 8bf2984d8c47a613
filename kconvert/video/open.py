"""Opening a prober as the options of the check ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kconvert.video.prober import Prober
from kconvert.video.verdict import CheckOptions

if TYPE_CHECKING:
    from kconvert.video.process import VideoProcess


def open_prober(options: CheckOptions, process: VideoProcess | None = None) -> Prober:
    """The prober that the options ask for; where it needs a video process, this one, or that of this process. Raises
    `UsageError` if it is not installed."""
    if options.prober == "ffprobe":
        from kconvert.video.ffprobe import FfprobeProber

        return FfprobeProber(options)
    from kconvert.video.isolated import IsolatedProber
    from kconvert.video.process import video_process

    return IsolatedProber(options, process or video_process())


def tool_versions(options: CheckOptions) -> Mapping[str, str]:
    """What judges the clips, with versions, for the manifest. Raises `UsageError` if it is not installed."""
    if options.prober == "ffprobe":
        from kconvert.video import ffprobe

        return ffprobe.versions(options)
    from kconvert.video import libav

    return libav.versions()
