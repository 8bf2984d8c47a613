"""A real S3 protocol server on loopback (moto's), which a test may have misbehave."""

from __future__ import annotations

import io
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from urllib.request import Request, urlopen

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

KEY, SECRET = "AKIATESTTESTTEST", "secret-that-nobody-may-write-down"


def aws_environment(url: str) -> dict[str, str]:
    """What an AWS program finds a server by, and nothing else."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: str
    """Bucket and key."""
    query: Mapping[str, list[str]]
    is_signed: bool
    number: int
    """How many requests there were before it."""

    @property
    def is_completion(self) -> bool:
        """Whether it completes a multipart upload."""
        return self.method == "POST" and "uploadId" in self.query

    @property
    def is_part(self) -> bool:
        """Whether it uploads a piece of a multipart upload."""
        return self.method == "PUT" and "partNumber" in self.query


Misbehave = Callable[[Asked], str]
"""What to do instead of answering a request: `500`, `503`, `403`, `reset` in the middle of its body, `flip` a bit of
its body, list uploads by their `exact` keys only, do it but have the answer `lost`, or nothing: `""`."""


@dataclass
class Store:
    """The server, and what was asked of it."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    misbehave: Misbehave = lambda asked: ""

    @property
    def environment(self) -> dict[str, str]:
        """What an AWS program finds it by."""
        return aws_environment(self.url)

    def client(self) -> Any:
        """AWS's own client, the reference."""
        return boto3.client(
            "s3", endpoint_url=self.url, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1"
        )

    def make_bucket(self, name: str) -> str:
        """Its URL."""
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}"

    def objects(self, bucket: str, prefix: str = "", without: str = "\0") -> dict[str, bytes]:
        """Everything below a prefix, by the rest of the key, but for what is below `without`, or is gone once it is
        read."""
        client = self.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [listed["Key"] for page in pages for listed in page.get("Contents", ())]
        keys = [key for key in keys if not key.startswith(prefix + without)]
        found = {}
        for key in keys:
            with suppress(client.exceptions.NoSuchKey):
                found[key.removeprefix(prefix)] = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return found

    def tree(self, bucket: str, prefix: str) -> dict[str, bytes]:
        """Everything below a prefix, without the journal."""
        return self.objects(bucket, prefix, ".kconvert/")

    def uploads(self, bucket: str) -> list[str]:
        """The keys of the multipart uploads that were begun and neither completed nor given up."""
        found = self.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        return [upload["Key"] for upload in found]

    def fill(self, bucket: str, folder: Path) -> None:
        """Copies a folder into a bucket, for everybody to read."""
        client = self.client()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                client.upload_file(str(path), bucket, path.relative_to(folder).as_posix(), {"ACL": "public-read"})


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        pass


def _change(environ: dict[str, Any], act: str) -> None:
    """Changes what was asked."""
    if act == "flip":
        body = bytearray(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        body[len(body) // 2] ^= 1
        environ["wsgi.input"] = io.BytesIO(body)
    else:
        # As MinIO does: what is below a prefix is not listed.
        environ["QUERY_STRING"] = "uploads=&prefix=nothing-is-there"


@contextmanager
def store() -> Iterator[Store]:
    """Serves an empty store until the block ends."""
    application = DomainDispatcherApplication(create_backend_app)
    lock = threading.Lock()

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with lock:
            query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
            is_signed = "HTTP_AUTHORIZATION" in environ
            path = environ.get("PATH_INFO", "").lstrip("/")
            asked = Asked(environ["REQUEST_METHOD"], path, query, is_signed, len(made.asked))
            if KEY in environ.get("HTTP_AUTHORIZATION", KEY):
                made.asked.append(asked)
        act = made.misbehave(asked)
        if act in ("reset", "lost"):
            if act == "lost":
                list(application(environ, lambda status, headers: lambda data: None))
            environ["wsgi.input"].read(min(int(environ.get("CONTENT_LENGTH") or 0) // 2, 100_000))
            connection = environ["werkzeug.socket"]
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(connection.detach())
            raise ConnectionResetError
        if act in ("flip", "exact"):
            _change(environ, act)
        elif act:
            codes = {"500": "InternalError", "503": "SlowDown", "403": "InvalidAccessKeyId", "400": "ExpiredToken"}
            code = codes[act]
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            said = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>as asked for</Message></Error>".encode()
            start_response(f"{act} {code}", [("Content-Type", "application/xml"), ("Content-Length", str(len(said)))])
            return [] if asked.method == "HEAD" else [said]

        def begin(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            # werkzeug has named the server already, and clients in development mode refuse two names.
            return start_response(status, [pair for pair in headers if pair[0].lower() != "server"], *more)

        found: Iterable[bytes] = application(environ, begin)
        return found

    class Server(ThreadedWSGIServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A connection that was cut is no error of the server's."""

    server = Server("127.0.0.1", 0, answer, _Quiet)
    made = Store(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    # What it holds is the process's, not the server's.
    urlopen(Request(f"{made.url}/moto-api/reset", method="POST"), timeout=10).close()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
