"""Conversions on a real Slurm of one node, which is set up and taken down again (needs root and Debian's packages).

Does what the tests do with submitit's own executor, and what only Slurm can: a pre-empted array task, a killed one, and
a driver that is killed and started again.
"""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import COMMAND, kconvert, tree
from miniature.build import build
from miniature.server import Handler, serving
from miniature.sources import MadeRows, MadeVideos
from smoke import parse

_PACKAGES = ["slurmctld", "slurmd", "slurm-client", "munge"]
_CONF = """ClusterName=trial
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=bf_interval=1,sched_interval=1
MinJobAge=300
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Slow(Handler):
    """Takes a while for each archive."""

    def send_data(self, name: str, data: bytes) -> None:
        if name.endswith("gz"):
            time.sleep(5)
        super().send_data(name, data)


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools/campaign slurm", description=__doc__)
    parser.add_argument("--harms", type=int, help="only the first so many harms; all, and the driver's death, without")
    options = parse(parser, None, harms=0)
    if not shutil.which("slurmctld"):
        subprocess.run(["apt-get", "install", "-y", "-qq", *_PACKAGES], check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory(prefix="kconvert-slurm-") as folder, _slurm(Path(folder)):
        _campaign(Path(folder), options.harms)


@contextmanager
def _slurm(folder: Path) -> Iterator[None]:
    """A Slurm of one node on loopback; `SLURM_CONF` names it."""
    host = socket.gethostname().partition(".")[0]
    conf = folder / "slurm.conf"
    ports = _free_ports(2)
    conf.write_text(_CONF.format(host=host, folder=folder, port=ports[0], node_port=ports[1]))
    for name in ("state", "spool"):
        (folder / name).mkdir()
    os.environ["SLURM_CONF"] = str(conf)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    folder.chmod(0o755)
    munged = ["munged", "--force", "--foreground", f"--socket={folder}/munge.socket", f"--key-file={key}"]
    munged += [f"--log-file={folder}/munge.log", f"--pid-file={folder}/munge.pid", f"--seed-file={folder}/munge.seed"]
    commands = [munged, ["slurmctld", "-D", "-f", str(conf)], ["slurmd", "-D", "-f", str(conf), "-N", host]]
    started = []
    try:
        for command in commands:
            log = open(folder / f"{command[0]}.out", "wb")  # noqa: SIM115
            started.append(subprocess.Popen(command, stdout=log, stderr=log))
            time.sleep(2)
        end = time.monotonic() + 60
        while "idle" not in _said("sinfo", "-h", "-o", "%t"):
            assert time.monotonic() < end, _said("sinfo") + (folder / "slurmctld.log").read_text()[-2000:]
            time.sleep(0.5)
        print(f"{_said('sinfo', '--version').strip()} on {pwd.getpwuid(os.getuid()).pw_name}@{host}")
        yield
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(20)


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _free_ports(num: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(num)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _campaign(folder: Path, num_harms: int | None) -> None:
    origin = folder / "origin"
    build(origin, MadeVideos(), MadeRows())
    words = ["k400", "--shard.max_samples", "5"]
    reference = folder / "reference"
    assert kconvert(*words, "--out", reference, "--origin", origin).code == 0
    expected = tree(reference)
    options = ["--engine", "slurm", "--slurm.memory_gb", "1", "--slurm.minutes", "10"]

    out = folder / "plain"
    start = time.monotonic()
    ran = kconvert(*words, *options, "--out", out, "--origin", origin, timeout=600)
    _check("plain", ran.code, ran.err, out, expected, start)
    print(_arrays())

    harms: list[tuple[str, Callable[[str], str]]] = [
        ("an array task is pre-empted (scontrol requeue)", lambda job: _said("scontrol", "requeue", job)),
        ("an array task is killed (scancel --signal=KILL)", lambda job: _said("scancel", "--signal=KILL", job)),
        ("an array task is cancelled (scancel)", lambda job: _said("scancel", job)),
    ]
    for name, harm in harms[:num_harms]:
        out = folder / name.split("(")[0].replace(" ", "-")
        with serving(origin, Slow) as http:
            start = time.monotonic()
            process = _start(words, options, out, http.url)
            harm(_running())
            said, err = process.communicate(timeout=600)
            _check(name, process.returncode, said + err, out, expected, start)

    if num_harms is not None:
        return
    out = folder / "driver"
    with serving(origin, Slow) as http:
        start = time.monotonic()
        process = _start(words, options, out, http.url)
        _running()
        process.send_signal(signal.SIGKILL)
        process.wait()
        print(kconvert("status", out).out)
        ran = kconvert(*words, *options, "--out", out, "--origin", http.url, timeout=600)
    _check("the driver is killed and started again", ran.code, ran.err, out, expected, start)
    print(f"left in the queue: {_said('squeue', '-h') or 'nothing'}")


def _start(words: list[str], options: list[str], out: Path, url: str) -> subprocess.Popen[str]:
    command = [str(COMMAND), *words, *options, "--out", str(out), "--origin", url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _running() -> str:
    """An array task that has run for a moment."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if found := _said("squeue", "-h", "-r", "--states=RUNNING", "--format=%i").split():
            time.sleep(4)
            return found[0]
        time.sleep(0.2)
    raise AssertionError("nothing runs")


def _arrays() -> str:
    lines = _said("squeue", "-h", "-r", "--states=all", "--format=%i %T").splitlines()
    return f"  array tasks: {', '.join(lines)}"


def _check(name: str, code: int, err: str, out: Path, expected: dict[str, bytes], start: float) -> None:
    assert code == 0, f"{name}: exit code {code}: {err}"
    assert tree(out) == expected, f"{name}: other bytes"
    left = [path.name for path in out.rglob("*") if "kconvert-tmp" in path.name or path.suffix in (".part", ".failed")]
    assert not left, f"{name}: left {left}"
    print(f"{name}: the same bytes, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
