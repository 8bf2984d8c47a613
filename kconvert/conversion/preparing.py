"""Preparing: what becomes of a clip's bytes before they are staged: they are looked into, and encoded where that is
asked for.

Clips are given one after the other, and are prepared while the next ones are read: by one video process where they are
only looked into, by as many as the task has cores where they are encoded.
"""

from __future__ import annotations

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue

from kconvert.staging.finished import FinishedClip, FinishedClips
from kconvert.storage.records import build
from kconvert.video.encoding.encoded import Encoded, EncodedClip, Known, failed, is_compared
from kconvert.video.encoding.options import Encoding
from kconvert.video.open import open_prober
from kconvert.video.process import ClipFault, VideoProcess, video_process
from kconvert.video.verdict import CheckOptions, Fault, Probed, judge, rejecting_defect

_ENCODING_TIMEOUTS = 10
"""How much longer than a check encoding may take: it decodes all, and does more."""
_MAX_WAITING_BYTES = 256 << 20
"""Of clips that are prepared or wait for it, beside one that may be larger."""


@dataclass(frozen=True)
class Prepared:
    """What is known of a clip, and what is staged of it."""

    probed: Probed
    """Of the clip as it is hosted."""
    encoded: Encoded = field(default_factory=lambda: Encoded("unchanged"))
    """What became of it."""
    written: Probed | None = None
    """Of what is written instead; `None` where that is the clip itself."""


@dataclass(frozen=True)
class PreparedClip:
    """The same, and the bytes."""

    about: Prepared
    """What is known of it."""
    data: bytes = b""
    """What is written instead of the clip; nothing where that is the clip itself."""
    sound: bytes = b""
    """The file of its sound; nothing where there is none."""


Preparing = Callable[[], PreparedClip]
"""Gives what became of a clip, to be called once. Raises: as `Probing` does."""


class Preparer(ABC):
    """Prepares the clips of one archive. To be closed."""

    @abstractmethod
    def begin(self, data: bytes, sha256: str) -> Preparing:
        """Begins to prepare a clip; `sha256` is that of its bytes."""

    @abstractmethod
    def has_room(self, num_waiting: int, num_bytes: int) -> bool:
        """Whether another clip may be begun before the first of so many, of so many bytes, is asked for."""

    @abstractmethod
    def close(self) -> None:
        """Waits for what is at work."""


class ProbePreparer(Preparer):
    """Clips are only looked into, one at a time, while the next one is read."""

    def __init__(self, options: CheckOptions) -> None:
        self._prober = open_prober(options)

    def begin(self, data: bytes, sha256: str) -> Preparing:
        probing = self._prober.begin(data)
        return lambda: PreparedClip(Prepared(probing()))

    def has_room(self, num_waiting: int, num_bytes: int) -> bool:
        return num_waiting == 0

    def close(self) -> None:
        """Nobody waits for it."""


class EncodingPreparer(Preparer):
    """Clips are looked into, and encoded if they are good."""

    def __init__(
        self,
        options: CheckOptions,
        encoding: Encoding,
        num_processes: int,
        finished: FinishedClips,
        claim: Callable[[], None],
    ) -> None:
        """`claim` is called before a clip is kept whose sound comes out otherwise with another instruction set."""
        self._finished = finished
        self._claim = claim
        self._options = options
        self._encoding = encoding
        self._num_processes = num_processes
        self._idle: SimpleQueue[VideoProcess] = SimpleQueue()
        for number in range(num_processes):
            self._idle.put(video_process(number))
        self._pool = ThreadPoolExecutor(num_processes)

    def begin(self, data: bytes, sha256: str) -> Preparing:
        if (kept := self._finished.get(sha256)) is not None:
            about = build(Prepared, kept.about)
            end = len(kept.data) - (about.encoded.sound.size_bytes if about.encoded.sound is not None else 0)
            found = PreparedClip(about, kept.data[:end], kept.data[end:])
            return lambda: found
        future: Future[PreparedClip] = self._pool.submit(self._prepared, data, sha256)
        return functools.partial(self._result, future, sha256)

    def _result(self, future: Future[PreparedClip], sha256: str) -> PreparedClip:
        clip = future.result()
        if clip.about.encoded.is_sound_inexact:
            self._claim()
        if clip.about.encoded != Encoded("unchanged"):
            self._finished.add(sha256, FinishedClip(dataclasses.asdict(clip.about), clip.data + clip.sound))
        return clip

    def has_room(self, num_waiting: int, num_bytes: int) -> bool:
        return num_waiting <= self._num_processes and (not num_waiting or num_bytes <= _MAX_WAITING_BYTES)

    def _prepared(self, data: bytes, sha256: str) -> PreparedClip:
        process = self._idle.get()
        try:
            return prepare(process, data, sha256, self._options, self._encoding)
        finally:
            self._idle.put(process)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._finished.keep()


def open_preparer(
    options: CheckOptions, encoding: Encoding, num_cores: int, finished: FinishedClips, claim: Callable[[], None]
) -> Preparer:
    """What prepares clips as they are asked for; see `EncodingPreparer` for `claim`."""
    if not encoding.is_any:
        return ProbePreparer(options)
    return EncodingPreparer(options, encoding, num_cores, finished, claim)


def prepare(process: VideoProcess, data: bytes, sha256: str, options: CheckOptions, encoding: Encoding) -> PreparedClip:
    """What becomes of one clip. Raises: as `Probing` does."""
    # Encoding decodes all, so that nothing is to be decoded before it.
    early = dataclasses.replace(options, depth="index") if options.depth == "decode" else options
    probed = open_prober(early, process).probe(data)
    if rejecting_defect(judge(probed, options).defects, options.dropped):
        return PreparedClip(Prepared(probed))
    known = Known(probed.metadata, is_compared(sha256))
    clip = _encoded(process, data, known, _ENCODING_TIMEOUTS * options.timeout, encoding)
    encoded = clip.about
    if encoded.how == "encoded" or encoded.fault:
        metadata = dataclasses.replace(probed.metadata, num_decoded_frames=encoded.num_decoded_frames)
        probed = Probed(metadata, encoded.fault)
    elif options.depth == "decode":
        probed = open_prober(options, process).probe(data)
    if probed.fault:
        return PreparedClip(Prepared(probed, _without_sound(encoded)))
    if not clip.data:
        return PreparedClip(Prepared(probed, encoded), sound=clip.sound)
    written = open_prober(early, process).probe(clip.data)
    if written.fault is not None:
        detail = f"what was written is {written.fault.defect}: {written.fault.detail}"
        fault = Probed(probed.metadata, Fault("unencodable", detail))
        return PreparedClip(Prepared(fault, _without_sound(encoded)))
    return PreparedClip(Prepared(probed, encoded, written), clip.data, clip.sound)


def _without_sound(encoded: Encoded) -> Encoded:
    """What became of a clip that is not written."""
    return dataclasses.replace(encoded, sound=None, is_sound_inexact=False)


def _encoded(process: VideoProcess, data: bytes, known: Known, seconds: float, encoding: Encoding) -> EncodedClip:
    from kconvert.video.encoding.encode import encode

    try:
        return process.run(encode, data, seconds, encoding, known)
    except ClipFault as fault:
        return failed(fault.defect, fault.detail.replace("the check", "encoding", 1))
