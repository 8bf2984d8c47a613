"""Has PyAV do odd things on marked clips, wherever a module of kconvert opens them: a fault from outside, in every Python
process that has a folder on its path."""

from __future__ import annotations

from pathlib import Path

from miniature.build import write

_SITECUSTOMIZE = """
import functools, importlib.abc, importlib.util, os, signal, sys, time, zlib

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != {module!r}:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module
        def exec_module(module):
            execute(module)
            def ruined(clip, real, *args, **options):
                data = clip[:]
                with open({calls!r}, "a") as log:
                    log.write(f"{data[-8:].decode('latin-1')} {zlib.crc32(data):08x}\\n")
                if data.endswith(b"CRASHING"):
                    os.kill(os.getpid(), signal.SIGSEGV)
                if data.endswith(b"HANGING!"):
                    time.sleep(1000)
                if data.endswith(b"HOGGING!"):
                    hog = bytes([1]) * int(os.environ.get("TOUCHED", 0)), [bytes(1 << 28) for _ in range(40)]
                if data.endswith(b"FLOODING"):
                    for _ in range(1 << 14):
                        os.write(2, b"\\x1b[31mmoov atom\\n" * 4096)
                    os.kill(os.getpid(), signal.SIGABRT)
                return real(clip, *args, **options)
            for name in {"opened", "glanced"} & set(vars(module)):
                setattr(module, name, functools.partial(ruined, real=getattr(module, name)))
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


def ruining(module: str, site: Path, calls: Path) -> dict[str, str]:
    """The environment in which clips that end with a mark ruin the process in which that module opens them; each that
    it opens is noted in `calls`, with its last bytes and its CRC-32. `site` is a folder of its own for that."""
    code = _SITECUSTOMIZE.replace("{module!r}", repr(module)).replace("{calls!r}", repr(str(calls)))
    write(site / "sitecustomize.py", code.encode())
    return {"PYTHONPATH": str(site)}
