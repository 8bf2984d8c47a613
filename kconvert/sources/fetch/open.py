"""Opening a resource by its location, wherever it is."""

from __future__ import annotations

import zlib

from kconvert.errors import FetchError, SourceChangedError
from kconvert.sources.fetch.stream import (
    ByteStream,
    FetchOptions,
    OnBytes,
    RangeStream,
    Remote,
    ignore,
    is_remote,
    is_url,
)


def range_stream(location: str) -> type[RangeStream]:
    """What fetches that location."""
    if is_url(location):
        from kconvert.sources.fetch.http import HttpStream

        return HttpStream
    from kconvert.sources.fetch.objects import ObjectStream

    return ObjectStream


def open_stream(location: str, options: FetchOptions, on_bytes: OnBytes = ignore) -> ByteStream:
    """Starts reading a URL, an object or a local path; `on_bytes` hears of every chunk.

    Raises `FetchError`; `NotFoundError` if there is no such thing.
    """
    if is_remote(location):
        return range_stream(location)(location, options, on_bytes)
    from kconvert.sources.fetch.local import FileStream

    return FileStream(location, on_bytes)


def describe(location: str, options: FetchOptions) -> Remote:
    """Size and version of a resource, without reading it. Raises as `open_stream` does."""
    if is_url(location):
        from kconvert.sources.fetch.http import describe_url

        return describe_url(location, options)
    if is_remote(location):
        from kconvert.sources.fetch.objects import describe_object

        return describe_object(location, options)
    from kconvert.sources.fetch.local import describe_file

    return describe_file(location)


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
