"""Faults from outside the product: a library that is preloaded into every process of a run (see `faults.c`)."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_SOURCE = Path(__file__).with_name("faults.c")


@dataclass(frozen=True)
class Operation:
    """Something that a run did to a file."""

    number: int
    what: str
    """open, write, fsync, chmod, truncate, rename, unlink, rmdir or mkdir."""
    path: str

    @property
    def kind(self) -> str:
        """What is done to which kind of file: equal for files that differ only in their numbers."""
        leaf = Path(self.path).name.partition(".kconvert-tmp")[0]
        stem = "".join("#" if char.isdigit() else char for char in leaf)
        while "##" in stem:
            stem = stem.replace("##", "#")
        return f"{self.what} {stem}"


class Faults:
    """The library, compiled into a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._library = folder / "faults.so"
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(self._library), str(_SOURCE), "-ldl"]
        subprocess.run(command, check=True)

    def environment(self, root: Path, name: str = "run", **settings: str | int) -> dict[str, str]:
        """The variables that a run needs for faults below `root`; `settings` are those of `faults.c`, in lower case."""
        count = self._folder / f"{name}.count"
        count.write_bytes(bytes(8))
        log = self._folder / f"{name}.log"
        log.unlink(missing_ok=True)
        given = {f"FAULTS_{key.upper()}": str(value) for key, value in settings.items()}
        paths = {"FAULTS_ROOT": str(root), "FAULTS_COUNT": str(count), "FAULTS_LOG": str(log)}
        return {"LD_PRELOAD": str(self._library), **paths, **given}

    def operations(self, name: str = "run") -> list[Operation]:
        """What a run did, in order."""
        lines = (self._folder / f"{name}.log").read_text().splitlines()
        fields = [line.split(" ", 2) for line in lines]
        return sorted((Operation(int(number), what, path) for number, what, path in fields), key=lambda one: one.number)
