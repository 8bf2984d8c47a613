"""Opening a resource by its location, wherever it is."""

from __future__ import annotations

import zlib

from kconvert.errors import FetchError, SourceChangedError
from kconvert.sources.fetch.ahead import read_ahead
from kconvert.sources.fetch.resource import Resource
from kconvert.sources.fetch.resource_stream import ResourceStream
from kconvert.sources.fetch.retry import Retries
from kconvert.sources.fetch.stream import ByteStream, FetchOptions, OnBytes, Remote, Start, ignore, is_remote, is_url


def open_resource(location: str, options: FetchOptions) -> Resource:
    """The resource at a URL, in an object store or at a local path; nothing is asked of it yet."""
    # What fetches over HTTP, and from stores, takes a while to import.
    if is_url(location):
        from kconvert.sources.fetch.http import HttpResource

        return HttpResource(location, options)
    if is_remote(location):
        from kconvert.sources.fetch.objects import ObjectResource

        return ObjectResource(location, options)
    from kconvert.sources.fetch.local import FileResource

    return FileResource(location, options)


def open_stream(location: str, options: FetchOptions, on_bytes: OnBytes = ignore) -> ByteStream:
    """Starts reading a resource; `on_bytes` is called with the size of every chunk.

    Raises: `FetchError`; `NotFoundError` if there is no such thing.
    """
    return ResourceStream(open_resource(location, options), on_bytes)


def open_ahead(
    location: str, options: FetchOptions, on_bytes: OnBytes = ignore, start: Start | None = None
) -> ByteStream:
    """The same for something big, from an offset on: what is remote comes by several connections, ahead of its
    reader."""
    resource = open_resource(location, options)
    if is_remote(location):
        return read_ahead(resource, on_bytes, start or Start())
    return ResourceStream(resource, on_bytes, start or Start())


def describe(location: str, options: FetchOptions) -> Remote:
    """Size and version of a resource, without reading it. Raises as `open_stream` does."""
    return Retries(location, options).run(open_resource(location, options).describe)


def read_small(location: str, options: FetchOptions, max_bytes: int) -> bytes:
    """A whole small resource, such as a path list. Raises `FetchError`, also if it is over `max_bytes`."""
    for _ in range(options.max_restarts + 1):
        try:
            return _read_once(location, options, max_bytes)
        except SourceChangedError as error:
            last = error
    raise last


def _read_once(location: str, options: FetchOptions, max_bytes: int) -> bytes:
    with open_stream(location, options) as stream:
        data = bytearray()
        while chunk := stream.read():
            data += chunk
            if len(data) > max_bytes:
                raise FetchError(location, f"is larger than {max_bytes:,} bytes, which no such file is")
        if not stream.is_end_sure:
            raise FetchError(location, "the server states no length, so that nobody knows whether this was all")
        return _plain(location, bytes(data), max_bytes)


def _plain(location: str, data: bytes, max_bytes: int) -> bytes:
    """Undoes the gzip that some servers put around every text unasked (`Content-Encoding`). Raises `FetchError`."""
    if not data.startswith(b"\x1f\x8b"):
        return data
    decompressor = zlib.decompressobj(wbits=31)
    try:
        plain = decompressor.decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise FetchError(location, f"is gzip that is damaged ({error})") from error
    if len(plain) > max_bytes:
        raise FetchError(location, f"is larger than {max_bytes:,} bytes, which no such file is")
    if not decompressor.eof or decompressor.unused_data:
        raise FetchError(location, "is gzip that ends early, or that something follows")
    return plain
