"""The reference prober: the ffprobe and ffmpeg programs, a process or two a clip.

Both get the clip as a file in memory (`memfd_create`, or a temporary file where there is none), as a container whose
index stands at its end cannot be read from a pipe. ffmpeg-python 0.2 writes the command of ffmpeg; its `probe` is not
used, as it has no timeout and drops what ffprobe says on stderr when it succeeds.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import ffmpeg

from kconvert.errors import OutOfMemoryError, UsageError, describe_exit
from kconvert.grants import MemoryKills
from kconvert.video.limits import TOO_MUCH_MEMORY, bound_program
from kconvert.video.metadata import MediaMetadata
from kconvert.video.verdict import CheckOptions, Fault, Probed

_ENTRIES = (
    "format=duration,bit_rate"
    ":stream=index,codec_type,codec_name,width,height,pix_fmt,avg_frame_rate,nb_frames,duration_ts,time_base,bit_rate"
    ":stream_disposition=attached_pic:stream_side_data=rotation"
)
_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")
_CUT = re.compile("partial file|Packet corrupt|Sample size [0-9]+ is too large")
"""What the demuxers say of a packet that lies beyond the end, of one that is read in part, and of one that the index
has with a size that makes no sense."""
_NO_MEMORY = re.compile("Cannot allocate memory|MemoryError|bad_alloc|out of memory", re.IGNORECASE)
_MAX_PRINTED_BYTES = 64 << 20
"""ffprobe prints 40 bytes a packet."""
_CHUNK_BYTES = 1 << 16
_NOTHING = MediaMetadata()


def versions(options: CheckOptions) -> dict[str, str]:
    """Names and versions of what judges. Raises `UsageError` if a program is missing."""
    return {program: _version(program) for program in _programs(options)}


def _programs(options: CheckOptions) -> tuple[str, ...]:
    return ("ffprobe", "ffmpeg") if options.depth == "decode" else ("ffprobe",)


def _version(program: str) -> str:
    _require(program)
    try:
        done = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=60, check=True)
    except (subprocess.SubprocessError, OSError) as error:
        raise UsageError(
            f"--check.prober ffprobe: {program} does not work ({error}); "
            "install ffmpeg anew, or use --check.prober libav"
        ) from error
    words = done.stdout.split()
    return words[2] if len(words) > 2 else "unknown"


def _require(program: str) -> None:
    if shutil.which(program) is None:
        raise UsageError(
            f"--check.prober ffprobe: {program} is not on the PATH; install ffmpeg, or use --check.prober libav"
        )


@dataclass(frozen=True)
class _Ran:
    program: str
    """Its name, for messages."""
    exit_code: int
    """Negative if a signal ended it."""
    num_bytes: int
    """Printed in all."""
    stdout: str
    """`""` where far too much was printed."""
    messages: list[str]
    """Lines of stderr, without addresses and the file's path."""

    @property
    def crash(self) -> str:
        """How the program was ended before it had its say; `""` if it was not."""
        if self.num_bytes > _MAX_PRINTED_BYTES:
            return f"{self.program} printed more than {_MAX_PRINTED_BYTES >> 20} MiB"
        if self.exit_code < 0:
            return f"{self.program} was ended by {describe_exit(self.exit_code)}"
        return TOO_MUCH_MEMORY if self.exit_code and _NO_MEMORY.search("\n".join(self.messages[-20:])) else ""

    @property
    def last(self) -> str:
        return self.messages[-1] if self.messages else f"exit code {self.exit_code}"


class FfprobeProber:
    """Probes with ffprobe, and with ffmpeg for depth `decode`. Raises `UsageError` if they are missing."""

    def __init__(self, options: CheckOptions) -> None:
        self._options = options
        self._kills = MemoryKills()
        for program in _programs(options):
            _require(program)

    def probe(self, data: bytes) -> Probed:
        if not data:
            return Probed(_NOTHING, Fault("empty", "0 bytes"))
        with _file_of(data) as path:
            try:
                return self._look(path)
            except subprocess.TimeoutExpired:
                detail = f"the check took longer than {self._options.timeout:g} s"
                return Probed(_NOTHING, Fault("timeout", detail))

    def _look(self, path: str) -> Probed:
        read_packets = self._options.depth != "header"
        entries = _ENTRIES + (":packet=size" if read_packets else "")
        ran = self._run(["ffprobe", "-v", "warning", "-of", "json", "-show_entries", entries, path], path)
        if (fault := _fault(ran)) is not None:
            return Probed(_NOTHING, fault)
        found: dict[str, Any] = json.loads(ran.stdout)
        streams = found.get("streams", [])
        video = next((stream for stream in streams if _is_video(stream)), None)
        if video is None:
            kinds = ", ".join(stream.get("codec_type", "unknown") for stream in streams) or "nothing"
            return Probed(_NOTHING, Fault("no_video", f"no video stream, only {kinds}"))
        metadata = _metadata(found, video)
        if read_packets and (detail := _cut(ran)):
            return Probed(metadata, Fault("truncated", detail))
        if self._options.depth == "decode":
            return Probed(metadata, self._decode(path))
        return Probed(metadata)

    def _decode(self, path: str) -> Fault | None:
        source = ffmpeg.input(path, threads=1)
        sink = ffmpeg.output(source["V"], source["a?"], "-", f="null", fps_mode="passthrough")
        command = sink.global_args("-v", "error", "-xerror", "-nostdin", "-progress", "pipe:1").compile()
        ran = self._run(command, path)
        if ran.crash:
            return Fault("crashed", ran.crash)
        if ran.exit_code > 0:
            return Fault("undecodable", ran.last)
        counts = re.findall(r"^frame=([0-9]+)", ran.stdout, re.MULTILINE)
        return None if counts and int(counts[-1]) else Fault("undecodable", "no frame was decoded")

    def _run(self, command: list[str], path: str) -> _Ran:
        """Runs a program. Raises `subprocess.TimeoutExpired`, and `OutOfMemoryError`."""
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            try:
                bound_program(process.pid, self._options.timeout)
                out, err = _outputs(process, self._options.timeout)
            except BaseException:
                process.kill()
                raise
        num_bytes = len(out) + len(err)
        if process.returncode == -signal.SIGKILL and num_bytes <= _MAX_PRINTED_BYTES and self._kills.is_another():
            raise OutOfMemoryError("the check of a clip", self._kills.limit())
        if num_bytes > _MAX_PRINTED_BYTES:
            return _Ran(command[0], process.returncode, num_bytes, "", [])
        text = _ADDRESS.sub("", err.decode("utf-8", "replace")).replace(path, "clip")
        messages = [line.strip() for line in text.splitlines() if line.strip()]
        return _Ran(command[0], process.returncode, num_bytes, out.decode("utf-8", "replace"), messages)


def _outputs(process: subprocess.Popen[bytes], seconds: float) -> tuple[bytes, bytes]:
    """All that a program prints on stdout and stderr; one that prints too much is killed.

    Raises `subprocess.TimeoutExpired` if it does not end in that time.
    """
    assert process.stdout is not None
    assert process.stderr is not None
    printed = {process.stdout: bytearray(), process.stderr: bytearray()}
    end = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for stream in printed:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select(max(0.0, end - time.monotonic())):
                stream = next(one for one in printed if one is key.fileobj)
                chunk = os.read(key.fd, _CHUNK_BYTES)
                printed[stream] += chunk
                if not chunk:
                    selector.unregister(stream)
            if sum(map(len, printed.values())) > _MAX_PRINTED_BYTES:
                process.kill()
                break
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(process.args, seconds)
    process.wait(max(0.1, end - time.monotonic()))
    return bytes(printed[process.stdout]), bytes(printed[process.stderr])


def _fault(ran: _Ran) -> Fault | None:
    """Why ffprobe printed nothing that can be read; `None` if it did."""
    if ran.crash:
        return Fault("crashed", ran.crash)
    if ran.exit_code > 0:
        return Fault("unreadable", ran.last)
    try:
        json.loads(ran.stdout)
    except ValueError as error:
        return Fault("crashed", f"ffprobe printed something else than JSON ({error})")
    return None


@contextmanager
def _file_of(data: bytes) -> Iterator[str]:
    """A path that other processes of this user can read `data` from."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("clip")
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            yield f"/proc/{os.getpid()}/fd/{handle}"
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            yield file.name


def _is_video(stream: dict[str, Any]) -> bool:
    return stream.get("codec_type") == "video" and not stream.get("disposition", {}).get("attached_pic")


def _metadata(found: dict[str, Any], video: dict[str, Any]) -> MediaMetadata:
    container = found.get("format", {})
    audio: dict[str, Any] = next((stream for stream in found["streams"] if stream.get("codec_type") == "audio"), {})
    rate = video.get("avg_frame_rate", "0/0")
    side_data = video.get("side_data_list", [])
    return MediaMetadata(
        duration_seconds=_duration(container, video),
        num_frames=int(video.get("nb_frames", 0)) or None,
        fps=float(Fraction(rate)) if not rate.endswith("/0") and Fraction(rate) else None,
        width=video.get("width") or None,
        height=video.get("height") or None,
        pix_fmt=video.get("pix_fmt", ""),
        video_codec=video.get("codec_name", ""),
        audio_codec=audio.get("codec_name", ""),
        rotation_degrees=next((_rotation(entry) for entry in side_data if "rotation" in entry), 0),
        bit_rate=int(video.get("bit_rate", 0)) or int(container.get("bit_rate", 0)) or None,
    )


def _rotation(side_data: dict[str, Any]) -> int:
    """A matrix that is no rotation is printed as the most negative number."""
    degrees = int(side_data["rotation"])
    return degrees if -360 <= degrees <= 360 else 0


def _duration(container: dict[str, Any], video: dict[str, Any]) -> float | None:
    if "duration_ts" in video:
        return float(round(video["duration_ts"] * Fraction(video["time_base"]), 6))
    return float(container["duration"]) if "duration" in container else None


def _cut(ran: _Ran) -> str:
    """What ffprobe says of packets that are not all there; `""` if they are."""
    return next((message for message in ran.messages if _CUT.search(message)), "")
