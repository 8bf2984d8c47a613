"""Which stream of a clip is its video: the one that decoders choose, everywhere the same; and whether it has times."""

from __future__ import annotations

from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

_WITHOUT_TIMES = frozenset(("avi", "h264", "hevc", "m4v", "mpegvideo", "vvc", "obu", "ivf"))


def best_video(container: InputContainer) -> VideoStream | None:
    """The stream that libavformat calls the best (`av_find_best_stream`), as long as it is no cover picture, else the
    first one that is none; `None` if there is none."""
    videos = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
    best = container.streams.best("video")
    return next((one for one in videos if best is not None and one.index == best.index), videos[0] if videos else None)


def has_no_shown_times(container: InputContainer, video: VideoStream) -> bool:
    """Whether nothing says when frames are shown that are decoded in another order: AVI has the times of decoding only,
    elementary streams have none, and what libavformat makes up for them is wrong where frames are reordered."""
    return container.format.name in _WITHOUT_TIMES and bool(video.codec_context.has_b_frames)
