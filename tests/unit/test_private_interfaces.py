"""What kconvert uses of libraries that they do not promise (see `test_house_rules.PRIVATE`): a version that lacks it fails
here, by name, before it fails a user. Those of requests and urllib3 have tests of their own: `test_connections`."""

import argparse
import asyncio
import importlib
import subprocess
import sys

import jsonargparse
import pytest


def test_the_server_of_processes_says_whether_it_runs() -> None:
    """Without it, a worker would be forked from a process whose server it then takes for its own child."""
    script = (
        "import multiprocessing\n"
        "from multiprocessing import forkserver\n"
        "from kconvert.engines.local import _has_server\n"
        "if __name__ == '__main__':\n"
        "    assert not _has_server()\n"
        "    forkserver.ensure_running()\n"
        "    assert _has_server()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("kind", [argparse.ArgumentParser, jsonargparse.ArgumentParser])
def test_a_parser_says_which_options_it_has(kind: type[argparse.ArgumentParser]) -> None:
    """Without it, an option that was misspelt could not be answered with the one that was meant, nor shells completed."""
    parser = kind()
    parser.add_argument("--wanted", help="x")
    assert "--wanted" in [option for action in parser._actions for option in action.option_strings]
    commands = argparse.ArgumentParser().add_subparsers()
    assert isinstance(commands, argparse._SubParsersAction)
    commands.add_parser("convert")
    assert set(commands.choices) == {"convert"}


@pytest.mark.parametrize(
    ("url", "library", "path"),
    [
        ("s3://bucket/a/b", "s3fs.S3FileSystem", "bucket/a/b"),
        ("gs://bucket/a/b", "gcsfs.GCSFileSystem", "bucket/a/b"),
        ("memory://a/b", "fsspec.implementations.memory.MemoryFileSystem", "/a/b"),
    ],
)
def test_a_file_system_takes_a_location_apart(url: str, library: str, path: str) -> None:
    """Without it, what stands in a location besides the path (a user, a host) would not reach the file system."""
    module, _, name = library.rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    assert isinstance(kind._get_kwargs_from_urls(url), dict)
    assert kind._strip_protocol(url) == path


def test_the_file_system_of_google_has_a_session_that_can_be_closed() -> None:
    """Without it, the end of a run would say that a session was never closed."""
    opened = importlib.import_module("gcsfs").GCSFileSystem(token="anon", asynchronous=False, skip_instance_cache=True)
    assert hasattr(opened, "_session")
    if opened._session is not None:
        assert asyncio.iscoroutinefunction(opened._session.close)
