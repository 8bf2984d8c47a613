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
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import ffmpeg

from kconvert.errors import OutOfMemoryError, UsageError, describe_exit
from kconvert.machine_limits import MemoryKills
from kconvert.video.boxes import has_index, is_fragmented, major_brand
from kconvert.video.containers import FORMATS, FROM_FILE, is_picture_format
from kconvert.video.limits import TOO_MUCH_MEMORY, bound_program
from kconvert.video.metadata import MediaMetadata, is_variable
from kconvert.video.prober import Prober, Probing
from kconvert.video.structure import decoded_fault, index_fault, no_video_fault, structure_fault, times_fault
from kconvert.video.verdict import CheckOptions, Fault, Probed

_ENTRIES = (
    "format=duration,bit_rate,format_name"
    ":stream=index,codec_type,codec_name,width,height,pix_fmt,avg_frame_rate,nb_frames,duration_ts,time_base,bit_rate"
    ",sample_aspect_ratio"
    ":stream_disposition=attached_pic,default:stream_side_data=rotation:packet=size,stream_index,flags,pts,dts"
)
_FIRST_PACKETS = "%+#200"
"""Of all streams together, as ffprobe writes an interval: whether there are any is seen by then."""
_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")
_CUT = re.compile("partial file|Packet corrupt|Sample size [0-9]+ is too large")
"""What the demuxers say of a packet that lies beyond the end, of one that is read in part, and of one that the index
has with a size that makes no sense."""
_NO_MEMORY = re.compile("Cannot allocate memory|MemoryError|bad_alloc|out of memory", re.IGNORECASE)
_MAX_PRINTED_BYTES = 64 << 20
"""ffprobe prints some 100 bytes a packet."""
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


class FfprobeProber(Prober):
    """Probes with ffprobe, and with ffmpeg for depth `decode`. Raises `UsageError` if they are missing."""

    def __init__(self, options: CheckOptions) -> None:
        self._options = options
        self._kills = MemoryKills()
        for program in _programs(options):
            _require(program)

    def begin(self, data: bytes) -> Probing:
        probed = self._probe(data)
        return lambda: probed

    def _probe(self, data: bytes) -> Probed:
        if not data:
            return Probed(_NOTHING, Fault("empty", "0 bytes"))
        with _file_of(data) as path:
            try:
                return self._look(path, data)
            except subprocess.TimeoutExpired:
                detail = f"the check took longer than {self._options.timeout:g} s"
                return Probed(_NOTHING, Fault("timeout", detail))

    def _look(self, path: str, data: bytes) -> Probed:
        is_header = self._options.depth == "header"
        interval = ("-read_intervals", _FIRST_PACKETS) if is_header else ()
        command = ["ffprobe", "-v", "warning", *FROM_FILE, *interval, "-of", "json", "-show_entries", _ENTRIES, path]
        ran = self._run(command, path)
        if (fault := _fault(ran)) is not None:
            return Probed(_NOTHING, fault)
        return self._read(path, data, ran)

    def _read(self, path: str, data: bytes, ran: _Ran) -> Probed:
        """What ffprobe has said, and beyond that what the depth asks for."""
        found: dict[str, Any] = json.loads(ran.stdout)
        video = _best_video(found.get("streams", []))
        if video is None:
            return Probed(_NOTHING, _no_stream(found))
        if fault := _no_video(found, video, data, _cut(ran)):
            return Probed(_NOTHING, fault)
        metadata = _metadata(found, video)
        if self._options.depth == "header":
            return Probed(metadata)
        detail = _cut(ran)
        packets = [packet for packet in found.get("packets", []) if packet.get("stream_index") == video["index"]]
        fault = Fault("truncated", detail) if detail else structure_fault(data)
        if fault := fault or index_fault(data, len(packets), int(video.get("nb_frames", 0))):
            return Probed(metadata, fault)
        metadata = replace(
            metadata,
            num_frames=_num_shown(metadata.num_frames, packets, data),
            is_variable_frame_rate=is_variable(_times(packets, "dts", "pts")) if has_index(data) else None,
        )
        if self._options.depth != "decode":
            return Probed(metadata)
        probed = self._decode(path, video["index"], metadata)
        if probed.metadata.num_decoded_frames is not None and not has_index(data):
            is_variable_rate = is_variable(_times(packets, "pts", "dts"))
            probed = replace(probed, metadata=replace(probed.metadata, is_variable_frame_rate=is_variable_rate))
        return replace(probed, fault=probed.fault or times_fault(data))

    def _decode(self, path: str, video: int, metadata: MediaMetadata) -> Probed:
        source = ffmpeg.input(path, threads=1, format_whitelist=FORMATS, protocol_whitelist="file")
        sink = ffmpeg.output(source[str(video)], source["a?"], "-", f="null", fps_mode="passthrough")
        command = sink.global_args("-v", "error", "-xerror", "-nostdin", "-progress", "pipe:1").compile()
        ran = self._run(command, path)
        if ran.crash:
            return Probed(metadata, Fault("crashed", ran.crash))
        if ran.exit_code > 0:
            return Probed(metadata, Fault("undecodable", ran.last))
        counts = re.findall(r"^frame=([0-9]+)", ran.stdout, re.MULTILINE)
        num_frames = int(counts[-1]) if counts else 0
        metadata = replace(metadata, num_decoded_frames=num_frames)
        ends = re.findall(r"^out_time_us=([0-9]+)", ran.stdout, re.MULTILINE)
        seconds = int(ends[-1]) / 1e6 if ends else None
        return Probed(metadata, decoded_fault(metadata, num_frames, seconds))

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


def _num_shown(num_stated: int | None, packets: list[dict[str, Any]], data: bytes) -> int | None:
    """The frames that the index states, without those that the edit list leaves out; `None` if it does not state
    all."""
    if is_fragmented(data):
        return None
    if num_stated is None or not major_brand(data) or not packets:
        return num_stated
    return sum("D" not in packet.get("flags", "") for packet in packets)


def _times(packets: list[dict[str, Any]], first: str, second: str) -> list[int]:
    """When frames are shown (`pts`) or decoded (`dts`), by that of both which a packet has."""
    found = (packet.get(first, packet.get(second)) for packet in packets)
    return [time for time in found if time is not None]


def _no_stream(found: dict[str, Any]) -> Fault:
    kinds = ", ".join(stream.get("codec_type", "unknown") for stream in found.get("streams", [])) or "nothing"
    return Fault("no_video", f"no video stream, only {kinds}")


def _no_video(found: dict[str, Any], video: dict[str, Any], data: bytes, cut: str) -> Fault | None:
    """Why a stream that says that it is video is none; `None` if it is one."""
    name = found.get("format", {}).get("format_name", "")
    if is_picture_format(name):
        return Fault("no_video", f"is a picture ({name})")
    num_packets = sum(packet.get("stream_index") == video["index"] for packet in found.get("packets", []))
    # What cannot be read is there nevertheless.
    return no_video_fault(data, max(num_packets, len(cut)))


def _best_video(streams: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The stream that `av_find_best_stream` chooses, as far as ffprobe prints what that goes by
    (libavformat/avformat.c): the default one, then one with several frames, with the higher bit rate, the first."""
    videos = [one for one in streams if one.get("codec_type") == "video"]
    videos = [one for one in videos if not one.get("disposition", {}).get("attached_pic")]

    def rank(stream: dict[str, Any]) -> tuple[bool, int, int]:
        num_frames = min(5, int(stream.get("nb_frames", 5)))
        return bool(stream.get("disposition", {}).get("default")), num_frames, int(stream.get("bit_rate", 0))

    return max(videos, key=rank, default=None)


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
        sample_aspect_ratio=video.get("sample_aspect_ratio", ""),
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
