"""A terminal of our own, to see what the command draws in it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
from collections.abc import Mapping

from harness import COMMAND


def in_terminal(words: list[str], columns: int = 150, variables: Mapping[str, str] | None = None) -> tuple[str, int]:
    """What the command draws on stderr in a terminal of that width, and its exit code."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {**os.environ, **(variables or {})}
    command = [str(COMMAND), *words]
    with subprocess.Popen(command, stderr=other, stdout=subprocess.PIPE, env=environment) as run:
        os.close(other)
        drawn = b""
        while True:
            ready, _, _ = select.select([main], [], [], 60)
            try:
                data = os.read(main, 65536) if ready else b""
            except OSError:
                break
            if not data:
                break
            drawn += data
        assert run.stdout is not None
        run.stdout.read()
    os.close(main)
    return drawn.decode(), run.returncode
